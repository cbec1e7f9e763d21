//! One operation of a store fails while somebody comes from a provider: the answer says what has happened, and coming again leads there.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod faults;
mod provider;

use std::sync::Arc;

use faults::{Faulty, When};
use hallpass_auth::{Deleted, Disabled};
use http::{HeaderValue, header::SET_COOKIE};
use provider::app::{App, app_over, state, text};

/// An application on stores that can fail.
fn site() -> (App, Faulty) {
    let faulty = Faulty::default();
    let all = Arc::new(faulty.clone());
    let (records, sessions) = (all.clone(), all.clone());
    (app_over(all, |_| records, |_| sessions, |provider| provider.keep_tokens = true), faulty)
}

/// Makes each operation of `flow` fail in its turn, before and after it is done.
async fn each<Fut: Future<Output = usize>>(flow: impl Fn(Option<(usize, When)>) -> Fut) {
    let operations = flow(None).await;
    for number in 1..=operations {
        for when in [When::Before, When::After] {
            flow(Some((number, when))).await;
        }
    }
}

fn fail(stores: &Faulty, fault: Option<(usize, When)>) {
    stores.heal();
    if let Some((number, when)) = fault {
        stores.fail(number, when);
    }
}

/// There and back, where only the way back fails: status, answer, and the session's cookie.
async fn come(
    app: &App,
    stores: &Faulty,
    fault: Option<(usize, When)>,
) -> (u16, String, Option<HeaderValue>) {
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
async fn comes_again(
    app: &App,
    stores: &Faulty,
    fault: Option<(usize, When)>,
    first: (u16, String, Option<HeaderValue>),
) {
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

#[tokio::test]
async fn an_account_is_made_for_somebody_from_a_provider() {
    each(async |fault| {
        let (app, stores) = site();
        let first = come(&app, &stores, fault).await;
        let asked = stores.heal();
        if first.0 == 503 {
            let users = app.auth.users().list(None, 10).await.unwrap();
            assert!(users.is_empty(), "{fault:?}: a 503 although an account was made");
        }
        comes_again(&app, &stores, fault, first).await;
        assert_eq!(app.auth.users().list(None, 10).await.unwrap().len(), 1, "{fault:?}");
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
        let has_password = async || {
            let users = app.auth.users().list(None, 10).await.unwrap();
            users[0].password.is_some()
        };
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

#[tokio::test]
async fn a_link_is_removed() {
    each(async |fault| {
        let (app, stores) = site();
        let (_, session) = app.session().await;
        let renewed = app.respond("/set-password", "", &session).await.headers()[SET_COOKIE].clone();
        let user = app.auth.users().list(None, 10).await.unwrap().remove(0);
        let link =
            app.providers.links(&user, hallpass_session::Clock::now(&app.clock)).await.unwrap().remove(0).id;
        let body = format!("{} {link}", user.id);
        fail(&stores, fault);
        let response = app.respond("/unlink", &body, &renewed).await;
        let asked = stores.heal();
        let (status, answer) = (response.status().as_u16(), text(response).await);
        match (status, answer.as_str(), fault) {
            (200, "Done" | "Remains", _) => {}
            (503, ..) => {
                let again = app.post("/unlink", &body, &renewed).await;
                // When the answer to the removal itself was lost, the link is gone already.
                let lost = matches!(fault, Some((_, When::After)));
                assert!(again == "Done" || lost && again == "NotFound", "{fault:?}: {again}");
            }
            _ => panic!("{fault:?}: {status} {answer}"),
        }
        assert_eq!(app.post("/unlink", &body, &renewed).await, "NotFound", "{fault:?}");
        asked
    })
    .await;
}

#[tokio::test]
async fn an_operator_disables_and_deletes_an_account() {
    each(async |fault| {
        let (app, stores) = site();
        let (_, session) = app.session().await;
        let user = app.auth.users().list(None, 10).await.unwrap().remove(0);
        let now = hallpass_session::Clock::now(&app.clock);
        fail(&stores, fault);
        let disabled = app.auth.set_disabled(&user, true, &stores, now).await;
        let asked = stores.heal();
        match disabled {
            Ok(Disabled::Done | Disabled::SessionsRemain) => {}
            Ok(other) => panic!("{fault:?}: {other:?}"),
            Err(_) => drop(app.auth.set_disabled(&user, true, &stores, now).await.unwrap()),
        }
        assert_eq!(app.post("/who", "", &session).await, "nobody", "{fault:?}");
        fail(&stores, fault);
        let deleted = app.auth.delete_user(&user, &stores, now).await;
        let asked = asked.max(stores.heal());
        match deleted {
            // A failure that passes is waited for.
            Ok(Deleted::Done) => {}
            Ok(other) => panic!("{fault:?}: {other:?}"),
            Err(_) => drop(app.auth.delete_user(&user, &stores, now).await.unwrap()),
        }
        assert!(app.auth.users().list(None, 10).await.unwrap().is_empty(), "{fault:?}");
        asked
    })
    .await;
}
