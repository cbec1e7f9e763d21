//! The real program on throw-away data, and a client with a cookie jar.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

pub const PASSWORD: &str = "correct horse battery staple";

/// The program, with nothing of this machine's environment.
pub fn hallpass(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hallpass"));
    command.current_dir(folder).env_clear().stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn run(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = hallpass(folder)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    child.wait_with_output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running server; ends with SIGKILL when dropped.
pub struct Server {
    pub url: String,
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// On the database in `folder`.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::start_with(folder, arguments, &[])
    }

    pub fn start_with(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        // On a free port, unless its address must be known beforehand.
        let fixed = environment.iter().any(|(name, _)| *name == "HALLPASS__LISTEN");
        let listen: &[&str] = if fixed { &["serve"] } else { &["serve", "--listen", "127.0.0.1:0"] };
        let mut command = hallpass(folder);
        command.args(listen).args(arguments).envs(environment.iter().copied());
        Self::run(command)
    }

    /// With at most this many open files.
    pub fn start_with_files(folder: &Path, files: usize) -> Self {
        let server = env!("CARGO_BIN_EXE_hallpass");
        let mut command = Command::new("sh");
        command.current_dir(folder).env_clear().stdin(Stdio::null());
        command.arg("-c").arg(format!("ulimit -n {files}; exec {server} serve --listen 127.0.0.1:0"));
        Self::run(command)
    }

    fn run(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, written) = (child.stderr.take().unwrap(), log.clone());
        let reader = thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = written.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut server = Self { url: String::new(), child, log, reader: Some(reader) };
        assert!(line.contains("ready"), "the server did not start: {line}{}", server.log_after_exit());
        let address =
            server.log_line("listening").and_then(|line| line["address"].as_str().map(str::to_owned));
        server.url = format!("http://{}", address.unwrap());
        server
    }

    pub fn client(&self) -> Client {
        Client::new(&self.url)
    }

    /// A client that has just registered as `name`@example.com.
    pub fn registered(&self, name: &str) -> Client {
        let mut client = self.client();
        let body = json!({ "email": format!("{name}@example.com"), "password": PASSWORD, "name": name });
        assert_eq!(client.post("/auth/register", &body).status, 201);
        client
    }

    /// A client that has just signed in as `name`@example.com.
    pub fn signed_in(&self, name: &str) -> Client {
        let mut client = self.client();
        assert_eq!(client.post("/auth/login", &credentials(name)).status, 200);
        client
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The first line of the log with this event; waits a little for it.
    pub fn log_line(&self, event: &str) -> Option<Value> {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let log = self.log();
            let found = log
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|line| line["event"] == event);
            if found.is_some() || Instant::now() > end {
                return found;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// The exit code, and the whole log.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        (code, self.log_after_exit())
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn log_after_exit(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.log()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A server on a folder of its own.
pub struct Alone {
    pub server: Server,
    pub folder: TempDir,
}

impl std::ops::Deref for Alone {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

pub fn server() -> Alone {
    server_with("")
}

/// A server with this configuration file.
pub fn server_with(config: &str) -> Alone {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, "hallpass.toml", config);
    let server = Server::start(folder.path(), &["--config", path.to_str().unwrap()]);
    Alone { server, folder }
}

pub fn write(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// The Rust files below a folder.
pub fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|kind| kind == "rs")).collect()
}

pub fn credentials(name: &str) -> Value {
    json!({ "email": format!("{name}@example.com"), "password": PASSWORD })
}

/// An HTTP client that keeps cookies and follows nothing.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
    /// The `Cookie` header: `name=value`, several separated by `; `.
    pub cookie: Option<String>,
    /// The cookies by which accounts know this browser; they stay when it signs out.
    pub devices: Vec<String>,
    /// Sent with every request.
    pub headers: Vec<(&'static str, String)>,
}

pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Client {
    pub fn new(base: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .allow_non_standard_methods(true)
            .timeout_global(Some(Duration::from_secs(20)))
            .build();
        Self {
            agent: config.into(),
            base: base.to_owned(),
            cookie: None,
            devices: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// A browser that shows what it gets.
    #[must_use]
    pub fn in_browser(mut self) -> Self {
        self.headers.push(("accept", "text/html,application/xhtml+xml".to_owned()));
        self
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn try_send(
        &mut self,
        method: &str,
        path: &str,
        kind: &str,
        body: &str,
    ) -> Result<Answer, ureq::Error> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        for cookie in self.cookie.iter().chain(&self.devices) {
            request = request.header("cookie", cookie);
        }
        let bodyless = body.is_empty() && matches!(method, "GET" | "HEAD" | "DELETE" | "OPTIONS");
        let mut response = if bodyless {
            self.agent.run(request.body(()).unwrap())?
        } else {
            self.agent.run(request.body(body.to_owned()).unwrap())?
        };
        let mut body = String::new();
        response.body_mut().as_reader().read_to_string(&mut body)?;
        let answer = Answer { status: response.status().as_u16(), headers: response.headers().clone(), body };
        self.keep(&answer);
        Ok(answer)
    }

    fn keep(&mut self, answer: &Answer) {
        for cookie in answer.headers.get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            let pair = cookie.split(';').next().unwrap();
            if pair.contains("hallpass-device-") {
                let name = pair.split('=').next().unwrap();
                self.devices.retain(|device| !device.starts_with(name));
                self.devices.push(pair.to_owned());
                continue;
            }
            let name = format!("{}=", pair.split('=').next().unwrap());
            let kept = self.cookie.iter().flat_map(|header| header.split("; "));
            let kept = kept.filter(|other| !other.starts_with(&name));
            let set = Some(pair).filter(|_| !cookie.contains("Max-Age=0"));
            let all = kept.chain(set).collect::<Vec<_>>().join("; ");
            self.cookie = Some(all).filter(|all| !all.is_empty());
        }
    }

    pub fn send(&mut self, method: &str, path: &str, kind: &str, body: &str) -> Answer {
        self.try_send(method, path, kind, body).unwrap()
    }

    /// POST of a body that need not be text.
    pub fn send_bytes(&mut self, path: &str, kind: &str, body: &[u8]) -> Answer {
        let mut request = ureq::http::Request::builder().method("POST").uri(format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.header("content-type", kind).body(body.to_vec()).unwrap();
        let mut response = self.agent.run(request).unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.body_mut().read_to_string().unwrap() }
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, "", "")
    }

    pub fn delete(&mut self, path: &str) -> Answer {
        self.send("DELETE", path, "", "")
    }

    pub fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, "application/json", &body.to_string())
    }

    pub fn form(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.send("POST", path, "application/x-www-form-urlencoded", &body)
    }

    /// Waits until the server has heard that this client was signed out by another program.
    pub fn wait_until_out(&mut self) {
        let end = Instant::now() + Duration::from_secs(1);
        while self.is_signed_in() {
            assert!(Instant::now() < end, "still signed in");
        }
    }

    /// Whether the server knows this client.
    pub fn is_signed_in(&mut self) -> bool {
        match self.get("/auth/me").status {
            200 => true,
            401 => false,
            other => panic!("/auth/me answered {other}"),
        }
    }
}
