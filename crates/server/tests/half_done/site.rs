//! The whole server in process, on stores that can fail, for a program or for a browser that posts forms.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, body::Body};
use hallpass_auth::{
    Argon2Params, Email, MemoryRecords, MemoryUsers, PasswordFormat, Record, RecordKey, RecordStore, User,
    UserStore,
};
use hallpass_server::{App, Config, Flags, router};
use hallpass_session::{
    Clock, Created, Document, IdGenerator, Keys, Lifetime, MemoryStore, PeerAddr, RandomIds, Secret,
    SessionId, SessionRecord, SessionStore, StoreClock, SystemClock,
    conformance::{Faults, Watched, When},
};
use hallpass_stores::{Ids, SqliteOptions, SqliteUsers, Stores, Upkeep, UserMap};
use http::{HeaderValue, Request, header};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

const SECRET: &str = "a secret of at least thirty-two bytes";
const ADDRESS: &str = "ann@example.com";
pub(crate) const PASSWORD: &str = "correct horse battery staple";
pub(crate) const NEW: &str = "another fine horse of ours";

pub(crate) struct Site {
    faults: Arc<Faults>,
    users: Arc<dyn UserStore>,
    records: MemoryRecords,
    sessions: Arc<MemoryStore>,
    router: Router,
    page: bool,
    folder: TempDir,
}

/// What an answer says, the same for programs and browsers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Done,
    /// Done, or a part of it: which.
    But(String),
    /// 503
    Unavailable,
    Other(u16),
}

impl Told {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Done | Self::But(_) => 200,
            Self::Unavailable => 503,
            Self::Other(status) => *status,
        }
    }

    /// What a program is told.
    fn from_json(status: u16, body: &Value) -> Self {
        match (status, body["code"].as_str()) {
            (503, _) => Self::Unavailable,
            (200 | 201, None) => Self::Done,
            (200 | 201, Some(code)) | (500, Some(code @ "interrupted")) => Self::But(code.to_owned()),
            _ => Self::Other(status),
        }
    }

    /// What a browser is told: by where it is sent.
    fn from_page(status: u16, location: &str) -> Self {
        let code = match location {
            "/login?done=registered" | "/login?done=password" => "sign_in_again",
            "/account?done=password-only" | "/account?done=unlinked-only" => "sessions_remain",
            "/account?done=others-only" => "browsers_remain",
            "/account?done=unlink-interrupted" => "interrupted",
            "/login" => return Self::Other(401),
            _ if location.starts_with("/login?next=") => return Self::Other(401),
            _ => return if matches!(status, 200 | 303) { Self::Done } else { Self::from_status(status) },
        };
        Self::But(code.to_owned())
    }

    fn from_status(status: u16) -> Self {
        if status == 503 { Self::Unavailable } else { Self::Other(status) }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) told: Told,
    pub(crate) body: Value,
    pub(crate) cookie: Option<String>,
}

impl Answer {
    /// The session's cookie, which there must be.
    pub(crate) fn cookie(&self) -> &str {
        self.cookie.as_deref().unwrap_or_else(|| panic!("no cookie: {self:?}"))
    }

    /// Whether it says that nobody is signed in.
    pub(crate) fn is_for_signed_in(&self) -> bool {
        self.told == Told::Other(401)
    }
}

impl Site {
    pub(crate) fn new(page: bool) -> Self {
        Self::on(Arc::new(MemoryUsers::new()), TempDir::new().unwrap(), page)
    }

    /// With the accounts of another application, whose table knows people at a provider.
    pub(crate) fn beside_an_application(page: bool) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("application.db");
        let table = "create table users (id integer primary key autoincrement, email text unique, password text, github_id text, epoch integer not null default 0)";
        rusqlite::Connection::open(&path).unwrap().execute_batch(table).unwrap();
        let map = UserMap {
            table: "users".to_owned(),
            ids: Ids::ObjectId,
            name: None,
            passwords: PasswordFormat::Argon2id,
            session_epoch: Some("epoch".to_owned()),
            providers: vec![("github".to_owned(), "github_id".to_owned())],
            ..UserMap::default()
        };
        let users = Arc::new(SqliteUsers::open(&path, &map, &SqliteOptions::default()).unwrap());
        Self::on(users, folder, page)
    }

    fn on(users: Arc<dyn UserStore>, folder: TempDir, page: bool) -> Self {
        let file = folder.path().join("hallpass.toml");
        let provider = "[providers.github]\nclient_id = \"x\"\nclient_secret = \"a secret of the client\"\n";
        std::fs::write(&file, provider).unwrap();
        let flags =
            Flags { config: Some(file), database: Some("sqlite:none.db".to_owned()), ..Flags::default() };
        let environment = [("HALLPASS__SESSION__SECRETS".to_owned(), SECRET.to_owned())];
        let mut config = Config::load(&flags, environment).unwrap();
        config.auth.argon2 = Argon2Params::insecure_for_tests();
        let (faults, records) = (Arc::new(Faults::default()), MemoryRecords::new());
        let sessions = Arc::new(MemoryStore::new());
        let stores = Stores {
            sessions: Arc::new(Watched::new(sessions.clone(), faults.clone())),
            users: Arc::new(Watched::new(users.clone(), faults.clone())),
            records: Arc::new(Watched::new(Arc::new(records.clone()), faults.clone())),
            clock: StoreClock::of_machine(),
            upkeep: Upkeep::default(),
        };
        let secret = Secret::new(SECRET.to_owned());
        let app = App::new(config, stores, &[secret], "http://localhost:8080").unwrap();
        let router = router(app, Keys::from_secret(SECRET).unwrap()).unwrap();
        Self { faults, users, records, sessions, router, page, folder }
    }

    /// A site on which ann has registered; her cookie.
    pub(crate) async fn with_ann(page: bool) -> (Self, String) {
        let site = Self::new(page);
        let cookie = site.register().await.cookie().to_owned();
        (site, cookie)
    }

    pub(crate) fn fail(&self, fault: Option<(usize, When)>) {
        self.faults.heal();
        if let Some((number, when)) = fault {
            self.faults.fail(number, when);
        }
    }

    pub(crate) fn heal(&self) -> Vec<&'static str> {
        self.faults.heal()
    }

    /// A request as a program makes it; or as a form of a page does, which knows only GET and POST.
    pub(crate) async fn send(&self, method: &str, path: &str, cookie: &str, body: &Value) -> Answer {
        let (method, path) = match method {
            "DELETE" if self.page => ("POST", format!("{path}/end")),
            "PATCH" if self.page => ("POST", path.to_owned()),
            _ => (method, path.to_owned()),
        };
        let request = Request::builder().method(method).uri(path);
        let mut request = request.header(header::HOST, "localhost:8080").header(header::COOKIE, cookie);
        if self.page {
            request = request.header(header::ACCEPT, "text/html").header("origin", "http://localhost:8080");
        }
        let kind = if self.page { "application/x-www-form-urlencoded" } else { "application/json" };
        let body = if self.page { form(body) } else { body.to_string() };
        let mut request = request.header(header::CONTENT_TYPE, kind).body(Body::from(body)).unwrap();
        request.extensions_mut().insert(PeerAddr(SocketAddr::from(([127, 0, 0, 1], 5000))));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let status = parts.status.as_u16();
        let cookies: Vec<_> = parts.headers.get_all(header::SET_COOKIE).iter().collect();
        assert!(status != 503 || cookies.is_empty(), "a 503 with a cookie: {cookies:?}");
        let cookie = cookies.iter().map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap());
        // A cleared cookie is none.
        let cookie = cookie.filter(|cookie| cookie.starts_with("hallpass=") && !cookie.ends_with('='));
        let cookie = cookie.map(str::to_owned).next();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let location = parts.headers.get(header::LOCATION).map_or("", text);
        let is_html =
            parts.headers.get(header::CONTENT_TYPE).map(text).is_some_and(|kind| kind.contains("html"));
        assert!(!self.page || is_html || matches!(status, 200 | 303), "{status} is no page");
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let told = if self.page { Told::from_page(status, location) } else { Told::from_json(status, &body) };
        Answer { told, body, cookie }
    }

    pub(crate) async fn post(&self, path: &str, cookie: &str, body: &Value) -> Answer {
        self.send("POST", path, cookie, body).await
    }

    pub(crate) async fn register(&self) -> Answer {
        self.post("/auth/register", "", &json!({ "email": ADDRESS, "password": PASSWORD })).await
    }

    pub(crate) async fn log_in(&self, password: &str, cookie: &str) -> Answer {
        self.post("/auth/login", cookie, &json!({ "email": ADDRESS, "password": password })).await
    }

    /// Another session of ann's; its cookie.
    pub(crate) async fn signed_in(&self) -> String {
        self.log_in(PASSWORD, "").await.cookie().to_owned()
    }

    /// Asks as a program, whoever asks else.
    async fn get(&self, path: &str, cookie: &str) -> Answer {
        let program = Self {
            faults: self.faults.clone(),
            users: self.users.clone(),
            records: self.records.clone(),
            sessions: self.sessions.clone(),
            router: self.router.clone(),
            page: false,
            folder: TempDir::new().unwrap(),
        };
        program.send("GET", path, cookie, &Value::Null).await
    }

    pub(crate) async fn is_signed_in(&self, cookie: &str) -> bool {
        self.get("/auth/me", cookie).await.told == Told::Done
    }

    /// Ann's sessions: the handle, and whether it is the one that asks.
    pub(crate) async fn handles(&self, cookie: &str) -> Vec<(String, bool)> {
        let body = self.get("/auth/sessions", cookie).await.body;
        let own = body["sessions"].as_array().unwrap().iter();
        own.map(|own| (own["handle"].as_str().unwrap().to_owned(), own["current"] == true)).collect()
    }

    pub(crate) async fn user(&self) -> User {
        self.users.find_by_email(&Email::verbatim(ADDRESS)).await.unwrap().unwrap()
    }

    async fn records_of(&self, kind: &'static str) -> Vec<Record> {
        self.records.export(kind, None, 100, SystemClock.now()).await.unwrap()
    }

    /// Whether browsers that ann has used are still known: no end of all sessions was noted.
    pub(crate) async fn devices_are_known(&self) -> bool {
        let counts = self.records_of("throttle").await;
        !counts.iter().any(|record| record.body.contains("\"devices"))
    }

    /// All that is stored and that a person would notice.
    pub(crate) async fn stored(&self) -> String {
        let sessions = self.sessions.list(None, 100, SystemClock.now()).await.unwrap();
        let sessions: Vec<_> = sessions.iter().map(|session| session.handle).collect();
        let (links, counts) = (self.records_of("oauth_link").await, self.records_of("throttle").await);
        let in_table = self.users.find_by_provider("github", "7").await.unwrap();
        format!("{sessions:?} {:?} {in_table:?} {links:?} {counts:?}", self.user().await)
    }

    /// Connects ann with somebody at GitHub, by whom a session was opened. The path of the link, and the session.
    pub(crate) async fn connected(&self) -> (String, SessionId) {
        let (user, now) = (self.user().await, SystemClock.now());
        let body = json!({ "provider": "github", "issuer": "https://github.com", "subject": "7", "email": null, "linked": now.as_millis() });
        let key = RecordKey { kind: "oauth_link", id: "link".to_owned() };
        let record =
            Record { key, owner: Some(user.id.clone()), body: body.to_string(), expires: None, version: 0 };
        self.records.insert(&record, now).await.unwrap();
        self.connect_in_table();
        let opened = SessionRecord {
            document: Document::new(),
            user: Some(user.id.as_str().into()),
            label: Some(r#"{"via":"link"}"#.into()),
            created: now,
            authenticated: Some(now),
            seen: now,
            lifetime: Lifetime { idle: std::time::Duration::from_secs(3600), until: None, persistent: false },
        };
        let id = RandomIds.generate();
        let created = self.sessions.create(&id, &opened, now).await.unwrap();
        assert!(matches!(created, Created::Done(_)));
        ("/auth/links/link".to_owned(), id)
    }

    fn connect_in_table(&self) {
        let path = self.folder.path().join("application.db");
        if path.exists() {
            let application = rusqlite::Connection::open(path).unwrap();
            application.execute("update users set github_id = '7'", []).unwrap();
        }
    }

    /// Whether the person at GitHub opens ann's account, by the link or by the application's table.
    pub(crate) async fn is_connected(&self) -> bool {
        let in_table = self.users.find_by_provider("github", "7").await.unwrap();
        in_table.is_some() || !self.records_of("oauth_link").await.is_empty()
    }

    pub(crate) async fn has_session(&self, id: &SessionId) -> bool {
        self.sessions.load(id, SystemClock.now()).await.unwrap().is_some()
    }
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap()
}

/// The fields as a form has them.
fn form(fields: &Value) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields.as_object().into_iter().flatten() {
        form.append_pair(name, value.as_str().unwrap());
    }
    form.finish()
}
