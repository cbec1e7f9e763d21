//! Signing in on the Express profile.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

#[path = "../../session/tests/common/mod.rs"]
mod common;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use common::express::{app, options};
use hallpass_auth::{
    Argon2Params, Attempt, Auth, AuthOptions, LoginOutcome, MemoryRecords, MemoryUsers, Origin, Registration,
};
use hallpass_session::{Secret, Session};

const EMAIL: &str = "ann@example.com";
const PASSWORD: &str = "correct horse battery staple";

/// A save in the handler would be the first of two: express-session writes at the end whatever was saved before.
#[tokio::test]
async fn a_sign_in_writes_its_session_once() {
    let options_of_auth =
        AuthOptions { argon2: Argon2Params::insecure_for_tests(), ..AuthOptions::default() };
    let auth =
        Auth::new(Arc::new(MemoryUsers::new()), Arc::new(MemoryRecords::new()), options_of_auth).unwrap();
    let registration =
        Registration { email: EMAIL.into(), password: Secret::new(PASSWORD.into()), name: None };
    auth.create_user(registration, Vec::new(), common::START).await.unwrap();
    let app = app(options());
    let log_in = move |session: Session| {
        let auth = auth.clone();
        async move {
            let attempt = Attempt {
                email: EMAIL.into(),
                password: Secret::new(PASSWORD.into()),
                remember: false,
                origin: Origin::new(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            };
            let outcome = auth.log_in(&session, attempt).await.unwrap();
            assert!(matches!(outcome, LoginOutcome::LoggedIn(_)));
        }
    };
    let answer = app.get("", log_in).await;
    let sets = answer.asked.iter().filter(|operation| **operation == "set").count();
    assert_eq!((answer.set_cookie.len(), sets), (1, 1), "{:?}", answer.asked);
    assert!(app.text().contains("\"userId\":"), "{}", app.text());
}
