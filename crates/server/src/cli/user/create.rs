//! `hallpass user create`.

use clap::Args;
use hallpass_auth::{RegisterOutcome, Registration};
use hallpass_session::Secret;
use serde_json::json;

use super::{
    password::{NewPassword, Source},
    refused, taken,
};
use crate::cli::{
    Desk, Exit,
    audit::{self, Target},
    output::{Failure, Output},
};

#[derive(Args)]
pub(in crate::cli) struct Create {
    /// The e-mail address
    email: String,
    /// What to call the person
    #[arg(long)]
    name: Option<String>,
    /// A role; may be repeated
    #[arg(long = "role", value_name = "ROLE", allow_hyphen_values = true)]
    roles: Vec<String>,
    #[command(flatten)]
    source: Source,
}

impl Create {
    pub(super) async fn run(self, output: &Output, desk: &Desk) -> Result<(), Failure> {
        let Self { email, name, roles, source } = self;
        let NewPassword { password, made } = source.read(&desk.config)?;
        let shown = made.then(|| password.clone());
        create(output, desk, Registration { email, password, name }, roles, shown.as_ref()).await
    }
}

/// Makes the account; `made` is its password, if nobody else knows it.
pub(in crate::cli) async fn create(
    output: &Output,
    desk: &Desk,
    registration: Registration,
    roles: Vec<String>,
    made: Option<&Secret<String>>,
) -> Result<(), Failure> {
    let email = registration.email.clone();
    let outcome = desk.auth.provision_user(registration, roles, desk.now).await.map_err(Failure::failed)?;
    let user = match outcome {
        RegisterOutcome::Registered(user) | RegisterOutcome::SignInAgain(user) => user,
        RegisterOutcome::Taken => return Err(taken(&email)),
        RegisterOutcome::Refused(refusal) => return Err(refused(refusal)),
        RegisterOutcome::Closed(reason) => {
            return Err(Failure::new(Exit::Refused, "registration_closed", reason));
        }
        RegisterOutcome::Throttled { .. } => {
            return Err(Failure::new(Exit::Refused, "too_many_attempts", "too many attempts"));
        }
    };
    audit::log("user_created", Target::User(user.id.as_str()), "done");
    let sentence = format!("Created {} ({})", user.email, user.id);
    let answer = json!({ "id": user.id, "email": user.email.as_str() });
    output.with_password(&sentence, answer, made);
    Ok(())
}
