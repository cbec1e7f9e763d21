//! What operators change in an account: password, address, roles.

use hallpass_session::{Secret, SessionStore, Timestamp};

use crate::{
    Auth, Change, Email, Ending, Error, PasswordProblem, Refusal, Requester, User, UserChanged,
    register::is_role,
};

/// How often a change is made again that met another one.
const TRIES: usize = 4;

/// The answer to [`Auth::reset_password`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordReset {
    /// It is set, and all sessions have ended.
    Done {
        /// How many sessions.
        ended: u64,
    },
    /// It is set, so sessions that began here open nothing; they could not be removed from the store.
    SessionsRemain,
    /// The new password is not accepted.
    Refused(PasswordProblem),
    /// There is no such account.
    Gone,
}

/// The answer to [`Auth::change_email`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmailChanged {
    /// The account has the new address. Nobody has proved yet that it is theirs.
    Done,
    /// Another account has the address.
    Taken,
    /// No account can have this address.
    Refused(Refusal),
    /// The login belongs to another application's table.
    NoPlace,
    /// There is no such account, or it has another address by now.
    Gone,
}

/// The answer to [`Auth::change_roles`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RolesChanged {
    /// The account has these roles now.
    Done(Vec<String>),
    /// A role cannot be given to anybody.
    Refused(Refusal),
    /// Another application's table has no place for them.
    NoPlace,
    /// There is no such account.
    Gone,
}

impl Auth {
    /// Sets a user's password without the former one. All their sessions end, no browser stays
    /// [known](crate::DeviceCookies), and failed sign-ins are forgotten, because they were guesses at the former password.
    ///
    /// # Errors
    /// When a store fails, or hashing is busy.
    pub async fn reset_password(
        &self,
        user: &User,
        new: Secret<String>,
        sessions: &dyn SessionStore,
        now: Timestamp,
    ) -> Result<PasswordReset, Error> {
        if let Err(problem) = self.check_password(&new, &user.email, user.name.as_deref()) {
            return Ok(PasswordReset::Refused(problem));
        }
        let hashing = &self.inner().hashing;
        let to = hashing.hash_after(new, user.password.clone(), Requester::operator()).await?;
        let mut current = user.clone();
        let mut tries = 0;
        loop {
            match self.replace_password(&current, current.stored_password(), &to).await? {
                UserChanged::Done => break,
                // The user changes it at this moment, or signs in and gets a better hash. The operator's word counts.
                UserChanged::Refused if tries < TRIES => tries += 1,
                UserChanged::Refused => return Err(Error::Store(stubborn())),
                UserChanged::Gone | UserChanged::NoPlace => return Ok(PasswordReset::Gone),
            }
            let Some(found) = self.inner().users.find(&user.id).await? else {
                return Ok(PasswordReset::Gone);
            };
            current = found;
        }
        tracing::info!(event = "password_reset", user = %user.id);
        let ended = self.end_sessions_of(sessions, &user.id, None, Ending::Operator, now).await;
        if let Err(error) = self.unlock(user, now).await {
            tracing::error!(event = "account_stays_locked", user = %user.id, error = &error as &dyn std::error::Error);
        }
        Ok(match ended {
            Ok(ended) => PasswordReset::Done { ended },
            Err(error) => {
                tracing::error!(event = "sessions_remain", user = %user.id, error = &error as &dyn std::error::Error);
                PasswordReset::SessionsRemain
            }
        })
    }

    /// Gives a user another address. Sessions go on, and so does what opens the account at providers; the new address is not
    /// [verified](Self::is_verified).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn change_email(&self, user: &User, email: &str) -> Result<EmailChanged, Error> {
        let to = match self.new_login(email) {
            Ok(to) => to,
            Err(refusal) => return Ok(EmailChanged::Refused(refusal)),
        };
        let of_another = |found: Option<User>| found.is_some_and(|found| found.id != user.id);
        if of_another(self.user_of_address(&to).await?) {
            return Ok(EmailChanged::Taken);
        }
        let change = Change::Email { from: user.email.clone(), to: to.clone() };
        Ok(match self.inner().users.change(&user.id, &change).await? {
            UserChanged::Done => {
                tracing::info!(event = "email_changed", user = %user.id);
                EmailChanged::Done
            }
            UserChanged::Refused if of_another(self.stored_address(&to).await?) => EmailChanged::Taken,
            UserChanged::Refused | UserChanged::Gone => EmailChanged::Gone,
            UserChanged::NoPlace => EmailChanged::NoPlace,
        })
    }

    async fn stored_address(&self, email: &Email) -> Result<Option<User>, Error> {
        Ok(self.inner().users.find_by_email(email).await?)
    }

    /// Gives a user roles and takes others away; what they have already, or do not have, is no error. Their sessions go on with
    /// the new roles.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn change_roles(
        &self,
        user: &User,
        add: &[String],
        remove: &[String],
    ) -> Result<RolesChanged, Error> {
        if !add.iter().all(|role| is_role(role)) {
            return Ok(RolesChanged::Refused(Refusal::Role));
        }
        let Some(found) = self.inner().users.find(&user.id).await? else { return Ok(RolesChanged::Gone) };
        let mut roles = found.roles.clone();
        roles.retain(|role| !remove.contains(role));
        for role in add {
            if !roles.contains(role) {
                roles.push(role.clone());
            }
        }
        if roles == found.roles {
            return Ok(RolesChanged::Done(roles));
        }
        Ok(match self.inner().users.change(&user.id, &Change::Roles(roles.clone())).await? {
            UserChanged::Done => {
                tracing::info!(event = "roles_changed", user = %user.id, ?roles);
                RolesChanged::Done(roles)
            }
            UserChanged::NoPlace => RolesChanged::NoPlace,
            UserChanged::Refused | UserChanged::Gone => RolesChanged::Gone,
        })
    }
}

fn stubborn() -> hallpass_session::StoreError {
    hallpass_session::StoreError::new("set a password", "somebody else changes it all the time; try again")
}
