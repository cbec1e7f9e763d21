//! Two servers behind nginx and behind Caddy, stopped and started one after the other under load: no request fails.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod common;

use std::{
    env, fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use common::Server;
use tempfile::TempDir;

/// How often each server is stopped and started.
const ROUNDS: usize = 3;

/// Requests that are sent at least.
const REQUESTS: usize = 900;

/// How many clients ask at once.
const CLIENTS: usize = 8;

const PATIENCE: Duration = Duration::from_secs(60);

/// A reverse proxy in front of both servers.
struct Proxy {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx and Caddy end their workers at SIGTERM, not when they are killed.
        Command::new("kill").arg(self.child.id().to_string()).status().ok();
        self.child.wait().ok();
    }
}

/// The proxy's program; says loudly when it is not installed.
fn program(name: &str) -> Option<PathBuf> {
    let found = ["/usr/sbin", "/usr/bin", "/usr/local/bin"].map(|folder| Path::new(folder).join(name));
    let found = found.into_iter().find(|path| path.exists());
    if found.is_none() {
        #[expect(clippy::disallowed_methods, reason = "scripts/test says so")]
        let everything = env::var("HALLPASS_ALL_ENGINES").is_ok_and(|value| !value.is_empty());
        assert!(!everything, "{name} is missing: run scripts/setup");
        eprintln!("NOT RUN: {name} is missing: run scripts/setup");
    }
    found
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// A configuration of docs/deploy.md, for these ports.
fn recipe(language: &str, port: u16, servers: [u16; 2]) -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/deploy.md");
    let document = fs::read_to_string(document).unwrap();
    let section = document.split("## Restart without failed requests").nth(1).unwrap();
    let recipe = section.split(&format!("```{language}\n")).nth(1).unwrap().split("```").next().unwrap();
    recipe
        .replace("443 ssl", &format!("127.0.0.1:{port}"))
        .replace("auth.example.com {", &format!("http://127.0.0.1:{port} {{"))
        .replace("8081", &servers[0].to_string())
        .replace("8082", &servers[1].to_string())
}

fn start(mut command: Command, port: u16, folder: TempDir) -> Proxy {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
    let proxy = Proxy { child, port, _folder: folder };
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "the proxy does not start");
        thread::sleep(Duration::from_millis(20));
    }
    proxy
}

/// The recipe with connections that nginx uses again.
fn kept_open(recipe: &str) -> String {
    let kept = recipe.replace("}\nserver {", "    keepalive 16;\n}\nserver {");
    let kept = kept.replace(
        "proxy_pass",
        "proxy_http_version 1.1;\n        proxy_set_header Connection \"\";\n        proxy_pass",
    );
    assert!(kept.contains("keepalive 16") && kept.contains("Connection"), "{kept}");
    kept
}

/// With the recipe, or with its connections to the servers kept open too.
fn nginx(program: &Path, servers: [u16; 2], keepalive: bool) -> Proxy {
    let (folder, [port]) = (TempDir::new().unwrap(), free_ports());
    let at = folder.path().display();
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
        .concat();
    let config = format!(
        "daemon off; pid {at}/nginx.pid; error_log {at}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}{}}}",
        if keepalive { kept_open(&recipe("nginx", port, servers)) } else { recipe("nginx", port, servers) }
    );
    fs::write(folder.path().join("nginx.conf"), config).unwrap();
    let mut command = Command::new(program);
    command.arg("-p").arg(folder.path()).arg("-e").arg(folder.path().join("error.log"));
    command.arg("-c").arg(folder.path().join("nginx.conf"));
    start(command, port, folder)
}

fn caddy(program: &Path, servers: [u16; 2]) -> Proxy {
    let (folder, [port]) = (TempDir::new().unwrap(), free_ports());
    let config = format!("{{\nadmin off\n}}\n{}", recipe("caddy", port, servers));
    fs::write(folder.path().join("Caddyfile"), config).unwrap();
    let mut command = Command::new(program);
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(folder.path().join("Caddyfile"));
    command.env("HOME", folder.path()).env("XDG_DATA_HOME", folder.path()).current_dir(folder.path());
    start(command, port, folder)
}

/// What clients met.
#[derive(Default)]
struct Seen {
    requests: AtomicUsize,
    failed: AtomicUsize,
    stop: AtomicBool,
}

/// Asks on one connection as long as the proxy keeps it. Every fourth request is a change: it must not fail either, and
/// no proxy sends one twice.
fn ask_until_stopped(port: u16, seen: &Seen) {
    let mut stream = None;
    while !seen.stop.load(Ordering::Relaxed) {
        let number = seen.requests.fetch_add(1, Ordering::Relaxed);
        let request = if number.is_multiple_of(4) {
            "POST /auth/logout HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n"
        } else {
            "GET /auth/providers HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
        };
        let open = stream.take().unwrap_or_else(|| TcpStream::connect(("127.0.0.1", port)).unwrap());
        match exchange(open, request) {
            (200, again) => stream = again,
            (status, _) => {
                eprintln!("request {number}: {status}");
                seen.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The status, 0 without an answer, and the connection if it may be used again.
fn exchange(mut stream: TcpStream, request: &str) -> (u16, Option<TcpStream>) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    if stream.write_all(request.as_bytes()).is_err() {
        return (0, None);
    }
    let (mut all, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut part).unwrap_or(0);
        all.extend_from_slice(&part[..length]);
        let text = String::from_utf8_lossy(&all).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if length == 0 {
                return (0, None);
            }
            continue;
        };
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let whole = match field("content-length:") {
            Some(long) => body.len() >= long.parse().unwrap(),
            None => body.ends_with("0\r\n\r\n"),
        };
        if whole {
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            return (status, (field("connection:") != Some("close")).then_some(stream));
        }
        if length == 0 {
            return (0, None);
        }
    }
}

fn restarts_fail_no_request(proxy: impl FnOnce([u16; 2]) -> Proxy) {
    let folder = TempDir::new().unwrap();
    let ports = free_ports::<2>();
    let run = |port: u16| {
        let listen = format!("127.0.0.1:{port}");
        let environment = [("HALLPASS__LISTEN", listen.as_str()), ("HALLPASS__TRUST_PROXY", "loopback")];
        Server::start_with(folder.path(), &[], &environment)
    };
    let mut servers = ports.map(|port| Some(run(port)));
    let (proxy, seen) = (proxy(ports), Seen::default());
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| ask_until_stopped(proxy.port, &seen));
        }
        for round in 0..2 * ROUNDS {
            thread::sleep(Duration::from_millis(300));
            let server = servers[round % 2].take().unwrap();
            server.signal("TERM");
            assert_eq!(server.wait().0, Some(0));
            // Ready, and only then the other one.
            servers[round % 2] = Some(run(ports[round % 2]));
        }
        let end = Instant::now() + PATIENCE;
        while seen.requests.load(Ordering::Relaxed) < REQUESTS && Instant::now() < end {
            thread::sleep(Duration::from_millis(20));
        }
        seen.stop.store(true, Ordering::Relaxed);
    });
    let requests = seen.requests.load(Ordering::Relaxed);
    eprintln!("{requests} requests, {} restarts", 2 * ROUNDS);
    assert!(requests >= REQUESTS, "only {requests} requests");
    assert_eq!(seen.failed.load(Ordering::Relaxed), 0, "of {requests} requests");
}

#[test]
fn restarts_behind_nginx_fail_no_request() {
    let Some(program) = program("nginx") else { return };
    restarts_fail_no_request(|servers| nginx(&program, servers, false));
}

#[test]
fn restarts_behind_nginx_that_keeps_connections_fail_no_request() {
    let Some(program) = program("nginx") else { return };
    restarts_fail_no_request(|servers| nginx(&program, servers, true));
}

#[test]
fn restarts_behind_caddy_fail_no_request() {
    let Some(program) = program("caddy") else { return };
    restarts_fail_no_request(|servers| caddy(&program, servers));
}
