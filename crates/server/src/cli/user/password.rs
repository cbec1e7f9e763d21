//! `hallpass user password`, and where commands get a new password from.

use std::io::{self, BufRead, IsTerminal};

use clap::Args;
use hallpass_auth::{PasswordReset, Refusal};
use hallpass_session::{Secret, random};
use serde_json::json;

use super::{find, missing, refused};
use crate::{
    cli::{
        Desk, Exit,
        audit::Target,
        output::{Failure, Output},
    },
    config::Config,
};

/// Letters and digits that nobody takes for another one: five random bits each.
const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";

/// How long a generated password is at least: 100 random bits.
const LENGTH: usize = 20;

#[derive(Args)]
pub(in crate::cli) struct Password {
    /// The e-mail address, or id:ID
    email: String,
    #[command(flatten)]
    source: Source,
}

/// Where a new password comes from. A terminal is asked; without one it is the first line of standard input.
#[derive(Args)]
pub(super) struct Source {
    /// Read the password from the first line of standard input, also at a terminal
    #[arg(long, conflicts_with = "generate")]
    stdin: bool,
    /// Make a password and print it
    #[arg(long)]
    generate: bool,
}

/// A new password.
pub(super) struct NewPassword {
    pub(super) password: Secret<String>,
    /// Nobody but this program knows it.
    pub(super) made: bool,
}

impl Source {
    pub(super) fn read(&self, config: &Config) -> Result<NewPassword, Failure> {
        if self.generate {
            let password = generated(config.auth.password.min_length.max(LENGTH));
            return Ok(NewPassword { password, made: true });
        }
        let password = if self.stdin || !io::stdin().is_terminal() { first_line() } else { typed() };
        Ok(NewPassword { password: password?, made: false })
    }
}

fn first_line() -> Result<Secret<String>, Failure> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(Failure::failed)?;
    let password = Secret::new(line.trim_end_matches(['\r', '\n']).to_owned());
    if password.expose().is_empty() {
        let message = "there is no password on standard input; write it there, or give --generate";
        return Err(Failure::new(Exit::Refused, "invalid_password", message));
    }
    Ok(password)
}

/// Twice, because nobody sees what they type.
fn typed() -> Result<Secret<String>, Failure> {
    let ask = |prompt: &str| rpassword::prompt_password(prompt).map(Secret::new).map_err(Failure::failed);
    let (first, second) = (ask("Password: ")?, ask("Again: ")?);
    if first.expose() == second.expose() {
        return Ok(first);
    }
    Err(Failure::new(Exit::Refused, "mismatch", "the two passwords are not the same"))
}

fn generated(length: usize) -> Secret<String> {
    let letter = || {
        let [byte] = random::<1>();
        char::from(ALPHABET[usize::from(byte) % ALPHABET.len()])
    };
    Secret::new(std::iter::repeat_with(letter).take(length).collect())
}

impl Password {
    pub(super) async fn run(self, output: &Output, desk: &Desk) -> Result<(), Failure> {
        let user = find(desk, &self.email).await?;
        let NewPassword { password, made } = self.source.read(&desk.config)?;
        let shown = made.then(|| password.clone());
        let set = async {
            let reset = desk.auth.reset_password(&user, password, &*desk.stores.sessions, desk.now).await;
            match reset.map_err(Failure::failed)? {
                PasswordReset::Done { ended } => Ok(ended),
                PasswordReset::Refused(problem) => Err(refused(Refusal::Password(problem))),
                PasswordReset::Gone => Err(missing(&self.email)),
                PasswordReset::SessionsRemain => {
                    let message = format!(
                        "the password of {} is set, but its sessions could not be removed; end them with \
                         `hallpass session revoke --user {}`",
                        user.email, user.email
                    );
                    Err(Failure::new(Exit::Failed, "sessions_remain", message))
                }
            }
        };
        let ended = desk.act("password_set", Target::User(user.id.as_str()), set).await?;
        let sessions = if ended == 1 {
            "1 session has ended".to_owned()
        } else {
            format!("{ended} sessions have ended")
        };
        let sentence = format!("Set the password of {}; {sessions}", user.email);
        let answer = json!({ "email": user.email.as_str(), "ended": ended });
        output.with_password(&sentence, answer, shown.as_ref());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_passwords_are_long_and_never_the_same() {
        let (one, two) = (generated(LENGTH), generated(64));
        assert_eq!((one.expose().len(), two.expose().len()), (LENGTH, 64));
        assert_ne!(one.expose(), generated(LENGTH).expose());
        assert!(two.expose().bytes().all(|letter| ALPHABET.contains(&letter)));
    }
}
