//! `hallpass session`: who is signed in, and how to end that.

use std::collections::HashMap;

use clap::Subcommand;
use hallpass_auth::{Ending, UserId};
use hallpass_session::{Listed, Recent, SessionHandle};
use serde_json::{Value, json};

use super::{
    Desk, Exit,
    audit::Target,
    output::{Failure, Output, confirm},
    user,
};

/// How many sessions are read at once.
const PAGE: usize = 500;

#[derive(Subcommand)]
pub(super) enum Command {
    /// List live sessions
    List {
        /// Only those of this account
        #[arg(long, value_name = "EMAIL")]
        user: Option<String>,
        /// At most so many; 0: all
        #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
        limit: usize,
    },
    /// End sessions
    #[command(group = clap::ArgGroup::new("which").required(true))]
    Revoke {
        /// The session of this handle, as `session list` shows it
        #[arg(group = "which")]
        handle: Option<String>,
        /// All sessions of this account
        #[arg(long, value_name = "EMAIL", group = "which")]
        user: Option<String>,
        /// All sessions of all accounts
        #[arg(long, group = "which")]
        all: bool,
        /// With --all: do not ask
        #[arg(long, requires = "all")]
        yes: bool,
    },
}

pub(super) async fn run(output: &Output, desk: &Desk, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { user, limit } => {
            let limit = if limit == 0 { usize::MAX } else { limit };
            list(output, desk, user.as_deref(), limit).await
        }
        Command::Revoke { handle: Some(handle), .. } => revoke_one(output, desk, &handle).await,
        Command::Revoke { user: Some(user), .. } => revoke_of(output, desk, &user).await,
        Command::Revoke { yes, .. } => revoke_all(output, desk, yes).await,
    }
}

async fn list(output: &Output, desk: &Desk, email: Option<&str>, limit: usize) -> Result<(), Failure> {
    let (sessions, more) = if let Some(email) = email {
        let user = user::find(desk, email).await?;
        let found = desk.stores.sessions.recent_of_user(user.id.as_str(), limit, desk.now).await;
        let Recent { listed, more } = found.map_err(Failure::failed)?;
        (listed, (more > 0).then(|| format!("{more} more sessions")))
    } else {
        let mut found = first(desk, limit.saturating_add(1)).await?;
        let more = (found.len() > limit).then(|| "more sessions".to_owned());
        found.truncate(limit);
        (found, more)
    };
    let mut names = Names::default();
    let mut rows = Vec::with_capacity(sessions.len());
    for session in &sessions {
        let user = names.email(desk, session.user.as_deref()).await?;
        rows.push(row(session, user.as_deref()));
    }
    output.list(
        &["handle", "user", "address", "user_agent", "created_at", "last_seen_at", "expires_at"],
        &rows,
    );
    if let Some(more) = more {
        Output::hint(&format!("and {more}: --limit 0 lists all"));
    }
    Ok(())
}

fn row(session: &Listed, user: Option<&str>) -> Vec<Value> {
    let label = session.label.as_deref().and_then(|label| serde_json::from_str::<Value>(label).ok());
    let label = label.unwrap_or_default();
    vec![
        json!(session.handle.to_string()),
        json!(user),
        label.get("addr").cloned().unwrap_or_default(),
        label.get("agent").cloned().unwrap_or_default(),
        json!(session.created.to_string()),
        json!(session.seen.to_string()),
        json!(session.expires.to_string()),
    ]
}

/// Addresses of users by their ids, each asked for once.
#[derive(Default)]
struct Names(HashMap<String, Option<String>>);

impl Names {
    async fn email(&mut self, desk: &Desk, id: Option<&str>) -> Result<Option<String>, Failure> {
        let Some(id) = id else { return Ok(None) };
        if let Some(known) = self.0.get(id) {
            return Ok(known.clone());
        }
        let user = desk.stores.users.find(&UserId::new(id)).await.map_err(Failure::failed)?;
        let email = user.map(|user| user.email.as_str().to_owned());
        self.0.insert(id.to_owned(), email.clone());
        Ok(email)
    }
}

/// The first `limit` of all sessions.
async fn first(desk: &Desk, limit: usize) -> Result<Vec<Listed>, Failure> {
    let mut sessions = Vec::new();
    while sessions.len() < limit {
        let after = sessions.last().map(|session: &Listed| session.handle);
        let wanted = PAGE.min(limit - sessions.len());
        let page = desk.stores.sessions.list(after, wanted, desk.now).await.map_err(Failure::failed)?;
        let last = page.len() < wanted;
        sessions.extend(page);
        if last {
            break;
        }
    }
    Ok(sessions)
}

async fn revoke_one(output: &Output, desk: &Desk, handle: &str) -> Result<(), Failure> {
    let missing = || Failure::new(Exit::NotFound, "not_found", format!("there is no session {handle}"));
    let parsed: SessionHandle =
        handle.parse().map_err(|error| Failure::new(Exit::Usage, "usage", format!("{handle:?}: {error}")))?;
    let end = async {
        let sessions = desk.stores.sessions.as_ref();
        let ended = desk.auth.end_session_of(sessions, None, parsed, Ending::Operator, desk.now).await;
        if ended.map_err(Failure::failed)? { Ok(()) } else { Err(missing()) }
    };
    desk.act("session_ended", Target::Session(&parsed.to_string()), end).await?;
    told(output, 1);
    Ok(())
}

async fn revoke_of(output: &Output, desk: &Desk, email: &str) -> Result<(), Failure> {
    let user = user::find(desk, email).await?;
    let end = async {
        let sessions = desk.stores.sessions.as_ref();
        let ended = desk.auth.end_sessions_of(sessions, &user.id, None, Ending::Operator, desk.now).await;
        ended.map_err(Failure::failed)
    };
    told(output, desk.act("sessions_ended", Target::User(user.id.as_str()), end).await?);
    Ok(())
}

async fn revoke_all(output: &Output, desk: &Desk, yes: bool) -> Result<(), Failure> {
    confirm("End all sessions of all accounts?", yes)?;
    let end = async {
        let (sessions, mut ended) = (desk.stores.sessions.as_ref(), 0);
        for session in first(desk, usize::MAX).await? {
            let one =
                desk.auth.end_session_of(sessions, None, session.handle, Ending::Operator, desk.now).await;
            let some =
                |error| Failure::failed(error).with_advice(&format!("{} had ended before", count(ended)));
            ended += u64::from(one.map_err(some)?);
        }
        Ok(ended)
    };
    told(output, desk.act("sessions_ended", Target::All, end).await?);
    Ok(())
}

fn count(sessions: u64) -> String {
    format!("{sessions} {}", if sessions == 1 { "session" } else { "sessions" })
}

fn told(output: &Output, ended: u64) {
    output.answer(&format!("Ended {}", count(ended)), &json!({ "ended": ended }));
}
