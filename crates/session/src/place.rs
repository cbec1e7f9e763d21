//! [`Place`]: where a request's session is while the request is served, and how it gets there.

use std::{cell::RefCell, collections::HashSet, sync::Arc};

use http::{HeaderMap, request::Parts};

use crate::{
    Client, HoldError, Scheme, Session, SessionId, StoreError, Timestamp,
    cookie::{self, MAX_CANDIDATES},
    express::{ExpressError, ExpressFailure, Profile},
    keys::Verified,
    session::Known,
    shared::Shared,
};

tokio::task_local! {
    /// The place of this request's session. Task-local rather than a request extension, because an extension costs
    /// allocations for every request, also for those that never look at their session.
    pub(crate) static PLACE: Place;
}

pub(crate) struct Place {
    /// Until the session has it. It moves rather than being shared once more: all cores count its owners, and wait for each other there.
    shared: RefCell<Option<Arc<Shared>>>,
    session: RefCell<Option<Session>>,
}

impl Place {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared: RefCell::new(Some(shared)), session: RefCell::new(None) }
    }

    /// The session, if somebody asked for it.
    pub(crate) fn into_session(self) -> Option<Session> {
        self.session.into_inner()
    }

    /// The session, if that takes no waiting; else what to wait for.
    fn at_once(&self, parts: &Parts) -> Result<Session, Waiting> {
        if let Some(session) = &*self.session.borrow() {
            return Ok(session.clone());
        }
        let mut place = self.shared.borrow_mut();
        let shared = place.take().unwrap_or_else(|| unreachable!("only a session takes it"));
        let now = shared.options.clock.now();
        let looked = if let Some(profile) = &shared.express {
            Err(Waiting::Express(profile.clone(), shared.clone()))
        } else {
            look(&shared, &parts.headers, now)
                .map_err(|candidates| Waiting::Store(candidates, shared.clone(), now))
        };
        match looked {
            Ok(Looked { known, others }) => {
                Ok(self.put(Session::new(shared, is_https(parts), known, others, Vec::new(), now)))
            }
            Err(waiting) => {
                *place = Some(shared);
                Err(waiting)
            }
        }
    }

    /// Another extractor of this request may have been quicker while this one waited; then its session counts.
    fn put(&self, session: Session) -> Session {
        self.session.borrow_mut().get_or_insert(session).clone()
    }
}

/// Why a request has no [`Session`].
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No [`SessionLayer`](crate::SessionLayer) is around the handler, or it was asked from another task than the request's.
    #[error(
        "there is no session here: add a SessionLayer around this route, and extract the session in the task that serves the request"
    )]
    NoLayer,
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Other requests [hold](crate::Hold::UnsafeMethods) the session.
    #[error("other requests of this session are not done yet")]
    Held,
    /// In the Express profile: the cookie that is configured makes no session there either.
    #[error(transparent)]
    Session(#[from] ExpressError),
}

impl From<HoldError> for LoadError {
    fn from(error: HoldError) -> Self {
        match error {
            HoldError::Store(error) => Self::Store(error),
            HoldError::Waited => Self::Held,
        }
    }
}

impl From<ExpressFailure> for LoadError {
    fn from(failure: ExpressFailure) -> Self {
        match failure {
            ExpressFailure::Store(error) => Self::Store(error),
            ExpressFailure::Session(error) => Self::Session(error),
        }
    }
}

impl Session {
    /// The session of the request with these parts; loads it unless that has happened already.
    /// The axum extractor is this function.
    pub async fn of(parts: &Parts) -> Result<Self, LoadError> {
        let session = match PLACE.try_with(|place| place.at_once(parts)).map_err(|_| LoadError::NoLayer)? {
            Ok(session) => session,
            Err(waiting) => {
                let session = waiting.load(parts).await?;
                PLACE.with(|place| place.put(session))
            }
        };
        if session.is_held_by(&parts.method) {
            Box::pin(session.hold()).await?;
        }
        Ok(session)
    }
}

/// What a request waits for before it has its session.
enum Waiting {
    /// The cookies that may open a session, and when the request came.
    Store(Vec<Verified>, Arc<Shared>, Timestamp),
    /// The Express profile decides for itself whom to ask.
    Express(Arc<Profile>, Arc<Shared>),
}

impl Waiting {
    async fn load(self, parts: &Parts) -> Result<Session, LoadError> {
        let (candidates, shared, now) = match self {
            Self::Store(candidates, shared, now) => (candidates, shared, now),
            Self::Express(profile, shared) => {
                let held = profile.load(&shared.keys, parts).await?;
                return Ok(Session::new_express(shared, held));
            }
        };
        let (mut known, mut others, mut ended) = (None, Vec::new(), Vec::new());
        for candidate in candidates {
            let is_asked = known.is_none();
            let stored = if is_asked { shared.store.load(&candidate.id, now).await? } else { None };
            if let Some(stored) = stored {
                known = Some(Known::new(candidate, stored));
                continue;
            }
            if is_asked {
                ended.push(candidate.id.handle());
            }
            others.push(candidate.id);
        }
        Ok(Session::new(shared, is_https(parts), known, others, ended, now))
    }
}

/// What can be told of a request's session at once.
struct Looked {
    known: Option<Known>,
    /// The other sessions that its cookies may open.
    others: Vec<SessionId>,
}

/// The session that the request's cookies open, if that can be told at once; else the cookies that the store must be asked about, in
/// order. Forged cookies never reach the store.
fn look(shared: &Shared, headers: &HeaderMap, now: Timestamp) -> Result<Looked, Vec<Verified>> {
    let mut candidates = cookie::candidates(headers, &shared.options.cookie.name, &shared.keys);
    let Some(first) = candidates.next() else { return Ok(Looked { known: None, others: Vec::new() }) };
    match shared.store.cached(&first.id, now) {
        Some(stored) => {
            let others = distinct(&first, candidates).map(|other| other.id).collect();
            Ok(Looked { known: Some(Known::new(first, stored)), others })
        }
        None => Err([first.clone()].into_iter().chain(distinct(&first, candidates)).collect()),
    }
}

/// The cookies that are neither `first` nor one that came before, at most as many as a request may try.
fn distinct(first: &Verified, rest: impl Iterator<Item = Verified>) -> impl Iterator<Item = Verified> {
    let (first, mut seen) = (first.id.clone(), HashSet::new());
    let rest = rest.filter(move |candidate| candidate.id != first && seen.insert(candidate.id.clone()));
    rest.take(MAX_CANDIDATES - 1)
}

/// Whether the request came over https: what a trusted proxy says, else what the request line says.
fn is_https(parts: &Parts) -> bool {
    match parts.extensions.get::<Client>() {
        Some(client) => client.scheme == Scheme::Https,
        None => parts.uri.scheme_str() == Some("https"),
    }
}
