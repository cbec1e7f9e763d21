//! Accounts in tables that another application made keep the contract, as far as those have a place for it.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

#[path = "../engines/mod.rs"]
mod engines;
mod flags;
mod mongodb;
mod odd_rows;
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

/// Who is there when the questions below are asked.
const PEOPLE: [&str; 4] = ["Ann@x.org", "ann@x.org", "Bob@x.org", "eve@x.org"];

/// An address is one however it is spelled; `searched`: who is not found as they typed it is searched for.
async fn one_address_is_one_account(store: &dyn UserStore, searched: bool) {
    for (typed_as, found) in [
        ("Ann@x.org", Some("Ann@x.org")),
        ("ann@x.org", Some("ann@x.org")),
        ("ANN@x.org", (!searched).then_some("ann@x.org")),
        ("bob@x.org", searched.then_some("Bob@x.org")),
        ("BOB@x.org", searched.then_some("Bob@x.org")),
        ("EVE@x.org", Some("eve@x.org")),
        ("e\u{ad}ve@x.org", None),
        ("nobody@x.org", None),
    ] {
        let user = store.find_by_email(&typed(typed_as)).await.unwrap();
        assert_eq!(user.as_ref().map(|user| user.email.as_str()), found, "{typed_as}, {searched}");
    }
    for (login, taken) in
        [("ANN@x.org", true), ("bob@x.org", true), ("new@x.org", false), ("NEW@x.org", true)]
    {
        let created = store.create(&User::new(typed(login), NOW)).await.unwrap();
        assert_eq!(created == UserCreated::Taken, taken, "{login}: {created:?}");
        assert!(!matches!(created, UserCreated::Closed(_)), "{created:?}");
    }
}
