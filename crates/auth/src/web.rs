//! Who is asking: axum extractors, and a guard for routers and routes.

use std::{
    ops::Deref,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::extract::OriginalUri;
use axum_core::{
    body::Body,
    extract::{FromRef, FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use hallpass_session::{LoadError, Session};
use http::{
    HeaderMap, Method, Request, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, LOCATION, RETRY_AFTER},
    request::Parts,
};
use tower_layer::Layer;
use tower_service::Service;

use crate::{Auth, Error, RedirectPath, User, UserId};

/// The signed-in user. Loaded from the store once a request, so that a disabled or deleted account is out at once; so are
/// sessions from before a change of password.
#[derive(Clone, Debug)]
pub struct CurrentUser(pub User);

/// The signed-in user's id as the session has it, without asking the user store: for what a disabled user may still see
/// until the session ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentUserId(pub UserId);

/// The signed-in user, who proved it a short while ago; else 403 with the code `reauth_required`.
#[derive(Clone, Debug)]
pub struct FreshUser(pub User);

/// Why a request did not get through.
#[derive(Debug)]
pub enum Rejection {
    /// Nobody is signed in: 401, or for page loads a redirect to this place.
    Unauthorized {
        /// The sign-in page with the way back.
        sign_in: Option<String>,
    },
    /// Somebody is signed in who may not: 403.
    Forbidden,
    /// The last proof of identity is too old: 403.
    ReauthRequired,
    /// The session could not be had: 503, or 500 without a layer.
    Session(LoadError),
    /// The user could not be had: 503; 500 if the session holds something unreadable.
    Error(Error),
}

impl Auth {
    async fn user_of(&self, parts: &mut Parts) -> Result<Option<User>, Rejection> {
        if let Some(CurrentUser(user)) = parts.extensions.get() {
            return Ok(Some(user.clone()));
        }
        let session = Session::of(parts).await.map_err(Rejection::Session)?;
        let user = self.current_user(&session).await.map_err(Rejection::Error)?;
        if let Some(user) = &user {
            parts.extensions.insert(CurrentUser(user.clone()));
        }
        Ok(user)
    }

    fn unauthorized(&self, parts: &Parts) -> Rejection {
        let sign_in =
            self.options().sign_in_path.as_ref().filter(|_| is_page_load(&parts.method, &parts.headers));
        // A nested router sees its own part of the path only; the browser needs all of it.
        let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let back = RedirectPath::parse(path);
        let with_way_back = |sign_in: &String| match &back {
            Some(back) => format!("{sign_in}?next={}", encode(back.as_str())),
            None => sign_in.clone(),
        };
        Rejection::Unauthorized { sign_in: sign_in.map(with_way_back) }
    }
}

/// Whether a browser is loading a page, rather than a script an answer.
fn is_page_load(method: &Method, headers: &HeaderMap) -> bool {
    let header = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let safe = matches!(*method, Method::GET | Method::HEAD);
    match header(http::HeaderName::from_static("sec-fetch-mode")) {
        Some(mode) => safe && mode == "navigate",
        None => safe && header(ACCEPT).is_some_and(|accept| accept.contains("text/html")),
    }
}

/// Percent-encodes what would end a query value.
fn encode(path: &str) -> String {
    path.replace('%', "%25")
        .replace('&', "%26")
        .replace('#', "%23")
        .replace('+', "%2B")
        .replace('?', "%3F")
        .replace('=', "%3D")
}

impl<S: Sync> FromRequestParts<S> for CurrentUser
where
    Auth: FromRef<S>,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        let auth = Auth::from_ref(state);
        match auth.user_of(parts).await? {
            Some(user) => Ok(Self(user)),
            None => Err(auth.unauthorized(parts)),
        }
    }
}

/// `None` when nobody is signed in; a store that is down is an error still.
impl<S: Sync> OptionalFromRequestParts<S> for CurrentUser
where
    Auth: FromRef<S>,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Rejection> {
        Ok(Auth::from_ref(state).user_of(parts).await?.map(Self))
    }
}

impl<S: Sync> FromRequestParts<S> for CurrentUserId
where
    Auth: FromRef<S>,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        let auth = Auth::from_ref(state);
        let session = Session::of(parts).await.map_err(Rejection::Session)?;
        let id = auth.signed_in(&session).map(|(id, _)| id);
        id.map(Self).ok_or_else(|| auth.unauthorized(parts))
    }
}

impl<S: Sync> FromRequestParts<S> for FreshUser
where
    Auth: FromRef<S>,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        let CurrentUser(user) =
            <CurrentUser as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        let session = Session::of(parts).await.map_err(Rejection::Session)?;
        if session.is_fresh() { Ok(Self(user)) } else { Err(Rejection::ReauthRequired) }
    }
}

impl Deref for CurrentUser {
    type Target = User;

    fn deref(&self) -> &User {
        &self.0
    }
}

impl Deref for FreshUser {
    type Target = User;

    fn deref(&self) -> &User {
        &self.0
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        match self {
            Self::Unauthorized { sign_in: Some(sign_in) } => {
                (StatusCode::SEE_OTHER, [(LOCATION, sign_in)]).into_response()
            }
            Self::Unauthorized { sign_in: None } => {
                json(StatusCode::UNAUTHORIZED, r#"{"message":"Unauthorized"}"#)
            }
            Self::Forbidden => json(StatusCode::FORBIDDEN, r#"{"message":"Forbidden","code":"forbidden"}"#),
            Self::ReauthRequired => json(
                StatusCode::FORBIDDEN,
                r#"{"message":"Sign in again to do this","code":"reauth_required"}"#,
            ),
            Self::Session(error) => error.into_response(),
            Self::Error(error) => error.into_response(),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        // As wherever a session is read: trying again would not help.
        if let Self::Value(error) = self {
            return error.into_response();
        }
        tracing::error!(event = "auth_unavailable", error = &self as &dyn std::error::Error);
        let retry_after = match self {
            Self::Busy { retry_after } => whole_seconds(retry_after),
            _ => 1,
        };
        let body = r#"{"message":"Service Unavailable","code":"unavailable"}"#;
        ([(RETRY_AFTER, retry_after.to_string())], json(StatusCode::SERVICE_UNAVAILABLE, body))
            .into_response()
    }
}

/// A time to wait as `Retry-After` has it: rounded up, so that nobody comes back too early.
pub fn whole_seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX)
}

fn json(status: StatusCode, body: &'static str) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// Lets only signed-in users through: `router.route_layer(RequireLogin::new(auth))`, or `get(..).layer(..)` for one route.
#[derive(Clone, Debug)]
pub struct RequireLogin {
    auth: Auth,
    role: Option<String>,
}

impl RequireLogin {
    /// Anybody who is signed in.
    pub fn new(auth: Auth) -> Self {
        Self { auth, role: None }
    }

    /// Only users with this role; others get 403.
    #[must_use]
    pub fn with_role(mut self, role: &str) -> Self {
        self.role = Some(role.to_owned());
        self
    }

    async fn check(&self, parts: &mut Parts) -> Result<(), Rejection> {
        let user = self.auth.user_of(parts).await?.ok_or_else(|| self.auth.unauthorized(parts))?;
        match &self.role {
            Some(role) if !user.roles.contains(role) => Err(Rejection::Forbidden),
            _ => Ok(()),
        }
    }
}

impl<S> Layer<S> for RequireLogin {
    type Service = RequireLoginService<S>;

    fn layer(&self, inner: S) -> RequireLoginService<S> {
        RequireLoginService { inner, guard: self.clone() }
    }
}

/// The service that [`RequireLogin`] makes.
#[derive(Clone, Debug)]
pub struct RequireLoginService<S> {
    inner: S,
    guard: RequireLogin,
}

impl<S, In> Service<Request<In>> for RequireLoginService<S>
where
    S: Service<Request<In>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    In: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        // The service that was polled ready must be the one that is called.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let guard = self.guard.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            match guard.check(&mut parts).await {
                Ok(()) => inner.call(Request::from_parts(parts, body)).await,
                Err(rejection) => Ok(rejection.into_response()),
            }
        })
    }
}
