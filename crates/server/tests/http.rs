//! Requests that HTTP forbids, and hosts that are not ours.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use common::{Server, credentials, server, server_with, text};

/// What the server answers to these bytes, until it closes the connection or says nothing more for a while.
fn exchange(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).ok();
    text(&all)
}

#[test]
fn requests_that_http_forbids_are_400_and_end_the_connection() {
    let server = server();
    for (what, head) in [
        ("no host", ""),
        ("two hosts", "Host: localhost\r\nHost: localhost\r\n"),
        ("two different hosts", "Host: localhost\r\nhost: evil.test\r\n"),
        ("an empty host", "Host:\r\n"),
        ("a host with a user", "Host: me@localhost\r\n"),
        ("a host with a path", "Host: localhost/x\r\n"),
        ("a host with no port", "Host: localhost:http\r\n"),
        ("both lengths", "Host: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        (
            "both lengths, turned round",
            "Host: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        ),
        ("differing lengths", "Host: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n"),
        ("a list of lengths", "Host: localhost\r\nContent-Length: 5, 5\r\n"),
        ("a length with a sign", "Host: localhost\r\nContent-Length: +5\r\n"),
        ("a coding that is not the last", "Host: localhost\r\nTransfer-Encoding: chunked, gzip\r\n"),
        ("a space before the colon", "Host: localhost\r\nContent-Length : 5\r\n"),
        ("a folded line", "Host: localhost\r\nX: a\r\n b\r\n"),
        ("a null byte", "Host: localhost\r\nX: a\0b\r\n"),
    ] {
        let answer = exchange(&server, &format!("POST /auth/logout HTTP/1.1\r\n{head}\r\n0\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 400"), "{what}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{what}: what follows is no request: {answer}");
    }
    for (target, host) in
        [("http://evil.test/healthz", "localhost"), ("http://me@localhost/healthz", "localhost")]
    {
        let answer = exchange(&server, &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 400"), "{target}: {answer}");
    }
    let coded =
        "POST /auth/logout HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
    assert!(exchange(&server, coded).starts_with("HTTP/1.1 501"), "a coding that is not known");
}

#[test]
fn a_smuggled_request_is_not_answered() {
    let server = server();
    // For a proxy that goes by the length, the second request is the body of the first.
    let smuggled = "GET /auth/providers HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let request = format!(
        "POST /auth/logout HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\n{smuggled}",
        5 + smuggled.len()
    );
    let answer = exchange(&server, &request);
    assert!(answer.starts_with("HTTP/1.1 400") && !answer.contains("200 OK"), "{answer}");
    // The same behind a good request on one connection.
    let first = "POST /auth/logout HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let answer = exchange(
        &server,
        &format!(
            "{}{request}",
            first.replace("chunked\r\n", "chunked\r\nContent-Type: application/json\r\n")
        ),
    );
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 400").count(), 1, "{answer}");
}

#[test]
fn http_1_0_needs_no_host() {
    let server = server();
    assert!(exchange(&server, "GET /login HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 200"));
}

fn status(server: &Server, path: &str, host: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    exchange(server, &request)["HTTP/1.1 ".len()..][..3].to_owned()
}

#[test]
fn a_name_that_is_not_ours_is_421() {
    let server = server();
    for host in ["localhost", "127.0.0.1:8080", "[::1]", "192.0.2.1"] {
        assert_eq!(status(&server, "/login", host), "200", "{host}");
    }
    // An attacker's name that points here now: the browser of the victim would let the attacker's page read answers.
    for path in ["/login", "/auth/me", "/", "/nothing"] {
        assert_eq!(status(&server, path, "evil.test"), "421", "{path}");
    }
    assert_eq!(status(&server, "/healthz", "10-1-2-3.pod.cluster.local"), "200", "supervisors use any name");
    assert_eq!(status(&server, "/readyz", "evil.test"), "200");
    let line = server.log_line("host_refused").unwrap();
    assert_eq!(line["host"], "evil.test");
    assert!(line["message"].as_str().unwrap().contains("allowed_hosts"), "the operator learns what to do");
    let mut page = server.client().in_browser().with("host", "evil.test");
    let page = page.get("/login");
    assert!(page.status == 421 && page.body.contains("does not answer for this host"), "{}", page.body);
}

#[test]
fn public_url_and_allowed_hosts_say_which_names_are_ours() {
    let server = server_with(
        "public_url = \"https://auth.example.com\"\nallowed_hosts = [\"other.test\", \".example.org\"]\n\
         trust_proxy = \"loopback\"",
    );
    for (host, expected) in [
        ("auth.example.com", "200"),
        ("auth.example.com:443", "200"),
        ("other.test", "200"),
        ("a.example.org", "200"),
        ("localhost:8080", "200"),
        ("evil.test", "421"),
        ("192.0.2.1", "421"),
        ("example.org", "421"),
    ] {
        assert_eq!(status(&server, "/login", host), expected, "{host}");
    }
    let mut behind = server.client().with("x-forwarded-host", "evil.test");
    assert_eq!(behind.get("/login").status, 421, "what a trusted proxy says counts");
    let mut behind = server.client().with("x-forwarded-host", "auth.example.com");
    assert_eq!(behind.get("/login").status, 200);
    let any = server_with("allowed_hosts = [\"*\"]");
    assert_eq!(status(&any, "/login", "any.test"), "200");
}

#[test]
fn browsers_learn_that_the_host_has_https() {
    for (config, expected) in [
        ("", "max-age=31536000"),
        ("[hsts]\nmax_age = \"0s\"", "max-age=0"),
        ("[hsts]\nmax_age = \"730d\"\ninclude_subdomains = true", "max-age=63072000; includeSubDomains"),
    ] {
        let server = server_with(&format!("public_url = \"https://auth.example.com\"\n{config}"));
        let answer = server.client().get("/login");
        assert_eq!(answer.header("strict-transport-security"), expected);
    }
    assert_eq!(server().client().get("/login").header("strict-transport-security"), "");
}

#[test]
fn a_sign_in_may_be_sent_in_chunks() {
    let server = server();
    server.registered("ann");
    let body = credentials("ann").to_string();
    let (first, second) = body.split_at(20);
    let answer = exchange(
        &server,
        &format!(
            "POST /auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
            second.len()
        ),
    );
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
