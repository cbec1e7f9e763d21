//! `/readyz` says no while changes fail, though reads go on, and however often it is asked, it causes one write a second.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod common;
#[path = "../../stores/tests/engines/mod.rs"]
mod engines;

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use common::{Server, server};
use engines::Engine;
use tempfile::TempDir;

const SECRET: &str = "a-secret-of-a-server-that-is-asked-how-it-is";

/// How long a change of a database's settings may take to be seen.
const PATIENCE: Duration = Duration::from_secs(30);

fn serve(folder: &TempDir, arguments: &[&str]) -> Server {
    let environment = [("HALLPASS__SESSION__SECRETS", SECRET), ("HALLPASS__STORE__TIMEOUT", "1s")];
    Server::start_with(folder.path(), arguments, &environment)
}

/// Waits until the server says so about itself.
fn until(server: &Server, status: u16) {
    let end = Instant::now() + PATIENCE;
    loop {
        let ready = server.client().get("/readyz");
        if ready.status == status {
            assert_eq!(ready.code(), if status == 200 { "" } else { "store_unavailable" });
            return;
        }
        assert!(Instant::now() < end, "{} is said all the time:\n{}", ready.status, server.log());
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn sqlite_that_cannot_be_written_is_not_ready() {
    let server = server();
    let mut ann = server.registered("ann");
    until(&server, 200);
    let database = rusqlite::Connection::open(server.folder.path().join("hallpass.db")).unwrap();
    database.execute_batch("begin immediate").unwrap();
    until(&server, 503);
    assert_eq!(ann.get("/auth/me").status, 200, "reads go on");
    database.execute_batch("rollback").unwrap();
    until(&server, 200);
}

/// As after a failover that leaves the server with a standby.
#[test]
fn postgresql_that_is_read_only_is_not_ready() {
    let Some(engine) = engines::postgres::start() else { return };
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &["--database", &engines::postgres::url(&engine)]);
    let mut ann = server.registered("ann");
    until(&server, 200);
    let set = |value: &str| {
        let mut file =
            OpenOptions::new().append(true).open(engine.data().join("postgresql.auto.conf")).unwrap();
        writeln!(file, "default_transaction_read_only = {value}").unwrap();
        engine.signal("HUP");
    };
    set("on");
    until(&server, 503);
    assert_eq!(ann.get("/auth/me").status, 200, "reads go on");
    set("off");
    until(&server, 200);
}

#[test]
fn mongodb_without_a_majority_is_not_ready() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The primary stays one.
    let set = engines::mongodb::start_set_with(3, 120_000);
    let Some(engines) = runtime.block_on(set) else { return };
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &["--database", &engines::mongodb::set_url(&engines)]);
    let mut ann = server.registered("ann");
    until(&server, 200);
    engines[1..].iter().for_each(|secondary| secondary.signal("STOP"));
    until(&server, 503);
    assert_eq!(ann.get("/auth/me").status, 503, "another primary may know better, so nothing is believed");
    engines[1..].iter().for_each(|secondary| secondary.signal("CONT"));
    until(&server, 200);
    assert_eq!(ann.get("/auth/me").status, 200, "and nobody was signed out");
}

/// What Redis answers to a command.
fn redis(engine: &Engine, command: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", engine.port)).unwrap();
    stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    let mut answer = BufReader::new(stream);
    let mut line = String::new();
    answer.read_line(&mut line).unwrap();
    if let Some(length) = line.strip_prefix('$').and_then(|length| length.trim().parse().ok()) {
        let mut text = vec![0; length];
        answer.read_exact(&mut text).unwrap();
        return String::from_utf8(text).unwrap();
    }
    line
}

#[test]
fn redis_that_is_full_is_not_ready() {
    let Some(engine) = engines::redis::start() else { return };
    let folder = TempDir::new().unwrap();
    for layout in ["native", "connect"] {
        let server = serve(&folder, &["--sessions", &engines::redis::url(&engine), "--layout", layout]);
        until(&server, 200);
        assert_eq!(redis(&engine, "CONFIG SET maxmemory 1"), "+OK\r\n");
        until(&server, 503);
        assert_eq!(redis(&engine, "CONFIG SET maxmemory 0"), "+OK\r\n");
        until(&server, 200);
    }
}

/// How many scripts have run, each of which is a change here.
fn scripts(engine: &Engine) -> u64 {
    let stats = redis(engine, "INFO commandstats");
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

#[test]
fn whoever_asks_often_causes_one_write_a_second() {
    let Some(engine) = engines::redis::start() else { return };
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &["--sessions", &engines::redis::url(&engine)]);
    until(&server, 200);
    let (begun, before) = (Instant::now(), scripts(&engine));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = server.client();
                (0..100).for_each(|_| assert_eq!(client.get("/readyz").status, 200));
            });
        }
        // Clients that do not wait for the answer.
        for _ in 0..100 {
            let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
            stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        }
    });
    let (writes, seconds) = (scripts(&engine) - before, begun.elapsed().as_secs());
    assert!(writes <= seconds + 1, "{writes} writes in {seconds} seconds");
}
