//! `hallpass user`: accounts, for operators.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, IsTerminal},
};

use clap::Subcommand;
use hallpass_auth::{Deleted, Disabled, Refusal, RegisterOutcome, Registration, User};
use hallpass_session::Secret;
use serde_json::{Value, json};

use super::{
    Desk, Exit,
    audit::{self, Target},
    output::{Failure, Output, confirmed},
};
use crate::{app::providers, serve::keys};

/// How many users are read at once.
const PAGE: usize = 500;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make an account; the password is asked for, or read from standard input
    Create {
        /// The e-mail address
        email: String,
        /// What to call the person
        #[arg(long)]
        name: Option<String>,
        /// A role; may be repeated
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
    },
    /// List all accounts
    List,
    /// List accounts that have one address in several spellings
    Duplicates,
    /// Disable an account and end its sessions
    Disable {
        /// The e-mail address
        email: String,
    },
    /// Enable a disabled account
    Enable {
        /// The e-mail address
        email: String,
    },
    /// Note that an account's address is its owner's
    Verify {
        /// The e-mail address
        email: String,
    },
    /// Let an account sign in again after too many failures
    Unlock {
        /// The e-mail address
        email: String,
    },
    /// Print an access token for a provider's API; see `keep_tokens`
    Token {
        /// The e-mail address
        email: String,
        /// The provider's name in the configuration
        provider: String,
    },
    /// Delete an account with its sessions and everything that belongs to it
    Delete {
        /// The e-mail address
        email: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

pub(super) async fn run(output: &Output, desk: &Desk, command: Command) -> Result<(), Failure> {
    match command {
        Command::Create { email, name, roles } => {
            let registration = Registration { email, password: password()?, name };
            create(output, desk, registration, roles).await
        }
        Command::List => list(output, desk).await,
        Command::Duplicates => duplicates(output, desk).await,
        Command::Disable { email } => set_disabled(output, desk, &email, true).await,
        Command::Enable { email } => set_disabled(output, desk, &email, false).await,
        Command::Verify { email } => verify(output, desk, &email).await,
        Command::Unlock { email } => unlock(output, desk, &email).await,
        Command::Token { email, provider } => token(output, desk, &email, &provider).await,
        Command::Delete { email, yes } => delete(output, desk, &email, yes).await,
    }
}

/// The account with this address, or exit code 3.
pub(super) async fn find(desk: &Desk, email: &str) -> Result<User, Failure> {
    let user = desk.auth.user_by_email(email).await.map_err(Failure::failed)?;
    user.ok_or_else(|| missing(email))
}

fn missing(email: &str) -> Failure {
    Failure::new(Exit::NotFound, "not_found", format!("there is no account with the address {email}"))
}

pub(super) async fn create(
    output: &Output,
    desk: &Desk,
    registration: Registration,
    roles: Vec<String>,
) -> Result<(), Failure> {
    let email = registration.email.clone();
    let outcome = desk.auth.provision_user(registration, roles, desk.now).await.map_err(Failure::failed)?;
    match outcome {
        RegisterOutcome::Registered(user) | RegisterOutcome::SignInAgain(user) => {
            let sentence = format!("Created {} ({})", user.email, user.id);
            audit::log("user_created", Target::User(user.id.as_str()), "done");
            output.answer(&sentence, &json!({ "id": user.id, "email": user.email.as_str() }));
            Ok(())
        }
        RegisterOutcome::Taken => Err(Failure::new(
            Exit::Refused,
            "email_taken",
            format!("there is an account with the address {email} already"),
        )),
        RegisterOutcome::Refused(refusal) => Err(refused(refusal)),
        RegisterOutcome::Closed(reason) => Err(Failure::new(Exit::Refused, "registration_closed", reason)),
        RegisterOutcome::Throttled { .. } => {
            Err(Failure::new(Exit::Refused, "too_many_attempts", "too many attempts"))
        }
    }
}

fn refused(refusal: Refusal) -> Failure {
    let code = match refusal {
        Refusal::Email(_) => "invalid_email",
        Refusal::UserName(_) => "invalid_username",
        Refusal::Name | Refusal::NoNames => "invalid_name",
        Refusal::Password(_) => "invalid_password",
    };
    Failure::new(Exit::Refused, code, refusal.to_string())
}

/// The new password: typed twice at a terminal, else the first line of standard input.
fn password() -> Result<Secret<String>, Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let mut line = String::new();
        stdin.lock().read_line(&mut line).map_err(Failure::failed)?;
        return Ok(Secret::new(line.trim_end_matches(['\r', '\n']).to_owned()));
    }
    let ask = |prompt: &str| rpassword::prompt_password(prompt).map(Secret::new).map_err(Failure::failed);
    let (first, second) = (ask("Password: ")?, ask("Again: ")?);
    if first.expose() == second.expose() {
        return Ok(first);
    }
    Err(Failure::new(Exit::Refused, "mismatch", "the two passwords are not the same"))
}

async fn list(output: &Output, desk: &Desk) -> Result<(), Failure> {
    let mut rows: Vec<Vec<Value>> = Vec::new();
    each(desk, |user| rows.push(row(user))).await?;
    output.list(&["email", "name", "roles", "disabled", "created_at", "id"], &rows);
    Ok(())
}

/// Goes through all accounts.
async fn each(desk: &Desk, mut found: impl FnMut(&User)) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let page = desk.stores.users.list(after.as_ref(), PAGE).await.map_err(Failure::failed)?;
        page.iter().for_each(&mut found);
        if page.len() < PAGE {
            return Ok(());
        }
        after = page.into_iter().next_back().map(|user| user.email);
    }
}

/// Accounts whose addresses are one by today's rules. They go on working; a new one of that address is not made.
async fn duplicates(output: &Output, desk: &Desk) -> Result<(), Failure> {
    let mut by_address: BTreeMap<String, Vec<Vec<Value>>> = BTreeMap::new();
    each(desk, |user| {
        let address = user.email.grouping_key();
        let row =
            vec![json!(address), json!(user.email.as_str()), json!(user.created.to_string()), json!(user.id)];
        by_address.entry(address).or_default().push(row);
    })
    .await?;
    by_address.retain(|_, accounts| accounts.len() > 1);
    let rows: Vec<Vec<Value>> = by_address.into_values().flatten().collect();
    output.list(&["address", "email", "created_at", "id"], &rows);
    Ok(())
}

fn row(user: &User) -> Vec<Value> {
    vec![
        json!(user.email.as_str()),
        json!(user.name),
        json!(user.roles),
        json!(user.disabled),
        json!(user.created.to_string()),
        json!(user.id),
    ]
}

async fn set_disabled(output: &Output, desk: &Desk, email: &str, disabled: bool) -> Result<(), Failure> {
    let user = find(desk, email).await?;
    let change = async {
        let changed = desk.auth.set_disabled(&user, disabled, &*desk.stores.sessions, desk.now).await;
        match changed.map_err(Failure::failed)? {
            Disabled::Done => Ok(()),
            Disabled::SessionsRemain => {
                let message = format!(
                    "{email} is disabled, but its sessions could not be removed; they open nothing. Run the command again"
                );
                Err(Failure::new(Exit::Failed, "sessions_remain", message))
            }
            Disabled::NoPlace => {
                let advice =
                    "the existing accounts have no flag for it; name one in users.disabled or users.enabled";
                Err(Failure::new(Exit::Refused, "no_place", advice))
            }
            Disabled::Gone => Err(missing(email)),
        }
    };
    let act = if disabled { "user_disabled" } else { "user_enabled" };
    desk.act(act, Target::User(user.id.as_str()), change).await?;
    let sentence = if disabled {
        format!("Disabled {}; its sessions have ended", user.email)
    } else {
        format!("Enabled {}", user.email)
    };
    output.answer(&sentence, &json!({ "email": user.email.as_str(), "disabled": disabled }));
    Ok(())
}

async fn verify(output: &Output, desk: &Desk, email: &str) -> Result<(), Failure> {
    let user = find(desk, email).await?;
    let note = async { desk.auth.note_verified(&user, desk.now).await.map_err(Failure::failed) };
    desk.act("user_verified", Target::User(user.id.as_str()), note).await?;
    let sentence = format!("{} counts as verified", user.email);
    output.answer(&sentence, &json!({ "email": user.email.as_str(), "verified": true }));
    Ok(())
}

async fn unlock(output: &Output, desk: &Desk, email: &str) -> Result<(), Failure> {
    let user = find(desk, email).await?;
    let unlock = async { desk.auth.unlock(&user, desk.now).await.map_err(Failure::failed) };
    let failures = desk.act("user_unlocked", Target::User(user.id.as_str()), unlock).await?;
    let sentence = format!("Unlocked {}; {failures} sign-ins had failed in a row", user.email);
    output.answer(&sentence, &json!({ "email": user.email.as_str(), "failures": failures }));
    Ok(())
}

async fn token(output: &Output, desk: &Desk, email: &str, name: &str) -> Result<(), Failure> {
    let user = find(desk, email).await?;
    let (_, secrets) = keys(&desk.config).map_err(Failure::failed)?;
    // Nobody is sent anywhere from here, so the address of the server does not matter.
    let providers = providers(&desk.config, &desk.auth, &secrets, "http://localhost");
    let providers = providers.map_err(Failure::failed)?;
    let token = providers.access_token(&user, name, desk.now).await.map_err(Failure::failed)?;
    let none = || {
        let advice = format!(
            "there is no token: {name} must be configured with keep_tokens = true, and {email} must have signed in with it since"
        );
        Failure::new(Exit::NotFound, "not_found", advice)
    };
    let token = token.ok_or_else(none)?;
    audit::log("provider_token_printed", Target::User(user.id.as_str()), "done");
    output.answer(token.expose(), &json!({ "token": token.expose() }));
    Ok(())
}

async fn delete(output: &Output, desk: &Desk, email: &str, yes: bool) -> Result<(), Failure> {
    let user = find(desk, email).await?;
    if !yes && !confirmed(&format!("Delete {} and everything that belongs to it?", user.email)) {
        return Err(Failure::new(Exit::Refused, "not_confirmed", "nothing was deleted"));
    }
    let delete = async {
        let deleted = desk.auth.delete_user(&user, &*desk.stores.sessions, desk.now).await;
        match deleted.map_err(Failure::failed)? {
            Deleted::Done => Ok(()),
            Deleted::Missing => Err(missing(email)),
            Deleted::Leftovers => {
                let message = format!(
                    "{} is deleted, but not everything that belonged to {} could be removed; it opens nothing",
                    user.email, user.id
                );
                Err(Failure::new(Exit::Failed, "leftovers_remain", message))
            }
        }
    };
    desk.act("user_deleted", Target::User(user.id.as_str()), delete).await?;
    output.answer(
        &format!("Deleted {}", user.email),
        &json!({ "email": user.email.as_str(), "deleted": true }),
    );
    Ok(())
}
