//! Commands while one operation of a store fails, each in its turn: the message says what has happened, and a repeated command leads
//! there.

use std::sync::Arc;

use clap::CommandFactory;
use hallpass_auth::{Auth, Email, MemoryRecords, MemoryUsers, RecordStore, Registration, User, UserStore};
use hallpass_session::{
    Clock, Created, Document, IdGenerator, Lifetime, MemoryStore, RandomIds, Secret, SessionRecord,
    SessionStore, StoreClock, SystemClock,
    conformance::{Faults, Watched, When, each_fault},
};
use hallpass_stores::{Stores, Upkeep};

use super::{
    Cli, Desk, Exit,
    output::{Failure, Output},
    session, spread_roles, user,
};
use crate::config::{Config, Flags};

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn roles_follow_each_other() {
    let spread = |line: &str| {
        let words = spread_roles(line.split(' ').map(std::ffi::OsString::from));
        words.into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>().join(" ")
    };
    for (typed, read) in [
        ("user set a@b.c --role +x -y --verified", "user set a@b.c --role=+x --role=-y --verified"),
        ("user set --role -y --role +x a@b.c", "user set --role=-y --role=+x a@b.c"),
        ("user create a@b.c --role admin --role editor", "user create a@b.c --role admin --role editor"),
        ("user set a@b.c --name -y", "user set a@b.c --name -y"),
    ] {
        assert_eq!(spread(typed), read);
    }
}

type Fault = Option<(usize, When)>;

const EMAIL: &str = "ann@example.com";

/// A desk on stores that can fail, and the stores.
struct Place {
    desk: Desk,
    faults: Arc<Faults>,
    users: Arc<MemoryUsers>,
    records: MemoryRecords,
    sessions: Arc<MemoryStore>,
}

impl Place {
    fn empty() -> Self {
        let flags = Flags { database: Some("sqlite:none.db".to_owned()), ..Flags::default() };
        let mut config = Config::load(&flags, []).unwrap();
        config.auth.argon2 = hallpass_auth::Argon2Params::insecure_for_tests();
        let (faults, users) = (Arc::new(Faults::default()), Arc::new(MemoryUsers::new()));
        let (records, sessions) = (MemoryRecords::new(), Arc::new(MemoryStore::new()));
        let stores = Stores {
            sessions: Arc::new(Watched::new(sessions.clone(), faults.clone())),
            users: Arc::new(Watched::new(users.clone(), faults.clone())),
            records: Arc::new(Watched::new(Arc::new(records.clone()), faults.clone())),
            clock: StoreClock::of_machine(),
            upkeep: Upkeep::default(),
        };
        let auth = Auth::new(stores.users.clone(), stores.records.clone(), config.auth.clone()).unwrap();
        let now = SystemClock.now();
        Self { desk: Desk { config, stores, auth, now }, faults, users, records, sessions }
    }

    /// With ann, who has two sessions.
    async fn with_ann() -> Self {
        let place = Self::empty();
        run(&place, "create").await.unwrap();
        let (user, now) = (place.ann().await.unwrap(), place.desk.now);
        let lifetime =
            Lifetime { idle: std::time::Duration::from_secs(3600), until: None, persistent: false };
        let record = SessionRecord {
            document: Document::new(),
            user: Some(user.id.as_str().into()),
            label: None,
            created: now,
            authenticated: Some(now),
            seen: now,
            lifetime,
        };
        for _ in 0..2 {
            let created = place.sessions.create(&RandomIds.generate(), &record, now).await.unwrap();
            assert!(matches!(created, Created::Done(_)));
        }
        place
    }

    async fn ann(&self) -> Option<User> {
        self.users.find_by_email(&Email::verbatim(EMAIL)).await.unwrap()
    }

    async fn handles(&self) -> Vec<String> {
        let listed = self.sessions.list(None, 10, self.desk.now).await.unwrap();
        listed.iter().map(|session| session.handle.to_string()).collect()
    }

    /// All that an operator would notice.
    async fn stored(&self) -> String {
        let verified = self.records.export("verified_email", None, 10, self.desk.now).await.unwrap();
        let counts = self.records.export("throttle", None, 10, self.desk.now).await.unwrap();
        format!("{:?} {:?} {verified:?} {counts:?}", self.ann().await, self.handles().await)
    }

    /// Whether what the command is for is so.
    async fn is_done(&self, command: &str) -> bool {
        let (ann, sessions) = (self.ann().await, self.handles().await.len());
        match command {
            "disable" => ann.is_some_and(|ann| ann.disabled) && sessions == 0,
            "enable" => ann.is_some_and(|ann| !ann.disabled),
            "verify" => self.desk.auth.is_verified(&ann.unwrap(), self.desk.now).await.unwrap(),
            "delete" => ann.is_none() && sessions == 0,
            "revoke one" => sessions == 1,
            "revoke user" | "revoke all" => sessions == 0,
            _ => ann.is_some(),
        }
    }
}

/// Types the command.
async fn run(place: &Place, command: &str) -> Result<(), Failure> {
    let (output, desk, email) = (Output::new(true), &place.desk, EMAIL.to_owned());
    let revoke = |handle, user, all| session::Command::Revoke { handle, user, all, yes: true };
    let command = match command {
        "create" => {
            let password = Secret::new("correct horse battery staple".to_owned());
            let registration = Registration { email, password, name: None };
            return user::create(&output, desk, registration, Vec::new(), None).await;
        }
        "disable" => user::Command::Disable { email },
        "enable" => user::Command::Enable { email },
        "verify" => user::Command::Verify { email },
        "unlock" => user::Command::Unlock { email },
        "delete" => user::Command::Delete { email, yes: true },
        "revoke one" => {
            let handle = place.handles().await.into_iter().min();
            return session::run(&output, desk, revoke(handle, None, false)).await;
        }
        "revoke user" => return session::run(&output, desk, revoke(None, Some(email), false)).await,
        _ => return session::run(&output, desk, revoke(None, None, true)).await,
    };
    user::run(&output, desk, command).await
}

/// What the command did, and which operations it took.
async fn with_fault(command: &str, fault: Fault) -> (Place, Vec<&'static str>) {
    let place = if command == "create" { Place::empty() } else { Place::with_ann().await };
    let before = if command == "create" { String::new() } else { place.stored().await };
    place.faults.heal();
    if let Some((number, when)) = fault {
        place.faults.fail(number, when);
    }
    let first = run(&place, command).await;
    let asked = place.faults.heal();
    let what = format!("{command} {fault:?} {asked:?}: {first:?}");
    let Err(failure) = first else {
        assert!(place.is_done(command).await, "{what}");
        return (place, asked);
    };
    assert_eq!(failure.exit, Exit::Failed, "{what}");
    let changed =
        if command == "create" { place.ann().await.is_some() } else { before != place.stored().await };
    let says = failure.code != "failed"
        || failure.message.contains("had ended before")
        || !matches!(fault, Some((_, When::Before | When::FromHere)))
            && failure.message.contains("may have happened");
    assert!(!changed || says, "half is done: {what}");
    (place, asked)
}

#[tokio::test(start_paused = true)]
async fn a_command_that_fails_says_what_has_happened_and_may_be_repeated() {
    for command in [
        "create",
        "disable",
        "enable",
        "verify",
        "unlock",
        "delete",
        "revoke one",
        "revoke user",
        "revoke all",
    ] {
        each_fault(|fault| async move {
            let (place, asked) = with_fault(command, fault).await;
            if !place.is_done(command).await {
                match run(&place, command).await {
                    // It said that the account is gone, and that something of it remains.
                    Err(failure) if command == "delete" => assert_eq!(failure.exit, Exit::NotFound),
                    again => assert!(again.is_ok(), "{command} {fault:?} {asked:?}: {again:?}"),
                }
                assert!(command == "delete" || place.is_done(command).await, "{command} {fault:?}");
            }
            asked
        })
        .await;
    }
}
