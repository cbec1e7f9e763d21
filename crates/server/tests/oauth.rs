//! Signing in with a provider, against a certified implementation in a process of its own.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;
mod oauth_support;

use std::time::Duration;

use common::{PASSWORD, run, text};
use oauth_support::{Browser, Idp, Page, World, accounts, client, free_port, section, server_at, world};
use serde_json::json;
use url::Url;

/// The value of a parameter in an address.
fn parameter(address: &str, name: &str) -> String {
    let url = Url::parse(address).unwrap();
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

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
    assert!(browser.jar.keys().all(|(_, name)| !name.contains("oauth")), "the attempt's cookie is gone");
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
    // Replay, in the same browser.
    assert_eq!(attacker.get(&stolen).failed(), "unexpected");
    for forged in ["", "?", "?code=x", "?state=&code=x", "?state=x&state=y&code=z", "?state=x&code=y"] {
        let page = victim.get(&format!("/auth/oauth/idp/callback{forged}"));
        assert_eq!(page.failed(), "unexpected", "{forged}");
    }
    assert!(world.refusals().iter().any(|line| line["detail"].as_str().unwrap().contains("invalid_grant")));
}

#[test]
fn of_many_callbacks_at_once_one_signs_in() {
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
    assert_eq!(answers.iter().filter(|answer| *answer == "/account").count(), 1, "{answers:?}");
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
fn many_new_browsers_of_one_person_at_once_make_one_account() {
    let Some(world) = world("", "") else { return };
    let callbacks: Vec<(Browser, String)> = (0..6)
        .map(|_| {
            let mut browser = world.browser();
            let callback = browser.reach_callback("/auth/oauth/idp", "ann");
            (browser, callback)
        })
        .collect();
    let who: Vec<Option<String>> = std::thread::scope(|scope| {
        let back = |(mut browser, callback): (Browser, String)| {
            scope.spawn(move || {
                browser.get(&callback);
                browser.who()
            })
        };
        let back: Vec<_> = callbacks.into_iter().map(back).collect();
        back.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(who.iter().all(|who| who.as_deref() == Some("ann@example.com")), "{who:?}");
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
fn people_of_two_providers_with_one_name_are_two_people() {
    let (Some(one), Some(two)) = (Idp::start(), Idp::start()) else { return };
    let port = free_port();
    let base = format!("http://127.0.0.1:{port}");
    one.control(&json!({ "clients": [client(&base, "one")], "accounts": { "ann": { "email": "ann@one.example", "email_verified": true } } }));
    two.control(&json!({ "clients": [client(&base, "two")], "accounts": { "ann": { "email": "ann@two.example", "email_verified": true } } }));
    let (_server, _folder) =
        server_at(port, &(section("one", &one.issuer, "") + &section("two", &two.issuer, "")));
    let (mut first, mut second) = (Browser::new(&base), Browser::new(&base));
    first.sign_in("one", "ann");
    second.sign_in("two", "ann");
    assert_eq!(first.who().as_deref(), Some("ann@one.example"));
    assert_eq!(second.who().as_deref(), Some("ann@two.example"));
}

#[test]
fn an_account_made_in_wait_for_the_owner_is_of_no_use_to_its_maker() {
    let Some(world) = world("", "") else { return };
    // Pre-hijacking: somebody registers the victim's address, stays signed in, and connects a provider account of their own.
    let mut attacker = world.browser();
    let fields = [("email", "ann@example.com"), ("password", PASSWORD), ("name", "Not Ann")];
    assert_eq!(attacker.post("/auth/register", &fields).status, 303);
    let away = attacker.post("/auth/oauth/idp/link", &[]).refresh().unwrap();
    let callback = attacker.through(&away, "bob");
    assert_eq!(attacker.get(&callback).location(), "/account?done=linked");

    let mut owner = world.browser();
    let back = owner.sign_in("idp", "ann");
    assert_eq!(back.location(), "/account?done=claimed");
    assert!(owner.get("/account?done=claimed").body.contains("password was removed"));
    assert_eq!(attacker.who(), None, "the attacker's session is over");
    let mut again = world.browser();
    let login = again.post("/auth/login", &[("email", "ann@example.com"), ("password", PASSWORD)]);
    assert_eq!(login.status, 400, "the attacker's password is gone");
    let mut linked = world.browser();
    linked.sign_in("idp", "bob");
    assert_eq!(
        linked.who().as_deref(),
        Some("bob@example.com"),
        "the attacker's link is gone: an account of their own"
    );
    assert!(!owner.get("/account").body.contains("Not Ann"));

    // From now on the address counts as the owner's: a second sign-in takes nothing away.
    let set = owner.post("/auth/password", &[("new_password", "my own new long password")]);
    assert_eq!(set.location(), "/account?done=password");
    let mut third = world.browser();
    assert_eq!(third.sign_in("idp", "ann").location(), "/account");
    assert!(third.get("/account").body.contains("Current password"), "the password is still there");
}

#[test]
fn an_unverified_address_takes_no_account_and_none_is_told_of_a_missing_one() {
    let Some(world) = world("", "") else { return };
    let mut owner = world.browser();
    owner.post("/auth/register", &[("email", "ann@example.com"), ("password", PASSWORD)]);
    let mut eve = world.browser();
    let refused = eve.sign_in("idp", "eve");
    assert_eq!(refused.failed(), "address_taken");
    let page = eve.get(refused.location());
    assert!(page.body.contains("connect Provider idp on your account page"), "{}", page.body);
    assert_eq!(owner.who().as_deref(), Some("ann@example.com"));
    let mut ghost = world.browser();
    assert_eq!(ghost.sign_in("idp", "ghost").failed(), "no_email");
    world.refusal("no_email");
}

#[test]
fn links_are_made_and_removed_by_their_owner_and_never_the_last_way_in() {
    let Some(world) = world("", "") else { return };
    let mut ann = world.browser();
    ann.post("/auth/register", &[("email", "ann@here.example"), ("password", PASSWORD)]);
    let away = ann.post("/auth/oauth/idp/link", &[]);
    assert_eq!(away.status, 200);
    let callback = ann.through(&away.refresh().unwrap(), "bob");
    // The answer in a browser where somebody else is signed in links nothing.
    let mut other = world.browser();
    other.jar.clone_from(&ann.jar);
    other.jar.retain(|(_, name), _| name.contains("oauth"));
    other.post("/auth/register", &[("email", "eve@here.example"), ("password", PASSWORD)]);
    assert_eq!(other.get(&callback).failed(), "not_signed_in");
    let callback =
        ann.through(&ann.clone().post("/auth/oauth/idp/link", &[]).refresh().unwrap_or_default(), "bob");
    assert_eq!(ann.get(&callback).failed(), "unexpected", "the clone's cookie is not this browser's");

    let away = ann.post("/auth/oauth/idp/link", &[]).refresh().unwrap();
    let callback = ann.through(&away, "bob");
    assert_eq!(ann.get(&callback).location(), "/account?done=linked");
    let mut bob = world.browser();
    bob.sign_in("idp", "bob");
    assert_eq!(bob.who().as_deref(), Some("ann@here.example"));

    // Nobody else can have it.
    let away = other.post("/auth/oauth/idp/link", &[]).refresh().unwrap();
    let callback = other.through(&away, "bob");
    assert_eq!(other.get(&callback).failed(), "linked_elsewhere");

    let link = ann.get("/auth/links").json()["links"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(other.post(&format!("/auth/links/{link}/end"), &[]).location(), "/account?done=unlinked");
    assert_eq!(ann.get("/auth/links").json()["links"].as_array().unwrap().len(), 1, "others remove nothing");
    assert_eq!(ann.post(&format!("/auth/links/{link}/end"), &[]).location(), "/account?done=unlinked");
    assert_eq!(bob.who(), None, "sessions that the link opened are over");
    assert_eq!(ann.who().as_deref(), Some("ann@here.example"));

    // Who came by a provider alone keeps that way until there is another.
    let mut only = world.browser();
    only.sign_in("idp", "ann");
    let link = only.get("/auth/links").json()["links"][0]["id"].as_str().unwrap().to_owned();
    let kept = only.post(&format!("/auth/links/{link}/end"), &[]);
    assert_eq!(kept.status, 409);
    assert!(kept.body.contains("only way to sign in"));
    only.post("/auth/password", &[("new_password", PASSWORD)]);
    assert_eq!(only.post(&format!("/auth/links/{link}/end"), &[]).location(), "/account?done=unlinked");
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
fn closed_doors_stay_closed() {
    let Some(world) = world("[registration]\nopen = false\n", "allowed_domains = [\"example.com\"]") else {
        return;
    };
    world.idp.control(&json!({ "accounts": {
        "ann": { "email": "ann@example.com", "email_verified": true },
        "out": { "email": "ann@example.com.evil.test", "email_verified": true },
        "eve": { "email": "eve@example.com", "email_verified": false },
    } }));
    assert_eq!(world.browser().sign_in("idp", "ann").failed(), "sign_up_closed");
    assert_eq!(world.browser().sign_in("idp", "out").failed(), "domain_refused");
    assert_eq!(world.browser().sign_in("idp", "eve").failed(), "domain_refused");
    // The operator made an account: its owner comes in.
    let made = run(world.folder.path(), &["user", "create", "ann@example.com"], &format!("{PASSWORD}\n"));
    assert!(made.status.success(), "{}", text(&made.stderr));
    let mut ann = world.browser();
    ann.sign_in("idp", "ann");
    assert_eq!(ann.who().as_deref(), Some("ann@example.com"));
    let disabled = run(world.folder.path(), &["user", "disable", "ann@example.com"], "");
    assert!(disabled.status.success(), "{}", text(&disabled.stderr));
    assert_eq!(ann.who(), None);
    assert_eq!(world.browser().sign_in("idp", "ann").failed(), "disabled");
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

#[test]
fn signing_out_here_signs_out_there_and_signing_out_there_signs_out_here() {
    let Some(world) = world("", "end_session = true") else { return };
    let mut browser = world.browser();
    browser.sign_in("idp", "ann");
    // A second session of another browser at the provider, which stays.
    let mut other = world.browser();
    other.sign_in("idp", "ann");
    let away = browser.post("/auth/logout", &[]).refresh().unwrap();
    assert_eq!(browser.who(), None);
    assert!(!parameter(&away, "id_token_hint").is_empty());
    let page = browser.get(&away);
    assert_eq!(page.status, 200, "the provider asks whether to sign out: {}", page.body);
    let confirm = |page: &str, name: &str| {
        let after = page.split(&format!("name=\"{name}\" value=\"")).nth(1)?;
        Some(after.split('"').next()?.to_owned())
    };
    let xsrf = confirm(&page.body, "xsrf").unwrap();
    let done = browser
        .post(&format!("{}/session/end/confirm", world.idp.issuer), &[("xsrf", &xsrf), ("logout", "yes")]);
    assert!(done.location().starts_with(&format!("{}/login", world.base)), "{done:?}");
    assert!(browser.get("/auth/oauth/idp").location().contains("/auth?"));
    assert_eq!(other.who().as_deref(), Some("ann@example.com"));

    // Now the other way round: whoever ends the session at the provider is out here too, without a browser being asked.
    let mut third = other.clone();
    let end = third.get(&format!("{}/session/end", world.idp.issuer));
    let xsrf = confirm(&end.body, "xsrf").unwrap();
    third.post(&format!("{}/session/end/confirm", world.idp.issuer), &[("xsrf", &xsrf), ("logout", "yes")]);
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while other.who().is_some() {
        assert!(std::time::Instant::now() < until, "{}", world.server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    for forged in ["x", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
        let page = world.browser().post("/auth/oauth/idp/backchannel-logout", &[("logout_token", forged)]);
        assert_eq!(page.status, 400, "{forged}");
    }
}
