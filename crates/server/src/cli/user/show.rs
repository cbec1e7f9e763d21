//! `hallpass user show`.

use hallpass_auth::oauth::{Link, Providers};
use serde_json::{Value, json};

use super::find;
use crate::cli::{
    Desk,
    output::{Failure, Output},
};

pub(super) async fn show(output: &Output, desk: &Desk, email: &str) -> Result<(), Failure> {
    let user = find(desk, email).await?;
    let links = links(desk, &user).await?;
    let verified = desk.auth.is_verified(&user, desk.now).await.map_err(Failure::failed)?;
    let provisioned = desk.auth.is_provisioned(&user, desk.now).await.map_err(Failure::failed)?;
    let recent = desk.stores.sessions.recent_of_user(user.id.as_str(), 1, desk.now).await;
    let recent = recent.map_err(Failure::failed)?;
    let sessions = recent.listed.len() as u64 + recent.more;
    let last_seen = recent.listed.first().map(|session| session.seen.to_string());
    let shown = |link: &Link| json!({ "provider": link.provider, "email": link.email, "linked_at": link.linked.to_string() });
    output.details(&[
        ("email", json!(user.email.as_str())),
        ("id", json!(user.id)),
        ("name", json!(user.name)),
        ("roles", json!(user.roles)),
        ("disabled", json!(user.disabled)),
        ("verified", json!(verified)),
        ("password", json!(user.password.is_some())),
        ("made_by_operator", json!(provisioned)),
        ("created_at", json!(user.created.to_string())),
        ("providers", links.iter().map(shown).collect::<Value>()),
        ("sessions", json!(sessions)),
        ("last_seen_at", json!(last_seen)),
    ]);
    Ok(())
}

/// What opens the account at providers, also at those that are no longer configured.
pub(super) async fn links(desk: &Desk, user: &hallpass_auth::User) -> Result<Vec<Link>, Failure> {
    Providers::none(desk.auth.clone()).links(user, desk.now).await.map_err(Failure::failed)
}

/// The links as a list in words: `google (ann@example.com), github`.
pub(super) fn in_words(links: &[Link]) -> String {
    let one = |link: &Link| match &link.email {
        Some(email) => format!("{} ({email})", link.provider),
        None => link.provider.clone(),
    };
    links.iter().map(one).collect::<Vec<_>>().join(", ")
}
