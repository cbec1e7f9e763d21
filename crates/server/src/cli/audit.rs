//! Who did what on the command line: one line of the log for each act that changes or reveals something, in the server's format.
//!
//! There is no record of acts in the database: the line goes to standard error, and whatever collects the server's log keeps it.

use std::fs;

use super::{
    Desk,
    output::{Failure, Settled},
};

/// What an act was done to.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    /// An account, by its ID.
    User(&'a str),
    /// Two accounts: the first is merged into the second.
    Users(&'a str, &'a str),
    /// A session, by its handle.
    Session(&'a str),
    /// A signing secret, by its fingerprint.
    Key(&'a str),
    /// All there are.
    All,
}

impl Desk {
    /// Does `work` and logs the act. What changed nothing for sure, such as a name that does not exist, is not logged.
    pub(super) async fn act<T>(
        &self,
        act: &'static str,
        target: Target<'_>,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let done = work.await;
        match Settled::of(&done) {
            Settled::Done => log(act, target, "done"),
            // It may have happened in part.
            Settled::Unknown => log(act, target, "failed"),
            Settled::Nothing => {}
        }
        done.map_err(Failure::with_what_to_do)
    }
}

/// Writes the line.
pub(super) fn log(act: &'static str, target: Target<'_>, outcome: &'static str) {
    let (uid, host) = (rustix::process::getuid().as_raw(), host());
    let (by, sudo_user) = (user_name(uid), sudo_user());
    let (user, into, session, key) = match target {
        Target::User(id) => (Some(id), None, None, None),
        Target::Users(id, into) => (Some(id), Some(into), None, None),
        Target::Session(handle) => (None, None, Some(handle), None),
        Target::Key(name) => (None, None, None, Some(name)),
        Target::All => (Some("all"), None, None, None),
    };
    tracing::info!(
        target: crate::log::AUDIT,
        event = "admin_act",
        act,
        user,
        into,
        session,
        key,
        outcome,
        by,
        uid,
        sudo_user,
        host
    );
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The operating system's name of a user; the environment's could be anything.
fn user_name(uid: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut names = fields.filter(|fields| fields.get(2).and_then(|field| field.parse().ok()) == Some(uid));
    names.next().map(|fields| fields[0].to_owned())
}

/// Who called `sudo`, as it says.
fn sudo_user() -> Option<String> {
    std::env::var_os("SUDO_USER")?.into_string().ok()
}
