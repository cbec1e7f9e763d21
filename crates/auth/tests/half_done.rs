//! One operation of a store fails while somebody comes from a provider: the answer says what has happened, and coming again leads there.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod provider;

use std::sync::Arc;

use hallpass_auth::{
    Deleted, Disabled, Email, MemoryUsers, RegisterOutcome, Registration, User, UserStore,
    oauth::LogoutRefused,
};
use hallpass_session::{
    Clock, MemoryStore, Secret, SessionStore,
    conformance::{Faults, Watched, When, each_fault as each},
};
use http::{HeaderValue, header::SET_COOKIE};
use provider::{
    ISSUER, NOW,
    app::{App, app_over, state, text},
};
use serde_json::json;

type Fault = Option<(usize, When)>;

/// Stores that can fail together.
#[derive(Clone)]
struct Stores {
    faults: Arc<Faults>,
    users: Arc<MemoryUsers>,
    /// The same sessions as those of the application.
    sessions: Watched<MemoryStore, Faults>,
}

impl Stores {
    fn heal(&self) -> Vec<&'static str> {
        self.faults.heal()
    }

    /// What only the test sees.
    async fn users(&self) -> Vec<User> {
        self.users.list(None, 10).await.unwrap()
    }
}

/// An application on stores that can fail.
fn site() -> (App, Stores) {
    let (faults, users) = (Arc::new(Faults::default()), Arc::new(MemoryUsers::new()));
    let app = app_over(
        Arc::new(Watched::new(users.clone(), faults.clone())),
        |records| Arc::new(Watched::new(records, faults.clone())),
        |sessions| Arc::new(Watched::new(sessions, faults.clone())),
        |provider| provider.keep_tokens = true,
    );
    let sessions = Watched::new(app.sessions.clone(), faults.clone());
    (app, Stores { faults, users, sessions })
}

fn fail(stores: &Stores, fault: Fault) {
    stores.heal();
    if let Some((number, when)) = fault {
        stores.faults.fail(number, when);
    }
}

/// Whether the failure is one of which the application knows that nothing was done.
fn is_known(fault: Fault) -> bool {
    !matches!(fault, Some((_, When::After)))
}

/// There and back, where only the way back fails: status, answer, and the session's cookie.
async fn come(app: &App, stores: &Stores, fault: Fault) -> (u16, String, Option<HeaderValue>) {
    let (location, cookie) = app.begin().await;
    let code = app.provider.agree(&location);
    let query = format!("state={}&code={code}", state(&location));
    fail(stores, fault);
    let response = app.respond("/", &query, &cookie).await;
    let (status, session) = (response.status().as_u16(), response.headers().get(SET_COOKIE).cloned());
    assert!(status != 503 || session.is_none(), "{fault:?}: a 503 with a cookie");
    (status, text(response).await, session)
}

/// Who comes again after a failure gets in, and there is one account.
async fn comes_again(app: &App, stores: &Stores, fault: Fault, first: (u16, String, Option<HeaderValue>)) {
    let (status, answer, session) = first;
    let (user, session) = match (status, answer.as_str()) {
        (503, _) | (200, "failed interrupted") => {
            assert_eq!(session, None, "{fault:?}");
            let (status, user, session) = come(app, stores, None).await;
            assert_eq!(status, 200, "{fault:?}: {user}");
            (user, session)
        }
        _ => (answer, session),
    };
    let session = session.unwrap_or_else(|| panic!("{fault:?}: {user}"));
    assert_eq!(app.post("/who", "", &session).await, user, "{fault:?}");
}

#[tokio::test(start_paused = true)]
async fn an_account_is_made_for_somebody_from_a_provider() {
    each(async |fault| {
        let (app, stores) = site();
        let first = come(&app, &stores, fault).await;
        let asked = stores.heal();
        if first.0 == 503 {
            assert!(stores.users().await.is_empty(), "{fault:?}: a 503 although an account was made");
        }
        comes_again(&app, &stores, fault, first).await;
        assert_eq!(stores.users().await.len(), 1, "{fault:?}");
        asked
    })
    .await;
}

#[tokio::test]
async fn the_owner_of_an_address_takes_an_account_over() {
    each(async |fault| {
        let (app, stores) = site();
        let maker = app.send("/register", "ann@example.com", "").await;
        let maker = maker.headers()[SET_COOKIE].clone();
        let first = come(&app, &stores, fault).await;
        let asked = stores.heal();
        if first.0 == 503 {
            assert_ne!(
                app.post("/who", "", &maker).await,
                "nobody",
                "{fault:?}: a 503 although something happened"
            );
        }
        comes_again(&app, &stores, fault, first).await;
        assert_eq!(app.post("/who", "", &maker).await, "nobody", "{fault:?}: the maker is out");
        asked
    })
    .await;
}

#[tokio::test]
async fn a_first_password_is_set() {
    each(async |fault| {
        let (app, stores) = site();
        let (user, session) = app.session().await;
        fail(&stores, fault);
        let response = app.respond("/set-password", "", &session).await;
        let asked = stores.heal();
        let (status, renewed) = (response.status().as_u16(), response.headers().get(SET_COOKIE).cloned());
        let has_password = async || stores.users().await[0].password.is_some();
        match (status, text(response).await.as_str()) {
            (200, "Done" | "OthersRemain") => {
                assert!(has_password().await, "{fault:?}");
                assert_eq!(app.post("/who", "", &renewed.unwrap()).await, user, "{fault:?}");
            }
            (200, "SignInAgain") => assert!(has_password().await && renewed.is_none(), "{fault:?}"),
            (503, _) => {
                assert!(!has_password().await && renewed.is_none(), "{fault:?}");
                assert_eq!(app.post("/set-password", "", &session).await, "Done", "{fault:?}");
            }
            other => panic!("{fault:?}: {other:?}"),
        }
        asked
    })
    .await;
}

/// Signed in with a password, and with the session's cookie.
async fn registered(app: &App) -> HeaderValue {
    app.send("/register", "ann@example.com", "").await.headers()[SET_COOKIE].clone()
}

/// Whoever is signed in goes to the provider and comes back, where only the way back fails.
async fn connect(app: &App, stores: &Stores, fault: Fault, session: &HeaderValue) -> (u16, String) {
    let begun = app.respond("/begin-link", "", session).await;
    let attempt = begun.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let location = text(begun).await;
    let code = app.provider.agree_as(&location, json!({ "sub": "ann at work", "email": "work@example.com" }));
    let query = format!("state={}&code={code}", state(&location));
    let session = session.to_str().unwrap().split(';').next().unwrap();
    fail(stores, fault);
    let response = app.send("/", &query, &format!("{attempt}; {session}")).await;
    let (status, cookie) = (response.status().as_u16(), response.headers().get(SET_COOKIE).cloned());
    assert!(status != 503 || cookie.is_none(), "{fault:?}: a 503 with a cookie");
    (status, text(response).await)
}

async fn links(app: &App, stores: &Stores) -> usize {
    let user = stores.users().await.remove(0);
    app.providers.links(&user, app.clock.now()).await.unwrap().len()
}

#[tokio::test]
async fn a_provider_is_connected() {
    each(async |fault| {
        let (app, stores) = site();
        let session = registered(&app).await;
        let (status, answer) = connect(&app, &stores, fault, &session).await;
        let asked = stores.heal();
        let connected = links(&app, &stores).await;
        match (status, answer.as_str()) {
            (200, "linked") => assert_eq!(connected, 1, "{fault:?}"),
            // A part may be done: it says so, and that whoever starts again finishes it.
            (200, "failed interrupted") => {}
            (503, _) => assert_eq!(connected, 0, "{fault:?} {asked:?}: half is done"),
            other => panic!("{fault:?}: {other:?}"),
        }
        if answer != "linked" {
            let again = connect(&app, &stores, None, &session).await;
            assert_eq!(again, (200, "linked".to_owned()), "{fault:?}");
        }
        assert_eq!(links(&app, &stores).await, 1, "{fault:?}");
        asked
    })
    .await;
}

#[tokio::test]
async fn a_link_is_removed() {
    each(async |fault| {
        let (app, stores) = site();
        let (_, session) = app.session().await;
        let renewed = app.respond("/set-password", "", &session).await.headers()[SET_COOKIE].clone();
        let user = stores.users().await.remove(0);
        let link = app.providers.links(&user, app.clock.now()).await.unwrap().remove(0).id;
        let body = format!("{} {link}", user.id);
        fail(&stores, fault);
        let response = app.respond("/unlink", &body, &renewed).await;
        let asked = stores.heal();
        let (status, answer) = (response.status().as_u16(), text(response).await);
        let remain = links(&app, &stores).await;
        match (status, answer.as_str()) {
            (200, "Done" | "Remains") => assert_eq!(remain, 0, "{fault:?}"),
            (503, _) => {
                assert_eq!(remain, 1, "{fault:?} {asked:?}: half is done");
                assert_eq!(app.post("/unlink", &body, &renewed).await, "Done", "{fault:?}");
            }
            _ => panic!("{fault:?}: {status} {answer}"),
        }
        assert_eq!(app.post("/unlink", &body, &renewed).await, "NotFound", "{fault:?}");
        asked
    })
    .await;
}

#[tokio::test]
async fn somebody_signs_out_everywhere() {
    each(async |fault| {
        let (app, stores) = site();
        let (user, elsewhere) = app.session().await;
        let (_, session) = app.session().await;
        fail(&stores, fault);
        let response = app.respond("/log-out-everywhere", "", &session).await;
        let asked = stores.heal();
        let (status, cookie) = (response.status().as_u16(), response.headers().get(SET_COOKIE).cloned());
        let is_in = async |session| app.post("/who", "", session).await == user;
        let (here, there) = (is_in(&session).await, is_in(&elsewhere).await);
        match (status, text(response).await.as_str()) {
            (200, "1 None") => assert!(!here && !there, "{fault:?}"),
            (200, "1 Some(ThisSession)") => {
                assert!(!there && (here || !is_known(fault)), "{fault:?} {asked:?}");
                assert!(cookie.is_none(), "{fault:?}: its cookie is as it was");
            }
            (503, _) => {
                assert!(!is_known(fault) || here && there, "{fault:?} {asked:?}: half is done");
                assert_eq!(app.respond("/log-out-everywhere", "", &session).await.status(), 200, "{fault:?}");
                assert!(!is_in(&session).await && !is_in(&elsewhere).await, "{fault:?}");
            }
            other => panic!("{fault:?}: {other:?}"),
        }
        asked
    })
    .await;
}

#[tokio::test]
async fn a_provider_ends_sessions() {
    let event = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    let claims = json!({ "iss": ISSUER, "aud": "app", "iat": NOW, "exp": NOW + 120, "jti": "1", "sub": "ann", "events": event });
    let claims = &claims;
    each(async |fault| {
        let (app, stores) = site();
        let (user, _) = app.session().await;
        app.session().await;
        let token = app.provider.sign("logout+jwt", claims);
        let count = async || app.sessions.of_user(&user, app.clock.now()).await.unwrap().len();
        let post = async || {
            app.providers.back_channel_logout("login", &token, &stores.sessions, app.clock.now()).await
        };
        fail(&stores, fault);
        let first = post().await;
        let asked = stores.heal();
        match first {
            Ok(Ok(ended)) => assert_eq!((ended, count().await), (2, 0), "{fault:?} {asked:?}"),
            Ok(Err(LogoutRefused::Interrupted)) => assert!(post().await.unwrap().is_ok(), "{fault:?}"),
            Err(_) => {
                assert_eq!(count().await, 2, "{fault:?} {asked:?}: half is done");
                assert_eq!(post().await.unwrap(), Ok(2), "{fault:?}");
            }
            other => panic!("{fault:?}: {other:?}"),
        }
        assert_eq!(count().await, 0, "{fault:?}");
        asked
    })
    .await;
}

#[tokio::test]
async fn an_operator_disables_an_account() {
    each(async |fault| {
        let (app, stores) = site();
        let (who, session) = app.session().await;
        let (user, now) = (stores.users().await.remove(0), app.clock.now());
        fail(&stores, fault);
        let disabled = app.auth.set_disabled(&user, true, &stores.sessions, now).await;
        let asked = stores.heal();
        match disabled {
            Ok(Disabled::Done | Disabled::SessionsRemain) => {}
            Ok(other) => panic!("{fault:?}: {other:?}"),
            Err(_) => {
                assert_eq!(app.post("/who", "", &session).await, who, "{fault:?} {asked:?}: half is done");
                app.auth.set_disabled(&user, true, &stores.sessions, now).await.unwrap();
            }
        }
        assert_eq!(app.post("/who", "", &session).await, "nobody", "{fault:?}");
        asked
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_operator_deletes_an_account() {
    each(async |fault| {
        let (app, stores) = site();
        app.session().await;
        let (user, now) = (stores.users().await.remove(0), app.clock.now());
        fail(&stores, fault);
        let deleted = app.auth.delete_user(&user, &stores.sessions, now).await;
        let asked = stores.heal();
        match deleted {
            // A failure that passes is waited for, so leftovers remain only where it does not pass.
            Ok(Deleted::Done) => {}
            Ok(Deleted::Leftovers) => {
                assert!(matches!(fault, Some((_, When::FromHere))), "{fault:?}: no patience");
            }
            Ok(other) => panic!("{fault:?}: {other:?}"),
            Err(_) => {
                assert_eq!(stores.users().await.len(), 1, "{fault:?} {asked:?}: half is done");
                app.auth.delete_user(&user, &stores.sessions, now).await.unwrap();
            }
        }
        assert!(stores.users().await.is_empty(), "{fault:?}");
        asked
    })
    .await;
}

#[tokio::test]
async fn an_operator_makes_an_account() {
    let registration = || Registration {
        email: "ann@example.com".to_owned(),
        password: Secret::new("correct horse battery staple".to_owned()),
        name: None,
    };
    each(async |fault| {
        let (app, stores) = site();
        let (roles, now) = (vec!["admin".to_owned()], app.clock.now());
        fail(&stores, fault);
        let first = app.auth.provision_user(registration(), roles.clone(), now).await;
        let asked = stores.heal();
        let made = !stores.users().await.is_empty();
        match first {
            Ok(RegisterOutcome::Registered(user)) => {
                assert_eq!((user.email, made), (Email::verbatim("ann@example.com"), true), "{fault:?}");
            }
            Err(_) => {
                assert!(!made, "{fault:?} {asked:?}: half is done");
                let again = app.auth.provision_user(registration(), roles, now).await.unwrap();
                assert!(matches!(again, RegisterOutcome::Registered(_)), "{fault:?}: {again:?}");
            }
            other => panic!("{fault:?}: {other:?}"),
        }
        let user = stores.users().await.remove(0);
        assert!(app.auth.is_provisioned(&user, now).await.unwrap(), "{fault:?}: providers may claim it");
        asked
    })
    .await;
}
