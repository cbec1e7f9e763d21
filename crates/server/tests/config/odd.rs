//! Settings that would silently do nothing, or not what they say.

use tempfile::TempDir;

use super::{check, common::write, row, told};

#[test]
fn what_would_do_nothing_is_refused_and_named() {
    for (config, advice) in [
        ("[log]\nlevel = \"verbose\"", "log.level: \"verbose\" names no level"),
        ("[log]\nlevel = \"info,hallpass_auht=debug\"", "\"hallpass_auht=debug\" names no level"),
        ("[log]\nlevel = \"info,hallpass_auth=loud\"", "\"hallpass_auth=loud\" names no level"),
        ("[providers.google]", "providers.google: is empty"),
        ("[sesion]\nidle_timeout = \"1h\"", "sesion: is no section; did you mean [session]?"),
        ("[throttle.acount]\nfree = 3", "throttle.acount: is no section; did you mean [throttle.account]?"),
        ("[cors]\norigins = [\"https://app.*.example.com\"]", "https://*.example.com for all below it"),
        ("[cors]\norigins = [\"https://*.com\"]", "is no origin"),
        ("[csrf]\ntrusted_origins = [\"https://*.example.com\"]", "is no origin"),
        ("database = \"sqlite://app.db?mode=ro\"", "has the parameter \"mode=ro\""),
    ] {
        let printed = told(config);
        assert!(printed.contains(advice), "expected {advice:?} in:\n{printed}");
    }
    for config in [
        "[log]\nlevel = \"WARN,hallpass_auth=debug,sqlx=error\"",
        "[log]\nlevel = \"off\"",
        "[cors]\norigins = [\"https://*.example.com\"]",
        "database = \"sqlite://app.db?mode=rwc\"",
        "\u{feff}listen = \"127.0.0.1:1\"",
    ] {
        let printed = told(config);
        assert!(!printed.contains("cannot be used"), "{config}\n{printed}");
    }
}

#[test]
fn variables_that_nobody_reads_are_named() {
    let folder = TempDir::new().unwrap();
    for (name, advice) in [
        ("HALLPASS_DATABASE", "HALLPASS_DATABASE: is not read; did you mean HALLPASS__DATABASE?"),
        ("HALLPASS_SESSION_IDLE_TIMEOUT", "did you mean HALLPASS__SESSION__IDLE_TIMEOUT?"),
        ("HALLPASS_SESSION__IDLE_TIMEOUT", "did you mean HALLPASS__SESSION__IDLE_TIMEOUT?"),
        ("HALLPASS_SESSION_SECRETS_FILE", "did you mean HALLPASS__SESSION__SECRETS_FILE?"),
        ("HALLPASS_PROVIDERS_GOOGLE_CLIENT_ID", "write HALLPASS__PROVIDERS__NAME__KEY"),
        ("hallpass__listen", "did you mean HALLPASS__LISTEN?"),
    ] {
        let (code, printed) = check(folder.path(), None, &[(name, "x")], &[]);
        assert!(code == 2 && printed.contains(advice), "expected {advice:?} in:\n{printed}");
    }
    // As Kubernetes sets them for a service of this name.
    let others = [
        ("HALLPASS_PORT", "tcp://10.0.0.1:80"),
        ("HALLPASS_SERVICE_HOST", "10.0.0.1"),
        ("HALLPASS_SERVICE_PORT", "80"),
        ("HALLPASS_PORT_80_TCP_ADDR", "10.0.0.1"),
    ];
    assert_eq!(check(folder.path(), None, &others, &[]).0, 0);
}

#[test]
fn a_secret_is_what_was_written() {
    let folder = TempDir::new().unwrap();
    let secret = "0123456789abcdef0123456789abcdef,fedcba9876543210fedcba9876543210";
    let (code, printed) = check(folder.path(), None, &[("HALLPASS__SESSION__SECRETS", secret)], &[]);
    assert!(code == 2 && printed.contains("holds a comma") && !printed.contains(secret), "{printed}");
    // In a file it is one secret, also behind a byte order mark: a short one would be refused.
    let file = write(&folder, "secret", &format!("\u{feff}{secret}\r\n"));
    let variable = [("HALLPASS__SESSION__SECRETS_FILE", file.to_str().unwrap())];
    let (code, printed) = check(folder.path(), None, &variable, &[]);
    assert_eq!(code, 0, "{printed}");
    assert_eq!(row(&printed, "session.secrets"), ["(hidden)", variable[0].0]);
    let short = write(&folder, "short", &format!("\u{feff}{}\n", "x".repeat(30)));
    let variable = [("HALLPASS__SESSION__SECRETS_FILE", short.to_str().unwrap())];
    let (code, printed) = check(folder.path(), None, &variable, &[]);
    assert!(code == 2 && printed.contains("at least 32"), "the mark does not count: {printed}");
}

#[test]
fn templates_that_replace_nothing_or_show_nothing_are_refused() {
    for (name, text, advice) in [
        ("signin.html", "", "is no template, so nothing would show it"),
        ("styles.css", "", "is no template, so nothing would show it"),
        ("login.html", "<p>{{ servce }}</p>", "uses \"servce\", which no page has"),
        ("error.html", "{% if statuss %}x{% endif %}", "uses \"statuss\", which no page has"),
    ] {
        let folder = TempDir::new().unwrap();
        write(&folder, name, text);
        let templates = [("HALLPASS__PAGES__TEMPLATES", folder.path().to_str().unwrap())];
        let (code, printed) = check(folder.path(), None, &templates, &[]);
        assert!(code != 0 && printed.contains(advice), "expected {advice:?} in:\n{printed}");
    }
    let folder = TempDir::new().unwrap();
    let page = "{% extends \"base.html\" %}{% set mine = 1 %}{% for i in range(3) %}{{ i }}{{ mine }}{{ loop.index }}{% endfor %}{{ service }}{{ base }}";
    write(&folder, "login.html", page);
    write(&folder, "README.md", "ours");
    let templates = [("HALLPASS__PAGES__TEMPLATES", folder.path().to_str().unwrap())];
    let (code, printed) = check(folder.path(), None, &templates, &[]);
    assert_eq!(code, 0, "{printed}");
}
