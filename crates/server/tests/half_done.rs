//! One operation of a store fails, each in its turn: the answer says what has happened, and a repeated request leads there. A browser
//! that posts a form is told the same as a program.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod half_done {
    pub(crate) mod site;
}

use std::sync::Mutex;

use half_done::site::{NEW, PASSWORD, Site, Told};
use hallpass_session::conformance::{When, each_fault};
use serde_json::{Value, json};

type Fault = Option<(usize, When)>;

/// Whether the failure is one of which the server knows that nothing was done.
fn is_known(fault: Fault) -> bool {
    !matches!(fault, Some((_, When::After)))
}

/// Runs `flow` with each fault, and says what somebody is told.
async fn told<Fut: Future<Output = (Vec<&'static str>, Told)>>(
    page: bool,
    flow: impl Fn(bool, Fault) -> Fut,
) -> Vec<(Fault, Told)> {
    let all = Mutex::new(Vec::new());
    each_fault(|fault| {
        let (flow, all) = (&flow, &all);
        async move {
            let (asked, told) = flow(page, fault).await;
            all.lock().unwrap().push((fault, told));
            asked
        }
    })
    .await;
    all.into_inner().unwrap()
}

/// The same for a program and for a browser, which are told the same.
async fn each<Fut: Future<Output = (Vec<&'static str>, Told)>>(flow: impl Fn(bool, Fault) -> Fut) {
    assert_eq!(told(false, &flow).await, told(true, &flow).await);
}

#[tokio::test]
async fn registering() {
    each(async |page, fault| {
        let site = Site::new(page);
        site.fail(fault);
        let first = site.register().await;
        let asked = site.heal();
        match &first.told {
            Told::Done => assert!(site.is_signed_in(first.cookie()).await, "{fault:?}"),
            Told::But(code) if code == "sign_in_again" => {
                assert_eq!(first.cookie, None, "{fault:?}");
                let login = site.log_in(PASSWORD, "").await;
                assert!(site.is_signed_in(login.cookie()).await, "{fault:?}");
            }
            Told::Unavailable => {
                let again = site.register().await;
                assert_eq!(again.told, Told::Done, "{fault:?} {asked:?}: nothing had happened");
                assert!(site.is_signed_in(again.cookie()).await);
            }
            other => panic!("{fault:?}: {other:?}"),
        }
        (asked, first.told)
    })
    .await;
}

#[tokio::test]
async fn signing_in() {
    each(async |page, fault| {
        let (site, former) = Site::with_ann(page).await;
        site.fail(fault);
        let first = site.log_in(PASSWORD, &former).await;
        let asked = site.heal();
        match &first.told {
            Told::Done => assert!(site.is_signed_in(first.cookie()).await, "{fault:?}"),
            Told::Unavailable => {
                let again = site.log_in(PASSWORD, &former).await;
                assert!(site.is_signed_in(again.cookie()).await, "{fault:?}");
            }
            other => panic!("{fault:?}: {other:?}"),
        }
        (asked, first.told)
    })
    .await;
}

#[tokio::test]
async fn changing_the_password() {
    let body = json!({ "current_password": PASSWORD, "new_password": NEW });
    let body = &body;
    each(async |page, fault| {
        let (site, cookie) = Site::with_ann(page).await;
        let elsewhere = site.signed_in().await;
        site.fail(fault);
        let first = site.post("/auth/password", &cookie, body).await;
        let asked = site.heal();
        let mut last = first.clone();
        if first.told == Told::Unavailable {
            assert!(site.is_signed_in(&cookie).await, "{fault:?} {asked:?}: nothing has happened");
            assert!(site.is_signed_in(&elsewhere).await);
            last = site.post("/auth/password", &cookie, body).await;
            assert_eq!(last.told, Told::Done, "{fault:?}");
        }
        assert_eq!(site.log_in(PASSWORD, "").await.told.status(), 400, "{fault:?}: the old password is dead");
        match &last.told {
            Told::Done => assert!(site.is_signed_in(last.cookie()).await, "{fault:?}"),
            Told::But(code) if code == "sessions_remain" => {
                assert!(site.is_signed_in(last.cookie()).await, "{fault:?}");
            }
            Told::But(code) if code == "sign_in_again" => assert_eq!(last.cookie, None, "{fault:?}"),
            other => panic!("{fault:?}: {other:?}"),
        }
        assert!(!site.is_signed_in(&elsewhere).await, "{fault:?}");
        assert!(site.is_signed_in(site.log_in(NEW, "").await.cookie()).await);
        (asked, first.told)
    })
    .await;
}

/// What ends sessions: which request, and the session that is to end.
async fn ending(site: &Site, which: &str, cookie: &str, elsewhere: &str) -> (&'static str, String, String) {
    let handles = site.handles(cookie).await;
    let handle = |current: bool| handles.iter().find(|own| own.1 == current).unwrap().0.clone();
    match which {
        "this" => ("DELETE", format!("/auth/sessions/{}", handle(true)), cookie.to_owned()),
        "one" => ("DELETE", format!("/auth/sessions/{}", handle(false)), elsewhere.to_owned()),
        "others" => ("DELETE", "/auth/sessions".to_owned(), elsewhere.to_owned()),
        _ => ("POST", "/auth/logout".to_owned(), cookie.to_owned()),
    }
}

#[tokio::test]
async fn signing_out_and_ending_sessions() {
    for which in ["logout", "this", "one", "others"] {
        each(async |page, fault| {
            let (site, cookie) = Site::with_ann(page).await;
            let elsewhere = site.signed_in().await;
            let (method, path, ends) = ending(&site, which, &cookie, &elsewhere).await;
            let before = site.stored().await;
            site.fail(fault);
            let first = site.send(method, &path, &cookie, &Value::Null).await;
            let asked = site.heal();
            match &first.told {
                Told::Done => assert_eq!(site.devices_are_known().await, which != "others", "{fault:?}"),
                // The sessions have ended; only the list of known browsers is as before.
                Told::But(code) if which == "others" && code == "browsers_remain" => {}
                Told::Unavailable => {
                    if is_known(fault) {
                        assert_eq!(before, site.stored().await, "{which} {fault:?} {asked:?}: half is done");
                    }
                    // To end what has ended is done, or nobody is signed in any more.
                    let again = site.send(method, &path, &cookie, &Value::Null).await;
                    let out = matches!(which, "logout" | "this");
                    assert!(
                        again.told == Told::Done || out && again.is_for_signed_in(),
                        "{which} {fault:?}: {again:?}"
                    );
                }
                other => panic!("{which} {fault:?}: {other:?}"),
            }
            assert!(!site.is_signed_in(&ends).await, "{which} {fault:?}");
            (asked, first.told)
        })
        .await;
    }
}

#[tokio::test]
async fn changing_the_name_and_looking() {
    let name = json!({ "name": "Ann" });
    let name = &name;
    each(async |page, fault| {
        let (site, cookie) = Site::with_ann(page).await;
        site.fail(fault);
        let first = site.send("PATCH", "/auth/me", &cookie, name).await;
        let asked = site.heal();
        let changed = site.user().await.name.is_some();
        match &first.told {
            Told::Done => assert!(changed, "{fault:?}"),
            Told::Unavailable => assert!(!changed, "{fault:?} {asked:?}: half is done"),
            other => panic!("{fault:?}: {other:?}"),
        }
        assert_eq!(site.send("PATCH", "/auth/me", &cookie, name).await.told, Told::Done, "{fault:?}");
        (asked, first.told)
    })
    .await;
    for path in ["/account", "/auth/sessions", "/auth/links"] {
        each(async |page, fault| {
            let (site, cookie) = Site::with_ann(page).await;
            site.fail(fault);
            let first = site.send("GET", path, &cookie, &Value::Null).await;
            let asked = site.heal();
            assert!(matches!(first.told.status(), 200 | 503), "{path} {fault:?}: {first:?}");
            assert_eq!(site.send("GET", path, &cookie, &Value::Null).await.told.status(), 200, "{fault:?}");
            (asked, first.told)
        })
        .await;
    }
}

#[tokio::test]
async fn disconnecting_a_provider() {
    let flow = async |in_table, page, fault| {
        let site = if in_table { Site::beside_an_application(page) } else { Site::new(page) };
        let cookie = site.register().await.cookie().to_owned();
        let (path, opened) = site.connected().await;
        let before = site.stored().await;
        site.fail(fault);
        let first = site.send("DELETE", &path, &cookie, &Value::Null).await;
        let asked = site.heal();
        match &first.told {
            Told::Done => assert!(!site.is_connected().await && !site.has_session(&opened).await),
            Told::But(code) if code == "sessions_remain" => assert!(!site.is_connected().await),
            Told::But(code) if code == "interrupted" => {
                assert!(in_table && site.is_connected().await, "{fault:?}");
            }
            Told::Unavailable => {
                if is_known(fault) {
                    assert_eq!(before, site.stored().await, "{fault:?} {asked:?}: half is done");
                }
            }
            other => panic!("{in_table} {fault:?}: {other:?}"),
        }
        if site.is_connected().await {
            let again = site.send("DELETE", &path, &cookie, &Value::Null).await;
            assert_eq!(again.told, Told::Done, "{in_table} {fault:?} {asked:?}: said {:?}", first.told);
        } else {
            let done = matches!(first.told, Told::Done | Told::But(_));
            assert!(done, "{in_table} {fault:?} {asked:?}: it is gone, and {:?} says it is not", first.told);
        }
        assert!(!site.is_connected().await, "{fault:?}");
        (asked, first.told)
    };
    each(async |page, fault| flow(false, page, fault).await).await;
    // Each site has a file then, which takes longer: of browsers only what is new is looked at.
    let beside = told(false, async |page, fault| flow(true, page, fault).await).await;
    let half: Vec<_> =
        beside.into_iter().filter(|(_, told)| *told == Told::But("interrupted".to_owned())).collect();
    assert!(!half.is_empty());
    for (fault, told) in half {
        assert_eq!(flow(true, true, fault).await.1, told, "{fault:?}");
    }
}
