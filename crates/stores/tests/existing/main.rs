//! Accounts in tables that another application made keep the contract, as far as those have a place for it.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

#[path = "../engines/mod.rs"]
mod engines;
mod mongodb;
mod postgres;
mod sqlite;

use hallpass_auth::{
    Case, Change, Email, LoginKind, Logins, PasswordFormat, PasswordHash, User, UserCreated, UserStore,
};
use hallpass_session::Timestamp;
use hallpass_stores::{Flag, Ids, Roles, UserMap, Verified};

const NOW: Timestamp = Timestamp::from_millis(1_795_424_473_000);

#[expect(clippy::unnecessary_wraps, reason = "what it stands for is optional")]
fn some(name: &str) -> Option<String> {
    Some(name.to_owned())
}

/// With a place for everything.
fn whole() -> UserMap {
    UserMap {
        ids: Ids::Text,
        roles: Some(Roles::List("roles".to_owned())),
        flag: Some(Flag::Disabled("disabled".to_owned())),
        verified: Verified::Field("verified".to_owned()),
        created: some("created"),
        updated: some("updated"),
        session_epoch: some("epoch"),
        passwords: PasswordFormat::Argon2id,
        ..UserMap::default()
    }
}

fn login(kind: LoginKind, case: Case) -> Logins {
    Logins { kind, case }
}

fn typed(text: &str) -> Email {
    Email::verbatim(text)
}

fn password(from: &str, to: &str) -> Change {
    Change::Password { from: Some(PasswordHash::new(from)), to: Some(PasswordHash::new(to)) }
}

async fn closed(store: &dyn UserStore) -> String {
    let user =
        User { password: Some(PasswordHash::new("$2b$x")), ..User::new(typed("new@example.com"), NOW) };
    match store.create(&user).await.unwrap() {
        UserCreated::Closed(reason) => reason,
        other => panic!("{other:?}"),
    }
}
