//! `hallpass user set`.

use clap::{ArgGroup, Args};
use hallpass_auth::{EmailChanged, RolesChanged, User};
use serde_json::json;

use super::{find, missing, no_place, refused, show, taken};
use crate::cli::{
    Desk, Exit,
    audit::Target,
    output::{Failure, Output},
};

#[derive(Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true))]
pub(in crate::cli) struct Set {
    /// The e-mail address, or id:ID
    account: String,
    /// What to call the person; an empty text removes the name
    #[arg(long, group = "what")]
    name: Option<String>,
    /// The new e-mail address; it counts as not verified
    #[arg(long, value_name = "EMAIL", group = "what")]
    email: Option<String>,
    /// A role to add or to take away; several may follow each other
    #[arg(long = "role", value_name = "+ROLE|-ROLE", allow_hyphen_values = true, value_parser = role, group = "what")]
    roles: Vec<Role>,
    /// Note that the address is its owner's
    #[arg(long, group = "what", conflicts_with = "unverified")]
    verified: bool,
    /// Note that nobody has proved whose address it is
    #[arg(long, group = "what")]
    unverified: bool,
}

#[derive(Clone)]
enum Role {
    Add(String),
    Remove(String),
}

fn role(text: &str) -> Result<Role, String> {
    let (sign, role) = text.split_at_checked(1).unwrap_or(("", text));
    match sign {
        "+" if !role.is_empty() => Ok(Role::Add(role.to_owned())),
        "-" if !role.is_empty() => Ok(Role::Remove(role.to_owned())),
        _ => Err("write +ROLE to add a role, -ROLE to take one away".to_owned()),
    }
}

impl Set {
    /// What can be refused comes first. What was done before a refusal is said with it.
    pub(super) async fn run(self, output: &Output, desk: &Desk) -> Result<(), Failure> {
        let mut user = find(desk, &self.account).await?;
        let mut done = Vec::new();
        let changed = self.change(desk, &mut user, &mut done).await;
        if let Err(failure) = changed {
            let before = done.join(", ");
            return Err(if done.is_empty() {
                failure
            } else {
                failure.with_advice(&format!("done before: {before}"))
            });
        }
        let user = desk.stores.users.find(&user.id).await.map_err(Failure::failed)?.unwrap_or(user);
        let verified = desk.auth.is_verified(&user, desk.now).await.map_err(Failure::failed)?;
        let answer = json!({
            "id": user.id,
            "email": user.email.as_str(),
            "name": user.name,
            "roles": user.roles,
            "verified": verified,
        });
        output.answer(&format!("{}: {}", user.email, done.join(", ")), &answer);
        Ok(())
    }

    async fn change(&self, desk: &Desk, user: &mut User, done: &mut Vec<String>) -> Result<(), Failure> {
        if let Some(email) = &self.email {
            *user = self.set_email(desk, user, email, done).await?;
        }
        if !self.roles.is_empty() {
            self.set_roles(desk, user, done).await?;
        }
        if let Some(name) = &self.name {
            self.set_name(desk, user, name, done).await?;
        }
        if self.verified || self.unverified {
            self.set_verified(desk, user, done).await?;
        }
        Ok(())
    }

    async fn set_email(
        &self,
        desk: &Desk,
        user: &User,
        email: &str,
        done: &mut Vec<String>,
    ) -> Result<User, Failure> {
        let change = async {
            match desk.auth.change_email(user, email).await.map_err(Failure::failed)? {
                EmailChanged::Done => Ok(()),
                EmailChanged::Taken => Err(taken(email)),
                EmailChanged::Refused(refusal) => Err(refused(refusal)),
                EmailChanged::NoPlace => {
                    Err(no_place("another login").with_advice("change the login in that application"))
                }
                EmailChanged::Gone => Err(missing(&self.account)),
            }
        };
        desk.act("email_changed", Target::User(user.id.as_str()), change).await?;
        let found = desk.stores.users.find(&user.id).await.map_err(Failure::failed)?;
        let found = found.ok_or_else(|| missing(&self.account))?;
        done.push(format!("address {} instead of {}", found.email, user.email));
        let links = show::links(desk, user).await?;
        if !links.is_empty() {
            let links = show::in_words(&links);
            Output::hint(&format!("It is still opened by the connected accounts {links}"));
        }
        Ok(found)
    }

    async fn set_roles(&self, desk: &Desk, user: &User, done: &mut Vec<String>) -> Result<(), Failure> {
        let (mut add, mut remove) = (Vec::new(), Vec::new());
        for role in &self.roles {
            match role {
                Role::Add(role) => add.push(role.clone()),
                Role::Remove(role) => remove.push(role.clone()),
            }
        }
        let change = async {
            match desk.auth.change_roles(user, &add, &remove).await.map_err(Failure::failed)? {
                RolesChanged::Done(roles) => Ok(roles),
                RolesChanged::Refused(refusal) => Err(refused(refusal)),
                RolesChanged::NoPlace => {
                    Err(no_place("these roles").with_advice("name a field in users.roles or users.role"))
                }
                RolesChanged::Gone => Err(missing(&self.account)),
            }
        };
        let roles = desk.act("roles_changed", Target::User(user.id.as_str()), change).await?;
        let roles = if roles.is_empty() { "none".to_owned() } else { roles.join(",") };
        done.push(format!("roles {roles}"));
        Ok(())
    }

    async fn set_name(
        &self,
        desk: &Desk,
        user: &User,
        name: &str,
        done: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let change =
            async { desk.auth.change_name(user, name).await.map_err(Failure::failed)?.map_err(refused) };
        let name = desk.act("name_changed", Target::User(user.id.as_str()), change).await?;
        done.push(name.map_or_else(|| "no name".to_owned(), |name| format!("name {name}")));
        Ok(())
    }

    async fn set_verified(&self, desk: &Desk, user: &User, done: &mut Vec<String>) -> Result<(), Failure> {
        if self.verified {
            let note = async { desk.auth.note_verified(user, desk.now).await.map_err(Failure::failed) };
            desk.act("user_verified", Target::User(user.id.as_str()), note).await?;
            done.push("address verified".to_owned());
            return Ok(());
        }
        let forget = async {
            if desk.auth.forget_verified(user, desk.now).await.map_err(Failure::failed)? {
                return Ok(());
            }
            let message = "another application's table says that this address is verified; change it there";
            Err(Failure::new(Exit::Refused, "no_place", message))
        };
        desk.act("user_unverified", Target::User(user.id.as_str()), forget).await?;
        done.push("address not verified".to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_have_a_sign() {
        assert!(matches!(role("+admin"), Ok(Role::Add(role)) if role == "admin"));
        assert!(matches!(role("-\u{e4}"), Ok(Role::Remove(role)) if role == "\u{e4}"));
        for wrong in ["", "+", "-", "admin", "\u{e4}"] {
            assert!(role(wrong).is_err(), "{wrong:?}");
        }
    }
}
