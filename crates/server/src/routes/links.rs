//! The accounts at providers that open an account here.

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use hallpass_auth::{
    CurrentUser, User,
    oauth::{Link, Unlinked},
};
use hallpass_session::{Session, Timestamp};
use http::StatusCode;
use minijinja::{Value, context};
use serde_json::json;

use super::{account, done, done_but};
use crate::{app::App, device, error::ApiError, input::Asker};

/// What the provider of a link is called.
fn label<'a>(app: &'a App, link: &'a Link) -> &'a str {
    app.providers().get(&link.provider).map_or(&link.provider, |provider| &provider.label)
}

/// GET /auth/links
pub(super) async fn list(
    State(app): State<App>,
    CurrentUser(user): CurrentUser,
    session: Session,
) -> Result<Response, ApiError> {
    let links = app.providers().links(&user, session.now()).await?;
    let shown = |link: &Link| {
        json!({
            "id": link.id,
            "provider": link.provider,
            "label": label(&app, link),
            "email": link.email,
            "linked_at": link.linked.to_string(),
        })
    };
    Ok(Json(json!({ "links": links.iter().map(shown).collect::<Vec<_>>() })).into_response())
}

/// What the account page shows of them.
pub(super) async fn context(app: &App, user: &User, now: Timestamp) -> Result<Value, ApiError> {
    let links = app.providers().links(user, now).await?;
    let providers = app.providers().iter();
    let unlinked = providers.filter(|provider| links.iter().all(|link| link.provider != provider.name));
    let unlinked: Vec<Value> =
        unlinked.map(|provider| context! { name => &provider.name, label => &provider.label }).collect();
    let shown = |link: &Link| {
        context! {
            id => &link.id,
            label => label(app, link),
            email => &link.email,
            linked_at => link.linked.to_string(),
            since => device::ago(now.since(link.linked)),
        }
    };
    let links: Vec<Value> = links.iter().map(shown).collect();
    Ok(context! { links, unlinked })
}

/// DELETE /auth/links/{id}; from a page, POST …/end
pub(super) async fn end(
    State(app): State<App>,
    CurrentUser(user): CurrentUser,
    session: Session,
    asker: Asker,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let error = match app.providers().unlink(&session, &user, &id).await? {
        // On the page a link that is gone already is what was wanted.
        Unlinked::Done | Unlinked::NotFound if asker.page => {
            return Ok(app.redirect("/account?done=unlinked").into_response());
        }
        Unlinked::Done => return Ok(done("Disconnected")),
        Unlinked::Remains if asker.page => {
            return Ok(app.redirect("/account?done=unlinked-only").into_response());
        }
        Unlinked::Remains => {
            let message = "Disconnected. Sessions that it opened could not be ended";
            return Ok(done_but(message, "sessions_remain"));
        }
        Unlinked::Interrupted if asker.page => {
            return Ok(app.redirect("/account?done=unlink-interrupted").into_response());
        }
        Unlinked::Interrupted => {
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "interrupted", account::UNLINK_INTERRUPTED)
        }
        Unlinked::NotFound => ApiError::new(StatusCode::NOT_FOUND, "not_found", "You have no such link"),
        Unlinked::LastWayIn => {
            let message =
                "This is your only way to sign in. Set a password or connect another account first.";
            ApiError::new(StatusCode::CONFLICT, "last_way_in", message)
        }
        Unlinked::Kept => {
            let message = "The application keeps this connection, and it cannot be removed here.";
            ApiError::new(StatusCode::CONFLICT, "link_kept", message)
        }
        Unlinked::NotFresh => account::not_fresh(),
    };
    account::answer(&app, &session, &user, asker.page, error, "links").await
}
