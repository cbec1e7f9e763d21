//! The real provider of interop/oidc in a process of its own, a stand-in of GitHub's shape, and a browser that goes there and back.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use super::common::{Server, write};

/// A provider in a process of its own; ends when dropped.
pub struct Idp {
    pub issuer: String,
    child: Child,
    program: &'static str,
}

fn interop() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/oidc")
}

impl Idp {
    /// The certified provider; `None`, loudly, when it is not installed.
    pub fn start() -> Option<Self> {
        if !interop().join("node_modules/oidc-provider").is_dir() {
            let everything = env::var_os("HALLPASS_ALL_ENGINES").is_some_and(|value| !value.is_empty());
            assert!(!everything, "oidc-provider is not installed: run scripts/setup");
            let line = "NOT RUN: oidc-provider is not installed; scripts/setup installs it\n";
            // Past the capture of the test runner, which would hide it.
            std::fs::write("/dev/tty", line.as_bytes()).ok();
            std::io::stderr().write_all(line.as_bytes()).ok();
            return None;
        }
        Some(Self::run("provider.mjs", 0))
    }

    /// The same under another name, also over TLS; its port for that.
    pub fn start_as(issuer: &str, certificate: &Path, key: &Path) -> Option<(Self, u16)> {
        drop(Self::start()?);
        let files = [certificate, key].map(|path| path.to_str().unwrap());
        let (idp, ready) = Self::run_with("provider.mjs", 0, &[issuer, files[0], files[1]]);
        Some((idp, u16::try_from(ready["tls"].as_u64().unwrap()).unwrap()))
    }

    /// GitHub's shape, which needs Node alone.
    pub fn github() -> Self {
        Self::run("github.mjs", 0)
    }

    fn run(program: &'static str, port: u16) -> Self {
        Self::run_with(program, port, &[]).0
    }

    fn run_with(program: &'static str, port: u16, more: &[&str]) -> (Self, Value) {
        let mut child = Command::new("node")
            .arg(interop().join(program))
            .arg(port.to_string())
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        (Self { issuer: ready["ready"].as_str().unwrap().to_owned(), child, program }, ready)
    }

    /// Changes it while it runs.
    pub fn control(&self, change: &Value) -> Value {
        let agent = ureq::Agent::new_with_defaults();
        let mut answer = agent.post(format!("{}/_control", self.issuer)).send_json(change).unwrap();
        answer.body_mut().read_json().unwrap()
    }

    /// Kills it.
    pub fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again at the same address, as empty as before.
    pub fn restart(&mut self) {
        let port = Url::parse(&self.issuer).unwrap().port().unwrap();
        *self = Self::run(self.program, port);
    }
}

impl Drop for Idp {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A server, its providers, and what they know.
pub struct World {
    pub server: Server,
    pub folder: TempDir,
    pub idp: Idp,
    pub base: String,
}

/// The accounts that the provider has.
pub fn accounts() -> Value {
    json!({
        "ann": { "email": "ann@example.com", "email_verified": true, "name": "Ann Example" },
        "bob": { "email": "bob@example.com", "email_verified": true },
        "eve": { "email": "ann@example.com", "email_verified": false, "name": "Eve" },
        "ghost": { "name": "No Address" },
    })
}

/// What a provider has to know of the server at `base`, whose name for it is `name`.
pub fn client(base: &str, name: &str) -> Value {
    json!({
        "client_id": "hallpass",
        "client_secret": "a secret of the client",
        "redirect_uris": [format!("{base}/auth/oauth/{name}/callback")],
        "post_logout_redirect_uris": [format!("{base}/login")],
        "backchannel_logout_uri": format!("{base}/auth/oauth/{name}/backchannel-logout"),
        "backchannel_logout_session_required": true,
        "grant_types": ["authorization_code", "refresh_token"],
    })
}

/// The section of a provider.
pub fn section(name: &str, issuer: &str, more: &str) -> String {
    format!(
        "[providers.{name}]\npreset = \"openid\"\nlabel = \"Provider {name}\"\nissuer = \"{issuer}\"\n\
         client_id = \"hallpass\"\nclient_secret = \"a secret of the client\"\n{more}\n"
    )
}

/// The value of a parameter in an address.
pub fn parameter(address: &str, name: &str) -> String {
    let url = Url::parse(address).unwrap();
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// The address without a parameter.
pub fn without(address: &str, name: &str) -> String {
    let mut url = Url::parse(address).unwrap();
    let kept: Vec<(String, String)> = url.query_pairs().into_owned().filter(|(key, _)| key != name).collect();
    url.query_pairs_mut().clear().extend_pairs(kept);
    url.into()
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server with this configuration, whose address is known before it starts.
pub fn server_at(port: u16, config: &str) -> (Server, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, "hallpass.toml", config);
    let listen = format!("127.0.0.1:{port}");
    let arguments = ["--config", path.to_str().unwrap(), "--public-url", &format!("http://{listen}")];
    let server = Server::start_with(folder.path(), &arguments, &[("HALLPASS__LISTEN", &listen)]);
    (server, folder)
}

/// A server with the provider `idp`; `more` belongs to the provider's section, `head` in front of it.
pub fn world(head: &str, more: &str) -> Option<World> {
    let idp = Idp::start()?;
    let port = free_port();
    let base = format!("http://127.0.0.1:{port}");
    idp.control(&json!({ "clients": [client(&base, "idp")], "accounts": accounts() }));
    let (server, folder) = server_at(port, &format!("{head}\n{}", section("idp", &idp.issuer, more)));
    Some(World { server, folder, idp, base })
}

impl World {
    pub fn browser(&self) -> Browser {
        Browser::new(&self.base)
    }

    /// The log's lines of failures at providers.
    pub fn refusals(&self) -> Vec<Value> {
        let log = self.server.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["event"] == "provider_refused").collect()
    }
}

impl World {
    /// The line of the log that tells of this failure; waits a little for it.
    pub fn refusal(&self, code: &str) -> Value {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let found = self.refusals().into_iter().rfind(|line| line["failure"] == code);
            if let Some(line) = found {
                return line;
            }
            assert!(Instant::now() < end, "{}", self.server.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What a browser gets.
#[derive(Debug)]
pub struct Page {
    pub url: String,
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: String,
}

impl Page {
    pub fn location(&self) -> &str {
        let location = self.headers.get("location").map(|location| location.to_str().unwrap());
        location.unwrap_or_else(|| panic!("no redirect: {self:?}"))
    }

    /// Where a page leads on by itself.
    pub fn refresh(&self) -> Option<String> {
        let target = self.body.split("http-equiv=\"refresh\" content=\"0;url=").nth(1)?.split('"').next()?;
        Some(target.replace("&amp;", "&").replace("&#x2f;", "/").replace("&#x27;", "'"))
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The code in a failed sign-in's address.
    pub fn failed(&self) -> String {
        let url = Url::parse("http://here").unwrap().join(self.location()).unwrap();
        let found = url.query_pairs().find(|(name, _)| name == "failed").map(|(_, code)| code.into_owned());
        found.unwrap_or_else(|| panic!("nothing failed: {self:?}"))
    }
}

/// A browser: cookies by host, nothing followed unless asked.
#[derive(Clone)]
pub struct Browser {
    agent: ureq::Agent,
    base: String,
    pub jar: BTreeMap<(String, String), String>,
}

impl Browser {
    pub fn new(base: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(30)))
            .build();
        Self { agent: config.into(), base: base.to_owned(), jar: BTreeMap::new() }
    }

    pub fn send(&mut self, method: &str, url: &str, fields: &[(&str, &str)]) -> Page {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let form = ("content-type", "application/x-www-form-urlencoded");
        let headers = [("accept", "text/html"), form];
        self.request(method, url, &headers, &body)
    }

    /// As a script asks.
    pub fn script(&mut self, method: &str, url: &str, headers: &[(&str, &str)]) -> Page {
        let own = [("accept", "application/json"), ("content-type", "application/json")];
        self.request(method, url, &[&own, headers].concat(), "{}")
    }

    pub fn request(&mut self, method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Page {
        let url = Url::parse(&self.base).unwrap().join(url).unwrap();
        let host = format!("{}:{}", url.host_str().unwrap(), url.port_or_known_default().unwrap());
        let cookies: Vec<String> = self
            .jar
            .iter()
            .filter(|((of, _), _)| *of == host)
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect();
        let mut request = ureq::http::Request::builder().method(method).uri(url.as_str());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        let mut response = if method == "GET" {
            // Nothing has a type here.
            request.headers_mut().unwrap().remove("content-type");
            self.agent.run(request.body(()).unwrap()).unwrap()
        } else {
            self.agent.run(request.body(body.to_owned()).unwrap()).unwrap()
        };
        let mut body = String::new();
        response.body_mut().as_reader().read_to_string(&mut body).unwrap();
        for cookie in response.headers().get_all("set-cookie") {
            self.keep(&host, cookie.to_str().unwrap());
        }
        Page {
            url: url.into(),
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body,
        }
    }

    fn keep(&mut self, host: &str, cookie: &str) {
        let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
        let key = (host.to_owned(), name.to_owned());
        if cookie.contains("Max-Age=0") || cookie.to_lowercase().contains("expires=thu, 01 jan 1970") {
            self.jar.remove(&key);
        } else {
            self.jar.insert(key, value.to_owned());
        }
    }

    pub fn get(&mut self, url: &str) -> Page {
        self.send("GET", url, &[])
    }

    pub fn post(&mut self, url: &str, fields: &[(&str, &str)]) -> Page {
        self.send("POST", url, fields)
    }

    /// Goes to the provider and says who one is there, or uses the session there; the address that leads back, not yet opened.
    pub fn reach_callback(&mut self, start: &str, login: &str) -> String {
        let page = self.get(start);
        let target = page.location().to_owned();
        self.through(&target, login)
    }

    /// From the provider's authorization endpoint to the address that leads back.
    pub fn through(&mut self, authorize: &str, login: &str) -> String {
        let mut url = authorize.to_owned();
        for _ in 0..10 {
            let page = self.get(&url);
            if page.status == 200 && page.url.contains("/interaction/") {
                let action = if login.is_empty() { "abort" } else { "login" };
                let page = self.post(&format!("{}/{action}", page.url), &[("login", login)]);
                page.location().clone_into(&mut url);
            } else {
                let location = Url::parse(&page.url).unwrap().join(page.location()).unwrap();
                url = location.into();
            }
            if url.contains("/callback?") {
                return url;
            }
        }
        panic!("the provider led nowhere: {url}");
    }

    /// The same without anybody at the keyboard: the address that leads back if the provider asks nothing.
    pub fn reach_callback_silently(&mut self, start: &str) -> Option<String> {
        let target = self.get(start).location().to_owned();
        self.follow_silently(&target)
    }

    /// From the provider's authorization endpoint, as long as it asks nothing.
    pub fn follow_silently(&mut self, authorize: &str) -> Option<String> {
        let mut page = self.get(authorize);
        while page.status != 200 {
            let location = Url::parse(&page.url).unwrap().join(page.location()).unwrap();
            if location.path().ends_with("/callback") {
                return Some(location.into());
            }
            page = self.get(location.as_str());
        }
        None
    }

    /// There and back.
    pub fn sign_in(&mut self, name: &str, login: &str) -> Page {
        let callback = self.reach_callback(&format!("/auth/oauth/{name}"), login);
        self.get(&callback)
    }

    /// The address of whoever is signed in.
    pub fn who(&mut self) -> Option<String> {
        let mut asking = self.clone();
        let page = asking.get("/auth/me");
        (page.status == 200).then(|| page.json()["user"]["email"].as_str().unwrap().to_owned())
    }
}
