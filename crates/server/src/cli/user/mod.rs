//! `hallpass user`: accounts, for operators.

mod create;
mod list;
mod merge;
mod password;
mod set;
mod show;
mod state;

use clap::Subcommand;
use hallpass_auth::{Refusal, User, UserId};

use super::{
    Desk, Exit,
    output::{Failure, Output},
};

#[cfg(test)]
pub(super) use self::create::create;

/// What names an account by its ID instead of its address.
const BY_ID: &str = "id:";

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make an account; the password is asked for, or read from standard input
    Create(create::Create),
    /// List all accounts
    List,
    /// List the accounts that have a text in their address, name or ID
    Search {
        /// The text; capital letters do not matter
        text: String,
    },
    /// Show an account: roles, connected providers, sessions
    Show {
        /// The e-mail address, or id:ID
        email: String,
    },
    /// Set a new password and end the account's sessions
    Password(password::Password),
    /// Change an account's address, name, roles, and whether its address counts as verified
    Set(set::Set),
    /// Make one account of two: FROM is deleted, INTO gets what opened it
    Merge {
        /// The e-mail address of the account that goes, or id:ID
        from: String,
        /// The e-mail address of the account that stays, or id:ID
        into: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// List accounts that have one address in several spellings
    Duplicates,
    /// Disable an account and end its sessions
    Disable {
        /// The e-mail address, or id:ID
        email: String,
    },
    /// Enable a disabled account
    Enable {
        /// The e-mail address, or id:ID
        email: String,
    },
    /// Note that an account's address is its owner's
    Verify {
        /// The e-mail address, or id:ID
        email: String,
    },
    /// Let an account sign in again after too many failures
    Unlock {
        /// The e-mail address, or id:ID
        email: String,
    },
    /// Print an access token for a provider's API; see `keep_tokens`
    Token {
        /// The e-mail address, or id:ID
        email: String,
        /// The provider's name in the configuration
        provider: String,
    },
    /// Delete an account with its sessions and everything that belongs to it
    Delete {
        /// The e-mail address, or id:ID
        email: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

pub(super) async fn run(output: &Output, desk: &Desk, command: Command) -> Result<(), Failure> {
    match command {
        Command::Create(create) => create.run(output, desk).await,
        Command::List => list::all(output, desk).await,
        Command::Search { text } => list::search(output, desk, &text).await,
        Command::Show { email } => show::show(output, desk, &email).await,
        Command::Password(password) => password.run(output, desk).await,
        Command::Set(set) => set.run(output, desk).await,
        Command::Merge { from, into, yes } => merge::merge(output, desk, &from, &into, yes).await,
        Command::Duplicates => list::duplicates(output, desk).await,
        Command::Disable { email } => state::set_disabled(output, desk, &email, true).await,
        Command::Enable { email } => state::set_disabled(output, desk, &email, false).await,
        Command::Verify { email } => state::verify(output, desk, &email).await,
        Command::Unlock { email } => state::unlock(output, desk, &email).await,
        Command::Token { email, provider } => state::token(output, desk, &email, &provider).await,
        Command::Delete { email, yes } => state::delete(output, desk, &email, yes).await,
    }
}

/// The account with this address or `id:ID`, or exit code 3.
pub(super) async fn find(desk: &Desk, email: &str) -> Result<User, Failure> {
    let user = match email.strip_prefix(BY_ID) {
        Some(id) => desk.stores.users.find(&UserId::new(id)).await.map_err(Failure::failed)?,
        None => desk.auth.user_by_email(email).await.map_err(Failure::failed)?,
    };
    user.ok_or_else(|| missing(email))
}

fn missing(email: &str) -> Failure {
    let message = match email.strip_prefix(BY_ID) {
        Some(id) => format!("there is no account with the ID {id}"),
        None => format!("there is no account with the address {email}"),
    };
    Failure::new(Exit::NotFound, "not_found", message)
}

fn taken(email: &str) -> Failure {
    let message = format!("there is an account with the address {email} already");
    Failure::new(Exit::Refused, "email_taken", message)
}

fn refused(refusal: Refusal) -> Failure {
    let code = match refusal {
        Refusal::Email(_) => "invalid_email",
        Refusal::UserName(_) => "invalid_username",
        Refusal::Name | Refusal::NoNames => "invalid_name",
        Refusal::Password(_) => "invalid_password",
        Refusal::Role => "invalid_role",
    };
    Failure::new(Exit::Refused, code, refusal.to_string())
}

/// What the table of another application has no place for.
fn no_place(what: &str) -> Failure {
    let message = format!("the accounts are another application's, and its table has no place for {what}");
    Failure::new(Exit::Refused, "no_place", message)
}
