//! Servers whose clocks are wrong: the database's time counts, and a clock in doubt removes nothing.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod common;
#[path = "../../stores/tests/engines/mod.rs"]
mod engines;

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use common::{Client, Server, credentials, hallpass, text};
use engines::Engine;
use serde_json::json;
use tempfile::TempDir;

const SECRET: &str = "a-secret-of-several-servers-that-is-long";

/// How long sessions live in these tests.
const LIMIT: Duration = Duration::from_secs(8);

/// How long a server may go on with a session after its end: its answer is on the way, and clocks are a little apart.
const LATE: Duration = Duration::from_millis(300);

/// The library that gives one program another clock, if it is installed.
fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let library = |folder: std::fs::DirEntry| folder.path().join("faketime/libfaketimeMT.so.1");
    let found = folders.map(library).find(|path| path.exists());
    if found.is_none() {
        assert!(std::env::var_os("HALLPASS_ALL_ENGINES").is_none(), "faketime is missing: run scripts/setup");
        eprintln!("NOT RUN: faketime is not installed; scripts/setup installs it");
    }
    found
}

/// A wall clock that can be set; time passes as always.
struct WallClock {
    library: PathBuf,
    folder: TempDir,
}

impl WallClock {
    fn at(offset: &str) -> Option<Self> {
        let clock = Self { library: faketime()?, folder: tempfile::tempdir().unwrap() };
        clock.set(offset);
        Some(clock)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    fn set(&self, offset: &str) {
        // In one step: the program reads the file at each look at the clock.
        let draft = self.folder.path().join("draft");
        std::fs::write(&draft, offset).unwrap();
        std::fs::rename(draft, self.file()).unwrap();
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }
}

/// A server with this clock, or the machine's.
fn serve(folder: &TempDir, clock: Option<&WallClock>, arguments: &[String]) -> Server {
    let mut environment = vec![
        ("HALLPASS__SESSION__SECRETS", SECRET.to_owned()),
        ("HALLPASS__SESSION__IDLE_TIMEOUT", format!("{}s", LIMIT.as_secs())),
        ("HALLPASS__SESSION__ABSOLUTE_TIMEOUT", format!("{}s", LIMIT.as_secs())),
        ("HALLPASS__SESSION__TOUCH_AFTER", "1s".to_owned()),
    ];
    environment.extend(clock.iter().flat_map(|clock| clock.environment()));
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Server::start_with(folder.path(), &arguments, &environment)
}

fn at(server: &Server, browser: &Client) -> Client {
    let mut client = server.client();
    client.cookie.clone_from(&browser.cookie);
    client
}

/// Signs in at `home`: the session lives until its limit and no longer, on all servers.
fn lives_as_long_as_it_should(home: &Server, servers: [&Server; 2]) {
    let before = Instant::now();
    let browser = home.signed_in("ann");
    let after = Instant::now();
    let mut clients = servers.map(|server| at(server, &browser));
    let mut out = [false, false];
    while out != [true, true] {
        for (client, out) in clients.iter_mut().zip(&mut out) {
            let asked = Instant::now();
            if client.is_signed_in() {
                let beyond = asked.saturating_duration_since(after + LIMIT);
                assert!(beyond < LATE, "signed in {beyond:?} beyond the limit");
                assert!(!*out, "it lives again");
            } else {
                let lived = before.elapsed();
                assert!(lived + LATE >= LIMIT, "signed out after {lived:?}");
                *out = true;
            }
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn two_servers(arguments: &[String], offset: &str, ready: u16) {
    let Some(clock) = WallClock::at(offset) else { return };
    let folder = tempfile::tempdir().unwrap();
    let right = serve(&folder, None, arguments);
    let ann = right.registered("ann");
    let wrong = serve(&folder, Some(&clock), arguments);
    // The other's sweeper has begun: nobody is signed out by it.
    let deviates = wrong.log_line("clock_deviates").unwrap_or_else(|| panic!("{}", wrong.log()));
    assert!(deviates["deviation_ms"].as_i64().unwrap().abs() > 290_000, "{deviates}");
    assert!(at(&right, &ann).is_signed_in() && at(&wrong, &ann).is_signed_in(), "{}", wrong.log());
    let answer = wrong.client().get("/readyz");
    assert_eq!(answer.status, ready, "{}", answer.body);
    if ready == 200 {
        assert!(answer.json()["clock"]["deviation_ms"].as_i64().unwrap().abs() > 290_000, "{}", answer.body);
    } else {
        assert_eq!(answer.code(), "clock_deviates");
    }
    assert_eq!(right.client().get("/readyz").json(), json!({ "status": "ready" }));
    lives_as_long_as_it_should(&wrong, [&right, &wrong]);
    lives_as_long_as_it_should(&right, [&right, &wrong]);
    let ann = right.signed_in("ann");
    command_line_sees(&folder, &clock, arguments);
    clock.set("+0");
    assert_eq!(wrong.client().get("/readyz").json(), json!({ "status": "ready" }), "it is right again");
    assert!(at(&wrong, &ann).is_signed_in());
    assert!(wrong.log_line("clock_agrees").is_some());
}

/// The command line goes by the same time, and says how far the clock is off.
fn command_line_sees(folder: &TempDir, clock: &WallClock, arguments: &[String]) {
    let run = |command: &[&str]| {
        let program =
            hallpass(folder.path()).args(command).args(arguments).envs(clock.environment()).output();
        let output = program.unwrap();
        text(&output.stdout) + &text(&output.stderr)
    };
    assert!(run(&["session", "list"]).contains("ann@example.com"), "the session has not expired");
    let online = run(&["check-config", "--online"]);
    assert!(online.contains("this machine's clock is") && online.contains("wrong"), "{online}");
    assert!(run(&["session", "revoke", "--user", "nobody@example.com"]).contains("nobody@example.com"));
}

/// What an engine needs to keep everything, or sessions.
fn with<T>(engine: Option<Engine>, flag: &str, url: fn(&Engine) -> String, test: T)
where
    T: Fn(&[String]),
{
    if let Some(engine) = engine {
        test(&[flag.to_owned(), url(&engine)]);
    }
}

fn mongodb() -> Option<Engine> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(engines::mongodb::start())
}

#[test]
fn postgresql_tells_servers_five_minutes_apart_the_time() {
    with(engines::postgres::start(), "--database", engines::postgres::url, |url| {
        two_servers(url, "-5m", 200);
    });
}

#[test]
fn postgresql_tells_a_server_forty_days_ahead_the_time() {
    with(engines::postgres::start(), "--database", engines::postgres::url, |url| {
        two_servers(url, "+40d", 503);
    });
}

#[test]
fn mongodb_tells_servers_five_minutes_apart_the_time() {
    with(mongodb(), "--database", engines::mongodb::url, |url| two_servers(url, "+5m", 200));
}

#[test]
fn mongodb_tells_a_server_forty_days_ahead_the_time() {
    with(mongodb(), "--database", engines::mongodb::url, |url| two_servers(url, "+40d", 503));
}

#[test]
fn redis_tells_servers_five_minutes_apart_the_time() {
    with(engines::redis::start(), "--sessions", engines::redis::url, |url| two_servers(url, "-5m", 200));
}

#[test]
fn redis_tells_a_server_forty_days_ahead_the_time() {
    with(engines::redis::start(), "--sessions", engines::redis::url, |url| two_servers(url, "+40d", 503));
}

#[test]
fn a_jump_is_said_and_what_it_left_behind_is_bounded() {
    let Some(clock) = WallClock::at("+1d") else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = "[throttle.account]\nfree = 2\n[throttle.register]\nfree = 3\n\
        [providers.forge]\npreset = \"oauth2\"\nclient_id = \"a\"\nclient_secret = \"b\"\n\
        authorize_url = \"http://127.0.0.1:1/a\"\ntoken_url = \"http://127.0.0.1:1/t\"\nuserinfo_url = \"http://127.0.0.1:1/u\"\n";
    let path = common::write(&folder, "hallpass.toml", config);
    let environment = clock.environment();
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let start = || Server::start_with(folder.path(), &["--config", path.to_str().unwrap()], &environment);
    let server = start();
    let mut ann = server.registered("ann");
    let link = |ann: &Client| at(&server, ann).post("/auth/oauth/forge/link", &json!({})).status;
    assert_eq!(link(&ann), 200, "she has just signed in");
    for _ in 0..4 {
        let wrong = json!({ "email": "ann@example.com", "password": "not the password at all" });
        server.client().post("/auth/login", &wrong);
    }
    let register = |name: &str| server.client().post("/auth/register", &credentials(name));
    for name in ["bob", "cid", "dan"] {
        register(name);
    }
    clock.set("+0");
    // What is refused is refused for a while, not for a day.
    for answer in [server.client().post("/auth/login", &credentials("ann")), register("eve")] {
        let wait = answer.header("retry-after").parse().unwrap_or(0);
        assert!(wait <= 900, "{} for {wait} seconds", answer.status);
    }
    assert_eq!(link(&ann), 403, "no sign-in of tomorrow is fresh");
    assert!(ann.is_signed_in(), "but nobody is signed out");
    assert!(server.log_line("clock_jumped").is_some(), "{}", server.log());
    let clocks = server.client().get("/readyz").json()["clock"].clone();
    assert_eq!(clocks["source"], "machine");
    assert!(clocks["deviation_ms"].as_i64().unwrap() < -86_000_000, "{clocks}");
    server.kill();
    // Whoever starts now finds stamps of tomorrow.
    let server = start();
    assert!(server.log_line("clock_jumped").is_some(), "{}", server.log());
    assert!(at(&server, &ann).is_signed_in());
    clock.set("+1d");
    assert_eq!(
        server.client().get("/readyz").json(),
        json!({ "status": "ready" }),
        "the clock has caught up"
    );
}
