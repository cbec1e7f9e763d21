//! The user's own sessions: where they are signed in, and how to end that.

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use hallpass_auth::{CurrentUser, EndedSessions, OwnSession};
use hallpass_session::Session;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{done, logout};
use crate::{app::App, error::ApiError, input::Asker};

/// A session as the API and the pages show it.
#[derive(Serialize)]
pub(super) struct ShownSession {
    pub(super) handle: String,
    pub(super) current: bool,
    pub(super) created_at: String,
    pub(super) last_seen_at: String,
    pub(super) expires_at: String,
    pub(super) address: Option<String>,
    pub(super) user_agent: Option<String>,
}

/// What the session's label says.
#[derive(Default, Deserialize)]
struct Label {
    addr: Option<String>,
    agent: Option<String>,
}

impl From<&OwnSession> for ShownSession {
    fn from(OwnSession { current, listed }: &OwnSession) -> Self {
        let label: Label =
            listed.label.as_deref().and_then(|label| serde_json::from_str(label).ok()).unwrap_or_default();
        Self {
            handle: listed.handle.to_string(),
            current: *current,
            created_at: listed.created.to_string(),
            last_seen_at: listed.seen.to_string(),
            expires_at: listed.expires.to_string(),
            address: label.addr,
            user_agent: label.agent,
        }
    }
}

/// How many sessions a page shows, and the API unless it is asked for another number.
pub(super) const SHOWN: usize = 100;

/// How many sessions the API lists at most.
const MOST_LISTED: usize = 500;

/// What a list is asked for.
#[derive(Default, Deserialize)]
pub(super) struct Wanted {
    limit: Option<usize>,
}

/// GET /auth/sessions, with `?limit=` up to 500. `more` says how many are left out.
pub(super) async fn list(
    State(app): State<App>,
    CurrentUser(user): CurrentUser,
    session: Session,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, ApiError> {
    let limit = match wanted {
        Ok(Query(Wanted { limit })) => limit.unwrap_or(SHOWN),
        Err(_) => return Err(ApiError::invalid("limit is a number from 1 to 500")),
    };
    if !(1..=MOST_LISTED).contains(&limit) {
        return Err(ApiError::invalid("limit is a number from 1 to 500"));
    }
    let sessions = app.auth().sessions(&session, &user, limit).await?;
    let listed: Vec<ShownSession> = sessions.listed.iter().map(ShownSession::from).collect();
    Ok(Json(json!({ "sessions": listed, "more": sessions.more })).into_response())
}

/// DELETE /auth/sessions/{handle}; from a page, POST …/end
pub(super) async fn end(
    State(app): State<App>,
    CurrentUser(user): CurrentUser,
    session: Session,
    asker: Asker,
    Path(handle): Path<String>,
) -> Result<Response, ApiError> {
    let current = session.handle();
    let handle = handle.parse().ok();
    let ended = match handle {
        Some(handle) => app.auth().end_session(&session, &user, handle).await?,
        None => false,
    };
    if current.is_some() && handle == current {
        let mut response = if asker.page {
            app.redirect("/login?done=logout").into_response()
        } else {
            done("Session ended")
        };
        logout::forget(&app, &mut response);
        return Ok(response);
    }
    match (asker.page, ended) {
        // On the page a session that has ended already is what was wanted.
        (true, _) => Ok(app.redirect("/account?done=ended").into_response()),
        (false, true) => Ok(done("Session ended")),
        (false, false) => Err(ApiError::new(StatusCode::NOT_FOUND, "not_found", "You have no such session")),
    }
}

/// DELETE /auth/sessions; from a page, POST …/end
pub(super) async fn end_others(
    State(app): State<App>,
    CurrentUser(user): CurrentUser,
    session: Session,
    asker: Asker,
) -> Result<Response, ApiError> {
    let EndedSessions { count, remains } = app.auth().end_other_sessions(&session, &user).await?;
    let body = match remains {
        None if asker.page => return Ok(app.redirect("/account?done=others").into_response()),
        Some(_) if asker.page => return Ok(app.redirect("/account?done=others-only").into_response()),
        None => json!({ "message": "Other sessions ended", "ended": count }),
        Some(_) => {
            let message = "Other sessions ended. Other browsers could not be forgotten: repeat this";
            json!({ "message": message, "code": "browsers_remain", "ended": count })
        }
    };
    Ok(Json(body).into_response())
}
