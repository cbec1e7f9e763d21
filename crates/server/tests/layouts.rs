//! Sessions in the layouts of Express's stores: several servers, operators, and moves to and from them.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod common;
#[path = "../../stores/tests/engines/mod.rs"]
mod engines;

use common::{Client, Server, run, text};
use engines::Engine;
use serde_json::{Value, json};
use tempfile::TempDir;

const SECRET: &str = "a-secret-of-several-servers-that-is-long";

fn mongodb() -> Option<(Engine, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let engine = runtime.block_on(engines::mongodb::start())?;
    let url = engines::mongodb::url(&engine);
    Some((engine, url))
}

fn postgres() -> Option<(Engine, String)> {
    let engine = engines::postgres::start()?;
    let url = engines::postgres::url(&engine);
    Some((engine, url))
}

fn redis() -> Option<(Engine, String)> {
    let engine = engines::redis::start()?;
    let url = engines::redis::url(&engine);
    Some((engine, url))
}

fn serve(folder: &TempDir, arguments: &[&str]) -> Server {
    serve_with(folder, arguments, None)
}

fn serve_with(folder: &TempDir, arguments: &[&str], option: Option<(&str, &str)>) -> Server {
    let secret = ("HALLPASS__SESSION__SECRETS", SECRET);
    let environment: Vec<_> = [secret].into_iter().chain(option).collect();
    Server::start_with(folder.path(), arguments, &environment)
}

fn at(server: &Server, browser: &Client) -> Client {
    let mut client = server.client();
    client.cookie.clone_from(&browser.cookie);
    client
}

fn sessions_of(client: &mut Client) -> usize {
    client.get("/auth/sessions").json()["sessions"].as_array().unwrap().len()
}

/// Accounts beside the server, sessions as Express has them.
fn two_servers(place: Option<(Engine, String)>, option: Option<(&str, &str)>) {
    let Some((_engine, url)) = place else { return };
    let folder = TempDir::new().unwrap();
    let arguments = ["--sessions", &url, "--layout", "connect"];
    let serve = || serve_with(&folder, &arguments, option);
    let (one, two) = (serve(), serve());
    let ann = one.registered("ann");
    let mut elsewhere = at(&two, &ann);
    assert!(elsewhere.is_signed_in());
    let second = two.signed_in("ann");
    assert_eq!(sessions_of(&mut elsewhere), 2);
    assert_eq!(elsewhere.post("/auth/logout", &json!({})).status, 200);
    assert!(!at(&one, &ann).is_signed_in(), "out on one is out on both");
    let mut second = at(&one, &second);
    let third = two.signed_in("ann");
    let change = json!({ "current_password": common::PASSWORD, "new_password": "another long pass phrase" });
    assert_eq!(second.post("/auth/password", &change).status, 200);
    assert!(!at(&two, &third).is_signed_in(), "a new password ends the others everywhere");
    assert!(at(&two, &second).is_signed_in());
    let listed = run(folder.path(), &[&["session", "list", "--json"], &arguments[..]].concat(), "");
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    let revoked =
        run(folder.path(), &[&["session", "revoke", "--all", "--yes"], &arguments[..]].concat(), "");
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    assert!(!second.is_signed_in());
}

#[test]
fn two_servers_share_the_table_of_connect_pg_simple() {
    two_servers(postgres(), Some(("HALLPASS__CONNECT__PG__CREATE_TABLE_IF_MISSING", "true")));
}

#[test]
fn two_servers_share_the_collection_of_connect_mongo() {
    two_servers(mongodb(), Some(("HALLPASS__CONNECT__MONGO__STRINGIFY", "false")));
}

#[test]
fn two_servers_share_the_keys_of_connect_redis() {
    two_servers(redis(), None);
}

fn migrate(folder: &TempDir, arguments: &[&str]) -> Value {
    let output = run(folder.path(), &[&["migrate", "--json"], arguments].concat(), "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn sessions_move_from_connect_mongo_to_connect_redis_and_on_to_the_native_layout() {
    let (Some((_mongodb, from)), Some((_redis, to))) = (mongodb(), redis()) else { return };
    let folder = TempDir::new().unwrap();
    let first = serve(&folder, &["--sessions", &from, "--layout", "connect"]);
    let browsers: Vec<Client> = ["ann", "bob", "eve"].map(|name| first.registered(name)).into();
    drop(first);

    let moving =
        ["--sessions", &to, "--layout", "connect", "--moving-from", &from, "--moving-layout", "connect"];
    let second = serve(&folder, &moving);
    assert!(at(&second, &browsers[0]).is_signed_in(), "fetched when asked for");
    assert_eq!(at(&second, &browsers[1]).post("/auth/logout", &json!({})).status, 200, "ended on the way");
    let to_redis = ["--sessions", &to, "--to-layout", "connect", "--from", &from, "--from-layout", "connect"];
    assert_eq!(migrate(&folder, &[&to_redis[..], &["--dry-run"]].concat())["sessions"], 1);
    assert_eq!(migrate(&folder, &to_redis)["sessions"], 1);
    assert_eq!(migrate(&folder, &to_redis)["sessions"], 0, "again: nothing");
    drop(second);

    let home = ["--from", &to, "--from-layout", "connect"];
    assert_eq!(migrate(&folder, &home)["sessions"], 2);
    let third = serve(&folder, &[]);
    for (browser, signed_in) in browsers.iter().zip([true, false, true]) {
        assert_eq!(at(&third, browser).is_signed_in(), signed_in);
    }
    assert_eq!(sessions_of(&mut at(&third, &browsers[0])), 1);
}

#[test]
fn the_native_layout_cannot_be_moved_to_expresss_but_browsers_bring_their_sessions() {
    let Some((_redis, to)) = redis() else { return };
    let folder = TempDir::new().unwrap();
    let first = serve(&folder, &[]);
    let ann = first.registered("ann");
    drop(first);
    let target = ["--database", "sqlite:new.db", "--sessions", &to, "--layout", "connect"];
    let all = [&["migrate"], &target[..], &["--from", "sqlite:hallpass.db"]].concat();
    let refused = run(folder.path(), &all, "");
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains("only the hashes of their ids are known"), "{said}");
    assert!(said.contains("--accounts-only") && said.contains("--moving-from"), "{said}");
    let accounts = run(folder.path(), &[&all[..], &["--accounts-only"]].concat(), "");
    assert!(accounts.status.success(), "{}", text(&accounts.stderr));
    let second = serve(&folder, &[&target[..], &["--moving-from", "sqlite:hallpass.db"]].concat());
    assert!(at(&second, &ann).is_signed_in());
    drop(second);
    let third = serve(&folder, &target);
    assert!(at(&third, &ann).is_signed_in(), "it moved when its browser came back");
}
