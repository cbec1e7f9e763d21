//! Redis keeps the contract for sessions: on one server, behind Sentinel, and in a cluster.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod engines;

use std::{sync::Arc, time::Duration};

use engines::redis;
use hallpass_session::{
    Document, IdGenerator, Lifetime, RandomIds, SessionRecord, SessionStore, Timestamp,
    conformance::{SWEEP, run_without},
};
use hallpass_stores::{ConnectRedis, ConnectRedisOptions, Redis, RedisOptions, ServerOptions};

async fn connect(url: &str) -> Redis {
    Redis::connect(url, &RedisOptions::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_keeps_the_contract() {
    let Some(server) = redis::reach() else { return };
    run_without(Arc::new(connect(&server.url).await), &[SWEEP]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_the_contract() {
    let Some(nodes) = redis::start_cluster() else { return };
    run_without(Arc::new(connect(&redis::cluster_url(&nodes)).await), &[SWEEP]).await;
}

const NOW: Timestamp = Timestamp::from_millis(1_795_424_473_000);

fn record(user: Option<&str>) -> SessionRecord {
    SessionRecord {
        document: Document::new(),
        user: user.map(Arc::from),
        label: None,
        created: NOW,
        authenticated: None,
        seen: NOW,
        lifetime: Lifetime {
            idle: Duration::from_secs(60),
            until: Some(NOW + Duration::from_secs(3600)),
            persistent: false,
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinel_leads_to_the_new_master() {
    let Some((mut master, _replica, sentinel)) = redis::start_sentinel() else { return };
    let url = format!("redis-sentinel://127.0.0.1:{}/0?master=main", sentinel.port);
    let options = RedisOptions {
        server: ServerOptions { timeout: Duration::from_secs(1), ..ServerOptions::default() },
        ..RedisOptions::default()
    };
    let store = Redis::connect(&url, &options).await.unwrap();
    let id = RandomIds.generate();
    store.create(&id, &record(None), NOW).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    master.kill();
    let mut refused = 0;
    for _ in 0..300 {
        match store.touch(&[], NOW).await.and(store.load(&id, NOW).await) {
            Ok(found) => {
                assert!(found.is_some(), "the session came along");
                if store.create(&RandomIds.generate(), &record(None), NOW).await.is_ok() {
                    assert!(refused > 0);
                    return;
                }
            }
            Err(_) => refused += 1,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no new master was found");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_end_with_their_sessions_and_indexes_heal() {
    let Some(engine) = redis::start() else { return };
    let store = connect(&redis::url(&engine)).await;
    let cli = |words: &str| {
        let words: Vec<String> =
            format!("-p {} {words}", engine.port).split(' ').map(str::to_owned).collect();
        redis::cli(&words).trim().to_owned()
    };
    let ids: Vec<_> = (0..3).map(|_| RandomIds.generate()).collect();
    for id in &ids {
        store.create(id, &record(Some("ann")), NOW).await.unwrap();
        let left: i64 = cli(&format!("pttl hallpass:s:{}", id.handle())).parse().unwrap();
        assert!((50_000..=60_000).contains(&left), "{left}");
    }
    let left: i64 = cli("pttl hallpass:u:ann").parse().unwrap();
    assert!((3_500_000..=3_600_000).contains(&left), "the index lives as long as a session can: {left}");
    assert!(!cli("keys *").contains(ids[0].expose()), "ids are hashed at rest");
    // A key that was lost, and one that never came.
    cli(&format!("del hallpass:s:{}", ids[0].handle()));
    assert_eq!(store.of_user("ann", NOW).await.unwrap().len(), 2);
    assert_eq!(cli("hlen hallpass:u:ann"), "3", "its session may be about to appear");
    let later = NOW + Duration::from_secs(59);
    assert_eq!(store.of_user("ann", later).await.unwrap().len(), 2);
    store.of_user("ann", NOW + Duration::from_secs(61)).await.unwrap();
    assert_eq!(cli("hlen hallpass:u:ann"), "0", "old entries of missing sessions go");
}

/// Whoever signs in every minute of a year leaves no year's list behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_index_loses_what_has_ended_a_little_at_each_sign_in() {
    let Some(engine) = redis::start() else { return };
    let store = connect(&redis::url(&engine)).await;
    let length = || -> usize {
        let words = ["-p", &engine.port.to_string(), "hlen", "hallpass:u:ann"].map(str::to_owned);
        redis::cli(&words).trim().parse().unwrap()
    };
    for _ in 0..200 {
        store.create(&RandomIds.generate(), &record(Some("ann")), NOW).await.unwrap();
    }
    assert_eq!(length(), 200, "all may still be alive");
    let later = NOW + Duration::from_secs(7200);
    for _ in 0..60 {
        let record = SessionRecord { seen: later, ..record(Some("ann")) };
        let lifetime = Lifetime { until: Some(later + Duration::from_secs(3600)), ..record.lifetime };
        store.create(&RandomIds.generate(), &SessionRecord { lifetime, ..record }, later).await.unwrap();
    }
    assert!((60..90).contains(&length()), "{} entries for 60 sessions", length());
    assert_eq!(store.of_user("ann", later).await.unwrap().len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_are_brought_again_after_a_restart_and_answers_survive_it() {
    let Some(mut engine) = redis::start() else { return };
    let store = connect(&redis::url(&engine)).await;
    let (kept, ended) = (RandomIds.generate(), RandomIds.generate());
    store.create(&kept, &record(Some("ann")), NOW).await.unwrap();
    store.create(&ended, &record(Some("ann")), NOW).await.unwrap();
    assert!(store.delete(&ended, NOW).await.unwrap());
    engine.kill();
    assert!(store.load(&kept, NOW).await.is_err(), "down is an error, not an end");
    engine.start();
    let mut found = store.load(&kept, NOW).await;
    for _ in 0..100 {
        if found.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        found = store.load(&kept, NOW).await;
    }
    assert!(found.unwrap().is_some());
    assert!(store.load(&ended, NOW).await.unwrap().is_none());
    assert!(store.delete(&kept, NOW).await.unwrap());
}

#[tokio::test]
async fn what_cannot_be_reached_or_read_is_said_without_the_password() {
    let options = RedisOptions {
        server: ServerOptions { timeout: Duration::from_millis(300), ..ServerOptions::default() },
        ..RedisOptions::default()
    };
    for (url, expected) in [
        ("redis://u:hunter2@127.0.0.1:1", "cannot connect to Redis"),
        ("redis://u:hunter2@host:port", "write redis://user:password@host:6379/0"),
        ("redis-cluster://u:hunter2@127.0.0.1:1", "cannot connect to Redis"),
        ("redis-sentinel://u:hunter2@127.0.0.1:1/0?master=m", "cannot connect to Redis"),
    ] {
        let sentence = Redis::connect(url, &options).await.err().unwrap().to_string();
        assert!(sentence.contains(expected) && !sentence.contains("hunter2"), "{sentence}");
    }
}

/// Redis 6.0 lacks a command that signing in needs; here it is taken away.
#[tokio::test]
async fn a_server_that_is_too_old_is_refused_before_anybody_signs_in() {
    let Some(server) = redis::start_with(&["--rename-command", "HRANDFIELD", ""]) else { return };
    let refused = Redis::connect(&redis::url(&server), &RedisOptions::default()).await.err().unwrap();
    assert!(refused.to_string().contains("too old; use Redis 6.2 or newer"), "{refused}");
    ConnectRedis::connect(&redis::url(&server), &ConnectRedisOptions::default()).await.unwrap();
}

/// A stale copy that Express saves lives for its cookie's age, the store's `ttl`, or as long as its key did. Redis itself forgets
/// the note, so it must not do so before.
#[tokio::test(flavor = "multi_thread")]
async fn an_ended_session_is_remembered_a_day_longer_than_a_stale_copy_lives() {
    const DAY: i64 = 24 * 60 * 60 * 1000;
    let Some(engine) = redis::start() else { return };
    let store = ConnectRedis::connect(&redis::url(&engine), &ConnectRedisOptions::default()).await.unwrap();
    let cli = |words: &str| {
        let words: Vec<String> =
            format!("-p {} {words}", engine.port).split(' ').map(str::to_owned).collect();
        redis::cli(&words).trim().to_owned()
    };
    for (text, lives, days) in [
        (r#"{"cookie":{}}"#, " EX 60", 2),
        (r#"{"cookie":{"originalMaxAge":259200000}}"#, " EX 60", 4),
        (r#"{"cookie":{}}"#, " EX 432000", 6),
        (r#"{"cookie":{}}"#, "", 401),
    ] {
        let id = RandomIds.generate();
        cli(&format!("set sess:{} {text}{lives}", id.expose()));
        assert!(store.delete(&id, NOW).await.unwrap(), "{text}{lives}");
        let left: i64 = cli(&format!("pttl hallpass:ended:{{sess:{}}}", id.expose())).parse().unwrap();
        assert!((days * DAY - 60_000..=days * DAY).contains(&left), "{text}{lives}: {left}");
    }
}
