//! Clients that stand still, send too much, or open too many connections.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use common::{Alone, Server, credentials, server_with, text};

/// How long anything may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn address(server: &Server) -> SocketAddr {
    server.url.trim_start_matches("http://").parse().unwrap()
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(address(server)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A connection that comes from another address of this machine.
fn connect_from(from: &str, server: &Server) -> TcpStream {
    let (from, to): (SocketAddr, _) = (format!("{from}:0").parse().unwrap(), address(server));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(from).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything until the server closes the connection, be it by a reset.
fn rest(mut stream: &TcpStream) -> String {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("not closed: {error}"),
        _ => text(&all),
    }
}

/// One answer whose connection stays open.
fn answer(mut stream: &TcpStream) -> String {
    let mut all = Vec::new();
    let mut part = [0; 4096];
    while !text(&all).contains("\r\n\r\n") {
        let length = stream.read(&mut part).unwrap();
        assert!(length > 0, "closed without an answer: {}", text(&all));
        all.extend_from_slice(&part[..length]);
    }
    text(&all)
}

fn ask(mut stream: &TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).unwrap();
    answer(stream)
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Asks again and again without reading, until nothing more can be sent or the server has closed the connection.
fn ask_and_never_read(stream: &TcpStream) -> Result<(), ErrorKind> {
    stream.set_nonblocking(true).unwrap();
    let requests = "GET /login HTTP/1.1\r\nhost: localhost\r\naccept: text/html\r\n\r\n".repeat(100);
    let mut blocked = 0;
    while blocked < 20 {
        match (&mut &*stream).write(requests.as_bytes()) {
            Ok(_) => blocked = 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                blocked += 1;
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error.kind()),
        }
    }
    Ok(())
}

#[test]
fn a_client_that_reads_no_answers_loses_its_connection() {
    let server = server_with("[server]\nwrite_timeout = \"500ms\"\nkeep_alive_timeout = \"1h\"");
    let greedy = connect(&server);
    eventually("answers that nobody reads hold a connection", || ask_and_never_read(&greedy).is_err());
}

#[test]
fn a_client_that_sends_nothing_loses_its_connection() {
    // Each limit alone: the other must not be what closes the connection.
    let server = server_with("[server]\nheader_timeout = \"300ms\"\nkeep_alive_timeout = \"1h\"");
    let silent = connect(&server);
    assert_eq!(rest(&silent), "");
    let mut slow = connect(&server);
    eventually("the limit is one for the whole head", || slow.write_all(b"a").is_err());
    let server = server_with("[server]\nheader_timeout = \"1h\"\nkeep_alive_timeout = \"500ms\"");
    let idle = connect(&server);
    assert!(ask(&idle, "/healthz").starts_with("HTTP/1.1 200"));
    assert_eq!(rest(&idle), "");
    let mut lines = connect(&server);
    assert!(ask(&lines, "/healthz").starts_with("HTTP/1.1 200"));
    eventually("empty lines are no request", || lines.write_all(b"\r\n").is_err());
}

#[test]
fn a_connection_that_is_used_stays_open() {
    let server = server_with("[server]\nheader_timeout = \"2s\"\nkeep_alive_timeout = \"2s\"");
    let used = connect(&server);
    for _ in 0..8 {
        assert!(ask(&used, "/healthz").starts_with("HTTP/1.1 200"));
        thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn a_trusted_proxy_may_keep_a_connection_for_longer() {
    let server = server_with("trust_proxy = \"loopback\"\n[server]\nkeep_alive_timeout = \"100ms\"");
    let proxy = connect(&server);
    assert!(ask(&proxy, "/healthz").starts_with("HTTP/1.1 200"));
    thread::sleep(Duration::from_millis(800));
    assert!(ask(&proxy, "/healthz").starts_with("HTTP/1.1 200"));
}

#[test]
fn health_checks_are_answered_when_all_connections_are_taken() {
    let server = server_with("[server]\nmax_connections = 2\nmax_connections_per_client = 2");
    let taken = [connect(&server), connect(&server)];
    assert!(taken.iter().all(|stream| ask(stream, "/healthz").starts_with("HTTP/1.1 200")));
    for path in ["/healthz", "/readyz"] {
        assert!(ask(&connect(&server), path).starts_with("HTTP/1.1 200"), "{path}");
    }
    let refused = connect(&server);
    let refused = (ask(&refused, "/login"), rest(&refused)).0;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("too_busy"), "{refused}");
    assert!(refused.contains("retry-after: 1") && refused.contains("connection: close"), "{refused}");
    assert!(ask(&taken[0], "/login").starts_with("HTTP/1.1 200"), "who is in goes on");
    assert!(server.log_line("connections_full").is_some());
    drop(taken);
    eventually("the server is full for ever", || {
        ask(&connect(&server), "/login").starts_with("HTTP/1.1 200")
    });
}

#[test]
fn one_client_cannot_take_all_connections() {
    let server = server_with("[server]\nmax_connections = 200");
    let taken: Vec<_> = (0..200).map(|_| connect(&server)).collect();
    let neighbour = connect_from("127.0.0.2", &server);
    assert!(ask(&neighbour, "/login").starts_with("HTTP/1.1 200"), "a quarter is for one client");
    let check = connect_from("127.0.0.3", &server);
    assert!(ask(&check, "/readyz").starts_with("HTTP/1.1 200"));
    drop(taken);
}

#[test]
fn a_server_with_few_files_keeps_some_for_itself_and_its_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with_files(folder.path(), 64);
    let line = server.log_line("max_connections_lowered").unwrap();
    assert!(line["message"].as_str().unwrap().contains("LimitNOFILE"), "the operator learns what to do");
    let taken: Vec<_> = (0..100).map(|_| connect(&server)).collect();
    let neighbour = connect_from("127.0.0.2", &server);
    assert!(ask(&neighbour, "/login").starts_with("HTTP/1.1 200"));
    let ready = connect_from("127.0.0.3", &server);
    assert!(ask(&ready, "/readyz").starts_with("HTTP/1.1 200"), "the database has its files");
    assert!(!server.log().contains("accept_failed"), "{}", server.log());
    drop(taken);
}

#[test]
fn a_head_has_at_most_32_kib() {
    let server = server_with("");
    for (length, status) in [(30_000, "200"), (40_000, "431")] {
        let mut stream = connect(&server);
        let head = format!(
            "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: {}\r\nconnection: close\r\n\r\n",
            "a".repeat(length)
        );
        stream.write_all(head.as_bytes()).ok();
        let answer = rest(&stream);
        // The answer to a client that is still sending may be lost in a reset.
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) || status == "431" && answer.is_empty(),
            "{answer}"
        );
    }
}

/// The head of a sign-in and most of its body.
fn unfinished_body(mut stream: &TcpStream) {
    let head = "POST /auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 60000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all("x".repeat(59_000).as_bytes()).ok();
}

/// Whether the server has answered 503, or closed the connection.
fn is_refused(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut part = [0; 1024];
    match stream.read(&mut part) {
        Err(error) => error.kind() != ErrorKind::WouldBlock,
        // The answer to a client that is still sending may be lost in a reset.
        Ok(0) => true,
        Ok(length) => {
            let answer = text(&part[..length]);
            assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
            true
        }
    }
}

#[test]
fn unfinished_bodies_take_bounded_memory_and_neighbours_sign_in() {
    let server: Alone = server_with("[server]\nreceive_memory = \"1MiB\"\nrequest_timeout = \"1h\"");
    server.registered("ann");
    let mut open: Vec<_> = (0..12).map(|_| connect(&server)).collect();
    open.iter().for_each(unfinished_body);
    // A quarter of 1 MiB, at 51 KiB for each beyond the first 8 KiB: five at most.
    eventually("unfinished bodies take any memory", || {
        open.retain(|stream| !is_refused(stream));
        open.len() <= 5
    });
    let mut neighbour = connect_from("127.0.0.2", &server);
    let body = credentials("ann").to_string();
    let head = format!(
        "POST /auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    neighbour.write_all(head.as_bytes()).unwrap();
    neighbour.write_all(body.as_bytes()).unwrap();
    assert!(answer(&neighbour).starts_with("HTTP/1.1 200"));
}

#[test]
fn unfinished_heads_take_bounded_memory() {
    let server = server_with("[server]\nreceive_memory = \"1MiB\"\nheader_timeout = \"1h\"");
    let open: Vec<_> = (0..40).map(|_| connect(&server)).collect();
    let head = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}", "a".repeat(30_000));
    for mut stream in &open {
        stream.write_all(head.as_bytes()).ok();
        stream.set_nonblocking(true).unwrap();
    }
    // A quarter of 1 MiB, at 21 KiB for each beyond the first 8 KiB: twelve at most.
    eventually("unfinished heads take any memory", || {
        let is_open = |mut stream: &TcpStream| {
            stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        };
        open.iter().filter(|stream| is_open(stream)).count() <= 12
    });
}
