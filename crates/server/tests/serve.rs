//! Starting, stopping and being in trouble.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    thread,
    time::{Duration, Instant},
};

use common::{Server, credentials, run, server, server_with, text};
use tempfile::TempDir;

#[test]
fn it_starts_with_nothing_and_keeps_its_files_private() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path(), &[]);
    let mut ann = server.registered("ann");
    for file in fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.path());
    }
    server.signal("TERM");
    let (code, log) = server.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("key_file_made"));
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["hallpass.db", "hallpass.key"], "a clean end leaves one database file");
    let server = Server::start(folder.path(), &[]);
    ann = {
        let cookie = ann.cookie.take();
        let mut again = server.client();
        again.cookie = cookie;
        again
    };
    assert!(ann.is_signed_in(), "a restart signs nobody out");
    assert!(!server.log().contains("key_file_made"));
}

#[test]
fn what_keeps_it_from_starting_is_said_plainly() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path(), &[]);
    let taken = server.url.trim_start_matches("http://").to_owned();
    for (arguments, code, expected) in [
        (&["--listen", taken.as_str()][..], 1, "another program uses this port"),
        (&["--listen", "192.0.2.1:80"], 1, "this machine does not have that address"),
        (&["--database", "sqlite:/does/not/exist/x.db"], 1, "check that the folder exists"),
        (&["--database", "mysql://x"], 2, "write sqlite:PATH"),
        (&["--listen", "here"], 2, "write 127.0.0.1:8080"),
    ] {
        let output = run(folder.path(), &[&["serve"], arguments].concat(), "");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(expected), "expected {expected:?} in {said}");
    }
    fs::write(
        folder.path().join("text.db"),
        "this is no database, only some text that is long enough to be looked at as one",
    )
    .unwrap();
    let output =
        run(folder.path(), &["serve", "--listen", "127.0.0.1:0", "--database", "sqlite:text.db"], "");
    assert!(text(&output.stderr).contains("is not a Hallpass database"), "{}", text(&output.stderr));
    fs::write(folder.path().join("hallpass.key"), "short").unwrap();
    let output = run(folder.path(), &["serve", "--listen", "127.0.0.1:0"], "");
    assert!(text(&output.stderr).contains("hallpass key generate"), "{}", text(&output.stderr));
}

#[test]
fn a_key_file_that_others_can_read_and_plain_http_are_warned_of() {
    let folder = TempDir::new().unwrap();
    drop(Server::start(folder.path(), &[]));
    fs::set_permissions(folder.path().join("hallpass.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let server = Server::start(folder.path(), &[]);
    assert!(server.log_line("key_file_readable").is_some() && server.log_line("no_https").is_some());
    fs::set_permissions(folder.path().join("hallpass.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let log = Server::start(folder.path(), &["--public-url", "https://auth.example.com"]).log();
    assert!(!log.contains("WARN"), "nothing to warn of: {log}");
}

/// Sends the head of a login and half of its body, and returns the open connection.
fn half_a_login(server: &Server, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    let head = format!(
        "POST /auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
        body.len(),
        &body[..5]
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[test]
fn sigterm_lets_requests_in_flight_finish() {
    let server = server_with("[server]\ndrain_delay = \"700ms\"");
    server.registered("ann");
    let body = credentials("ann").to_string();
    let mut slow = half_a_login(&server, &body);
    thread::sleep(Duration::from_millis(100));
    server.signal("TERM");
    assert!(server.log_line("draining").is_some());
    let ready = server.client().get("/readyz");
    assert_eq!((ready.status, ready.code().as_str()), (503, "draining"), "load balancers are told");
    assert_eq!(server.client().get("/healthz").status, 200);
    thread::sleep(Duration::from_millis(900));
    assert!(TcpStream::connect(server.url.trim_start_matches("http://")).is_err(), "no new connections");
    slow.write_all(&body.as_bytes()[5..]).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("set-cookie: hallpass="), "{answer}");
    let (code, _) = server.server.wait();
    assert_eq!(code, Some(0));
}

#[test]
fn a_second_signal_and_the_drain_timeout_end_the_wait() {
    let server = server_with("[server]\ndrain_timeout = \"60s\"");
    let _open = half_a_login(&server, &credentials("ann").to_string());
    thread::sleep(Duration::from_millis(100));
    server.signal("TERM");
    assert!(server.log_line("draining").is_some());
    let started = Instant::now();
    server.signal("INT");
    let (_, log) = server.server.wait();
    assert!(started.elapsed() < Duration::from_secs(20) && log.contains("stopped_at_once"), "{log}");

    let server = server_with("[server]\ndrain_timeout = \"200ms\"");
    let _open = half_a_login(&server, &credentials("ann").to_string());
    thread::sleep(Duration::from_millis(100));
    server.signal("TERM");
    let (code, log) = server.server.wait();
    assert!(code == Some(0) && log.contains("drain_timeout"), "{log}");
}

#[test]
fn slow_heads_and_slow_requests_are_cut_off() {
    let server = server_with("[server]\nheader_timeout = \"300ms\"\nrequest_timeout = \"500ms\"");
    let mut silent = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    silent.write_all(b"GET / HTT").unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut rest = String::new();
    silent.read_to_string(&mut rest).unwrap();
    let mut slow = half_a_login(&server, &credentials("ann").to_string());
    slow.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = vec![0; 4096];
    let length = slow.read(&mut answer).unwrap();
    let answer = text(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("request_timeout"), "{answer}");
}

#[test]
fn a_database_that_cannot_write_is_a_503_and_nobody_is_signed_out() {
    let server = server();
    let mut ann = server.registered("ann");
    let database = rusqlite::Connection::open(server.folder.path().join("hallpass.db")).unwrap();
    database.execute_batch("begin exclusive").unwrap();
    let refused = server.client().post("/auth/login", &credentials("ann"));
    assert_eq!((refused.status, refused.code().as_str()), (503, "unavailable"));
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(refused.header("set-cookie"), "", "no cookie for a login that was not stored");
    let out = ann.post("/auth/logout", &serde_json::json!({}));
    assert_eq!(out.status, 503, "a logout that was not stored is not announced");
    assert_eq!(out.header("set-cookie"), "");
    database.execute_batch("commit").unwrap();
    assert!(ann.is_signed_in(), "and everything goes on by itself");
    assert_eq!(server.client().post("/auth/login", &credentials("ann")).status, 200);
}

#[test]
fn a_database_that_cannot_be_read_is_a_503_for_pages_too() {
    let server = server();
    let mut ann = server.registered("ann").in_browser();
    assert_eq!(ann.get("/account").status, 200);
    let database = rusqlite::Connection::open(server.folder.path().join("hallpass.db")).unwrap();
    database.execute_batch("alter table sessions rename to lost").unwrap();
    let page = ann.get("/account");
    assert_eq!((page.status, page.header("set-cookie")), (503, ""), "{}", page.body);
    assert!(page.body.contains("nobody was signed out") && !page.header("retry-after").is_empty());
    assert!(!page.body.contains("table"), "the cause goes to the log only");
    let named = format!("<code>{}</code>", page.header("x-request-id"));
    assert!(page.body.contains(&named), "the user can name it to the operator: {}", page.body);
    assert!(page.body.replace("&#x2f;", "/").contains("href=\"/account\">Try again</a>"), "{}", page.body);
    let form = ann.form("/auth/login", &[("email", "ann@example.com"), ("password", common::PASSWORD)]);
    assert!(form.body.replace("&#x2f;", "/").contains("href=\"/login\">Try again</a>"), "{}", form.body);
    let ready = server.client().get("/readyz");
    assert_eq!((ready.status, ready.code().as_str()), (503, "store_unavailable"));
    assert_eq!(server.client().get("/healthz").status, 200, "the process itself is fine");
}

#[test]
fn health_and_readiness() {
    let server = server();
    assert_eq!(server.client().get("/healthz").json()["status"], "ok");
    assert_eq!(server.client().get("/readyz").json()["status"], "ready");
}

#[test]
fn a_connection_that_is_open_when_the_server_stops_is_answered_once_more() {
    let server = server();
    let connect = || {
        let stream = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    };
    let mut idle: Vec<_> = (0..20).map(|_| connect()).collect();
    for stream in &mut idle {
        ask(stream);
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
    }
    server.signal("TERM");
    assert!(server.log_line("draining").is_some());
    for stream in &mut idle {
        ask(stream);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    }
    assert_eq!(server.server.wait().0, Some(0));
}
