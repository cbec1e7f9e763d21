//! Express's side: a Node program that drives the real stores of express-session.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use super::{find, missing};

/// A running program with one store.
pub struct Express {
    child: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
}

impl Express {
    /// Opens a store; `options` are JavaScript. `None` when Node or the stores are not installed.
    pub fn open(kind: &str, url: &str, options: &str) -> Option<Self> {
        let folder = folder();
        let installed = folder.join("node_modules").is_dir();
        let Some(node) = find("node", &[]).filter(|_| installed) else {
            return missing("Express (Node and interop/connect)");
        };
        let mut child = Command::new(node)
            .arg("driver.mjs")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut express = Self { child, to, from: BufReader::new(from).lines() };
        express.ask(&json!({ "op": "open", "kind": kind, "url": url, "options": options }));
        Some(express)
    }

    fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.to, "{question}").unwrap();
        let line = self.from.next().expect("the program has ended").unwrap();
        let mut answer: Value = serde_json::from_str(&line).unwrap();
        assert!(answer["error"].is_null(), "{question}: {}", answer["error"].as_str().unwrap_or_default());
        answer["answer"].take()
    }

    /// Begins a session whose cookie ends after so many milliseconds, or with the browser; `code` is its data.
    pub fn create(&mut self, sid: &str, max_age: Option<u64>, code: &str) {
        self.ask(&json!({ "op": "create", "sid": sid, "maxAge": max_age, "code": code }));
    }

    /// Changes a session.
    pub fn change(&mut self, sid: &str, code: &str) {
        self.ask(&json!({ "op": "change", "sid": sid, "code": code }));
    }

    /// Uses a session, which ends so many milliseconds later.
    pub fn touch(&mut self, sid: &str, max_age: u64) {
        self.ask(&json!({ "op": "touch", "sid": sid, "maxAge": max_age }));
    }

    /// What JavaScript sees in a session; null when there is none.
    pub fn look(&mut self, sid: &str, code: &str) -> Value {
        self.ask(&json!({ "op": "look", "sid": sid, "code": code }))
    }

    /// Ends a session.
    pub fn destroy(&mut self, sid: &str) {
        self.ask(&json!({ "op": "destroy", "sid": sid }));
    }

    /// What is stored: `text` and `expires` in milliseconds; in MongoDB the whole `row`.
    pub fn raw(&mut self, sid: &str) -> Value {
        self.ask(&json!({ "op": "raw", "sid": sid }))
    }
}

impl Drop for Express {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/connect")
}
