//! The pages as a browser without JavaScript sees them; interop/browser drives them in a real one.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use common::{Alone, Client, PASSWORD, server, server_with, write};

fn browser(server: &Alone) -> Client {
    server.client().in_browser()
}

#[test]
fn from_the_start_page_to_an_account_and_out_again() {
    let server = server();
    let mut ann = browser(&server);
    assert_eq!(ann.get("/").header("location"), "/login");
    let login = ann.get("/login");
    assert_eq!((login.status, login.header("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!(login.header("set-cookie"), "", "looking at a page makes no session");
    let style = login.body.split("href=\"/assets/").nth(1).unwrap().split('"').next().unwrap();
    let style = ann.get(&format!("/assets/{style}"));
    assert_eq!((style.status, style.header("content-type")), (200, "text/css; charset=utf-8"));
    assert!(style.header("cache-control").contains("immutable"));
    let registered =
        ann.form("/auth/register", &[("email", "ann@example.com"), ("password", PASSWORD), ("name", "Ann")]);
    assert_eq!((registered.status, registered.header("location")), (303, "/account"));
    let account = ann.get("/account");
    assert!(account.body.contains("<h1>Ann</h1>") && account.body.contains("ann@example.com"));
    assert_eq!(ann.get("/login").header("location"), "/account", "who is signed in need not");
    let out = ann.form("/auth/logout", &[]);
    assert_eq!((out.status, out.header("location")), (303, "/login?done=logout"));
    assert!(ann.get("/login?done=logout").body.contains("You are signed out."));
    let again = ann.get("/account?x=1");
    assert_eq!((again.status, again.header("location")), (303, "/login?next=/account%3Fx%3D1"));
}

#[test]
fn signing_in_leads_back_to_where_it_began_but_never_elsewhere() {
    let server = server();
    server.registered("ann");
    for (next, location) in [
        ("/account?x=1", "/account?x=1"),
        ("", "/account"),
        ("https://evil.test", "/account"),
        ("//evil.test", "/account"),
        ("/\\evil.test", "/account"),
        ("javascript:alert(1)", "/account"),
    ] {
        let mut ann = browser(&server);
        let answer =
            ann.form("/auth/login", &[("email", "ann@example.com"), ("password", PASSWORD), ("next", next)]);
        assert_eq!((answer.status, answer.header("location")), (303, location), "{next}");
    }
    let page = browser(&server).get("/login?next=/account%3Fx%3D1").body;
    assert!(
        page.contains("name=\"next\" value=\"&#x2f;account?x=1\"")
            || page.contains("name=\"next\" value=\"/account?x=1\""),
        "{page}"
    );
    assert!(!browser(&server).get("/login?next=https://evil.test").body.contains("evil"));
}

#[test]
fn what_went_wrong_stands_on_the_page_and_what_was_typed_is_kept() {
    let server = server();
    server.registered("ann");
    let mut ann = browser(&server);
    let wrong =
        ann.form("/auth/login", &[("email", "ann@example.com"), ("password", "wrong"), ("remember", "on")]);
    assert_eq!(wrong.status, 400);
    assert!(
        wrong.body.contains("role=\"alert\"")
            && wrong.body.contains("The address or the password is not right.")
    );
    assert!(wrong.body.contains("value=\"ann@example.com\"") && wrong.body.contains("checked"));
    assert!(!wrong.body.contains("wrong\""), "but never the password");
    let taken = ann.form("/auth/register", &[("email", "ann@example.com"), ("password", PASSWORD)]);
    assert!(taken.status == 409 && taken.body.contains("Sign in instead?"));
    let weak = ann.form("/auth/register", &[("email", "bob@example.com"), ("password", "short")]);
    assert!(weak.status == 422 && weak.body.contains("at least 15 characters"));
    let empty = ann.form("/auth/login", &[]);
    assert!(empty.status == 400 && empty.body.contains("email is missing"));
    let missing = ann.get("/nothing");
    assert!(missing.status == 404 && missing.body.contains("<h1>Not found</h1>"));
}

#[test]
fn nothing_a_person_types_becomes_markup() {
    let server = server();
    let mut ann = browser(&server);
    let name = "<script>alert(1)</script>\"'";
    ann.form("/auth/register", &[("email", "ann@example.com"), ("password", PASSWORD), ("name", name)]);
    let mut attacker = ann.clone().with("user-agent", "<img src=x onerror=alert(1)>");
    attacker.form("/auth/login", &[("email", "ann@example.com"), ("password", PASSWORD)]);
    let account = attacker.get("/account").body;
    assert!(
        account.contains("&lt;script&gt;alert(1)")
            && !account.contains("<script>")
            && !account.contains("<img")
    );
    let login =
        browser(&server).form("/auth/login", &[("email", "\"><script>x</script>"), ("password", "x")]).body;
    assert!(!login.contains("<script>"));
}

#[test]
fn the_account_page_changes_name_password_and_sessions() {
    let server = server();
    let mut ann = browser(&server);
    ann.form("/auth/register", &[("email", "ann@example.com"), ("password", PASSWORD)]);
    let mut phone = server.signed_in("ann");
    let mut tablet = server.signed_in("ann");
    assert_eq!(ann.form("/auth/me", &[("name", "Ann B")]).header("location"), "/account?done=name");
    let page = ann.get("/account?done=name").body;
    assert!(page.contains("Your name is saved.") && page.contains("<h1>Ann B</h1>"));
    assert_eq!(page.matches("aria-label=\"Sign out").count(), 2, "not for this device");
    let long = "x".repeat(101);
    let refused = ann.form("/auth/me", &[("name", &long)]);
    assert!(refused.status == 422 && refused.body.contains("at most 100 characters"));
    let handle = phone.get("/auth/sessions").json()["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["current"] == true)
        .unwrap()["handle"]
        .as_str()
        .unwrap()
        .to_owned();
    let ended = ann.form(&format!("/auth/sessions/{handle}/end"), &[]);
    assert_eq!(ended.header("location"), "/account?done=ended");
    assert!(!phone.is_signed_in() && tablet.is_signed_in());
    let wrong =
        ann.form("/auth/password", &[("current_password", "x"), ("new_password", "another horse battery")]);
    assert!(wrong.status == 400 && wrong.body.contains("The current password is not right."));
    let changed = ann
        .form("/auth/password", &[("current_password", PASSWORD), ("new_password", "another horse battery")]);
    assert_eq!(changed.header("location"), "/account?done=password");
    assert!(!tablet.is_signed_in());
    assert_eq!(ann.get("/account").body.matches("aria-label=\"Sign out").count(), 0);
    assert_eq!(ann.form("/auth/sessions/end", &[]).header("location"), "/account?done=others");
}

#[test]
fn operators_replace_templates_and_hear_of_mistakes_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let templates = folder.path().join("templates");
    std::fs::create_dir(&templates).unwrap();
    std::fs::write(templates.join("login.html"), "<h1>Welcome to {{ service }}</h1>").unwrap();
    let config = write(&folder, "c.toml", "service_name = \"Acme\"\n[pages]\ntemplates = \"templates\"");
    let arguments = ["--config", config.to_str().unwrap()];
    let server = common::Server::start(folder.path(), &arguments);
    assert_eq!(server.client().in_browser().get("/login").body, "<h1>Welcome to Acme</h1>");
    assert!(server.client().in_browser().get("/register").body.contains("Acme"), "the rest stays ours");
    drop(server);
    std::fs::write(templates.join("login.html"), "{% if %}").unwrap();
    let output =
        common::run(folder.path(), &["serve", "--listen", "127.0.0.1:0", arguments[0], arguments[1]], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(common::text(&output.stderr).contains("login.html"), "{}", common::text(&output.stderr));
}

#[test]
fn a_closed_registration_says_so() {
    let server = server_with("[registration]\nopen = false");
    let page = browser(&server).get("/register");
    assert!(page.status == 403 && page.body.contains("made by the operator"));
}

/// What the sign-in page says about why the browser is signed out.
fn notice(client: &mut Client) -> Option<String> {
    let page = client.get("/login").body;
    let (_, notice) = page.split_once("role=\"status\">")?;
    notice.split_once('<').map(|(notice, _)| notice.replace("&#x27;", "'"))
}

/// The same once another process has ended the session.
fn notice_once_out(client: &mut Client) -> Option<String> {
    let end = Instant::now() + Duration::from_secs(20);
    while client.get("/account").status != 303 {
        assert!(Instant::now() < end, "still signed in");
        sleep(Duration::from_millis(20));
    }
    notice(client)
}

#[test]
fn the_sign_in_page_says_why_a_session_ended() {
    let server = server();
    let mut ann = browser(&server);
    ann.form("/auth/register", &[("email", "ann@example.com"), ("password", PASSWORD)]);
    let mut phone = server.signed_in("ann").in_browser();
    let mut tablet = server.signed_in("ann").in_browser();
    assert_eq!(notice(&mut server.client().in_browser()), None, "a visitor had no session");
    let sessions = phone.get("/auth/sessions").json()["sessions"].as_array().unwrap().clone();
    let own = sessions.iter().find(|session| session["current"] == true).unwrap();
    ann.form(&format!("/auth/sessions/{}/end", own["handle"].as_str().unwrap()), &[]);
    assert_eq!(notice_once_out(&mut phone).as_deref(), Some("You signed out here from another browser."));
    let passwords = [("current_password", PASSWORD), ("new_password", "another horse battery")];
    assert_eq!(ann.form("/auth/password", &passwords).status, 303);
    let password = "You were signed out because the password of your account has changed.";
    assert_eq!(notice_once_out(&mut tablet).as_deref(), Some(password));
    let ended = common::run(server.folder.path(), &["session", "revoke", "--user", "ann@example.com"], "");
    assert!(ended.status.success(), "{}", common::text(&ended.stderr));
    assert_eq!(
        notice_once_out(&mut ann).as_deref(),
        Some("The operator of this service has signed you out.")
    );
}

#[test]
fn a_page_that_asks_again_says_who_is_signed_in() {
    let server = server();
    let mut ann = browser(&server);
    ann.form("/auth/register", &[("email", "ann@example.com"), ("password", PASSWORD)]);
    ann.form("/auth/login", &[("email", "ann@example.com"), ("password", PASSWORD), ("remember", "on")]);
    let page = ann.get("/login?again=1&next=/account").body;
    assert!(page.contains("<h1>Confirm it’s you</h1>"), "{page}");
    assert!(page.contains("Signed in as <strong>ann@example.com</strong>"), "{page}");
    assert!(!page.contains("Create an account") && !page.contains("type=\"checkbox\""), "{page}");
    assert!(page.contains("name=\"remember\" value=\"on\""), "the session stays remembered: {page}");
    let wrong = ann.form("/auth/login", &[("email", "ann@example.com"), ("password", "wrong")]);
    assert!(wrong.status == 400 && wrong.body.contains("<h1>Confirm it’s you</h1>"), "{}", wrong.body);
    let visitor = browser(&server).get("/login?again=1").body;
    assert!(visitor.contains("<h1>Sign in</h1>") && visitor.contains("Create an account"), "{visitor}");
}

#[test]
fn a_field_is_marked_only_for_what_was_typed_into_it() {
    let server = server();
    let mut ann = browser(&server);
    ann.form("/auth/register", &[("email", "ann@example.com"), ("password", PASSWORD)]);
    let weak = [("current_password", PASSWORD), ("new_password", "short")];
    let page = ann.form("/auth/password", &weak).body;
    let field = |page: &str, id: &str| {
        let (_, field) = page.split_once(&format!("<input id=\"{id}\"")).unwrap();
        field.split_once('>').unwrap().0.to_owned()
    };
    assert!(!field(&page, "current_password").contains("aria-invalid"), "it was right");
    assert!(field(&page, "new_password").contains("aria-invalid=\"true\""), "{page}");
    let mut visitor = browser(&server);
    let typed = [("email", "bob@example.com"), ("password", "wrong")];
    let mut answers = (0..30).map(|_| visitor.form("/auth/login", &typed));
    let refused = answers.next().unwrap();
    assert!(field(&refused.body, "password").contains("aria-invalid=\"true\""));
    let throttled = answers.find(|answer| answer.status == 429).unwrap().body;
    assert!(throttled.contains("role=\"alert\"") && !throttled.contains("aria-invalid"), "{throttled}");
}

#[test]
fn a_long_list_of_sessions_is_folded() {
    let server = server();
    let mut ann = browser(&server);
    ann.form("/auth/register", &[("email", "ann@example.com"), ("password", PASSWORD)]);
    (0..4).for_each(|_| drop(server.signed_in("ann")));
    assert!(!ann.get("/account").body.contains("<details>"), "five fit");
    drop(server.signed_in("ann"));
    let page = ann.get("/account").body;
    let (shown, folded) = page.split_once("<details>").unwrap();
    assert!(shown.contains("This device") && folded.contains("Show 1 more"), "{page}");
    assert_eq!(shown.matches("aria-label=\"Sign out").count(), 4);
    assert_eq!(folded.matches("aria-label=\"Sign out").count(), 1);
}
