//! The configuration as operators meet it: where values come from, and what they are told about mistakes.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::path::Path;

use common::{hallpass, text, write};
use tempfile::TempDir;

/// `check-config` with this file and environment: exit code and everything it printed.
fn check(folder: &Path, file: Option<&str>, environment: &[(&str, &str)], flags: &[&str]) -> (i32, String) {
    let mut command = hallpass(folder);
    command.arg("check-config").envs(environment.iter().copied()).args(flags);
    if let Some(file) = file {
        command.args(["--config", file]);
    }
    let output = command.output().unwrap();
    (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
}

/// What a configuration file is told.
fn told(config: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, "hallpass.toml", config);
    let (code, printed) = check(folder.path(), path.to_str(), &[], &[]);
    assert!(code == 0 || code == 2, "{code}: {printed}");
    assert_eq!(code == 2, printed.contains("cannot be used"), "{printed}");
    printed
}

fn row<'a>(printed: &'a str, setting: &str) -> Vec<&'a str> {
    let line = printed.lines().find(|line| line.split_whitespace().next() == Some(setting)).unwrap();
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).skip(1).collect()
}

#[test]
fn later_sources_win_and_check_config_names_them() {
    let folder = TempDir::new().unwrap();
    let path = write(
        &folder,
        "c.toml",
        "listen = \"127.0.0.1:1\"\ndatabase = \"sqlite:file.db\"\n[session]\nidle_timeout = \"2h\"\ntouch_after = \"5m\"",
    );
    let environment =
        [("HALLPASS__SESSION__IDLE_TIMEOUT", "3h"), ("HALLPASS__LISTEN", "127.0.0.1:2"), ("OTHER__X", "y")];
    let (code, printed) = check(folder.path(), path.to_str(), &environment, &["--listen", "127.0.0.1:3"]);
    assert_eq!(code, 0, "{printed}");
    let file = path.to_str().unwrap();
    assert_eq!(row(&printed, "listen"), ["127.0.0.1:3", "--listen"]);
    assert_eq!(row(&printed, "session.idle_timeout"), ["3h", "HALLPASS__SESSION__IDLE_TIMEOUT"]);
    assert_eq!(row(&printed, "session.touch_after"), ["5m", file]);
    assert_eq!(row(&printed, "database"), ["sqlite:file.db", file]);
    assert_eq!(row(&printed, "session.remember_for"), ["30days", "default"]);
    let (code, printed) = check(folder.path(), None, &[("HALLPASS_CONFIG", file)], &["--json"]);
    assert_eq!(code, 0);
    let rows: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert!(
        rows.as_array()
            .unwrap()
            .contains(&serde_json::json!({ "setting": "session.touch_after", "value": "5m", "from": file }))
    );
}

#[test]
fn every_problem_is_told_at_once_with_its_place_and_what_to_write() {
    let printed = told(
        r#"
        listen = "nowhere"
        public_url = "auth.example.com"
        trust_proxy = "my proxy"
        colour = "red"
        [session]
        idle_timeot = "1h"
        same_site = "None"
        secrets = ["short"]
        touch_after = 60
        [password]
        min_length = 4
        argon2_memory_kib = 8
        [cors]
        origins = ["*", "example.com"]
        [log]
        level = "x=y=z"
        [throttle.account]
        free = 0
        [csrf]
        trusted_origins = ["https://example.com/"]
        "#,
    );
    for expected in [
        "listen: \"nowhere\" is no address with a port; write 127.0.0.1:8080",
        "public_url: \"auth.example.com\" is no web address; write https://auth.example.com",
        "write off, true, a number of hops",
        "colour: is no setting",
        "session.idle_timeot: is no setting; did you mean session.idle_timeout?",
        "session.same_site: write one of lax, strict, none",
        "at least 32 are needed",
        "hallpass key generate",
        "session.touch_after: write a duration in quotes",
        "password.min_length: must be at least 8",
        "password.argon2_memory_kib: ",
        "cors.credentials: with * every site could act",
        "\"example.com\" is no origin; write https://app.example.com",
        "log.level: ",
        "throttle.account: free must be at least 1",
        "csrf.trusted_origins: \"https://example.com/\" is no origin",
    ] {
        assert!(printed.contains(expected), "expected {expected:?} in:\n{printed}");
    }
    assert!(!printed.contains("short\""), "a secret is never repeated");
}

#[test]
fn combinations_that_cannot_work_are_refused() {
    for (config, expected) in [
        ("[session]\nsame_site = \"none\"", "none needs csrf.mode = \"token\""),
        (
            "[csrf]\nmode = \"token\"\n[session]\nsame_site = \"none\"",
            "needs secure = on, or browsers drop the cookie (give an https public_url)",
        ),
        ("[session]\npartitioned = true", "give an https public_url"),
        (
            "public_url = \"https://a.example.com\"\n[session]\ncookie_name = \"__Host-x\"\ncookie_domain = \"example.com\"",
            "a __Host- cookie has no domain",
        ),
        ("[session]\nidle_timeout = \"60d\"", "idle_timeout must not be longer than absolute_timeout"),
        ("[session]\nclear_site_data = [\"everything\"]", "none of cache, cookies, storage"),
        ("[pages]\ntemplates = \"/does/not/exist\"", "is no folder"),
        ("public_url = \"https://a.example.com/app\"", "has no path"),
        ("allowed_hosts = [\"https://a.example.com\"]", "is no host; write auth.example.com without scheme"),
        ("[server]\nwrite_timeout = \"1ms\"", "server.write_timeout: must be at least 100ms"),
        ("[server]\nreceive_memory = \"1KiB\"", "server.receive_memory: must be at least 1MiB"),
        ("[server]\nmax_connections = 0", "from 1 to 1000000"),
        ("[password]\nmax_length = 20", "from 64 to 4096"),
        ("[throttle]\naccount = 3", "write [throttle.account]"),
        ("session = 3", "write [session]"),
        ("listen = [", "line 1"),
        (
            "[cors]\norigins = [\"https://a.test\"]\nallowed_headers = [\"*\"]",
            "cors.allowed_headers: * means nothing",
        ),
        ("[cors]\nmethods = [\"*\"]", "cors.methods: * means nothing"),
        ("[password]\nmax_waiting = 70000", "password.max_waiting: must be from 1 to 65536"),
        ("[session]\nabsolute_timeout = \"11years\"", "session.absolute_timeout: must be at most 3650d"),
        (
            "[session]\nremember_for = \"401d\"",
            "session.remember_for: must be longer than zero, and at most 400d",
        ),
        (
            "public_url = \"https://a.example.com\"\n[session]\ncookie_domain = \"other.com\"",
            "session.cookie_domain: must be the host of public_url or a domain above it",
        ),
        ("database = \"mysql://x\"", "is of no kind this program knows; write sqlite:PATH"),
        ("database = \"redis://x\"", "Redis keeps sessions, not accounts"),
        ("[users]\nlogin = \"username\"", "users.login: does nothing without users.collection"),
        (
            "[users]\ntable = \"a\"\ncollection = \"b\"",
            "users.table: is a table, users.collection one of MongoDB",
        ),
        ("[users]\ncollection = \"a\"", "users.collection: sqlite:hallpass.db has tables; write users.table"),
        ("database = \"mongodb://x\"\n[users]\ntable = \"a\"", "users.table: MongoDB has collections"),
        ("[users]\ntable = \"a\"", "users.table: the application's file is no place for our own tables"),
        (
            "[users]\ntable = \"a\"\nurl = \"sqlite:hallpass.db\"",
            "users.url: the application's file is no place",
        ),
        (
            "database = \"postgres://x\"\n[users]\ntable = \"users\"",
            "Hallpass makes a table \"users\" of its own here",
        ),
        ("[users]\ntable = \"a\"\nurl = \"redis://x\"", "users.url: Redis keeps no accounts"),
        ("[users]\ntable = \"a\"\nurl = \"sqlite:app.db\"\nschema = \"b\"", "users.schema: only PostgreSQL"),
        (
            "[users]\ntable = \"a\"\nurl = \"sqlite:app.db\"\nids = \"uuid\"",
            "users.ids: only MongoDB needs it",
        ),
        (
            "[users]\ntable = \"a\"\nurl = \"sqlite:app.db\"\nrole = \"r\"\nroles = \"s\"",
            "users.role: and users.roles cannot both",
        ),
        (
            "[users]\ntable = \"a\"\nurl = \"sqlite:app.db\"\nenabled = \"r\"\ndisabled = \"s\"",
            "users.enabled: and users.disabled",
        ),
        (
            "[users]\ntable = \"a\"\nurl = \"sqlite:app.db\"\npassword_format = \"argon2id\"",
            "name a field for the session epoch",
        ),
        (
            "[users]\ntable = \"a\"\nurl = \"sqlite:app.db\"\nbcrypt_cost = 3",
            "bcrypt costs from 4 to 14, not 3",
        ),
        (
            "[users]\ntable = \"a\"\nurl = \"sqlite:app.db\"\nname = \"email\"",
            "\"email\" cannot be the login and the name at once",
        ),
        (
            "[moving]\nfrom = \"sqlite:old.db\"\n[users]\ntable = \"a\"\nurl = \"sqlite:app.db\"",
            "moving.from: would bring accounts into another application's table",
        ),
        ("[store]\nconnections = 0", "store.connections: must be from 1 to 1000"),
        ("database = \"sqlite::memory:\"", "is no path to a file; write sqlite:PATH"),
    ] {
        let printed = told(config);
        assert!(printed.contains(expected), "expected {expected:?} in:\n{printed}");
    }
    let good = told(
        "public_url = \"https://a.example.com\"\n[csrf]\nmode = \"token\"\n[session]\nsame_site = \"none\"",
    );
    assert!(good.contains("session.same_site"), "{good}");
}

#[test]
fn environment_variables_are_checked_like_the_file() {
    let folder = TempDir::new().unwrap();
    let environment = [
        ("HALLPASS__SESION__IDLE_TIMEOUT", "1h"),
        ("HALLPASS__SERVER__MAX_CONNECTIONS", "many"),
        ("HALLPASS__REGISTRATION__OPEN", "maybe"),
    ];
    let (code, printed) = check(folder.path(), None, &environment, &[]);
    assert_eq!(code, 2);
    for expected in [
        "HALLPASS__SESION__IDLE_TIMEOUT: is no setting; did you mean HALLPASS__SESSION__IDLE_TIMEOUT?",
        "HALLPASS__SERVER__MAX_CONNECTIONS: write a whole number",
        "HALLPASS__REGISTRATION__OPEN: write true or false",
    ] {
        assert!(printed.contains(expected), "expected {expected:?} in:\n{printed}");
    }
}

#[test]
fn secrets_may_stand_in_files_of_their_own_and_are_never_shown() {
    let folder = TempDir::new().unwrap();
    let secret = "a-secret-of-more-than-thirty-two-bytes";
    let file = write(
        &folder,
        "secrets",
        &format!("# rotated in May\n{secret}\nanother-secret-of-thirty-two-bytes-or-more\n"),
    );
    let file = file.to_str().unwrap();
    let (code, printed) = check(folder.path(), None, &[("HALLPASS__SESSION__SECRETS_FILE", file)], &[]);
    assert_eq!(code, 0, "{printed}");
    assert_eq!(row(&printed, "session.secrets"), ["(hidden)", "HALLPASS__SESSION__SECRETS_FILE"]);
    assert!(!printed.contains(secret));
    let config = write(&folder, "c.toml", &format!("[session]\nsecrets_file = \"{file}\""));
    let (code, _) = check(folder.path(), config.to_str(), &[], &[]);
    assert_eq!(code, 0);
    let both = [("HALLPASS__SESSION__SECRETS_FILE", file), ("HALLPASS__SESSION__SECRETS", secret)];
    let (code, printed) = check(folder.path(), None, &both, &[]);
    assert!(code == 2 && printed.contains("is given twice") && !printed.contains(secret), "{printed}");
    let (code, printed) =
        check(folder.path(), None, &[("HALLPASS__SESSION__SECRETS_FILE", "/does/not/exist")], &[]);
    assert!(code == 2 && printed.contains("cannot be read"), "{printed}");
    let empty = write(&folder, "empty", "# to come\n\n");
    let variable = [("HALLPASS__SESSION__SECRETS_FILE", empty.to_str().unwrap())];
    let (code, printed) = check(folder.path(), None, &variable, &[]);
    assert!(code == 2 && printed.contains("holds nothing but empty lines"), "{printed}");
    let broken = write(&folder, "d.toml", &format!("[session]\nsecrets = [\"{secret}\"\n"));
    let (code, printed) = check(folder.path(), broken.to_str(), &[], &[]);
    assert!(code == 2 && printed.contains("line ") && !printed.contains(secret), "{printed}");
}

#[test]
fn every_setting_can_be_written_as_its_default() {
    let folder = TempDir::new().unwrap();
    let (_, printed) = check(folder.path(), None, &[], &["--json"]);
    let rows: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let rows = rows.as_array().unwrap();
    assert!(rows.len() > 40);
    for row in rows {
        let name =
            format!("HALLPASS__{}", row["setting"].as_str().unwrap().replace('.', "__").to_uppercase());
        let value = row["value"].as_str().unwrap().to_owned();
        if value.is_empty() {
            continue;
        }
        let (code, printed) = check(folder.path(), None, &[(name.as_str(), value.as_str())], &[]);
        assert_eq!(code, 0, "{name}={value}: {printed}");
    }
}

#[test]
fn a_variable_that_is_no_text_and_a_broken_template_are_found_before_the_start() {
    use std::os::unix::ffi::OsStrExt;
    let folder = TempDir::new().unwrap();
    let bytes = std::ffi::OsStr::from_bytes(b"\xff");
    let output = hallpass(folder.path()).arg("check-config").env("HALLPASS__LISTEN", bytes).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("HALLPASS__LISTEN: is no UTF-8 text"), "{}", text(&output.stderr));
    write(&folder, "login.html", "{% if %}");
    let templates = [("HALLPASS__PAGES__TEMPLATES", folder.path().to_str().unwrap())];
    let (code, printed) = check(folder.path(), None, &templates, &[]);
    assert!(code == 1 && printed.contains("a template cannot be used"), "{printed}");
}

#[test]
fn layouts_that_cannot_be_and_options_that_nobody_heeds_are_told() {
    for (config, expected) in [
        ("[session]\nlayout = \"connect\"", "session.layout: sessions in SQLite have the native layout"),
        (
            "sessions = \"redis://x\"\n[session]\nlayout = \"connect\"\n[connect.mongo]\nstringify = false",
            "connect.mongo.stringify: is only for sessions that are shared with connect-mongo",
        ),
        ("[connect]\nuser_path = \"a\"", "connect.user_path: is only for sessions that are shared"),
        (
            "[connect.mongo]\ncrypto = \"kruptein\"\ncrypto_salt = \"s\"",
            "connect.mongo.crypto_salt: is only for connect.mongo.crypto = \"webcrypto\"",
        ),
        ("[connect.mongo]\ncrypto = \"webcrypto\"", "connect.mongo.crypto_secret: is empty"),
        ("[connect.mongo]\ncrypto_secret = \"hunter2\"", "connect.mongo.crypto_secret: is only for"),
        (
            "[connect.mongo]\nauto_remove_interval = \"5m\"",
            "is only for connect.mongo.auto_remove = \"interval\"",
        ),
        ("[connect.mongo]\ntransform_id = \"prefix\"", "connect.mongo.transform_prefix: is empty"),
        ("[connect.pg]\ncolumn_names = [\"a\", \"a\", \"b\"]", "are three different names"),
        ("[connect.redis]\nttl = \"0s\"", "connect.redis.ttl: must be at least 1s"),
        ("[connect.redis]\nprefix = \"hallpass:\"", "must not begin with hallpass:"),
        ("[connect.redis]\nprefx = \"x\"", "did you mean connect.redis.prefix?"),
        ("[moving]\nlayout = \"connect\"", "moving.layout: is only for a move"),
        ("[moving]\nfrom = \"sqlite:hallpass.db\"", "moving.from: is where sessions are kept already"),
        (
            "sessions = \"redis://x\"\n[moving]\nfrom = \"sqlite:hallpass.db\"",
            "moving.from: is where accounts are kept already; give moving.sessions_only = true",
        ),
    ] {
        let printed = told(config);
        assert!(printed.contains(expected), "expected {expected:?} of\n{config}\nin:\n{printed}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }
    for config in [
        "sessions = \"redis://x\"\n[session]\nlayout = \"connect\"\n[connect.redis]\nprefix = \"\"\ndisable_touch = true",
        "database = \"postgres://x\"\n[moving]\nfrom = \"mongodb://y\"\nlayout = \"connect\"\n[connect.mongo]\ncrypto = \"kruptein\"\ncrypto_secret = \"hunter2\"",
        "database = \"mongodb://y\"\n[moving]\nfrom = \"mongodb://y\"\nlayout = \"connect\"",
    ] {
        let printed = told(config);
        assert!(!printed.contains("cannot be used") && !printed.contains("hunter2"), "{config}:\n{printed}");
    }
}

#[test]
fn providers_are_sections_of_their_own_and_told_what_is_missing() {
    for (config, advice) in [
        ("[providers.google]\nclient_id = \"x\"", "providers.google: client_secret is missing"),
        ("[providers.google]\nclient_secret = \"x\"", "client_id is missing"),
        ("[providers.google]\nclientid = \"x\"", "did you mean providers.NAME.client_id?"),
        ("[providers.work]\nclient_id = \"x\"", "providers.work.preset: say what it is"),
        (
            "[providers.work]\npreset = \"openid\"\nclient_id = \"x\"\nclient_secret = \"y\"",
            "issuer \"\" is no web address",
        ),
        (
            "[providers.work]\npreset = \"openid\"\nissuer = \"http://a.example\"\nclient_id = \"x\"\nclient_secret = \"y\"",
            "issuer must be an https address",
        ),
        (
            "[providers.work]\npreset = \"oauth2\"\nclient_id = \"x\"\nclient_secret = \"y\"",
            "providers.work.token_url: is no web address",
        ),
        ("[providers.apple]\nclient_id = \"x\"", "providers.apple.team_id: is missing"),
        (
            "[providers.apple]\nclient_id = \"x\"\nteam_id = \"t\"\nkey_id = \"k\"\nprivate_key = \"no key\"",
            "AuthKey_",
        ),
        (
            "[providers.github]\nclient_id = \"x\"\nclient_secret = \"y\"\ntrust_email = true",
            "trust_email would let everybody",
        ),
        (
            "[providers.github]\nclient_id = \"x\"\nclient_secret = \"y\"\nparameters = [\"state=1\"]",
            "set by the flow itself",
        ),
        (
            "[providers.github]\nclient_id = \"x\"\nclient_secret = \"y\"\nparameters = [\"prompt\"]",
            "every item reads name=value",
        ),
        (
            "[providers.GitHub]\npreset = \"github\"\nclient_id = \"x\"\nclient_secret = \"y\"",
            "lower-case letters",
        ),
        ("[providers]\ngithub = \"x\"", "write [providers.github] on a line of its own"),
    ] {
        let printed = told(config);
        assert!(printed.contains(advice), "{config}\n{printed}");
    }
}

#[test]
fn a_secret_shared_with_express_may_stand_in_a_file_and_is_taken_as_it_stands() {
    let folder = TempDir::new().unwrap();
    let secret = write(&folder, "crypto", " # hunter2 \n");
    let environment = [
        ("HALLPASS__SESSIONS", "mongodb://x"),
        ("HALLPASS__SESSION__LAYOUT", "connect"),
        ("HALLPASS__CONNECT__MONGO__CRYPTO", "webcrypto"),
        ("HALLPASS__CONNECT__MONGO__CRYPTO_SECRET_FILE", secret.to_str().unwrap()),
    ];
    let (code, printed) = check(folder.path(), None, &environment, &[]);
    assert!(code == 0 && !printed.contains("hunter2"), "{printed}");
    let from = "HALLPASS__CONNECT__MONGO__CRYPTO_SECRET_FILE";
    assert_eq!(row(&printed, "connect.mongo.crypto_secret"), ["(hidden)", from]);
}

#[test]
fn a_provider_may_be_configured_by_the_environment_and_its_secrets_are_never_shown() {
    let folder = TempDir::new().unwrap();
    let file = write(&folder, "secret", "hunter2hunter2\n");
    let environment = [
        ("HALLPASS__PROVIDERS__GITHUB__CLIENT_ID", "Iv1.8a61f9b3a7aba766"),
        ("HALLPASS__PROVIDERS__GITHUB__CLIENT_SECRET_FILE", file.to_str().unwrap()),
        ("HALLPASS__PROVIDERS__GOOGLE__CLIENT_ID", "abc"),
        ("HALLPASS__PROVIDERS__GOOGLE__CLIENT_SECRET", "hunter2hunter2"),
    ];
    let (code, printed) = check(folder.path(), None, &environment, &[]);
    assert_eq!(code, 0, "{printed}");
    assert!(!printed.contains("hunter2"), "{printed}");
    let origin = "HALLPASS__PROVIDERS__GITHUB__CLIENT_SECRET_FILE";
    assert_eq!(row(&printed, "providers.github.client_secret"), ["(hidden)", origin]);
    assert_eq!(
        row(&printed, "providers.google.client_id"),
        ["abc", "HALLPASS__PROVIDERS__GOOGLE__CLIENT_ID"]
    );
    let twice = [environment.as_slice(), &[("HALLPASS__PROVIDERS__GITHUB__CLIENT_SECRET", "x")]].concat();
    assert!(check(folder.path(), None, &twice, &[]).1.contains("is given twice"));
}
