//! The answer of a provider once more: a reload, a second click, a second try after a broken connection.

use hallpass_session::{Session, SessionHandle, Timestamp};

use super::{
    Entry, Failure, Finished, Outcome, Providers,
    attempt::{Answer, Attempt, SignedIn},
};
use crate::{Error, Origin, Record, UserId, stamp::STAMP};

/// What the repeated request is about.
pub(super) struct Again<'a> {
    pub(super) attempt: &'a Attempt,
    pub(super) record: Record,
    /// The first request was over when this one came.
    pub(super) alone: bool,
}

/// What a repeat is told; `None`: what nobody can tell again.
pub(super) fn answer_of(outcome: &Outcome, session: &Session) -> Option<Answer> {
    Some(match outcome {
        Outcome::Failed(failure) => Answer::Failed(failure.code().to_owned()),
        Outcome::Linked => Answer::Linked,
        Outcome::SignedIn { user, created, claimed } => Answer::SignedIn(Box::new(SignedIn {
            user: user.id.as_str().to_owned(),
            epoch: user.session_epoch,
            created: *created,
            claimed: *claimed,
            session: session.handle()?.to_string(),
            via: STAMP.get(session).ok()??.via?,
            proved: session.authenticated().map(Timestamp::as_millis),
        })),
    })
}

impl Providers {
    pub(super) async fn repeat(
        &self,
        entry: &Entry,
        again: Again<'_>,
        answer: Answer,
        session: &Session,
        origin: &Origin,
    ) -> Result<Finished, Error> {
        let attempt = again.attempt;
        let outcome = match answer {
            Answer::Failed(code) => Some(Failure::from_code(&code).unwrap_or(Failure::Provider).into()),
            Answer::Linked => {
                let user = self.0.auth.current_user(session).await?;
                let same = user.is_some_and(|user| Some(user.id.as_str()) == attempt.link.as_deref());
                same.then_some(Outcome::Linked)
            }
            Answer::SignedIn(before) => self.sign_in_again(entry, again, *before, session, origin).await?,
        };
        Ok(attempt.finished(outcome.unwrap_or(Failure::Unexpected.into())))
    }

    /// Signs the person in as before: its answer may not have arrived. `None`: the session it opened has ended since, and whoever signed out
    /// stays signed out.
    async fn sign_in_again(
        &self,
        entry: &Entry,
        again: Again<'_>,
        before: SignedIn,
        session: &Session,
        origin: &Origin,
    ) -> Result<Option<Outcome>, Error> {
        let (now, id) = (session.now(), UserId::new(&before.user));
        let Ok(handle) = before.session.parse::<SessionHandle>() else { return Ok(None) };
        let user = self.users().find(&id).await?;
        let Some(user) = user.filter(|user| !user.disabled && user.session_epoch == before.epoch) else {
            return Ok(None);
        };
        let lives = session.store().of_user(id.as_str(), now).await?;
        if lives.iter().all(|listed| listed.handle != handle) {
            return Ok(None);
        }
        let SignedIn { created, claimed, .. } = before;
        let outcome = Outcome::SignedIn { user: user.clone(), created, claimed };
        if session.handle() == Some(handle) {
            return Ok(Some(outcome));
        }
        self.0.auth.establish_via(session, &user, origin, before.via)?;
        if entry.provider.remember {
            session.remember_for(self.0.auth.options().remember_for);
        }
        session.proved_at(before.proved.map(Timestamp::from_millis));
        session.save().await?;
        if let Some(answer) = answer_of(&outcome, session) {
            again.attempt.close(self.records(), again.record, answer, now).await?;
        }
        if again.alone {
            // Nobody has its cookie. Of two requests at once, the browser may have taken either answer.
            session.store().delete_handle(handle, Some(id.as_str()), now).await?;
        }
        Ok(Some(outcome))
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}
