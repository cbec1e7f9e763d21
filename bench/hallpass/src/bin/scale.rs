//! `scale URL SESSIONS`: fills a store with so many sessions of a tenth as many users, and prints what they cost: a row for docs/scale.md.

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use hallpass_session::{
    Clock, Document, IdGenerator, Lifetime, RandomIds, SessionId, SessionRecord, SessionStore, SystemClock, Timestamp,
};
use hallpass_stores::{OpenOptions, open_sessions};
use tokio::task::JoinSet;

const WRITERS: usize = 256;

fn record(user: usize, now: Timestamp, idle: Duration) -> SessionRecord {
    SessionRecord {
        document: Document::from_json(&format!(r#"{{"userId":"{user:032x}","hallpass":{{"epoch":0}},"csrf":"{user:043}"}}"#)).unwrap(),
        user: Some(format!("{user:032x}").into()),
        label: Some(r#"{"addr":"192.0.2.1","agent":"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}"#.into()),
        created: now,
        authenticated: Some(now),
        seen: now,
        lifetime: Lifetime { idle, until: Some(now + Duration::from_secs(30 * 24 * 3600)), persistent: false },
    }
}

/// Every tenth session ends after a minute, for the sweep.
async fn fill(store: &Arc<dyn SessionStore>, sessions: usize, now: Timestamp) -> Vec<SessionId> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            let mut kept = Vec::new();
            for number in (writer..sessions).step_by(WRITERS) {
                let (id, idle) = (RandomIds.generate(), if number % 10 == 0 { 60 } else { 24 * 3600 });
                let record = record(number / 10, now, Duration::from_secs(idle));
                while store.create(&id, &record, now).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                if number % 10 != 0 && kept.len() < 16 {
                    kept.push(id);
                }
            }
            kept
        });
    }
    writers.join_all().await.into_iter().flatten().collect()
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: usize| times[(times.len() * part / 1000).min(times.len() - 1)].as_secs_f64() * 1e6;
    format!("{:.0} | {:.0}", at(500), at(990))
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (url, sessions) = (&arguments[0], arguments[1].parse::<usize>().unwrap());
    let open = async || open_sessions(&url.parse().unwrap(), &OpenOptions::default()).await.unwrap();
    let (store, now) = (open().await, SystemClock.now());
    let began = Instant::now();
    let ids = fill(&store, sessions, now).await;
    let filled = began.elapsed();
    let mut reads = Vec::new();
    for round in 0..4000 {
        let began = Instant::now();
        assert!(store.load(&ids[(round * 7919) % ids.len()], now).await.unwrap().is_some());
        reads.push(began.elapsed());
    }
    let mut lists = Vec::new();
    for user in 0..200 {
        let user = format!("{:032x}", user * (sessions / 10 / 200).max(1));
        let began = Instant::now();
        assert!(!store.of_user(&user, now).await.unwrap().is_empty());
        lists.push(began.elapsed());
    }
    drop(store);
    let began = Instant::now();
    let store = open().await;
    let opened = began.elapsed();
    // Sweeps beside reads: what does a request wait?
    let later = now + Duration::from_secs(120);
    let (mut sweeps, mut beside, mut swept) = (Vec::new(), Vec::new(), 0);
    while swept < sessions / 10 && sweeps.len() < 500 {
        let began = Instant::now();
        let id = ids[sweeps.len() * 31 % ids.len()].clone();
        let read = tokio::spawn({
            let store = store.clone();
            async move {
                let began = Instant::now();
                store.load(&id, later).await.unwrap();
                began.elapsed()
            }
        });
        let removed = store.sweep(200, later).await.unwrap();
        sweeps.push(began.elapsed());
        beside.push(read.await.unwrap());
        swept += removed;
        if removed == 0 {
            break;
        }
    }
    println!(
        "| {sessions} | {:.0} | {} | {} | {} | {} | {:.0} |",
        sessions as f64 / filled.as_secs_f64(),
        percentiles(reads),
        percentiles(lists),
        percentiles(sweeps),
        percentiles(beside),
        opened.as_secs_f64() * 1000.0,
    );
}
