//! Signing in with a provider where the accounts are another application's.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod common;
#[path = "../../stores/tests/engines/mod.rs"]
mod engines;
mod oauth_support;

use common::{PASSWORD, Server, run, text, write};
use engines::{Engine, people::People};
use oauth_support::{World, world};
use serde_json::{Value, json};

/// [`PASSWORD`] as bcryptjs hashes it.
const BCRYPTJS: &str = "$2b$10$V6/xnb/C2nXRuocGh2CaT.IYSXJSBqFMrxHQjtWfEATvFn9Khyriu";

/// An application's table in SQLite, where nothing says whether an address was verified, and Hallpass with a provider.
struct Table {
    world: World,
    rows: rusqlite::Connection,
    _folder: tempfile::TempDir,
}

impl Table {
    /// Ann has an account there; `more` are settings.
    fn start(more: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let rows = rusqlite::Connection::open(&path).unwrap();
        rows.execute_batch(
            "create table people (id integer primary key, email text not null unique, password text not null, name text, googleId text)",
        )
        .unwrap();
        rows.execute("insert into people (email, password) values ('Ann@Example.com', ?1)", [BCRYPTJS])
            .unwrap();
        let users = format!("[users]\ntable = \"people\"\nurl = \"sqlite:{}\"\n{more}", path.display());
        Some(Self { world: world(&users, "")?, rows, _folder: folder })
    }

    fn command(&self, arguments: &[&str]) {
        let folder = self.world.folder.path();
        let config = folder.join("hallpass.toml");
        let done = run(folder, &[arguments, &["--config", config.to_str().unwrap()]].concat(), "");
        assert!(done.status.success(), "{}", text(&done.stderr));
    }

    /// Nobody has touched what the application has of Ann, and nobody else has her address.
    fn check(&self) {
        let sql = "select group_concat(password) from people where email like 'ann@example.com'";
        assert_eq!(self.rows.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap(), BCRYPTJS);
    }

    /// Ann comes from the provider and is in her account.
    fn comes_in(&self) {
        let mut ann = self.world.browser();
        assert_eq!(ann.sign_in("idp", "ann").location(), "/account");
        assert_eq!(ann.who().as_deref(), Some("Ann@Example.com"));
        self.check();
    }
}

#[test]
fn where_nobody_knows_whose_an_address_is_it_opens_no_account_and_none_is_taken_over() {
    let Some(table) = Table::start("") else { return };
    let mut ann = table.world.browser();
    let refused = ann.sign_in("idp", "ann");
    assert_eq!(refused.failed(), "address_taken");
    assert!(ann.get(refused.location()).body.contains("connect Provider idp on your account page"));
    let advice = table.world.refusal("address_taken")["detail"].as_str().unwrap().to_owned();
    assert!(advice.contains("map a field for it, or run hallpass user verify"), "{advice}");
    table.check();
    let registered = ann.post("/auth/register", &[("email", "ann@example.com"), ("password", PASSWORD)]);
    assert_eq!(registered.status, 409, "in another spelling it is the same address");
    // As the person is told to.
    let login = ann.post("/auth/login", &[("email", "ANN@example.com"), ("password", PASSWORD)]);
    assert_eq!(login.status, 303);
    let away = ann.post("/auth/oauth/idp/link", &[]).refresh().unwrap();
    let callback = ann.through(&away, "ann");
    assert_eq!(ann.get(&callback).location(), "/account?done=linked");
    table.comes_in();
    // The number of a deleted account is given to the next one.
    let warned = table.world.server.log_line("ids_reused").unwrap();
    assert!(warned["message"].as_str().unwrap().contains("users.created"), "{warned}");
    table
        .rows
        .execute_batch(
            "delete from people; insert into people (email, password) values ('eve@example.com', 'x')",
        )
        .unwrap();
    let mut ann = table.world.browser();
    ann.sign_in("idp", "ann");
    assert_eq!(ann.who().as_deref(), Some("ann@example.com"), "an account of her own");
}

#[test]
fn who_was_verified_here_or_is_known_to_be_is_let_in() {
    if let Some(table) = Table::start("") {
        table.command(&["user", "verify", "ann@example.com"]);
        table.comes_in();
    }
    if let Some(table) = Table::start("trust_email = true\n[registration]\nopen = false\n") {
        table.comes_in();
        assert_eq!(table.world.browser().sign_in("idp", "bob").failed(), "sign_up_closed");
    }
    if let Some(table) = Table::start("providers = [\"idp=googleId\"]\n") {
        // As passport keeps it; what the provider tells of the address does not matter.
        table.rows.execute_batch("update people set googleId = 'eve'").unwrap();
        let mut ann = table.world.browser();
        assert_eq!(ann.sign_in("idp", "eve").location(), "/account");
        assert_eq!(ann.who().as_deref(), Some("Ann@Example.com"));
        table.check();
    }
}

/// An application on a database server, and Hallpass with a provider.
struct Both {
    people: People,
    world: World,
    _engine: Engine,
}

impl Both {
    fn mongoose() -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let engine = runtime.block_on(engines::mongodb::start())?;
        let url = engines::mongodb::url(&engine);
        let people = People::open("mongoose", &url)?;
        let users =
            "[users]\ncollection = \"users\"\nverified = \"emailVerified\"\nproviders = [\"idp=oidcId\"]\n";
        let world = world(&format!("database = \"{url}\"\n{users}"), "")?;
        Some(Self { people, world, _engine: engine })
    }

    fn postgres() -> Option<Self> {
        let engine = engines::postgres::start()?;
        let url = engines::postgres::url(&engine);
        let people = People::open("pg", &url)?;
        let users = "[users]\ntable = \"accounts\"\nschema = \"public\"\nlogin = \"username\"\npassword = \"pass\"\n\
            name = \"full_name\"\nverified = \"verified_at\"\nproviders = [\"idp=oidc_id\"]\n";
        let database = format!("{url}&options=-csearch_path%3Dhallpass_own");
        let world = world(&format!("database = \"{database}\"\n{users}"), "")?;
        Some(Self { people, world, _engine: engine })
    }

    fn create(&mut self, email: &str, more: &Value) {
        self.people.ask("create", json!({ "email": email, "password": PASSWORD, "more": more }));
    }

    fn find(&mut self, email: &str) -> Value {
        self.people.ask("find", json!({ "email": email }))
    }

    fn verifies(&mut self, email: &str) -> bool {
        self.people.ask("verify", json!({ "email": email, "password": PASSWORD })) == json!(true)
    }

    /// From the provider to an account; where it led, and whose account it is.
    fn comes(&self, login: &str) -> (String, Option<String>) {
        let mut browser = self.world.browser();
        let led = browser.sign_in("idp", login).location().to_owned();
        (led, browser.who())
    }

    /// What the application says of people counts, and what Hallpass finds out is told to the application.
    fn agree_about_addresses(mut self) {
        let some = |who: &str| Some(who.to_owned());
        let since = "2024-02-02T10:00:00.000Z";
        self.create("Ann@Example.com", &json!({ "emailVerified": since }));
        self.create("bob@example.com", &json!({}));
        assert_eq!(self.comes("ann"), ("/account".to_owned(), some("Ann@Example.com")));
        assert!(self.verifies("Ann@Example.com"), "who is verified keeps the password");
        assert_eq!(self.find("Ann@Example.com")["verified"], since);

        let mut maker = self.world.browser();
        maker.post("/auth/login", &[("email", "bob@example.com"), ("password", PASSWORD)]);
        assert_eq!(maker.who(), some("bob@example.com"));
        assert_eq!(self.comes("bob"), ("/account?done=claimed".to_owned(), some("bob@example.com")));
        assert_eq!(maker.who(), None);
        assert!(!self.verifies("bob@example.com"), "the maker's password is gone there too");
        let bob = self.find("bob@example.com");
        assert!(bob["verified"].as_str().is_some_and(|at| at > "2026"), "{bob}");
        assert!(bob["hash"].as_str().unwrap().starts_with("$2b$10$hallpass/no.password.."), "{bob}");
        self.people.ask("touch", json!({ "email": "bob@example.com" }));
        assert_eq!(self.comes("bob").0, "/account", "once");
        // The owner sets a password, which counts for the application too.
        let mut bob = self.world.browser();
        bob.sign_in("idp", "bob");
        let set = bob.post("/auth/password", &[("new_password", PASSWORD)]);
        assert_eq!(set.location(), "/account?done=password");
        assert!(self.verifies("bob@example.com") && bob.who() == some("bob@example.com"));
        // What an operator says is told to the application.
        self.create("zoe@example.com", &json!({}));
        let folder = self.world.folder.path();
        let config = folder.join("hallpass.toml");
        let arguments = ["user", "verify", "ZOE@example.com", "--config", config.to_str().unwrap()];
        let verified = run(folder, &arguments, "");
        assert!(verified.status.success(), "{}", text(&verified.stderr));
        assert!(self.find("zoe@example.com")["verified"].is_string());
    }

    /// Who signed up with the provider at the application is the same here, whatever their address.
    fn knows_people_of_the_provider(mut self) {
        let oidc = json!({ "oidcId": "bob" });
        self.create("zoe@example.com", &json!({ "emailVerified": "2024-02-02T10:00:00.000Z" }));
        self.create("robert@example.com", &oidc);
        self.create("bob@example.com", &json!({}));
        assert_eq!(self.comes("bob"), ("/account".to_owned(), Some("robert@example.com".to_owned())));
        assert!(self.verifies("robert@example.com") && self.verifies("bob@example.com"));
        assert_eq!(
            self.find("robert@example.com")["verified"],
            Value::Null,
            "nothing was told of that address"
        );
        // From then on by the link: the application may forget it.
        assert_eq!(self.comes("bob").1.as_deref(), Some("robert@example.com"));
        // A new person gets an account that the application can work with.
        assert_eq!(self.comes("ann"), ("/account".to_owned(), Some("ann@example.com".to_owned())));
        assert!(self.find("ann@example.com")["verified"].is_string());
        self.people.ask("touch", json!({ "email": "ann@example.com" }));
    }
}

#[test]
fn mongoose_and_hallpass_agree_about_verified_addresses() {
    if let Some(both) = Both::mongoose() {
        both.agree_about_addresses();
    }
}

#[test]
fn an_application_on_postgresql_and_hallpass_agree_about_verified_addresses() {
    if let Some(both) = Both::postgres() {
        both.agree_about_addresses();
    }
}

#[test]
fn people_whom_passport_knows_come_in_by_their_id_at_the_provider() {
    for both in [Both::mongoose(), Both::postgres()].into_iter().flatten() {
        both.knows_people_of_the_provider();
    }
}

#[test]
fn what_is_said_of_addresses_cannot_contradict_itself() {
    for (settings, expected) in [
        (
            "verified = \"v\"\ntrust_email = true",
            "users.trust_email: says that every address is verified, and users.verified which",
        ),
        (
            "trust_email = true",
            "users.trust_email: would let whoever registers here with somebody else's address wait",
        ),
        (
            "verified = \"v\"\nlogin_kind = \"username\"",
            "users.verified: and users.trust_email do nothing where people sign in with user names",
        ),
        ("verified = \"email\"", "\"email\" cannot be the login and the mark of verified addresses at once"),
        ("trust_email = true\n[registration]\nopen = false", "users.trust_email"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let config = format!("[users]\ntable = \"people\"\nurl = \"sqlite:app.db\"\n{settings}\n");
        let path = write(&folder, "hallpass.toml", &config);
        let checked = run(folder.path(), &["check-config", "--config", path.to_str().unwrap()], "");
        let told = text(&checked.stdout) + &text(&checked.stderr);
        assert!(told.contains(expected), "expected {expected:?} in:\n{told}");
        assert_eq!(checked.status.success(), settings.contains("open = false"), "{told}");
    }
}

#[test]
fn a_large_table_is_not_read_for_a_sign_in_and_the_log_says_which_index_would_do() {
    let folder = tempfile::tempdir().unwrap();
    let rows = rusqlite::Connection::open(folder.path().join("app.db")).unwrap();
    rows.execute_batch(
        "create table people (id integer primary key autoincrement, email text unique, password text, name text);
        with recursive n(n) as (select 1 union all select n + 1 from n where n < 10001) insert into people (email) select n || '@example.com' from n",
    )
    .unwrap();
    rows.execute("insert into people (email, password) values ('Ann@Example.com', ?1)", [BCRYPTJS]).unwrap();
    let path = write(&folder, "hallpass.toml", "[users]\ntable = \"people\"\nurl = \"sqlite:app.db\"\n");
    let start = || Server::start(folder.path(), &["--config", path.to_str().unwrap()]);
    let log_in = |server: &Server, email: &str| {
        server.client().post("/auth/login", &json!({ "email": email, "password": PASSWORD })).status
    };
    let server = start();
    assert_eq!(log_in(&server, "Ann@Example.com"), 200);
    assert_eq!(log_in(&server, "ann@example.com"), 400);
    let cure = server.log_line("logins_not_indexed").unwrap()["cure"].as_str().unwrap().to_owned();
    server.kill();
    rows.execute_batch(&cure).unwrap();
    let server = start();
    assert_eq!(log_in(&server, "ann@example.com"), 200);
    assert!(!server.log().contains("logins_not_indexed"));
}

#[test]
fn a_field_of_a_provider_that_is_not_there_is_a_problem() {
    for (fields, problem) in [
        ("\"gogle=googleId\"", "users.providers: names no provider \"gogle\"; did you mean \"google\"?"),
        (
            "\"x=xId\"",
            "users.providers: names no provider \"x\"; describe it in [providers.x], or take it out",
        ),
        ("\"google=googleId\", \"google=other\"", "users: the provider \"google\" has two fields"),
        ("\"google=googleId\"", ""),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "public_url = \"https://a.example.com\"\n[users]\ntable = \"people\"\nurl = \"sqlite:app.db\"\nproviders = [{fields}]\n\
             [providers.google]\nclient_id = \"a\"\nclient_secret = \"b\"\n"
        );
        let path = write(&folder, "hallpass.toml", &config);
        let output = run(folder.path(), &["check-config", "--config", path.to_str().unwrap()], "");
        let printed = text(&output.stdout) + &text(&output.stderr);
        assert!(printed.contains(problem), "expected {problem:?} in:\n{printed}");
        assert_eq!(
            printed.contains("users.providers: "),
            problem.starts_with("users.providers"),
            "{printed}"
        );
    }
}
