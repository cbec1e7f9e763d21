//! Signing out here and at the provider, and front ends on other sites.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;
mod oauth_support;

use std::time::Duration;

use oauth_support::{Browser, Idp, Page, World, accounts, client, free_port, parameter, section, world};
use serde_json::json;

const FORGETS: &str = "[session]\nclear_site_data = [\"cookies\", \"storage\"]\n";

/// A hidden field of the provider's page.
fn hidden(page: &str, name: &str) -> String {
    let after = page.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap();
    after.split('"').next().unwrap().to_owned()
}

#[test]
fn whoever_signs_out_carries_no_token_that_a_script_could_read() {
    let other = section("other", "https://login.example.com", "end_session = true");
    let Some(world) = world(FORGETS, &format!("end_session = true\n{other}")) else { return };
    let tells = |page: &Page| page.body.contains("eyJ") || page.body.contains("id_token");
    let mut browser = world.browser();
    browser.sign_in("idp", "ann");
    let answer = browser.script("POST", "/auth/logout", &[]);
    assert!(!tells(&answer), "{answer:?}");
    assert_eq!(answer.headers["clear-site-data"], "\"storage\"", "a cookie is needed still");
    let ours = answer.json()["location"].as_str().unwrap().to_owned();
    assert!(ours.starts_with(&format!("{}/auth/oauth/idp/end-session?ticket=", world.base)), "{ours}");
    // Of no use in another browser, to a script, or at another provider's address.
    assert_eq!(world.browser().get(&ours).location(), "/login?done=logout");
    let script = browser.script("GET", &ours, &[("sec-fetch-dest", "empty")]);
    assert_eq!(script.status, 403);
    assert_eq!(browser.get(&format!("{ours}x")).location(), "/login?done=logout");
    let elsewhere = browser.get(&ours.replace("/oauth/idp/", "/oauth/other/"));
    assert_eq!(elsewhere.location(), "/login?done=logout");
    assert!(elsewhere.headers.get("clear-site-data").is_none(), "and it is good still where it belongs");
    let mut twin = browser.clone();
    let away = browser.get(&ours);
    assert_eq!((away.status, away.body.as_str()), (303, ""));
    assert_eq!(away.headers["referrer-policy"], "no-referrer");
    assert_eq!(away.headers["clear-site-data"], "\"cookies\", \"storage\"");
    assert_eq!(parameter(away.location(), "client_id"), "hallpass");
    assert!(
        !parameter(away.location(), "id_token_hint").is_empty(),
        "the provider knows whose session it is"
    );
    assert_eq!(twin.get(&ours).location(), "/login?done=logout", "once");
    assert_eq!(attempts(&browser), 1, "its cookie is gone; that of the sign-in stays for a minute");
    // The provider takes it, from this way as from the page's.
    let asks = browser.get(away.location());
    assert_eq!(asks.status, 200, "{}", asks.body);
    let fields = [("xsrf", &*hidden(&asks.body, "xsrf")), ("logout", "yes")];
    let done = browser.post(&format!("{}/session/end/confirm", world.idp.issuer), &fields);
    assert!(done.location().starts_with(&format!("{}/login", world.base)), "{done:?}");

    browser.sign_in("idp", "ann");
    let page = browser.post("/auth/logout", &[]);
    assert!(!tells(&page), "{page:?}");
    assert!(page.refresh().unwrap().starts_with("/auth/oauth/idp/end-session?ticket="));
}

#[test]
fn signing_out_here_signs_out_there_and_signing_out_there_signs_out_here() {
    let Some(world) = world("", "end_session = true") else { return };
    let mut browser = world.browser();
    browser.sign_in("idp", "ann");
    // A second session of another browser at the provider, which stays.
    let mut other = world.browser();
    other.sign_in("idp", "ann");
    let leave = browser.post("/auth/logout", &[]).refresh().unwrap();
    assert_eq!(browser.who(), None);
    let away = browser.get(&leave).location().to_owned();
    let page = browser.get(&away);
    assert_eq!(page.status, 200, "the provider asks whether to sign out: {}", page.body);
    let xsrf = hidden(&page.body, "xsrf");
    let done = browser
        .post(&format!("{}/session/end/confirm", world.idp.issuer), &[("xsrf", &xsrf), ("logout", "yes")]);
    assert!(done.location().starts_with(&format!("{}/login", world.base)), "{done:?}");
    assert!(browser.get("/auth/oauth/idp").location().contains("/auth?"));
    assert_eq!(other.who().as_deref(), Some("ann@example.com"));

    // Now the other way round: whoever ends the session at the provider is out here too, without a browser being asked.
    let mut third = other.clone();
    let end = third.get(&format!("{}/session/end", world.idp.issuer));
    let xsrf = hidden(&end.body, "xsrf");
    third.post(&format!("{}/session/end/confirm", world.idp.issuer), &[("xsrf", &xsrf), ("logout", "yes")]);
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while other.who().is_some() {
        assert!(std::time::Instant::now() < until, "{}", world.server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let told = other.get("/login").body;
    assert!(told.contains("because you signed out at the provider"), "{told}");
    for forged in ["x", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
        let page = world.browser().post("/auth/oauth/idp/backchannel-logout", &[("logout_token", forged)]);
        assert_eq!(page.status, 400, "{forged}");
    }
}

#[test]
fn whoever_signs_out_is_out_though_nothing_can_be_remembered_for_the_provider() {
    let Some(world) = world("", "end_session = true") else { return };
    let mut browser = world.browser();
    browser.sign_in("idp", "ann");
    let mut twin = browser.clone();
    let database = rusqlite::Connection::open(world.folder.path().join("hallpass.db")).unwrap();
    database.execute_batch("alter table records rename to elsewhere").unwrap();
    assert_eq!(browser.who().as_deref(), Some("ann@example.com"));
    let out = browser.script("POST", "/auth/logout", &[]);
    assert_eq!(out.status, 200, "{out:?}");
    assert!(out.json().get("location").is_none(), "{out:?}");
    assert_eq!(twin.who(), None);
    assert!(world.server.log_line("provider_not_told").is_some(), "{}", world.server.log());
}

#[test]
fn a_provider_that_cannot_be_asked_leaves_nothing_behind() {
    let Some(World { server, folder, mut idp, base }) = world(FORGETS, "end_session = true") else { return };
    let mut browser = Browser::new(&base);
    browser.sign_in("idp", "ann");
    let ours = browser.script("POST", "/auth/logout", &[]).json()["location"].as_str().unwrap().to_owned();
    // A server that has just started knows nothing of the provider.
    idp.stop();
    server.kill();
    let config = folder.path().join("hallpass.toml");
    let arguments = ["--config", config.to_str().unwrap(), "--public-url", &base];
    let listen = base.strip_prefix("http://").unwrap();
    let _server = common::Server::start_with(folder.path(), &arguments, &[("HALLPASS__LISTEN", listen)]);
    let stays = browser.get(&ours);
    assert_eq!(stays.location(), "/login?done=logout");
    assert_eq!(stays.headers["clear-site-data"], "\"cookies\", \"storage\"");
    assert_eq!(attempts(&browser), 1, "{:?}", browser.jar);
}

/// How many cookies of attempts and tickets a browser has.
fn attempts(browser: &Browser) -> usize {
    browser.jar.keys().filter(|(_, name)| name.contains("oauth")).count()
}

/// Every cookie that a script's answer sets must be one that browsers take from another site.
fn taken_from_another_site(page: &Page) {
    for cookie in page.headers.get_all("set-cookie") {
        let cookie = cookie.to_str().unwrap();
        assert!(cookie.contains("; SameSite=None") && cookie.contains("; Secure"), "{cookie}");
    }
}

#[test]
fn a_front_end_of_another_site_signs_in_connects_and_signs_out() {
    let Some(idp) = Idp::start() else { return };
    let (public, listen) = ("https://auth.example.com", format!("127.0.0.1:{}", free_port()));
    idp.control(&json!({ "clients": [client(public, "idp")], "accounts": accounts() }));
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "public_url = \"{public}\"\n[session]\nsame_site = \"none\"\n[csrf]\nmode = \"token\"\n\
         [cors]\norigins = [\"https://app.example.org\"]\n{}",
        section("idp", &idp.issuer, "end_session = true")
    );
    let path = common::write(&folder, "hallpass.toml", &config);
    let _server = common::Server::start_with(
        folder.path(),
        &["--config", path.to_str().unwrap()],
        &[("HALLPASS__LISTEN", &listen)],
    );
    let base = format!("http://{listen}");
    let here = |address: &str| address.replace(public, &base);
    let mut browser = Browser::new(&base);
    let callback = browser.reach_callback("/auth/oauth/idp?next=/account", "ann");
    // Apple's way, without a token of ours: nobody there could have one.
    let posted =
        browser.clone().post("/auth/oauth/idp/callback", &[("state", &parameter(&callback, "state"))]);
    assert_eq!(posted.status, 200, "{posted:?}");
    let refused = browser.clone().post("/auth/oauth/idp/backchannel-logout", &[("logout_token", "x")]);
    assert_eq!(refused.status, 400, "the token says no, not the form: {refused:?}");
    let back = browser.get(&here(&callback));
    assert_eq!(back.location(), "/account");
    taken_from_another_site(&back);

    // From now on a script of the other site asks.
    let from = [("origin", "https://app.example.org"), ("sec-fetch-site", "cross-site")];
    let token = browser.script("GET", "/auth/csrf", &from).json()["token"].as_str().unwrap().to_owned();
    assert_eq!(browser.script("POST", "/auth/oauth/idp/link", &from).status, 403, "not without the token");
    let with_token = [&from[..], &[("x-csrf-token", token.as_str())]].concat();
    let link = browser.script("POST", "/auth/oauth/idp/link", &with_token);
    assert_eq!(link.status, 200, "{link:?}");
    assert_eq!(link.headers.get_all("set-cookie").iter().count(), 1, "it binds the attempt to the browser");
    taken_from_another_site(&link);
    browser.jar.retain(|(host, _), _| *host == listen);
    let callback = browser.through(link.json()["location"].as_str().unwrap(), "bob");
    assert_eq!(browser.get(&here(&callback)).location(), "/account?done=linked");

    let out = browser.script("POST", "/auth/logout", &with_token);
    assert_eq!(out.status, 200, "{out:?}");
    taken_from_another_site(&out);
    let away = browser.get(&here(out.json()["location"].as_str().unwrap()));
    assert!(away.location().starts_with(&format!("{}/session/end?", idp.issuer)), "{away:?}");
    assert_eq!(browser.who(), None);
}
