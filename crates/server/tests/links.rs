//! Which account somebody from a provider gets, and how they leave again.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;
mod oauth_support;

use common::{PASSWORD, run, text};
use oauth_support::{Browser, Idp, client, free_port, section, server_at, without, world};
use serde_json::json;

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
fn signing_in_again_means_signing_in_at_the_provider_again() {
    let Some(world) = world("", "") else { return };
    // The person has been signed in there since this morning.
    world.idp.control(&json!({ "age": 4 * 3600 }));
    let mut ann = world.browser();
    ann.sign_in("idp", "ann");
    world.idp.control(&json!({ "age": 0 }));
    // Whoever sits down at the person's desk: the provider still knows the person, and asks nothing.
    let again = ann.reach_callback_silently("/auth/oauth/idp").unwrap();
    assert_eq!(ann.get(&again).location(), "/account");
    let refused = ann.post("/auth/password", &[("new_password", PASSWORD)]);
    assert_eq!(refused.status, 403, "the sign-in there is as old as it was");
    assert!(refused.body.contains("/login?again=1"));
    let page = ann.get("/login?again=1&next=/account?from=here");
    let start = "/auth/oauth/idp?again=1&amp;next=/account%3Ffrom%3Dhere";
    assert!(page.body.replace("&#x2f;", "/").contains(start), "{}", page.body);
    let start = start.replace("&amp;", "&");
    assert_eq!(ann.reach_callback_silently(&start), None, "the provider asks");
    // Its question taken out of the address, as whoever sits there can.
    let asked = ann.get(&start).location().to_owned();
    let quiet = without(&without(&asked, "prompt"), "max_age");
    let callback = ann.follow_silently(&quiet).unwrap();
    assert_eq!(ann.get(&callback).failed(), "stale_sign_in");
    let line = world.refusal("stale_sign_in");
    assert!(line["detail"].as_str().unwrap().contains("auth_time"), "{line}");
    assert_eq!(ann.who().as_deref(), Some("ann@example.com"), "and nobody is signed out");
    let told = ann.get("/account?failed=stale_sign_in&with=idp").body;
    assert!(told.contains("Provider idp did not ask you to") && told.contains("/login?again=1"), "{told}");
    // The person signs in there.
    let callback = ann.reach_callback(&start, "ann");
    assert_eq!(ann.get(&callback).location(), "/account?from=here");
    let set = ann.post("/auth/password", &[("new_password", PASSWORD)]);
    assert_eq!(set.location(), "/account?done=password");
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
    // The operator made an account: its owner signs in with the password, and connects the provider then.
    let made = run(world.folder.path(), &["user", "create", "ann@example.com"], &format!("{PASSWORD}\n"));
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert_eq!(world.browser().sign_in("idp", "ann").failed(), "address_taken");
    let mut ann = world.browser();
    ann.post("/auth/login", &[("email", "ann@example.com"), ("password", PASSWORD)]);
    let away = ann.post("/auth/oauth/idp/link", &[]).refresh().unwrap();
    let callback = ann.through(&away, "ann");
    assert_eq!(ann.get(&callback).location(), "/account?done=linked");
    ann = world.browser();
    ann.sign_in("idp", "ann");
    assert_eq!(ann.who().as_deref(), Some("ann@example.com"));
    let disabled = run(world.folder.path(), &["user", "disable", "ann@example.com"], "");
    assert!(disabled.status.success(), "{}", text(&disabled.stderr));
    // Another program's change is heard within some milliseconds.
    let out = (0..50).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        ann.who().is_none()
    });
    assert!(out, "a disabled account is still signed in");
    assert_eq!(world.browser().sign_in("idp", "ann").failed(), "disabled");
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
