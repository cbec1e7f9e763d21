//! What operators do with a server and its files: rotate secrets, move, restore, check the configuration, read the log.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use common::{Client, Server, run, text};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A command's exit code, and its answer in JSON.
fn asked(folder: &Path, arguments: &[&str]) -> (i32, Value) {
    let output = run(folder, &[arguments, &["--json"]].concat(), "");
    let printed = if output.status.success() { text(&output.stdout) } else { text(&output.stderr) };
    let last = printed.lines().last().unwrap_or_default();
    let value = serde_json::from_str(last).unwrap_or_else(|_| panic!("no JSON: {printed}"));
    (output.status.code().unwrap(), value)
}

fn done(folder: &Path, arguments: &[&str]) -> Value {
    let (code, answer) = asked(folder, arguments);
    assert_eq!(code, 0, "{arguments:?}: {answer}");
    answer
}

/// The same browser at another server.
fn at(server: &Server, browser: &Client) -> Client {
    let mut client = server.client();
    client.cookie.clone_from(&browser.cookie);
    client
}

/// Stops a server as a supervisor does, and starts another one.
fn restarted(server: Server, folder: &Path) -> Server {
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(0));
    Server::start(folder, &[])
}

/// The log of a server that does not start, and its exit code.
fn refused(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = run(folder, &[&["serve", "--listen", "127.0.0.1:0"], arguments].concat(), "");
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    (output.status.code().unwrap(), text(&output.stderr))
}

#[test]
fn a_rotation_in_two_steps_signs_nobody_out_between_two_servers() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let (one, two) = (Server::start(folder, &[]), Server::start(folder, &[]));
    let mut ann = one.registered("ann");
    assert_eq!(asked(folder, &["key", "sign"]).1["code"], "nothing_accepted");
    let new = done(folder, &["key", "accept"])["fingerprint"].as_str().unwrap().to_owned();
    let status = done(folder, &["key", "status"]);
    assert_eq!(
        (&status["secrets"][1]["fingerprint"], &status["secrets"][1]["servers_accept"]),
        (&json!(new), &json!(0))
    );
    let old = status["secrets"][0]["fingerprint"].as_str().unwrap().to_owned();
    assert_eq!(status["secrets"][0]["servers_sign"], 2);
    for _ in 0..2 {
        let (code, answer) = asked(folder, &["key", "sign"]);
        assert_eq!((code, &answer["code"]), (4, &json!("not_everywhere")), "{answer}");
    }
    let one = restarted(one, folder);
    assert_eq!(asked(folder, &["key", "sign"]).1["code"], "not_everywhere", "the other one does not know it");
    let two = restarted(two, folder);
    assert_eq!(done(folder, &["key", "sign"])["signs"], new);
    assert_eq!(asked(folder, &["key", "retire", &old]).1["code"], "signs", "it signs until the restart");

    // One server signs with the new secret, the other one with the old one.
    let one = restarted(one, folder);
    let (mut bob, mut eve) = (one.registered("bob"), two.registered("eve"));
    for (browser, first, second) in [(&mut bob, &one, &two), (&mut eve, &two, &one), (&mut ann, &one, &two)] {
        assert!(at(first, browser).is_signed_in() && at(second, browser).is_signed_in());
        assert!(browser.cookie.is_some());
    }
    let two = restarted(two, folder);
    for browser in [&ann, &bob, &eve] {
        assert!(at(&one, browser).is_signed_in() && at(&two, browser).is_signed_in());
    }
    assert!(!one.log().contains("secrets_differ") && !two.log().contains("signature_unknown"));

    assert_eq!(done(folder, &["key", "retire", &old])["retired"], old);
    assert_eq!(asked(folder, &["key", "retire", &new]).1["code"], "signs");
    let one = restarted(one, folder);
    let mut of_old = at(&one, &eve);
    assert!(!of_old.is_signed_in(), "only now");
    let said = one.log_line("signature_unknown").unwrap();
    assert_eq!(said["count"], 1, "{said}");
    assert!(!one.log().contains(
        &fs::read_to_string(folder.join("hallpass.key")).unwrap().lines().last().unwrap().to_owned()
    ));
}

#[test]
fn servers_with_different_secrets_are_named() {
    let folder = TempDir::new().unwrap();
    let with = |secret| [("HALLPASS__SESSION__SECRETS", secret)];
    let one = with("one-secret-of-at-least-thirty-two-bytes");
    let two = with("another-secret-of-at-least-32-bytes-long");
    let _one = Server::start_with(folder.path(), &[], &one);
    let two = Server::start_with(folder.path(), &[], &two);
    assert!(two.log_line("secrets_differ").unwrap()["pid"].is_u64());
}

#[test]
fn a_move_brings_the_key_or_says_what_to_do() {
    let (old, new) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = Server::start(old.path(), &[]);
    let ann = server.registered("ann");
    server.signal("TERM");
    server.wait();
    let source = format!("sqlite:{}", old.path().join("hallpass.db").display());
    let key = old.path().join("hallpass.key");
    fs::rename(&key, old.path().join("away")).unwrap();
    let (code, said) = refused(new.path(), &["--moving-from", &source]);
    assert!(code == 1 && said.contains("copy the key file of the old server"), "{code} {said}");
    fs::rename(old.path().join("away"), &key).unwrap();

    let server = Server::start(new.path(), &["--moving-from", &source]);
    assert!(at(&server, &ann).is_signed_in(), "the server moves the session");
    server.signal("TERM");
    server.wait();
    done(new.path(), &["migrate", "--from", &source]);
    assert!(at(&Server::start(new.path(), &[]), &ann).is_signed_in());
    assert_eq!(fs::metadata(new.path().join("hallpass.key")).unwrap().permissions().mode() & 0o777, 0o600);

    // With the command alone, and another key there already.
    let third = TempDir::new().unwrap();
    let source = format!("sqlite:{}", new.path().join("hallpass.db").display());
    let other = text(&run(third.path(), &["key", "generate"], "").stdout);
    fs::write(third.path().join("hallpass.key"), other).unwrap();
    let (code, answer) = asked(third.path(), &["migrate", "--from", &source]);
    assert!(code != 0 && answer["message"].as_str().unwrap().contains("add the first secret"), "{answer}");
    fs::remove_file(third.path().join("hallpass.key")).unwrap();
    done(third.path(), &["migrate", "--from", &source]);
    assert!(at(&Server::start(third.path(), &[]), &ann).is_signed_in());
}

#[test]
fn no_new_key_is_made_where_sessions_were_signed_with_another_one() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let server = Server::start(folder, &[]);
    let ann = server.registered("ann");
    server.signal("TERM");
    server.wait();
    fs::rename(folder.join("hallpass.key"), folder.join("kept")).unwrap();
    let (code, said) = refused(folder, &[]);
    assert!(code == 1 && said.contains("from the backup or from the other servers"), "{code} {said}");
    assert!(!folder.join("hallpass.key").exists());
    fs::rename(folder.join("kept"), folder.join("hallpass.key")).unwrap();
    assert!(at(&Server::start(folder, &[]), &ann).is_signed_in());
}

#[test]
fn a_restored_file_beside_an_old_log_is_refused_and_not_touched() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let server = Server::start(folder, &[]);
    server.registered("ann");
    done(folder, &["backup", "copy.db"]);
    server.registered("bob");
    server.kill();
    let (database, log) = (folder.join("hallpass.db"), folder.join("hallpass.db-wal"));
    let log_before = fs::read(&log).unwrap();
    assert!(!log_before.is_empty());
    let restored = fs::read(folder.join("copy.db")).unwrap();
    fs::write(&database, &restored).unwrap();
    // People take longer than a test.
    let later = fs::metadata(&log).unwrap().modified().unwrap() + Duration::from_secs(600);
    File::options().write(true).open(&database).unwrap().set_modified(later).unwrap();
    let (code, said) = refused(folder, &[]);
    assert!(code == 1 && said.contains("as when it was restored") && said.contains("-wal"), "{code} {said}");
    assert_eq!(asked(folder, &["user", "list"]).0, 1, "no command either");
    assert!(
        fs::read(&database).unwrap() == restored && fs::read(&log).unwrap() == log_before,
        "nothing was changed"
    );
    // As the message says.
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(folder.join(format!("hallpass.db{suffix}"))).unwrap();
    }
    let server = Server::start(folder, &[]);
    assert_eq!(server.client().post("/auth/login", &common::credentials("ann")).status, 200);
    assert_eq!(
        server.client().post("/auth/login", &common::credentials("bob")).status,
        400,
        "made after the copy"
    );
    // A crash of our own is no damage.
    server.kill();
    drop(Server::start(folder, &[]));
}

#[test]
fn no_server_is_ready_on_a_file_that_does_not_fit_its_log() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let server = Server::start(folder, &[]);
    server.registered("ann");
    // Accounts and sessions are in the file; the log has only what a start writes.
    restarted(server, folder).kill();
    let database = folder.join("hallpass.db");
    assert!(fs::metadata(folder.join("hallpass.db-wal")).unwrap().len() > 0);
    let mut bytes = fs::read(&database).unwrap();
    // All pages but the first; those that the start changed are in the log too.
    bytes[4096..].fill(0xff);
    fs::write(&database, &bytes).unwrap();
    let (code, said) = refused(folder, &[]);
    assert!(code == 1 && said.contains("is damaged") && said.contains("restore it again"), "{code} {said}");
    assert!(fs::read(&database).unwrap() == bytes, "nothing was changed");
}

#[test]
fn files_that_others_may_read_are_named() {
    let folder = TempDir::new().unwrap();
    let path = common::write(
        &folder,
        "hallpass.toml",
        "[session]\nsecrets = [\"a-secret-that-stands-in-the-configuration\"]\n",
    );
    let config = path.to_str().unwrap().to_owned();
    drop(Server::start(folder.path(), &["--config", &config]));
    let database = folder.path().join("hallpass.db");
    assert_eq!(fs::metadata(&database).unwrap().permissions().mode() & 0o777, 0o600);
    for file in [&database, &path] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    }
    let server = Server::start(folder.path(), &["--config", &config]);
    for event in ["database_readable", "secrets_readable"] {
        assert!(server.log_line(event).is_some(), "{event}");
    }
    let checked = run(folder.path(), &["check-config", "--config", &config], "");
    let said = text(&checked.stderr);
    assert!(said.contains("chmod 600") && said.contains("chmod o="), "{said}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(&database, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(!text(&run(folder.path(), &["check-config", "--config", &config], "").stderr).contains("chmod"));
}

#[test]
fn a_port_in_use_is_found_before_anything_is_made() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = Server::start(folder.path(), &[]);
    let port = server.url.trim_start_matches("http://");
    let output = run(other.path(), &["serve", "--listen", port], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("another program uses this port"));
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0, "no database, no key");
}

/// Every line of a server that does not start is one of the log's, whatever is wrong.
#[test]
fn the_log_has_one_format_from_the_first_line_to_the_last() {
    let folder = TempDir::new().unwrap();
    let broken = common::write(&folder, "broken.toml", "listen = 5\n[log]\nformat = \"json\"\n");
    for (arguments, code) in [
        (&["--config", broken.to_str().unwrap()][..], 2),
        (&["--config", "missing.toml"], 2),
        (&["--database", "hallpass.db"], 2),
        (&["--database", "sqlite:/does/not/exist/x.db"], 1),
        (&["--database", "postgres://127.0.0.1:1/x"], 1),
    ] {
        let (exit, said) = refused(folder.path(), arguments);
        assert_eq!(exit, code, "{arguments:?}: {said}");
        let lines: Vec<Value> = said
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{said}")))
            .collect();
        let last = lines.last().unwrap();
        assert_eq!((&last["event"], &last["level"]), (&json!("not_started"), &json!("ERROR")), "{said}");
    }
    let config = common::write(&folder, "text.toml", "listen = 5\n[log]\nformat = \"text\"\n");
    let (_, said) = refused(folder.path(), &["--config", config.to_str().unwrap()]);
    assert!(said.starts_with("hallpass: the configuration cannot be used"), "{said}");
    let (_, said) = refused(folder.path(), &["--database", "hallpass.db"]);
    assert!(said.contains("write sqlite:hallpass.db"), "{said}");
}

/// Whatever is wrong with a configuration, `check-config` and `serve` end with exit code 2.
#[test]
fn every_kind_of_bad_configuration_ends_with_exit_code_2() {
    let folder = TempDir::new().unwrap();
    let templates = |name: &str, file: &str, content: &str| {
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join(file), content).unwrap();
        format!("[pages]\ntemplates = \"{}\"", path.display())
    };
    common::write(&folder, "short.key", "short\n");
    for (what, config) in [
        ("no TOML", "listen = ".to_owned()),
        ("an unknown setting", "lisen = \"127.0.0.1:0\"".to_owned()),
        ("an unknown section", "[sesion]\nidle_timeout = \"1h\"".to_owned()),
        ("another type", "[session]\nidle_timeout = 5".to_owned()),
        ("out of range", "[password]\nmin_length = 3".to_owned()),
        ("two that contradict", "[session]\nsame_site = \"none\"".to_owned()),
        ("a short secret", "[session]\nsecrets = [\"short\"]".to_owned()),
        ("a missing secrets file", "[session]\nsecrets_file = \"nowhere\"".to_owned()),
        ("a bad key file", "key_file = \"short.key\"".to_owned()),
        ("an unknown database", "database = \"mysql://x\"".to_owned()),
        ("a database without its kind", "database = \"hallpass.db\"".to_owned()),
        ("a provider without an issuer", "[providers.x]\npreset = \"openid\"\nclient_id = \"x\"".to_owned()),
        ("a missing folder of templates", "[pages]\ntemplates = \"nowhere\"".to_owned()),
        ("a template that cannot be read", templates("a", "login.html", "{% if %}")),
        ("a template that fails", templates("b", "login.html", "{{ service|nothing }}")),
        ("a template that fails with an error on it", templates("c", "error.html", "{{ message.a.b }}")),
        (
            "a template that fails for an account",
            templates("d", "account.html", "{% for s in sessions %}{{ s.x.y }}{% endfor %}"),
        ),
    ] {
        let path = common::write(&folder, "hallpass.toml", &format!("{config}\n"));
        let config = ["--config", path.to_str().unwrap()];
        let (code, answer) = asked(folder.path(), &[&["check-config"], &config[..]].concat());
        assert_eq!((code, &answer["code"]), (2, &json!("configuration")), "{what}: {answer}");
        let (code, said) = refused(folder.path(), &config);
        assert_eq!(code, 2, "{what}: {said}");
        assert!(!folder.path().join("hallpass.db").exists(), "{what}");
    }
    let (code, _) = asked(folder.path(), &["check-config", "--config", "missing.toml"]);
    assert_eq!(code, 2);
}

#[test]
fn a_checked_configuration_says_so_and_what_follows_from_it() {
    let folder = TempDir::new().unwrap();
    let path = common::write(
        &folder,
        "hallpass.toml",
        "public_url = \"https://auth.example.com\"\ntrust_proxy = \"loopback\"\n[registration]\nopen = false\n\
         [providers.github]\nclient_id = \"x\"\nclient_secret = \"y\"\n",
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let config = ["--config", path.to_str().unwrap()];
    let checked = run(folder.path(), &[&["check-config"], &config[..]].concat(), "");
    let (said, warned) = (text(&checked.stdout), text(&checked.stderr));
    assert!(said.ends_with("The configuration is OK.\n") && warned.is_empty(), "{said}{warned}");
    let rows = done(folder.path(), &[&["check-config"], &config[..]].concat());
    let value = |name: &str| {
        let row = rows.as_array().unwrap().iter().find(|row| row["setting"] == name);
        let row = row.unwrap_or_else(|| panic!("{name} is not shown"));
        (row["value"].as_str().unwrap().to_owned(), row["from"].as_str().unwrap().to_owned())
    };
    for (name, expected) in [
        ("session.cookie_name", "__Host-hallpass"),
        ("key_file", "hallpass.key"),
        ("csrf.trusted_origins", "https://auth.example.com"),
        ("session.cookie_secure", "true"),
        ("providers.github.redirect_uri", "https://auth.example.com/auth/oauth/github/callback"),
    ] {
        assert_eq!(value(name), (expected.to_owned(), "derived".to_owned()), "{name}");
    }
    for (config, warning) in [
        ("listen = \"0.0.0.0:8080\"", "http_in_public"),
        ("public_url = \"http://auth.example.com\"", "http_in_public"),
        ("public_url = \"https://auth.example.com\"", "proxy_not_trusted"),
        ("", "registration_open"),
    ] {
        let path = common::write(&folder, "other.toml", config);
        let output = run(folder.path(), &["check-config", "--json", "--config", path.to_str().unwrap()], "");
        let warned = text(&output.stderr);
        assert!(
            output.status.success() && warned.contains(&format!("\"warning\":\"{warning}\"")),
            "{config}: {warned}"
        );
    }
    let online = |more: &str| {
        let path = common::write(&folder, "online.toml", more);
        run(folder.path(), &["check-config", "--online", "--config", path.to_str().unwrap()], "")
    };
    let good = online("");
    assert!(
        text(&good.stdout).contains("the server makes it") && text(&good.stdout).contains("\nOK"),
        "{}",
        text(&good.stdout)
    );
    for more in [
        "database = \"sqlite:/does/not/exist/x.db\"",
        "sessions = \"redis://127.0.0.1:1\"",
        "database = \"postgres://127.0.0.1:1/x\"",
    ] {
        let bad = online(&format!("{more}\n[store]\ntimeout = \"1s\"\n"));
        assert_eq!(bad.status.code(), Some(1), "{more}: {}", text(&bad.stdout));
        assert!(text(&bad.stdout).contains("reachable"), "{more}: {}", text(&bad.stdout));
    }
    assert!(!folder.path().join("hallpass.db").exists() && !folder.path().join("hallpass.key").exists());
}

/// The first account may be there before the first start, and whoever makes it makes files that the server can use.
#[test]
fn the_first_account_is_made_before_the_first_start() {
    let folder = TempDir::new().unwrap();
    let made = run(folder.path(), &["user", "create", "ann@example.com"], common::PASSWORD);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let folder_of = fs::metadata(folder.path()).unwrap();
    let database = fs::metadata(folder.path().join("hallpass.db")).unwrap();
    assert_eq!((database.uid(), database.mode() & 0o777), (folder_of.uid(), 0o600));
    let server = Server::start(folder.path(), &[]);
    server.signed_in("ann");
    let end = Instant::now() + Duration::from_secs(5);
    while !folder.path().join("hallpass.key").exists() {
        assert!(Instant::now() < end);
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_copy_is_whole_and_its_owners_alone_and_can_be_restored() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path(), &[]);
    let ann = server.registered("ann");
    let copy = done(folder.path(), &["backup", "copy.db"]);
    assert_eq!((&copy["file"], &copy["key_file"]), (&json!("copy.db"), &json!("copy.db.key")));
    server.registered("bob");
    for file in ["copy.db", "copy.db.key"] {
        assert_eq!(fs::metadata(folder.path().join(file)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(asked(folder.path(), &["backup", "copy.db"]).0, 1, "no copy is written over");
    let restored = TempDir::new().unwrap();
    for (from, to) in [("copy.db", "hallpass.db"), ("copy.db.key", "hallpass.key")] {
        fs::copy(folder.path().join(from), restored.path().join(to)).unwrap();
    }
    let restored = Server::start(restored.path(), &[]);
    assert!(at(&restored, &ann).is_signed_in());
    assert_eq!(restored.client().post("/auth/login", &common::credentials("bob")).status, 400);
    let (code, answer) = asked(folder.path(), &["backup", "x.db", "--database", "postgres://127.0.0.1:1/x"]);
    assert_eq!((code, &answer["code"]), (4, &json!("no_file")));
}
