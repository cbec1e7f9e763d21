//! Signing in with a provider, against a certified implementation in a process of its own.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;
mod oauth_support;

use oauth_support::{
    Browser, Idp, Page, World, accounts, client, free_port, parameter, section, server_at, world,
};
use serde_json::json;
use url::Url;

/// The address with another value of a parameter.
fn with_parameter(address: &str, name: &str, value: &str) -> String {
    let mut url = Url::parse(address).unwrap();
    let pairs: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(key, _)| key != name)
        .map(|(key, value)| (key.into(), value.into()))
        .collect();
    url.query_pairs_mut().clear().extend_pairs(pairs).append_pair(name, value);
    url.into()
}

#[test]
fn there_and_back_makes_an_account_and_the_next_time_finds_it() {
    let Some(world) = world("", "") else { return };
    let mut browser = world.browser();
    let authorize = browser.get("/auth/oauth/idp?next=/account?from=mail").location().to_owned();
    for (name, value) in
        [("response_type", "code"), ("code_challenge_method", "S256"), ("scope", "openid email profile")]
    {
        assert_eq!(parameter(&authorize, name), value, "{authorize}");
    }
    for secret in ["state", "nonce", "code_challenge"] {
        assert_eq!(parameter(&authorize, secret).len(), 43, "{secret}");
    }
    let callback = browser.through(&authorize, "ann");
    let back = browser.get(&callback);
    assert_eq!((back.status, back.location(), back.body.as_str()), (303, "/account?from=mail", ""));
    assert_eq!(back.headers["referrer-policy"], "no-referrer");
    assert_eq!(back.headers["cache-control"], "no-store");
    assert_eq!(browser.who().as_deref(), Some("ann@example.com"));
    assert!(browser.jar.keys().any(|(_, name)| name.contains("oauth")), "a repeat is known for a minute");
    assert!(
        browser.jar.keys().any(|(_, name)| name.contains("hallpass-device-")),
        "the browser is known now"
    );
    let account = browser.get("/account").body;
    assert!(account.contains("Ann Example") && account.contains("Provider idp"));

    // The same person with another address is the same account; a new browser finds it.
    world
        .idp
        .control(&json!({ "accounts": { "ann": { "email": "new@example.com", "email_verified": true } } }));
    let mut other = world.browser();
    other.sign_in("idp", "ann");
    assert_eq!(other.who().as_deref(), Some("ann@example.com"));
    let code = parameter(&callback, "code");
    let log = world.server.log();
    for secret in [code.as_str(), &parameter(&callback, "state"), "a secret of the client"] {
        assert!(!log.contains(secret), "the log holds a secret");
    }
}

#[test]
fn the_session_is_new_and_what_a_visitor_had_before_opens_nothing() {
    let Some(world) = world("[csrf]\nmode = \"token\"\n", "") else { return };
    let mut browser = world.browser();
    browser.get("/auth/csrf");
    let visitor = browser.jar.clone();
    browser.sign_in("idp", "ann");
    let mut fixated = world.browser();
    fixated.jar = visitor;
    assert_eq!(fixated.who(), None);
    assert_eq!(browser.who().as_deref(), Some("ann@example.com"));
}

#[test]
fn another_browser_a_swapped_state_and_a_second_use_are_refused() {
    let Some(world) = world("", "") else { return };
    // Login CSRF: the attacker's answer in the victim's browser, with or without an attempt of its own.
    let mut attacker = world.browser();
    let stolen = attacker.reach_callback("/auth/oauth/idp", "bob");
    let mut victim = world.browser();
    assert_eq!(victim.get(&stolen).failed(), "unexpected");
    let own = victim.get("/auth/oauth/idp").location().to_owned();
    assert_eq!(victim.get(&stolen).failed(), "unexpected");
    let swapped = with_parameter(&stolen, "state", &parameter(&own, "state"));
    assert_eq!(victim.get(&swapped).failed(), "unexpected", "a foreign code does not fit our verifier");
    assert_eq!(victim.who(), None);
    // The forged answers ended nobody else's attempt.
    assert_eq!(attacker.get(&stolen).location(), "/account");
    assert_eq!(attacker.who().as_deref(), Some("bob@example.com"));
    // Again in the same browser, as after a broken connection; but not once it has signed out, nor elsewhere.
    assert_eq!(attacker.get(&stolen).location(), "/account");
    assert_eq!(victim.get(&stolen).failed(), "unexpected");
    attacker.post("/auth/logout", &[]);
    assert_eq!(attacker.get(&stolen).failed(), "unexpected");
    for forged in ["", "?", "?code=x", "?state=&code=x", "?state=x&state=y&code=z", "?state=x&code=y"] {
        let page = victim.get(&format!("/auth/oauth/idp/callback{forged}"));
        assert_eq!(page.failed(), "unexpected", "{forged}");
    }
    assert!(world.refusals().iter().any(|line| line["detail"].as_str().unwrap().contains("invalid_grant")));
}

#[test]
fn of_many_callbacks_at_once_all_get_what_came_of_one() {
    let Some(world) = world("", "") else { return };
    let mut browser = world.browser();
    let callback = browser.reach_callback("/auth/oauth/idp", "ann");
    let answers: Vec<String> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|_| {
                let (mut browser, callback) = (browser.clone(), callback.clone());
                scope.spawn(move || browser.get(&callback).location().to_owned())
            })
            .collect();
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| *answer == "/account").count(), 8, "{answers:?}");
    assert_eq!(world.refusals().len(), 0, "the code was used once");
}

#[test]
fn tabs_do_not_disturb_each_other() {
    let Some(world) = world("", "") else { return };
    let mut browser = world.browser();
    let starts: Vec<String> = (0..5)
        .map(|tab| browser.get(&format!("/auth/oauth/idp?next=/account?tab={tab}")).location().to_owned())
        .collect();
    // Back in another order than they went.
    for tab in [3, 0, 4, 1, 2] {
        let callback = browser.through(&starts[tab], "ann");
        assert_eq!(browser.get(&callback).location(), format!("/account?tab={tab}"));
    }
    assert_eq!(browser.who().as_deref(), Some("ann@example.com"));
}

#[test]
fn mixed_up_providers_are_noticed() {
    let (Some(good), Some(evil)) = (Idp::start(), Idp::start()) else { return };
    let port = free_port();
    let base = format!("http://127.0.0.1:{port}");
    for (idp, name) in [(&good, "good"), (&evil, "evil")] {
        idp.control(&json!({ "clients": [client(&base, name)], "accounts": accounts() }));
    }
    let config = section("good", &good.issuer, "") + &section("evil", &evil.issuer, "");
    let (server, _folder) = server_at(port, &config);
    let mut browser = Browser::new(&base);
    // The person chose the evil one, but the honest one answers: its code must not be given to the evil one.
    let begun = browser.get("/auth/oauth/evil").location().to_owned();
    let honest = browser.reach_callback("/auth/oauth/good", "ann");
    let mixed = with_parameter(&honest, "state", &parameter(&begun, "state"));
    assert_eq!(browser.get(&mixed).failed(), "unexpected", "the state belongs to another provider's address");
    let asked = evil.control(&json!({}))["seen"]["token"].clone();
    let mixed = mixed.replace("/oauth/good/", "/oauth/evil/");
    assert_eq!(browser.get(&mixed).failed(), "untrusted", "iss names the other one");
    assert_eq!(evil.control(&json!({}))["seen"]["token"], asked, "the evil one never saw the code");
    // Without iss, though this provider always sends it.
    let callback = browser.reach_callback("/auth/oauth/good", "ann");
    let iss =
        format!("&iss={}", url::form_urlencoded::byte_serialize(good.issuer.as_bytes()).collect::<String>());
    assert!(callback.contains(&iss));
    assert_eq!(browser.get(&callback.replace(&iss, "")).failed(), "untrusted");
    assert_eq!(browser.who(), None);
    drop(server);
}

#[test]
fn keys_are_rotated_during_logins_and_none_fails() {
    let Some(world) = world("", "") else { return };
    for round in 0..4 {
        std::thread::scope(|scope| {
            let people: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let mut browser = world.browser();
                        let back = browser.sign_in("idp", "ann");
                        (back.location().to_owned(), browser.who())
                    })
                })
                .collect();
            world.idp.control(&json!({ "rotate": true }));
            for person in people {
                let (location, who) = person.join().unwrap();
                assert_eq!(
                    (location.as_str(), who.as_deref()),
                    ("/account", Some("ann@example.com")),
                    "round {round}"
                );
            }
        });
    }
    let before = world.idp.control(&json!({}))["seen"]["jwks"].as_u64().unwrap();
    for _ in 0..5 {
        world.browser().sign_in("idp", "ann");
    }
    let after = world.idp.control(&json!({}))["seen"]["jwks"].as_u64().unwrap();
    assert!(after - before <= 1, "keys are kept: {before} {after}");
}

#[test]
fn failures_are_told_to_people_and_to_operators() {
    let Some(mut world) = world("", "") else { return };
    let told = |world: &World, browser: &mut Browser, refused: &Page| {
        let page = browser.get(refused.location());
        let line = world.refusal(&refused.failed());
        (
            page.body,
            line["detail"].as_str().unwrap().to_owned(),
            line["advice"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let mut browser = world.browser();
    let denied = browser.sign_in("idp", "");
    assert_eq!(denied.failed(), "denied");
    let (page, detail, _) = told(&world, &mut browser, &denied);
    assert!(
        page.contains("You did not let Provider idp tell us who you are") && detail.contains("access_denied")
    );

    // The secret was changed at the provider.
    let wrong = json!({ "client_secret": "another secret of the client" });
    let mut changed = client(&world.base, "idp");
    changed.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
    world.idp.control(&json!({ "clients": [changed] }));
    let refused = browser.sign_in("idp", "ann");
    assert_eq!(refused.failed(), "misconfigured");
    let (page, detail, advice) = told(&world, &mut browser, &refused);
    assert!(page.contains("not set up correctly here") && detail.contains("invalid_client"), "{detail}");
    assert!(advice.contains(&format!("{}/auth/oauth/idp/callback", world.base)), "{advice}");

    // The provider is down in the middle of it, and before it.
    world.idp.control(&json!({ "clients": [client(&world.base, "idp")] }));
    let callback = browser.reach_callback("/auth/oauth/idp", "ann");
    world.idp.stop();
    let down = browser.get(&callback);
    assert_eq!(down.failed(), "unreachable");
    let (page, detail, _) = told(&world, &mut browser, &down);
    assert!(
        page.contains("does not answer right now") && detail.contains("/token cannot be reached"),
        "{detail}"
    );
    assert_eq!(browser.who(), None);
    // It comes back, and so does signing in.
    world.idp.restart();
    world.idp.control(&json!({ "clients": [client(&world.base, "idp")], "accounts": accounts() }));
    assert_eq!(browser.sign_in("idp", "ann").location(), "/account");
}

#[test]
fn a_provider_that_is_down_from_the_start_keeps_nobody_from_using_a_password() {
    let Some(mut idp) = Idp::start() else { return };
    let port = free_port();
    let base = format!("http://127.0.0.1:{port}");
    idp.stop();
    let (server, _folder) = server_at(port, &section("idp", &idp.issuer, ""));
    let mut browser = Browser::new(&base);
    assert_eq!(browser.get("/auth/oauth/idp").failed(), "unreachable");
    server.registered("zoe");
    assert_eq!(server.signed_in("zoe").get("/auth/me").status, 200);
    // A wrong issuer: the provider calls itself otherwise.
    idp.restart();
    idp.control(&json!({ "clients": [client(&base, "idp")], "accounts": accounts() }));
    let port = free_port();
    let (server, _folder) =
        server_at(port, &section("idp", &idp.issuer.replace("127.0.0.1", "localhost"), ""));
    let mut browser = Browser::new(&format!("http://127.0.0.1:{port}"));
    assert_eq!(browser.get("/auth/oauth/idp").failed(), "misconfigured");
    let line = server.log_line("provider_refused").unwrap();
    assert!(
        line["detail"].as_str().unwrap().contains("write the issuer exactly as the provider does"),
        "{line}"
    );
}

#[test]
fn return_paths_lead_nowhere_else() {
    let Some(world) = world("", "") else { return };
    let mut browser = world.browser();
    for evil in [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/%2fevil.example",
        "javascript:alert(1)",
    ] {
        let encoded: String = url::form_urlencoded::byte_serialize(evil.as_bytes()).collect();
        let callback = browser.reach_callback(&format!("/auth/oauth/idp?next={encoded}"), "ann");
        assert_eq!(browser.get(&callback).location(), "/account", "{evil}");
    }
    for path in [
        "/login?failed=denied&with=idp&next=//evil.example",
        "/login?failed=%3Cscript%3E&with=idp",
        "/login?failed=denied&with=%3Cb%3E",
    ] {
        let page = world.browser().get(path).body;
        assert!(
            !page.contains("<script>") && !page.contains("evil.example") && !page.contains("<b>"),
            "{path}"
        );
    }
}

#[test]
fn a_strict_session_cookie_and_a_posted_answer_work_through_a_page_of_ours() {
    let Some(world) = world("[session]\nsame_site = \"strict\"\n", "") else { return };
    let mut browser = world.browser();
    let callback = browser.reach_callback("/auth/oauth/idp", "ann");
    let page = browser.get(&callback);
    assert_eq!((page.status, page.headers["referrer-policy"].to_str().unwrap()), (200, "no-referrer"));
    assert!(!page.body.contains("<link") && !page.body.contains("<script"), "nothing is loaded from there");
    assert_eq!(browser.get(&page.refresh().unwrap()).location(), "/account");
    assert_eq!(browser.who().as_deref(), Some("ann@example.com"));
    // Apple posts; a post from its page carries no cookie at all, and Sec-Fetch-Site says so.
    let callback = browser.reach_callback("/auth/oauth/idp", "ann");
    let fields = [
        ("state", parameter(&callback, "state")),
        ("code", parameter(&callback, "code")),
        ("iss", world.idp.issuer.clone()),
    ];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let page = world.browser().post("/auth/oauth/idp/callback", &fields);
    assert_eq!(page.status, 200);
    assert!(page.headers.get("set-cookie").is_none(), "a forged post changes nothing");
    assert_eq!(browser.get(&page.refresh().unwrap()).location(), "/account");
}

#[test]
fn cookies_have_the_prefix_of_hosts_on_https() {
    let Some(world) = world("", "") else { return };
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let config =
        format!("public_url = \"https://auth.example.com\"\n{}", section("idp", &world.idp.issuer, ""));
    let path = common::write(&folder, "hallpass.toml", &config);
    let listen = format!("127.0.0.1:{port}");
    let _server = common::Server::start_with(
        folder.path(),
        &["--config", path.to_str().unwrap()],
        &[("HALLPASS__LISTEN", &listen)],
    );
    let page = Browser::new(&format!("http://{listen}")).get("/auth/oauth/idp");
    let cookie = page.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-hallpass-oauth-") && cookie.contains("; Secure"), "{cookie}");
    assert!(
        cookie.contains("; SameSite=Lax") && cookie.contains("; HttpOnly") && cookie.len() < 200,
        "{cookie}"
    );
    assert_eq!(
        parameter(page.location(), "redirect_uri"),
        "https://auth.example.com/auth/oauth/idp/callback"
    );
}
