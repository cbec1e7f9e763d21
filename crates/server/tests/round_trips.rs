//! How often whole requests wait for the databases, counted on the wire.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]
#![expect(clippy::print_stdout, reason = "prints the table of docs/stores.md")]

mod common;
#[path = "../../stores/tests/engines/mod.rs"]
mod engines;

use common::{Client, Server, credentials};
use engines::{Engine, proxy::Proxy};
use serde_json::json;
use tempfile::TempDir;

const SECRET: &str = "a-secret-of-several-servers-that-is-long";

/// What is sent at the same time counts as one wait; the least of some runs, because servers also sweep and look after connections.
const RUNS: usize = 16;

/// Signing in: all counts beside the user; the charges of address and account, while the password is hashed; the account's failures forgotten
/// beside the address's refund and the session. Then the session and its user are read each time.
const EXPECTED: [(usize, usize); 4] = [(7, 3), (4, 2), (2, 2), (2, 2)];

/// The account is looked up by the word of a majority; beside it goes a request to flush the journal, which it would wait for.
const EXPECTED_OF_MONGODB: [(usize, usize); 4] = [(8, 3), (5, 2), (2, 2), (2, 2)];

struct Place {
    engines: Vec<Engine>,
    proxies: Vec<Proxy>,
    arguments: Vec<String>,
}

impl Place {
    fn new(flag: &str, engine: Engine, url: impl Fn(u16) -> String) -> Self {
        let proxy = Proxy::to(engine.port);
        let arguments = vec![flag.to_owned(), url(proxy.port)];
        Self { engines: vec![engine], proxies: vec![proxy], arguments }
    }

    fn beside(mut self, other: Self) -> Self {
        self.engines.extend(other.engines);
        self.proxies.extend(other.proxies);
        self.arguments.extend(other.arguments);
        self
    }

    /// Questions, and how many one after the other.
    fn taken(&self) -> (usize, usize) {
        let all = self.proxies.iter().map(Proxy::taken_and_waits);
        all.fold((0, 0), |(turns, waits), (more, later)| (turns + more, waits + later))
    }
}

fn postgres() -> Option<Place> {
    let url = |port| format!("postgres://hallpass@127.0.0.1:{port}/postgres?sslmode=disable");
    Some(Place::new("--database", engines::postgres::start()?, url))
}

fn mongodb() -> Option<Place> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let engine = runtime.block_on(engines::mongodb::start())?;
    // Nobody asks how the server is while we count.
    let options = "directConnection=true&heartbeatFrequencyMS=100000&serverMonitoringMode=poll";
    Some(Place::new("--database", engine, |port| format!("mongodb://127.0.0.1:{port}/test?{options}")))
}

fn redis() -> Option<Place> {
    Some(Place::new("--sessions", engines::redis::start()?, |port| format!("redis://127.0.0.1:{port}")))
}

/// What signing in, a wrong password, being signed in and signing out take.
fn count(name: &str, place: &Place) -> [(usize, usize); 4] {
    let folder = TempDir::new().unwrap();
    let arguments: Vec<&str> = place.arguments.iter().map(String::as_str).collect();
    // Without copies of sessions nothing else is said on the connections, and every request asks for what it needs.
    let environment = [
        ("HALLPASS__SESSION__SECRETS", SECRET),
        ("HALLPASS__SESSION__CACHE_SIZE", "0"),
        ("HALLPASS__THROTTLE__ACCOUNT__FREE", "100"),
    ];
    let server = Server::start_with(folder.path(), &arguments, &environment);
    drop(server.registered("ann"));
    let least = |request: &dyn Fn(&mut Client), signed_in: bool| {
        let run = |_| {
            let mut client = if signed_in { server.signed_in("ann") } else { server.client() };
            place.taken();
            request(&mut client);
            place.taken()
        };
        (0..RUNS).map(run).min().unwrap()
    };
    let wrong = json!({ "email": "ann@example.com", "password": "not this one, surely" });
    let counts = [
        least(&|client| assert_eq!(client.post("/auth/login", &credentials("ann")).status, 200), false),
        least(&|client| assert_eq!(client.post("/auth/login", &wrong).status, 400), false),
        least(&|client| assert!(client.is_signed_in()), true),
        least(&|client| assert_eq!(client.post("/auth/logout", &json!({})).status, 200), true),
    ];
    for (request, (turns, waits)) in
        ["sign in", "sign in with a wrong password", "ask who is signed in", "sign out"].iter().zip(counts)
    {
        println!("| {name} | {request} | {turns} questions, {waits} waits |");
    }
    counts
}

/// Exactly so many questions, and no more waits: what is asked side by side may by chance look like less.
fn check(counts: [(usize, usize); 4], expected: [(usize, usize); 4]) {
    for ((questions, waits), (asked, waited)) in expected.into_iter().zip(counts) {
        assert!(asked == questions && waited <= waits, "{counts:?}");
    }
}

#[test]
fn on_postgresql() {
    let Some(place) = postgres() else { return };
    check(count("PostgreSQL", &place), EXPECTED);
}

#[test]
fn on_mongodb() {
    let Some(place) = mongodb() else { return };
    check(count("MongoDB", &place), EXPECTED_OF_MONGODB);
}

#[test]
fn on_postgresql_with_sessions_in_redis() {
    let (Some(postgres), Some(redis)) = (postgres(), redis()) else { return };
    // What is asked of two servers side by side is counted at each of them: the session beside what a success gives back.
    let mut expected = EXPECTED;
    expected[0].1 += 1;
    check(count("PostgreSQL and Redis", &postgres.beside(redis)), expected);
}
