//! Both apps behind a real nginx: whoever is logged in at one is logged in at the other, and routes move without anybody noticing.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery staple";

/// What `./run` has started.
struct Site {
    run: Child,
    url: String,
    folder: PathBuf,
}

impl Site {
    /// `None` when a program it needs is not installed.
    fn start() -> Option<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(here.join("run"));
        command.env("HALLPASS_APP", env!("CARGO_BIN_EXE_beside-express")).env("BCRYPT_COST", "4");
        let mut run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(run.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(ready) = line.strip_prefix("ready ") else {
            let mut said = String::new();
            run.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            run.wait().unwrap();
            #[expect(clippy::disallowed_methods, reason = "scripts/test says so")]
            let everything = env::var("HALLPASS_ALL_ENGINES").is_ok_and(|value| !value.is_empty());
            assert!(said.contains("run scripts/setup") && !everything, "{said}");
            fs::write("/dev/tty", format!("NOT RUN: {said}")).ok();
            eprint!("NOT RUN: {said}");
            return None;
        };
        let (url, folder) = ready.trim().split_once(' ').unwrap();
        Some(Self { run, url: url.to_owned(), folder: folder.into() })
    }

    fn browser(&self) -> Browser {
        Browser::new(&self.url)
    }

    fn registered(&self, email: &str) -> Browser {
        let mut browser = self.browser();
        let body = json!({ "email": email, "password": PASSWORD, "name": "Ann" });
        assert_eq!(browser.post("/auth/register", &body).status, 201);
        browser
    }

    fn logged_in(&self, email: &str, password: &str) -> Browser {
        let mut browser = self.browser();
        let answer = browser.post("/auth/login", &json!({ "email": email, "password": password }));
        assert_eq!(answer.status, 200, "{}", answer.body);
        browser
    }

    /// Changes one line of nginx, and waits until only the other app serves the route.
    fn move_route(&self, path: &str, to: &str) {
        let file = self.folder.join("routes.conf");
        let lines = fs::read_to_string(&file).unwrap();
        let start = format!("location {path} ");
        let moved = |line: &str| {
            let (one, other) =
                if to == "hallpass" { ("express", "hallpass") } else { ("hallpass", "express") };
            if line.starts_with(&start) { line.replace(one, other) } else { line.to_owned() }
        };
        let lines: Vec<String> = lines.lines().map(moved).collect();
        fs::write(&file, lines.join("\n")).unwrap();
        let nginx = fs::read_to_string(self.folder.join("nginx.pid")).unwrap();
        let nginx = nginx.trim();
        let before = workers(nginx);
        assert!(Command::new("kill").args(["-HUP", nginx]).status().unwrap().success());
        // Old workers finish what they have begun, and accept a little longer.
        let end = Instant::now() + Duration::from_secs(60);
        while workers(nginx).is_empty() || workers(nginx).iter().any(|worker| before.contains(worker)) {
            assert!(Instant::now() < end, "nginx does not reload");
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(self.browser().get(path).served_by, to);
    }
}

/// The processes that serve.
fn workers(nginx: &str) -> Vec<String> {
    let children = fs::read_to_string(format!("/proc/{nginx}/task/{nginx}/children")).unwrap();
    children.split_whitespace().map(str::to_owned).collect()
}

impl Drop for Site {
    fn drop(&mut self) {
        Command::new("kill").arg(self.run.id().to_string()).status().ok();
        self.run.wait().ok();
    }
}

/// Keeps the cookie as a browser does.
struct Browser {
    agent: ureq::Agent,
    url: String,
    cookie: Option<String>,
}

struct Answer {
    status: u16,
    body: String,
    served_by: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }
}

impl Browser {
    fn new(url: &str) -> Self {
        let agent =
            ureq::Agent::config_builder().http_status_as_error(false).max_idle_connections(0).build().into();
        Self { agent, url: url.to_owned(), cookie: None }
    }

    fn send(&mut self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        let request = request.header("content-type", "application/json");
        let body = body.map(ToString::to_string).unwrap_or_default();
        let mut response = self.agent.run(request.body(body).unwrap()).unwrap();
        let headers = response.headers();
        let text = |name| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let (cookie, served_by) = (text("set-cookie"), text("x-served-by"));
        if let Some((pair, attributes)) = cookie.split_once(';') {
            let gone = attributes.contains("Max-Age=0") || attributes.contains("Expires=Thu, 01 Jan 1970");
            self.cookie = (!gone).then(|| pair.to_owned());
        }
        let status = response.status().as_u16();
        Answer { status, body: response.body_mut().read_to_string().unwrap(), served_by }
    }

    fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, None)
    }

    fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, Some(body))
    }

    fn cart(&mut self) -> Value {
        self.get("/cart").json()["cart"].take()
    }
}

/// A copy of the cookie, as a thief or another tab has it.
fn twin(browser: &Browser) -> Browser {
    Browser { cookie: browser.cookie.clone(), ..Browser::new(&browser.url) }
}

fn both(browser: &mut Browser) -> (u16, u16) {
    let (express, hallpass) = (browser.get("/auth/me"), browser.get("/account"));
    assert_eq!((&*express.served_by, &*hallpass.served_by), ("express", "hallpass"));
    (express.status, hallpass.status)
}

#[test]
fn two_apps_one_session() {
    let Some(site) = Site::start() else { return };
    one_login_one_cart(&site);
    a_logout_is_one_on_both_sides(&site);
    passwords(&site);
    routes_move_and_nobody_notices(&site);
}

fn one_login_one_cart(site: &Site) {
    let mut ann = site.registered("ann@example.com");
    assert_eq!(both(&mut site.browser()), (401, 401));
    assert_eq!(both(&mut ann), (200, 200));
    for (item, cart) in [
        ("apple", json!({ "apple": 1 })),
        ("apple", json!({ "apple": 2 })),
        ("é", json!({ "apple": 2, "é": 1 })),
    ] {
        assert_eq!(ann.post("/cart", &json!({ "item": item })).json()["cart"], cart);
    }
    let ordered = ann.post("/orders", &json!({}));
    assert_eq!((ordered.status, &*ordered.served_by), (201, "hallpass"));
    assert_eq!(ordered.json()["orders"], json!([{ "apple": 2, "é": 1 }]), "what Express put into the cart");
    assert_eq!(ann.cart(), json!({}), "Express sees that it is empty");
    assert_eq!(both(&mut ann), (200, 200));
}

fn a_logout_is_one_on_both_sides(site: &Site) {
    for path in ["/auth/logout", "/account/logout"] {
        let mut ann = site.logged_in("ann@example.com", PASSWORD);
        let mut tab = twin(&ann);
        assert_eq!(both(&mut tab), (200, 200));
        assert_eq!(ann.post(path, &json!({})).status, 200);
        assert_eq!(both(&mut tab), (401, 401), "{path}");
    }
    let mut devices: Vec<Browser> = (0..3).map(|_| site.logged_in("ann@example.com", PASSWORD)).collect();
    // What Express has just opened is listed within a second.
    let end = Instant::now() + Duration::from_secs(30);
    while devices[0].get("/account").json()["sessions"] != 4 {
        assert!(Instant::now() < end, "three and the one from the registration are not listed");
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(devices[0].post("/account/logout-everywhere", &json!({})).json()["others"], 3);
    for device in &mut devices {
        assert_eq!(both(device), (401, 401), "sessions that Express opened end too");
    }
}

fn passwords(site: &Site) {
    let (mut ann, mut other) =
        (site.logged_in("ann@example.com", PASSWORD), site.logged_in("ann@example.com", PASSWORD));
    let new = "a new and longer password";
    let changed = ann.post("/account/password", &json!({ "current": PASSWORD, "new": new }));
    assert_eq!(changed.status, 200, "{}", changed.body);
    assert_eq!((both(&mut ann), both(&mut other)), ((200, 200), (401, 401)));
    let refused =
        site.browser().post("/auth/login", &json!({ "email": "ann@example.com", "password": PASSWORD }));
    assert_eq!(refused.status, 400);
    // bcryptjs verifies what was written here.
    site.logged_in("ann@example.com", new);
}

fn routes_move_and_nobody_notices(site: &Site) {
    let mut bob = site.registered("bob@example.com");
    let mut expected = 0;
    let mut shop = |bob: &mut Browser, by: &str| {
        expected += 1;
        let answer = bob.post("/cart", &json!({ "item": "pear" }));
        assert_eq!((answer.status, &*answer.served_by), (200, by));
        assert_eq!(bob.cart(), json!({ "pear": expected }));
        assert_eq!(bob.get("/account").status, 200);
    };
    shop(&mut bob, "express");
    site.move_route("/cart", "hallpass");
    shop(&mut bob, "hallpass");
    site.move_route("/auth/", "hallpass");
    shop(&mut bob, "hallpass");
    let mut carol = site.logged_in("bob@example.com", PASSWORD);
    assert_eq!(carol.get("/auth/me").served_by, "hallpass");
    site.move_route("/auth/", "express");
    site.move_route("/cart", "express");
    shop(&mut bob, "express");
    assert_eq!(carol.get("/auth/me").json()["email"], "bob@example.com", "logged in here, known to Express");
    assert_eq!(carol.post("/cart", &json!({ "item": "plum" })).json()["cart"], json!({ "plum": 1 }));
    assert_eq!(carol.post("/auth/logout", &json!({})).status, 200);
    assert_eq!((carol.get("/account").status, both(&mut bob)), (401, (200, 200)));
}
