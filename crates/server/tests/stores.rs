//! The server on database servers: several beside each other, outages, and a move from one to the next.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod common;
#[path = "../../stores/tests/engines/mod.rs"]
mod engines;

use std::{
    thread,
    time::{Duration, Instant},
};

use common::{Client, Server, credentials, run, text};
use engines::Engine;
use serde_json::{Value, json};
use tempfile::TempDir;

const SECRET: &str = "a-secret-of-several-servers-that-is-long";

/// An engine with the arguments that make it keep everything, or sessions.
struct Place {
    engine: Engine,
    arguments: Vec<String>,
}

fn postgres() -> Option<Place> {
    let engine = engines::postgres::start()?;
    let arguments = vec!["--database".to_owned(), engines::postgres::url(&engine)];
    Some(Place { engine, arguments })
}

fn mongodb() -> Option<Place> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let engine = runtime.block_on(engines::mongodb::start())?;
    let arguments = vec!["--database".to_owned(), engines::mongodb::url(&engine)];
    Some(Place { engine, arguments })
}

fn redis() -> Option<Place> {
    let engine = engines::redis::start()?;
    let arguments = vec!["--sessions".to_owned(), engines::redis::url(&engine)];
    Some(Place { engine, arguments })
}

impl Place {
    fn arguments(&self) -> Vec<&str> {
        self.arguments.iter().map(String::as_str).collect()
    }

    fn serve(&self, folder: &TempDir, more: &[&str]) -> Server {
        let environment = [("HALLPASS__SESSION__SECRETS", SECRET), ("HALLPASS__STORE__TIMEOUT", "1s")];
        Server::start_with(folder.path(), &[&self.arguments(), more].concat(), &environment)
    }
}

/// The same browser, sent to another server.
fn at(server: &Server, browser: &Client) -> Client {
    let mut client = server.client();
    client.cookie.clone_from(&browser.cookie);
    client
}

/// What one server does, the other sees with its next request.
fn two_servers(place: &Place) {
    let folder = TempDir::new().unwrap();
    let (one, two) = (place.serve(&folder, &[]), place.serve(&folder, &[]));
    let ann = one.registered("ann");
    let mut elsewhere = at(&two, &ann);
    assert!(elsewhere.is_signed_in());
    assert_eq!(two.client().post("/auth/register", &registration("ann")).status, 409);
    let second = two.signed_in("ann");
    assert!(at(&one, &second).is_signed_in());
    assert_eq!(elsewhere.get("/auth/sessions").json()["sessions"].as_array().unwrap().len(), 2);
    assert_eq!(elsewhere.post("/auth/logout", &json!({})).status, 200);
    assert!(!at(&one, &ann).is_signed_in(), "out on one is out on both");
    let mut second = at(&one, &second);
    let change = json!({ "current_password": common::PASSWORD, "new_password": "another long pass phrase" });
    let third = two.signed_in("ann");
    assert_eq!(second.post("/auth/password", &change).status, 200);
    assert!(!at(&two, &third).is_signed_in(), "a new password ends the others everywhere");
    assert!(at(&two, &second).is_signed_in());
}

fn registration(name: &str) -> Value {
    json!({ "email": format!("{name}@example.com"), "password": common::PASSWORD })
}

#[test]
fn two_servers_share_postgresql() {
    postgres().iter().for_each(two_servers);
}

#[test]
fn two_servers_share_mongodb() {
    mongodb().iter().for_each(two_servers);
}

#[test]
fn two_servers_share_redis() {
    redis().iter().for_each(two_servers);
}

/// A database that is gone or hangs: 503 in time, nobody signed out, everything back by itself.
fn outage(place: &mut Place, break_down: fn(&mut Engine), mend: fn(&mut Engine)) {
    let folder = TempDir::new().unwrap();
    let server = place.serve(&folder, &[]);
    let mut ann = server.registered("ann");
    let mut ended = server.signed_in("ann");
    assert_eq!(ended.post("/auth/logout", &json!({})).status, 200);
    break_down(&mut place.engine);
    for _ in 0..2 {
        let begun = Instant::now();
        let me = ann.get("/auth/me");
        assert_eq!((me.status, me.header("set-cookie")), (503, ""), "{}", me.body);
        assert!(!me.header("retry-after").is_empty());
        let out = ann.post("/auth/logout", &json!({}));
        assert_eq!((out.status, out.header("set-cookie")), (503, ""), "{}", out.body);
        let ready = server.client().get("/readyz");
        assert_eq!((ready.status, ready.code().as_str()), (503, "store_unavailable"));
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?} for three answers", begun.elapsed());
    }
    assert_eq!(server.client().get("/healthz").status, 200);
    mend(&mut place.engine);
    let end = Instant::now() + Duration::from_secs(15);
    while server.client().get("/readyz").status != 200 {
        assert!(Instant::now() < end, "it does not come back:\n{}", server.log());
        thread::sleep(Duration::from_millis(50));
    }
    assert!(ann.is_signed_in(), "what was there is there");
    assert!(!at(&server, &ended).is_signed_in(), "what had ended has ended");
    assert_eq!(server.client().post("/auth/login", &credentials("ann")).status, 200);
}

fn kill(engine: &mut Engine) {
    engine.kill();
}

fn stop(engine: &mut Engine) {
    engine.signal("STOP");
}

fn restart(engine: &mut Engine) {
    engine.start();
}

fn resume(engine: &mut Engine) {
    engine.signal("CONT");
}

#[test]
fn postgresql_may_die_and_hang() {
    if let Some(mut place) = postgres() {
        outage(&mut place, stop, resume);
    }
    if let Some(mut place) = postgres() {
        outage(&mut place, kill, restart);
    }
}

#[test]
fn mongodb_may_die_and_hang() {
    if let Some(mut place) = mongodb() {
        outage(&mut place, stop, resume);
    }
    if let Some(mut place) = mongodb() {
        outage(&mut place, kill, restart);
    }
}

#[test]
fn redis_may_die_and_hang() {
    if let Some(mut place) = redis() {
        outage(&mut place, stop, resume);
        outage(&mut place, kill, restart);
    }
}

fn migrate(folder: &TempDir, arguments: &[&str]) -> Value {
    let output = run(folder.path(), &[&["migrate", "--json"], arguments].concat(), "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn everything_moves_from_sqlite_to_mongodb_and_sessions_on_to_redis_and_nobody_is_signed_out() {
    let (Some(mongodb), Some(redis)) = (mongodb(), redis()) else { return };
    let folder = TempDir::new().unwrap();
    let secrets = [("HALLPASS__SESSION__SECRETS", SECRET)];
    let first = Server::start_with(folder.path(), &[], &secrets);
    let browsers: Vec<Client> = ["ann", "bob", "eve"].map(|name| first.registered(name)).into();
    first.signal("TERM");
    assert_eq!(first.wait().0, Some(0));

    let sqlite = "sqlite:hallpass.db";
    let second = mongodb.serve(&folder, &["--moving-from", sqlite]);
    assert!(at(&second, &browsers[0]).is_signed_in(), "fetched when asked for");
    let mut bob = at(&second, &browsers[1]);
    assert_eq!(bob.post("/auth/logout", &json!({})).status, 200, "ended on the way");
    let to_mongodb = mongodb.arguments();
    let found = migrate(&folder, &[&to_mongodb[..], &["--from", sqlite, "--dry-run"]].concat());
    assert_eq!((&found["users"], &found["sessions"]), (&json!(2), &json!(1)), "{found}");
    let moved = migrate(&folder, &[&to_mongodb[..], &["--from", sqlite]].concat());
    assert_eq!((&moved["users"], &moved["sessions"]), (&json!(2), &json!(1)), "{moved}");
    assert_eq!(
        migrate(&folder, &[&to_mongodb[..], &["--from", sqlite]].concat())["users"],
        0,
        "again: nothing"
    );
    let eve = at(&second, &browsers[2]);
    assert!(eve.clone().is_signed_in());
    drop(second);

    let to_redis = [mongodb.arguments(), redis.arguments()].concat();
    let from = mongodb.arguments[1].as_str();
    let moving = [("HALLPASS__SESSION__SECRETS", SECRET), ("HALLPASS__MOVING__SESSIONS_ONLY", "true")];
    let third = [&to_redis[..], &["--moving-from", from]].concat();
    let third = Server::start_with(folder.path(), &third, &moving);
    let moved = migrate(&folder, &[&to_redis[..], &["--from", from, "--sessions-only"]].concat());
    assert_eq!((&moved["users"], &moved["sessions"]), (&json!(0), &json!(2)), "{moved}");
    drop(third);

    let fourth = Server::start_with(folder.path(), &to_redis, &secrets);
    for (browser, signed_in) in browsers.iter().zip([true, false, true]) {
        assert_eq!(at(&fourth, browser).is_signed_in(), signed_in);
    }
    assert_eq!(
        at(&fourth, &browsers[0]).get("/auth/sessions").json()["sessions"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn a_move_that_cannot_be_is_refused_with_the_reason() {
    let folder = TempDir::new().unwrap();
    for (arguments, expected) in [
        (&["migrate", "--from", "mysql://x"][..], "is of no kind this program knows"),
        (&["migrate", "--from", "sqlite:missing.db"], "there is no database"),
        (&["migrate", "--from", "redis://u:hunter2@127.0.0.1:1"], "cannot connect to Redis"),
        (&["serve", "--database", "redis://x"], "Redis keeps sessions, not accounts"),
    ] {
        let output = run(folder.path(), arguments, "");
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(expected) && !said.contains("hunter2"), "{said}");
    }
}

/// Connections are encrypted, and the server's certificate must come from an authority this system trusts.
#[test]
fn tls_is_checked_against_the_systems_authorities() {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let files = [("tls.crt", certificate.as_str()), ("tls.key", key.as_str())];
    let ssl =
        ["-c", "ssl=on", "-c", "ssl_cert_file={data}/../tls.crt", "-c", "ssl_key_file={data}/../tls.key"];
    let tls = [
        "--port",
        "0",
        "--tls-port",
        "{port}",
        "--tls-cert-file",
        "{data}/../tls.crt",
        "--tls-key-file",
        "{data}/../tls.key",
        "--tls-auth-clients",
        "no",
    ];
    let postgres = engines::postgres::start_with(&ssl, &files);
    let redis = engines::redis::start_with_files(&tls, &files);
    let (Some(postgres), Some(redis)) = (postgres, redis) else { return };
    let folder = TempDir::new().unwrap();
    let trusted = common::write(&folder, "authority.pem", &certificate);
    let database = format!("postgres://hallpass@localhost:{}/postgres?sslmode=require", postgres.port);
    let sessions = format!("rediss://localhost:{}", redis.port);
    let arguments = ["--database", &database, "--sessions", &sessions];
    let environment = [("HALLPASS__SESSION__SECRETS", SECRET), ("SSL_CERT_FILE", trusted.to_str().unwrap())];
    let server = Server::start_with(folder.path(), &arguments, &environment);
    assert!(server.registered("ann").is_signed_in());
    for arguments in [
        &["user", "list", "--database", &database][..],
        &["session", "list", "--database", "sqlite:other.db", "--sessions", &sessions],
    ] {
        run(
            folder.path(),
            &["user", "create", "bob@example.com", "--database", "sqlite:other.db"],
            common::PASSWORD,
        );
        let output = run(folder.path(), arguments, "");
        assert_eq!(output.status.code(), Some(1), "a stranger's certificate is not trusted");
        assert!(text(&output.stderr).contains("cannot connect to"), "{}", text(&output.stderr));
    }
}
