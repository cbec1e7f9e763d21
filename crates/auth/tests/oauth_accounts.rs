//! What accounts have of a provider: links, tokens that are kept, and who wins when two come at once.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod provider;

use std::{sync::Arc, time::Duration};

use hallpass_auth::{
    Conventions, Email, LoginKind, Logins, MemoryUsers, Origin, Record, RecordStore, RegisterOutcome,
    Registration, Reuse, User, UserId, UserStore, oauth::Failure,
};
use hallpass_session::{Clock, Secret, Timestamp};
use provider::{
    ISSUER, NOW,
    app::{app, app_of, app_with},
    ids::OwnIds,
};
use serde_json::json;

#[tokio::test]
async fn tokens_are_kept_when_asked_for_and_refreshed_when_used() {
    assert!(app().sign_in().await.len() == 32);
    let app = app_with(|provider| provider.keep_tokens = true);
    let id = app.sign_in().await;
    let user = app.auth.users().find(&UserId::new(&id)).await.unwrap().unwrap();
    let token = async || {
        let token = app.providers.access_token(&user, "login", app.clock.now()).await.unwrap();
        token.map(|token| token.expose().clone())
    };
    assert_eq!(token().await.as_deref(), Some("access-1"));
    let kept = || app.records.export("oauth_tokens", None, 10, Timestamp::from_millis(0));
    let record: Record = kept().await.unwrap().remove(0);
    assert!(!record.body.contains("access-1") && !record.body.contains("refresh-1"), "{}", record.body);
    app.clock.advance(Duration::from_secs(3600 - 59));
    let renewed = token().await.unwrap();
    assert_ne!(renewed, "access-1", "it was about to end");
    assert_eq!(token().await, Some(renewed), "and the new one is kept");
    // Many providers give a refresh token once only: a later sign-in without one does not throw it away.
    app.provider.change(|provider| {
        provider.gives_refresh = false;
        provider.claims = json!({ "iat": NOW + 3600, "exp": NOW + 4200 });
    });
    assert_eq!(app.sign_in().await, id);
    app.clock.advance(Duration::from_secs(3600));
    assert!(token().await.is_some(), "refreshed still");
    // The person takes the permission back.
    app.clock.advance(Duration::from_secs(3600));
    app.provider.change(|provider| provider.refreshes = false);
    assert_eq!(token().await, None);
    assert!(kept().await.unwrap().is_empty(), "what is no use is not kept");
}

#[tokio::test]
async fn two_tabs_get_one_account_from_a_database_that_gives_ids() {
    let app = app_of(Arc::new(OwnIds::default()), |_| {});
    app.provider.change(|provider| provider.claims = json!({ "email_verified": false }));
    let (one, other) = tokio::join!(app.sign_in(), app.sign_in());
    assert_eq!((one.as_str(), other.as_str()), ("1", "1"));
    assert_eq!(app.sign_in().await, "1", "and the link lasts");
    // An account that was deleted gives way to a new one.
    assert!(app.auth.users().delete(&UserId::new("1")).await.unwrap());
    app.clock.advance(Duration::from_secs(10));
    assert_eq!(app.sign_in().await, "1");
}

#[tokio::test]
async fn the_last_link_that_works_stays() {
    let app = app();
    let (id, session) = app.session().await;
    let mut link = app.records.export("oauth_link", None, 10, app.clock.now()).await.unwrap().remove(0);
    let works = link.key.id.clone();
    link.key.id = "of a provider that is no longer configured".to_owned();
    link.body = link.body.replace(ISSUER, "https://former.example.com");
    app.records.insert(&link, app.clock.now()).await.unwrap();
    let body = format!("{id} {works}");
    assert_eq!(app.post("/unlink", &body, &session).await, "LastWayIn", "the other one opens nothing");
    assert_eq!(app.post("/unlink", &format!("{id} {}", link.key.id), &session).await, "Done");
    assert_eq!(app.sign_in().await, id);
}

#[tokio::test]
async fn a_password_that_comes_after_a_takeover_does_not_last() {
    let app = app();
    let (id, session) = app.session().await;
    assert_eq!(app.post("/set-password-too-late", &id, &session).await, "NotFresh");
    let user = app.auth.users().find(&UserId::new(&id)).await.unwrap().unwrap();
    assert_eq!(user.password, None);
}

#[tokio::test]
async fn whoever_begins_for_ever_is_stopped_and_nobody_else() {
    let app = app();
    let origin = |last| Origin::new([192, 0, 2, last].into());
    let admitted = async |last| app.providers.admit(&origin(last), app.clock.now()).await.unwrap();
    for _ in 0..1000 {
        assert_eq!(admitted(1).await, Ok(()));
    }
    assert_eq!(admitted(1).await, Err(Failure::Throttled));
    assert_eq!(admitted(2).await, Ok(()));
}

#[tokio::test]
async fn an_address_that_is_somebodys_user_name_says_nothing() {
    let mut conventions = Conventions::default();
    conventions.logins = Logins { kind: LoginKind::UserName, ..conventions.logins };
    let users = Arc::new(OwnIds { conventions, ..OwnIds::default() });
    let app = app_of(users.clone(), |_| {});
    let user = User::new(Email::parse("ann@example.com").unwrap(), app.clock.now());
    users.create(&user).await.unwrap();
    assert_eq!(app.sign_in().await, "failed address_taken");
}

/// Ann has an account, and then somebody else has its id; `created` and `email` are theirs. Whose account Ann gets, and how many links
/// the other sees.
async fn ann_after(reuse: Reuse, created: i64, email: &str) -> (String, usize) {
    let conventions = Conventions { reuse, ..Conventions::default() };
    let users = Arc::new(OwnIds { conventions, ..OwnIds::default() });
    let app = app_of(users.clone(), |_| {});
    assert_eq!(app.sign_in().await, "1");
    assert_eq!(app.sign_in().await, "1", "and the link lasts");
    assert!(users.delete(&UserId::new("1")).await.unwrap());
    let other = User::new(Email::parse(email).unwrap(), Timestamp::from_millis(created));
    users.create(&other).await.unwrap();
    let other = users.find(&UserId::new("1")).await.unwrap().unwrap();
    let links = app.providers.links(&other, app.clock.now()).await.unwrap().len();
    (app.sign_in().await, links)
}

#[tokio::test]
async fn a_link_opens_no_later_account_with_the_id_of_a_deleted_one() {
    let (now, other) = (NOW * 1000, "bob@example.com");
    assert_eq!(ann_after(Reuse::ByCreated, now + 1, other).await, ("2".to_owned(), 0));
    assert_eq!(ann_after(Reuse::ByLogin, now + 1, other).await, ("2".to_owned(), 0));
    // Who has got another address only is the same person, where it can be told.
    assert_eq!(ann_after(Reuse::ByCreated, now, other).await, ("1".to_owned(), 1));
    assert_eq!(ann_after(Reuse::ByLogin, now, other).await, ("2".to_owned(), 0));
    assert_eq!(ann_after(Reuse::ByLogin, now + 1, "ann@example.com").await, ("1".to_owned(), 1));
    // Somebody else has registered the address in the application since: not even what was proved of it counts any more.
    assert_eq!(ann_after(Reuse::ByCreated, now + 1, "ann@example.com").await, ("1".to_owned(), 0));
    assert_eq!(ann_after(Reuse::Never, now + 1, other).await, ("1".to_owned(), 1), "what is prevented");
}

#[tokio::test]
async fn what_was_proved_of_a_new_account_counts_whatever_the_database_says_about_its_making() {
    let conventions = Conventions { reuse: Reuse::ByCreated, ..Conventions::default() };
    let users = Arc::new(OwnIds { conventions, ahead: 7, ..OwnIds::default() });
    let app = app_of(users.clone(), |_| {});
    assert_eq!(app.sign_in().await, "1");
    let user = users.find(&UserId::new("1")).await.unwrap().unwrap();
    assert!(app.auth.is_verified(&user, app.clock.now()).await.unwrap());
}

fn registration(email: &str) -> Registration {
    let password = Secret::new("correct horse battery staple".to_owned());
    Registration { email: email.to_owned(), password, name: None }
}

/// Whoever can set this address at the provider must not get what an operator gave to somebody.
#[tokio::test]
async fn an_account_with_roles_or_of_an_operator_is_connected_by_its_owner_only() {
    for (users, reuse) in [
        (Arc::new(MemoryUsers::new()) as Arc<dyn UserStore>, Reuse::Never),
        (Arc::new(OwnIds::default()), Reuse::Never),
        (
            Arc::new(OwnIds {
                conventions: Conventions { reuse: Reuse::ByCreated, ..Conventions::default() },
                ..OwnIds::default()
            }),
            Reuse::ByCreated,
        ),
    ] {
        let app = app_of(users, |_| {});
        let now = app.clock.now();
        let roles = vec!["admin".to_owned()];
        let admin = app.auth.create_user(registration("admin@example.com"), roles, now).await.unwrap();
        let made = app.auth.provision_user(registration("ann@example.com"), Vec::new(), now).await.unwrap();
        for (outcome, email) in [(admin, "admin@example.com"), (made, "ann@example.com")] {
            let RegisterOutcome::Registered(user) = outcome else { panic!("{outcome:?}") };
            // Even where both sides have verified the address.
            for verified in [false, true] {
                let claims = json!({ "sub": email, "email": email });
                assert_eq!(
                    app.with_claims(claims).await,
                    "failed address_taken",
                    "{email} {verified} {reuse:?}"
                );
                app.auth.note_verified(&user, now).await.unwrap();
            }
            let stored = app.auth.users().find(&user.id).await.unwrap().unwrap();
            assert!(stored.password.is_some(), "nothing was taken over");
        }
        // A visitor's account goes to the owner of its address as ever.
        let visitor = app.auth.create_user(registration("bob@example.com"), Vec::new(), now).await.unwrap();
        let RegisterOutcome::Registered(visitor) = visitor else { panic!() };
        let claims = json!({ "sub": "bob", "email": "bob@example.com" });
        assert_eq!(app.with_claims(claims).await, visitor.id.to_string());
    }
}

#[tokio::test]
async fn a_note_of_an_operator_ends_with_the_account() {
    let app = app();
    let now = app.clock.now();
    let made = app.auth.provision_user(registration("ann@example.com"), Vec::new(), now).await.unwrap();
    let RegisterOutcome::Registered(user) = made else { panic!() };
    assert!(app.auth.is_provisioned(&user, now).await.unwrap());
    // A second one is refused, and leaves the first as it is.
    let again = app.auth.provision_user(registration("ann@example.com"), Vec::new(), now).await.unwrap();
    assert_eq!(again, RegisterOutcome::Taken);
    assert!(app.auth.is_provisioned(&user, now).await.unwrap());
    app.auth.delete_user(&user, &*app.sessions, now).await.unwrap();
    assert!(app.records.export("provisioned", None, 10, now).await.unwrap().is_empty());
    let visitor = app.auth.create_user(registration("ann@example.com"), Vec::new(), now).await.unwrap();
    let RegisterOutcome::Registered(visitor) = visitor else { panic!() };
    assert!(!app.auth.is_provisioned(&visitor, now).await.unwrap());
    assert_eq!(app.sign_in().await, visitor.id.to_string(), "and is claimed as ever");
}

#[tokio::test]
async fn a_provider_claims_only_what_it_may_vouch_for() {
    let domains = |domains: &[&str]| domains.iter().map(|one| (*one).to_owned()).collect::<Vec<String>>();
    for (may_claim, trusted, taken) in [
        (true, domains(&[]), false),
        (false, domains(&[]), true),
        (true, domains(&["other.example"]), true),
        (true, domains(&["EXAMPLE.com"]), false),
    ] {
        let app = app_with(|provider| {
            provider.may_claim = may_claim;
            provider.trusted_domains = trusted.clone();
        });
        app.auth.create_user(registration("ann@example.com"), Vec::new(), app.clock.now()).await.unwrap();
        assert_eq!(app.sign_in().await == "failed address_taken", taken, "{may_claim} {trusted:?}");
        // Somebody new gets an account all the same, and is known again.
        let new = json!({ "sub": "new", "email": "new@example.com" });
        let id = app.with_claims(new.clone()).await;
        assert_eq!(app.with_claims(new).await, id);
    }
}

/// The mailbox of `quacK@` with KELVIN SIGN, or of fullwidth letters, is not that of plain ones.
#[tokio::test]
async fn an_address_that_only_looks_like_another_opens_no_account() {
    let app = app();
    let quack = registration("quack@example.com");
    let RegisterOutcome::Registered(user) =
        app.auth.create_user(quack, Vec::new(), app.clock.now()).await.unwrap()
    else {
        panic!()
    };
    app.auth.note_verified(&user, app.clock.now()).await.unwrap();
    for email in [
        "quac\u{212a}@example.com",
        "\u{ff51}uack@example.com",
        "qu\u{aa}ck@example.com",
        "quack\u{200b}@example.com",
        "qu\u{ad}ack@example.com",
        "quack@exam\u{ad}ple.com",
        "quack%00@example.com",
        "quack@example.com?x",
    ] {
        let claims = json!({ "sub": email, "email": email });
        assert_eq!(app.with_claims(claims).await, "failed no_email", "{email:?}");
    }
    assert_eq!(
        app.with_claims(json!({ "sub": "1", "email": "Quack@EXAMPLE.com" })).await,
        user.id.to_string()
    );
}

#[tokio::test]
async fn letters_and_punycode_are_one_address_for_a_provider_too() {
    for (stored, told) in [
        ("ann@b\u{fc}cher.example", "ann@xn--bcher-kva.example"),
        ("ann@xn--bcher-kva.example", "ann@b\u{fc}cher.example"),
    ] {
        // As it was stored before the two were one.
        for stored in [Email::verbatim(stored), Email::parse(stored).unwrap()] {
            let app = app();
            let user = User::new(stored, app.clock.now());
            app.auth.users().create(&user).await.unwrap();
            app.auth.note_verified(&user, app.clock.now()).await.unwrap();
            assert_eq!(app.with_claims(json!({ "email": told })).await, user.id.to_string(), "{told}");
            let again = app.auth.create_user(registration(told), Vec::new(), app.clock.now()).await.unwrap();
            assert_eq!(again, RegisterOutcome::Taken, "{told}");
        }
    }
}
