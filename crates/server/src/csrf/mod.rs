//! Cross-site request forgery: every change, sign-in included, must come from this site or a trusted origin; in token
//! mode it must also carry a token of its session, or of its browser while there is none.

mod origin;

use std::cell::RefCell;

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hallpass_auth::{CSRF_FIELD, CSRF_HEADER, Csrf, Visitor};
use hallpass_session::{LoadError, Session};
use http::{StatusCode, header::SET_COOKIE};

pub(crate) use self::origin::refuse_other_sites;
use crate::{
    app::App,
    error::ApiError,
    input::{MAX_BODY, form_field, is_safe, media_type},
    routes::{self, oauth},
};

fn refused() -> ApiError {
    let message =
        "This request came from another site, or its form is too old. Open the page again and retry.";
    ApiError::new(StatusCode::FORBIDDEN, "csrf", message)
}

tokio::task_local! {
    /// In token mode: what the request that is being served has to show for itself.
    static ASKING: RefCell<(Csrf, Visitor)>;
}

/// In token mode: the token for the forms or the script that are being answered.
pub(crate) fn token(session: &Session) -> Option<String> {
    let token = |asking: &RefCell<(Csrf, Visitor)>| {
        let (csrf, visitor) = &mut *asking.borrow_mut();
        csrf.token(session, visitor)
    };
    ASKING.try_with(token).ok()
}

/// In token mode: refuses changes that do not carry a token of their session or browser, in the header or in the form.
pub(crate) async fn demand_token(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some(csrf) = app.csrf() else { return next.run(request).await };
    let asking = RefCell::new((csrf.clone(), csrf.visitor(request.headers())));
    let answered = async {
        let mut response = checked(request, next).await;
        let cookie = ASKING.with(|asking| csrf.set_cookie(&asking.borrow().1));
        if let Some(cookie) = cookie {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        response
    };
    ASKING.scope(asking, answered).await
}

async fn checked(request: Request, next: Next) -> Response {
    if oauth::is_posted_by_providers(request.uri().path()) || is_safe(request.method()) {
        return next.run(request).await;
    }
    let path = request.uri().path();
    let purpose = Purpose { sign_in: routes::is_sign_in(path), sign_out: routes::is_sign_out(path) };
    match carries_token(request, purpose).await {
        Ok(Some(request)) => next.run(request).await,
        Ok(None) => refused().into_response(),
        Err(response) => response,
    }
}

/// What a change is for, where forms of several tabs must do.
#[derive(Clone, Copy)]
struct Purpose {
    /// Of two tabs with the form, the second comes after the first has signed somebody in.
    sign_in: bool,
    /// Of two tabs of an account, the second comes when nobody is signed in any more, and changes nothing.
    sign_out: bool,
}

fn is_valid(session: &Session, given: &str, purpose: Purpose) -> bool {
    ASKING.with(|asking| {
        let (csrf, visitor) = &*asking.borrow();
        csrf.verify(session, visitor, given) || purpose.sign_in && csrf.verify_visitor(visitor, given)
    })
}

/// The request again, if it carries a token. Reads the body of forms only.
async fn carries_token(request: Request, purpose: Purpose) -> Result<Option<Request>, Response> {
    let (parts, body) = request.into_parts();
    let session = Session::of(&parts).await.map_err(LoadError::into_response)?;
    if purpose.sign_out && session.id().is_none() {
        return Ok(Some(Request::from_parts(parts, body)));
    }
    if let Some(header) = parts.headers.get(CSRF_HEADER) {
        let matches = header.to_str().is_ok_and(|given| is_valid(&session, given, purpose));
        return Ok(matches.then(|| Request::from_parts(parts, body)));
    }
    if media_type(&parts.headers).as_deref() != Some("application/x-www-form-urlencoded") {
        return Ok(None);
    }
    let body = to_bytes(body, MAX_BODY).await.map_err(|_| refused().into_response())?;
    let matches = form_field(&body, CSRF_FIELD).is_some_and(|given| is_valid(&session, &given, purpose));
    Ok(matches.then(|| Request::from_parts(parts, Body::from(body))))
}
