//! Redis or Valkey: one server, three with Sentinels, or a cluster of three.

use std::{
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{Engine, Reached, find, missing, named};

const PAUSE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps what it acknowledged, as docs/stores.md demands.
const DURABLE: [&str; 12] = [
    "--port",
    "{port}",
    "--bind",
    "127.0.0.1",
    "--dir",
    "{data}",
    "--save",
    "",
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
];

fn server() -> Option<PathBuf> {
    find("redis-server", &[]).or_else(|| find("valkey-server", &[]))
}

/// A fresh server; `None` when Redis is not installed.
pub fn start() -> Option<Engine> {
    start_with(&[])
}

pub fn start_with(more: &[&str]) -> Option<Engine> {
    start_with_files(more, &[])
}

/// The same with files beside its data.
pub fn start_with_files(more: &[&str], files: &[(&str, &str)]) -> Option<Engine> {
    let Some(server) = server() else { return missing("Redis") };
    let mut engine = Engine::new(&server, &[&DURABLE, more].concat(), None);
    for (name, text) in files {
        engine.put(name, text);
    }
    engine.start();
    Some(engine)
}

pub fn url(engine: &Engine) -> String {
    format!("redis://127.0.0.1:{}", engine.port)
}

/// Three masters that share the keys.
pub fn start_cluster() -> Option<Vec<Engine>> {
    let node = || start_with(&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]);
    let nodes: Vec<Engine> = (0..3).map(|_| node()).collect::<Option<_>>()?;
    let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let create =
        [&["--cluster".to_owned(), "create".to_owned()][..], &addresses, &["--cluster-yes".to_owned()]];
    let made = cli(&create.concat());
    assert!(made.contains("All 16384 slots covered"), "{made}");
    until("the cluster is up", || {
        nodes.iter().all(|node| {
            let info = cli(&["-p", &node.port.to_string(), "cluster", "info"].map(str::to_owned));
            info.contains("cluster_state:ok")
        })
    });
    Some(nodes)
}

pub fn cluster_url(nodes: &[Engine]) -> String {
    let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    format!("redis-cluster://{}", addresses.join(","))
}

/// A master, a replica and a Sentinel that makes the replica master when the master is gone.
pub fn start_sentinel() -> Option<(Engine, Engine, Engine)> {
    let master = start()?;
    let port = master.port.to_string();
    let replica = start_with(&["--replicaof", "127.0.0.1", &port])?;
    let Some(server) = server() else { return missing("Redis") };
    let mut sentinel = Engine::new(&server, &["{data}/sentinel.conf", "--sentinel"], None);
    let own = sentinel.port;
    let config = format!(
        "port {own}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {port} 1\nsentinel down-after-milliseconds main 500\n\
         sentinel failover-timeout main 2000\n"
    );
    std::fs::write(sentinel.data().join("sentinel.conf"), config).unwrap();
    sentinel.start();
    until("the sentinel knows the replica", || {
        let info = cli(&["-p", &own.to_string(), "info", "sentinel"].map(str::to_owned));
        info.contains("slaves=1") && info.contains("status=ok")
    });
    until("the replica follows", || {
        let info = cli(&["-p", &replica.port.to_string(), "info", "replication"].map(str::to_owned));
        info.contains("master_link_status:up")
    });
    Some((master, replica, sentinel))
}

/// What `redis-cli` prints.
pub fn cli(arguments: &[String]) -> String {
    let output = Command::new("redis-cli").args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        thread::sleep(PAUSE);
    }
}

/// The server of `REDIS_URL`, or a fresh one.
pub fn reach() -> Option<Reached> {
    if let Some(named) = named("REDIS_URL") {
        return Some(named);
    }
    let engine = start()?;
    Some(Reached { url: url(&engine), _engine: Some(engine) })
}
