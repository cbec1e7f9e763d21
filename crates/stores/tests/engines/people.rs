//! Another application's accounts: a Node program on the real mongoose, bcryptjs and pg.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use super::{find, free_port, missing};

/// The running application.
pub struct People {
    child: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
}

impl People {
    /// Its accounts in `mongoose` or `pg`; `None` when Node or the packages are not installed.
    pub fn open(kind: &str, url: &str) -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/users");
        let installed = folder.join("node_modules").is_dir();
        let Some(node) = find("node", &[]).filter(|_| installed) else {
            return missing("mongoose (Node and interop/users)");
        };
        let mut command = Command::new(node);
        command.arg("driver.mjs").current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut people = Self { child, to, from: BufReader::new(from).lines() };
        people.ask("open", json!({ "kind": kind, "url": url }));
        Some(people)
    }

    /// Asks, without waiting for the answer.
    pub fn send(&mut self, op: &str, mut question: Value) {
        question["op"] = op.into();
        writeln!(self.to, "{question}").unwrap();
    }

    pub fn receive(&mut self) -> Value {
        let line = self.from.next().expect("the program has ended").unwrap();
        let mut answer: Value = serde_json::from_str(&line).unwrap();
        assert!(answer["error"].is_null(), "{}", answer["error"].as_str().unwrap_or_default());
        answer["answer"].take()
    }

    pub fn ask(&mut self, op: &str, question: Value) -> Value {
        self.send(op, question);
        self.receive()
    }
}

impl Drop for People {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The Express app of examples/beside-express; ends when dropped.
pub struct App {
    child: Child,
    pub url: String,
}

impl App {
    /// On this database; `None` when Node or the packages are not installed.
    pub fn start(mongo: &str, secret: &str) -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/beside-express/express");
        let installed = folder.join("node_modules").is_dir();
        let Some(node) = find("node", &[]).filter(|_| installed) else {
            return missing("Express (Node and examples/beside-express)");
        };
        let port = free_port().to_string();
        let mut command = Command::new(node);
        command.arg("app.mjs").current_dir(folder).stdout(Stdio::piped());
        command
            .env("MONGO_URL", mongo)
            .env("SESSION_SECRET", secret)
            .env("PORT", &port)
            .env("BCRYPT_COST", "4");
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("listens"), "the Express app did not start: {line}");
        Some(Self { child, url: format!("http://127.0.0.1:{port}") })
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
