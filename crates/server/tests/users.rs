//! Accounts of another application, with the real mongoose, bcryptjs and pg: both sign in the same people, and neither harms what the
//! other keeps.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod common;
#[path = "../../stores/tests/engines/mod.rs"]
mod engines;

use std::thread;

use common::{Client, PASSWORD, Server, run, text, write};
use engines::{
    Engine,
    people::{App, People},
};
use serde_json::{Value, json};
use tempfile::TempDir;

const OTHER: &str = "another correct battery staple";

/// The application, its database, and Hallpass on both.
struct Both {
    people: People,
    server: Server,
    folder: TempDir,
    _engine: Engine,
}

impl Both {
    fn start(engine: Engine, people: People, config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let limits = "\n[throttle.register]\nfree = 1000\n[throttle.address]\nfree = 1000\n";
        let path = write(&folder, "hallpass.toml", &format!("{config}{limits}"));
        let server = Server::start(folder.path(), &["--config", path.to_str().unwrap()]);
        Self { people, server, folder, _engine: engine }
    }

    /// A mongoose application whose accounts are in the database that Hallpass keeps its own things in.
    fn mongoose(more: &str) -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let engine = runtime.block_on(engines::mongodb::start())?;
        let url = engines::mongodb::url(&engine);
        let people = People::open("mongoose", &url)?;
        let config = format!(
            "database = \"{url}\"\n[users]\ncollection = \"users\"\nroles = \"roles\"\nenabled = \"isActive\"\n{more}"
        );
        Some(Self::start(engine, people, &config))
    }

    /// An application on PostgreSQL with user names; Hallpass keeps its own things in another schema.
    fn postgres() -> Option<Self> {
        let engine = engines::postgres::start()?;
        let url = engines::postgres::url(&engine);
        let people = People::open("pg", &url)?;
        let config = format!(
            "database = \"{url}&options=-csearch_path%3Dhallpass_own\"\n[users]\ntable = \"accounts\"\nschema = \"public\"\n\
             login = \"username\"\nlogin_kind = \"username\"\npassword = \"pass\"\nname = \"full_name\"\nrole = \"role\"\n\
             disabled = \"banned\"\ncreated = \"made\"\n"
        );
        Some(Self::start(engine, people, &config))
    }

    fn log_in(&self, login: &str, password: &str) -> (u16, Client) {
        let mut client = self.server.client();
        let answer = client.post("/auth/login", &json!({ "email": login, "password": password }));
        (answer.status, client)
    }

    fn signed_in(&self, login: &str, password: &str) -> Client {
        let (status, client) = self.log_in(login, password);
        assert_eq!(status, 200, "{}", self.server.log());
        client
    }

    fn raw(&mut self, login: &str) -> Vec<(String, String)> {
        serde_json::from_value(self.people.ask("raw", json!({ "email": login }))).unwrap()
    }

    fn verifies(&mut self, login: &str, password: &str) -> bool {
        self.people.ask("verify", json!({ "email": login, "password": password })) == json!(true)
    }

    fn command(&self, arguments: &[&str], input: &str) -> (i32, Value) {
        let path = self.folder.path().join("hallpass.toml");
        let arguments = [arguments, &["--json", "--config", path.to_str().unwrap()]].concat();
        let output = run(self.folder.path(), &arguments, input);
        let printed = if output.status.success() { &output.stdout } else { &output.stderr };
        let value = serde_json::from_slice(printed).unwrap_or_else(|_| panic!("{}", text(printed)));
        (output.status.code().unwrap(), value)
    }
}

/// Which fields differ; both must be there in the same order.
fn changed(before: &[(String, String)], after: &[(String, String)]) -> Vec<String> {
    let names = |fields: &[(String, String)]| fields.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(before), names(after));
    let differing = before.iter().zip(after).filter(|(one, other)| one != other);
    differing.map(|((name, _), _)| name.clone()).collect()
}

fn change_password(client: &mut Client, from: &str, to: &str) -> u16 {
    client.post("/auth/password", &json!({ "current_password": from, "new_password": to })).status
}

#[test]
fn people_of_mongoose_sign_in_and_every_byte_that_is_not_ours_stays() {
    let Some(mut both) = Both::mongoose("") else { return };
    let login = "Ann@Example.com";
    both.people.ask("insert", json!({ "email": login, "password": PASSWORD }));
    let before = both.raw(login);
    assert!(before.len() > 15);
    let mut ann = both.signed_in(login, PASSWORD);
    assert_eq!(both.log_in(login, OTHER).0, 400);
    assert_eq!(changed(&before, &both.raw(login)), Vec::<String>::new(), "signing in changes nothing");
    assert_eq!(ann.get("/auth/me").json()["user"]["email"], login);

    assert_eq!(change_password(&mut ann, PASSWORD, OTHER), 200);
    assert!(ann.is_signed_in(), "whoever changes the password stays");
    assert_eq!(changed(&before, &both.raw(login)), ["password"]);
    assert!(both.verifies(login, OTHER) && !both.verifies(login, PASSWORD), "bcryptjs verifies our hash");

    let before = both.raw(login);
    assert_eq!(ann.send("PATCH", "/auth/me", "application/json", "{\"name\":\"Ann\"}").status, 200);
    let mut after = both.raw(login);
    let name = after.pop().unwrap();
    assert!(
        name.0 == "name" && name.1.ends_with("416e6e00"),
        "the name is a new field, at the end: {name:?}"
    );
    assert_eq!(changed(&before, &after), Vec::<String>::new());
    assert_eq!(both.command(&["user", "disable", login], "").0, 0);
    assert_eq!(both.people.ask("find", json!({ "email": login }))["isActive"], false);
    assert!(!ann.is_signed_in());
}

#[test]
fn a_password_changed_by_the_application_ends_our_sessions() {
    let Some(mut both) = Both::mongoose("updated = \"updatedAt\"\n") else { return };
    both.people.ask("create", json!({ "email": "ann@example.com", "password": PASSWORD }));
    let (mut one, mut two) =
        (both.signed_in("ann@example.com", PASSWORD), both.signed_in("ann@example.com", PASSWORD));
    assert!(one.is_signed_in() && two.is_signed_in());
    both.people.ask("setPassword", json!({ "email": "ann@example.com", "password": OTHER }));
    assert!(!one.is_signed_in() && !two.is_signed_in());
    assert_eq!(both.log_in("ann@example.com", PASSWORD).0, 400);
    let mut ann = both.signed_in("ann@example.com", OTHER);
    assert_eq!(change_password(&mut ann, OTHER, PASSWORD), 200);
    // The application goes on saving whole models after us: versions and arrays as well.
    both.people.ask("setPassword", json!({ "email": "ann@example.com", "password": OTHER }));
    let ann = both.people.ask("find", json!({ "email": "ann@example.com" }));
    assert_eq!(ann["roles"], json!(["user", "changed", "changed"]));
}

#[test]
fn who_registers_here_is_known_there() {
    let Some(mut both) = Both::mongoose("created = \"createdAt\"\nupdated = \"updatedAt\"\n") else { return };
    let mut bob = both.server.registered("bob");
    assert!(bob.is_signed_in());
    assert!(both.verifies("bob@example.com", PASSWORD));
    let found = both.people.ask("find", json!({ "email": "bob@example.com" }));
    assert_eq!((&found["name"], &found["v"], &found["isActive"]), (&json!("bob"), &json!(0), &json!(true)));
    assert_eq!(found["id"], bob.get("/auth/me").json()["user"]["id"], "an ObjectId");
    assert!(found["hash"].as_str().unwrap().starts_with("$2b$10$"));
    let kinds: Vec<String> = both
        .raw("bob@example.com")
        .into_iter()
        .map(|(name, value)| format!("{name}:{}", value.split(':').next().unwrap()))
        .collect();
    let date_and_int = ["createdAt:9", "updatedAt:9", "__v:16"];
    assert_eq!(kinds[0], "_id:7");
    assert!(date_and_int.iter().all(|kind| kinds.iter().any(|found| found == kind)), "{kinds:?}");
    both.people.ask("setPassword", json!({ "email": "bob@example.com", "password": OTHER }));
    assert!(!bob.is_signed_in());
    both.signed_in("bob@example.com", OTHER);
}

#[test]
fn of_many_registrations_on_both_sides_one_wins() {
    let Some(mut both) = Both::mongoose("") else { return };
    for round in 0..5 {
        let email = format!("race{round}@example.com");
        both.people.send("race", json!({ "email": email, "password": PASSWORD, "times": 8 }));
        let ours: Vec<_> = (0..8)
            .map(|_| {
                let (mut client, body) =
                    (both.server.client(), json!({ "email": email, "password": PASSWORD }));
                thread::spawn(move || client.post("/auth/register", &body).status)
            })
            .collect();
        let ours: Vec<u16> = ours.into_iter().map(|request| request.join().unwrap()).collect();
        assert!(ours.iter().all(|status| [201, 409].contains(status)), "{ours:?}");
        let made = both.people.receive().as_u64().unwrap()
            + ours.iter().filter(|status| **status == 201).count() as u64;
        assert_eq!((made, both.people.ask("count", json!({ "email": email }))), (1, json!(1)));
    }
}

#[test]
fn without_a_unique_index_nobody_registers_and_the_operator_is_told() {
    let Some(mut both) = Both::mongoose("") else { return };
    both.people.ask("create", json!({ "email": "ann@example.com", "password": PASSWORD }));
    both.people.ask("dropIndex", json!({}));
    let (code, answer) = both.command(&["user", "create", "eve@example.com"], PASSWORD);
    assert_eq!((code, &answer["code"]), (4, &json!("registration_closed")), "{answer}");
    assert!(
        answer["message"].as_str().unwrap().contains("createIndex({ \"email\": 1 }, { unique: true })"),
        "{answer}"
    );
    let path = both.folder.path().join("hallpass.toml");
    let server = Server::start(both.folder.path(), &["--config", path.to_str().unwrap()]);
    let warned = server.log_line("register_closed").unwrap();
    assert!(warned["reason"].as_str().unwrap().contains("keeps email unique"), "{warned}");
    let refused =
        server.client().post("/auth/register", &json!({ "email": "eve@example.com", "password": PASSWORD }));
    assert_eq!((refused.status, refused.code()), (403, "registration_closed".to_owned()));
    assert!(server.signed_in("ann").is_signed_in(), "who is there already signs in");
}

/// Letters of two bytes in no pattern.
const LETTERS: &str = "üöüäöäüäöüüäöööäüöäüäöüööäüäüüöäöüäöü";

#[test]
fn what_bcrypt_ignores_is_accepted_where_it_was_and_refused_where_it_is_new() {
    let Some(mut both) = Both::mongoose("") else { return };
    let long = "é".repeat(40);
    assert_eq!(both.people.ask("truncates", json!({ "password": long })), true);
    both.people.ask("create", json!({ "email": "ann@example.com", "password": long }));
    let mut ann = both.signed_in("ann@example.com", &long);
    // bcryptjs compares 72 bytes, so the application accepts this as well.
    both.signed_in("ann@example.com", &format!("{}x", "é".repeat(36)));
    assert!(both.verifies("ann@example.com", &format!("{}x", "é".repeat(36))));
    assert_eq!(both.log_in("ann@example.com", &"é".repeat(35)).0, 400);
    let (letters, emoji) =
        (|count| LETTERS.chars().take(count).collect::<String>(), "🦀🦞🦀🐝🦀🦀🐝🦞🦀🐝🐝🦞🦀🐝🦞🦞🐝🦀🦞");
    for (new, status) in [(letters(37), 422), (emoji.to_owned(), 422), (letters(36), 200)] {
        let answer = ann.post("/auth/password", &json!({ "current_password": long, "new_password": new }));
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(status == 200 || answer.body.contains("at most 72 characters"), "{}", answer.body);
    }
    let new = letters(36);
    assert_eq!(both.people.ask("truncates", json!({ "password": new })), false);
    assert!(both.verifies("ann@example.com", &new) && !both.verifies("ann@example.com", &letters(35)));
    // Decomposed, it is another password there, and so it is here.
    let decomposed = letters(24).replace('ü', "u\u{308}").replace('ö', "o\u{308}").replace('ä', "a\u{308}");
    assert_eq!(decomposed.len(), 72);
    assert_eq!(change_password(&mut ann, &new, &decomposed), 200);
    assert!(both.verifies("ann@example.com", &decomposed) && !both.verifies("ann@example.com", &letters(24)));
    assert_eq!(both.log_in("ann@example.com", &letters(24)).0, 400);
    both.signed_in("ann@example.com", &decomposed);
}

#[test]
fn operators_see_and_manage_the_applications_people() {
    let Some(mut both) = Both::mongoose("") else { return };
    both.people.ask(
        "create",
        json!({ "email": "ann@example.com", "password": PASSWORD, "more": { "name": "Ann" } }),
    );
    let (_, users) = both.command(&["user", "list"], "");
    assert_eq!(
        (&users[0]["name"], &users[0]["roles"], &users[0]["disabled"]),
        (&json!("Ann"), &json!(["user"]), &json!(false))
    );
    assert_eq!(both.command(&["user", "create", "bob@example.com", "--role", "admin"], PASSWORD).0, 0);
    assert_eq!(both.people.ask("find", json!({ "email": "bob@example.com" }))["roles"], json!(["admin"]));
    assert_eq!(both.command(&["user", "delete", "bob@example.com", "--yes"], "").0, 0);
    assert_eq!(both.people.ask("count", json!({ "email": "bob@example.com" })), 0);
}

#[test]
fn people_with_user_names_in_postgresql_sign_in_and_change_their_password() {
    let Some(mut both) = Both::postgres() else { return };
    both.people.ask("create", json!({ "email": "Ann", "password": PASSWORD }));
    let before = both.raw("Ann");
    let mut ann = both.signed_in("Ann", PASSWORD);
    assert_eq!(ann.get("/auth/me").json()["user"]["id"], "1");
    assert_eq!(changed(&before, &both.raw("Ann")), Vec::<String>::new());
    assert_eq!(change_password(&mut ann, PASSWORD, OTHER), 200);
    assert_eq!(changed(&before, &both.raw("Ann")), ["pass"]);
    assert!(both.verifies("Ann", OTHER));
    both.people.ask("setPassword", json!({ "email": "Ann", "password": PASSWORD }));
    assert!(!ann.is_signed_in());
    let page = both.server.client().in_browser().get("/login").body;
    assert!(page.contains("User name") && page.contains("type=\"text\" autocomplete=\"username\""), "{page}");

    let register = |name: &str| {
        both.server
            .client()
            .post("/auth/register", &json!({ "email": name, "password": PASSWORD, "name": "Bob Lee" }))
    };
    assert_eq!((register("bob").status, register("bob").status), (201, 409));
    let refused = register("bob lee");
    assert_eq!((refused.status, refused.code()), (422, "invalid_username".to_owned()));
    let bob = both.people.ask("find", json!({ "email": "bob" }));
    assert_eq!(
        (&bob["name"], &bob["role"], &bob["banned"]),
        (&json!("Bob Lee"), &json!("user"), &json!(false))
    );
    assert!(both.verifies("bob", PASSWORD));
    both.people.send("race", json!({ "email": "eve", "password": PASSWORD, "times": 8 }));
    let ours = (0..8).filter(|_| {
        both.server.client().post("/auth/register", &json!({ "email": "eve", "password": PASSWORD })).status
            == 201
    });
    let ours = ours.count() as u64;
    assert_eq!(both.people.receive().as_u64().unwrap() + ours, 1);
}

/// The configuration that docs/from-express.md begins with.
#[test]
fn the_server_shares_people_and_live_sessions_with_an_express_app() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Some(engine) = runtime.block_on(engines::mongodb::start()) else { return };
    let (mongo, secret) = (engines::mongodb::url(&engine), "a secret of both that is long enough");
    let Some(express) = App::start(&mongo, secret) else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "database = \"{mongo}\"\n[session]\ncookie_name = \"connect.sid\"\nsecrets = [\"{secret}\"]\nlogin_key = \"userId\"\n\
         layout = \"connect\"\n[users]\ncollection = \"users\"\n"
    );
    let path = write(&folder, "hallpass.toml", &config);
    let server = Server::start(folder.path(), &["--config", path.to_str().unwrap()]);
    let at = |url: &str, from: &Client| {
        let mut client = Client::new(url);
        client.cookie.clone_from(&from.cookie);
        client
    };

    let mut there = Client::new(&express.url);
    assert_eq!(there.post("/auth/register", &common::credentials("ann")).status, 201);
    assert_eq!(there.post("/cart", &json!({ "item": "apple" })).status, 200);
    let mut here = at(&server.url, &there);
    assert_eq!(
        here.get("/auth/me").json()["user"]["email"],
        "ann@example.com",
        "logged in there, known here"
    );
    assert_eq!(here.get("/auth/sessions").json()["sessions"].as_array().unwrap().len(), 1);

    let mut other = server.signed_in("ann");
    assert_eq!(
        at(&express.url, &other).get("/auth/me").json()["email"],
        "ann@example.com",
        "and the other way round"
    );
    assert_eq!(at(&express.url, &there).get("/cart").json()["cart"], json!({ "apple": 1 }));
    assert_eq!(change_password(&mut other, PASSWORD, OTHER), 200);
    assert!(other.is_signed_in() && !here.is_signed_in());
    assert_eq!(there.get("/auth/me").status, 401, "a session that Express began has ended for Express too");

    let mut there = at(&express.url, &other);
    assert_eq!(there.post("/auth/logout", &json!({})).status, 200);
    assert!(!other.is_signed_in());
    let credentials = json!({ "email": "ann@example.com", "password": OTHER });
    assert_eq!(there.post("/auth/login", &credentials).status, 200, "bcryptjs verifies the new password");
    let mut here = at(&server.url, &there);
    assert!(here.is_signed_in());
    assert_eq!(here.post("/auth/logout", &json!({})).status, 200);
    assert_eq!(there.get("/auth/me").status, 401);
}
