//! The library in ten lines, as the README has it, compiled and asked.

use std::{error::Error, net::IpAddr};

use axum::{
    Form, Router,
    extract::State,
    routing::{get, post},
};
use hallpass_auth::{Attempt, Auth, AuthOptions, CurrentUser, LoginOutcome, Origin};
use hallpass_session::{Keys, Secret, Session, SessionOptions};
use hallpass_stores::Stores;

#[rustfmt::skip]
#[expect(clippy::disallowed_methods, reason = "an application reads its environment")]
async fn app() -> Result<Router, Box<dyn Error>> {
// The README begins here.
let stores = Stores::open("sqlite:app.db").await?;
let keys = Keys::from_secret(&std::env::var("SESSION_SECRET")?)?;
let sessions = stores.session_layer(keys, SessionOptions::default())?;
let auth = Auth::new(stores.users, stores.records, AuthOptions::default())?;
let app = Router::new()
    .route("/hello", get(async |user: CurrentUser| format!("Hello {}", user.email)))   // 401 for visitors
    .route("/login", post(log_in))                                                     // calls auth.log_in(&session, …)
    .route("/logout", post(async |State(auth): State<Auth>, session: Session| auth.log_out(&session)))
    .layer(sessions)
    .with_state(auth);
// The README ends here.
Ok(app)
}

async fn log_in(
    State(auth): State<Auth>,
    session: Session,
    Form((email, password)): Form<(String, String)>,
) -> Result<String, hallpass_auth::Error> {
    let origin = Origin::new(IpAddr::from([127, 0, 0, 1]));
    let attempt = Attempt { email, password: Secret::new(password), remember: false, origin };
    Ok(match auth.log_in(&session, attempt).await? {
        LoginOutcome::LoggedIn(user) => user.email.as_str().to_owned(),
        _ => "no".to_owned(),
    })
}

const _: fn() = || drop(app());

#[test]
fn the_readme_shows_what_is_compiled_here() {
    let (readme, here) = (include_str!("../../../README.md"), include_str!("readme.rs"));
    let code = here.split("begins here.\n").nth(1).unwrap().split("// The README ends").next().unwrap();
    assert!(readme.contains(code), "README.md has other lines than examples/tutorial/tests/readme.rs");
}
