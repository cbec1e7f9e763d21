//! PostgreSQL.

use std::{fs, path::PathBuf, process::Command, thread, time::Duration};

use super::{Engine, Reached, find, missing, named};

/// A fresh cluster; `None` when PostgreSQL is not installed.
pub fn start() -> Option<Engine> {
    start_with(&[], &[])
}

/// The same with more arguments, and files beside its data.
pub fn start_with(more: &[&str], files: &[(&str, &str)]) -> Option<Engine> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    let (Some(server), Some(initdb)) = (find("postgres", &folders), find("initdb", &folders)) else {
        return missing("PostgreSQL");
    };
    let arguments = [
        "-D",
        "{data}",
        "-p",
        "{port}",
        "-h",
        "127.0.0.1",
        "-k",
        "{data}",
        "-c",
        "max_connections=200",
        "-c",
        "dynamic_shared_memory_type=mmap",
    ];
    let mut engine = Engine::new(&server, &[&arguments, more].concat(), Some("postgres"));
    for (name, text) in files {
        engine.put(name, text);
    }
    let data = engine.data();
    engine.run(
        &initdb,
        &["-D", data.to_str().unwrap(), "-U", "hallpass", "-A", "trust", "--no-sync", "-E", "UTF8"],
    );
    engine.start();
    wait(&engine);
    Some(engine)
}

/// The port answers a little before the server takes clients.
pub fn wait(engine: &Engine) {
    let ready = || {
        let arguments = [
            "-q".to_owned(),
            "-h".to_owned(),
            "127.0.0.1".to_owned(),
            "-p".to_owned(),
            engine.port.to_string(),
        ];
        Command::new("pg_isready").args(arguments).status().unwrap().success()
    };
    while !ready() {
        thread::sleep(Duration::from_millis(20));
    }
}

pub fn url(engine: &Engine) -> String {
    format!("postgres://hallpass@127.0.0.1:{}/postgres?sslmode=disable", engine.port)
}

/// The server of `POSTGRES_URL`, or a fresh one.
pub fn reach() -> Option<Reached> {
    if let Some(named) = named("POSTGRES_URL") {
        return Some(named);
    }
    let engine = start()?;
    Some(Reached { url: url(&engine), _engine: Some(engine) })
}
