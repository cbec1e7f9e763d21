//! `hallpass user disable`, `enable`, `verify`, `unlock`, `token` and `delete`.

use hallpass_auth::{Deleted, Disabled};
use serde_json::json;

use super::{find, missing};
use crate::{
    app::providers,
    cli::{
        Desk, Exit,
        audit::{self, Target},
        output::{Failure, Output, confirm},
    },
    serve::keys,
};

pub(super) async fn set_disabled(
    output: &Output,
    desk: &Desk,
    email: &str,
    disabled: bool,
) -> Result<(), Failure> {
    let user = find(desk, email).await?;
    let change = async {
        let changed = desk.auth.set_disabled(&user, disabled, &*desk.stores.sessions, desk.now).await;
        match changed.map_err(Failure::failed)? {
            Disabled::Done => Ok(()),
            Disabled::SessionsRemain => {
                let message = format!(
                    "{email} is disabled, but its sessions could not be removed; they open nothing. Run the command again"
                );
                Err(Failure::new(Exit::Failed, "sessions_remain", message))
            }
            Disabled::NoPlace => {
                let advice =
                    "the existing accounts have no flag for it; name one in users.disabled or users.enabled";
                Err(Failure::new(Exit::Refused, "no_place", advice))
            }
            Disabled::Gone => Err(missing(email)),
        }
    };
    let act = if disabled { "user_disabled" } else { "user_enabled" };
    desk.act(act, Target::User(user.id.as_str()), change).await?;
    let sentence = if disabled {
        format!("Disabled {}; its sessions have ended", user.email)
    } else {
        format!("Enabled {}", user.email)
    };
    output.answer(&sentence, &json!({ "email": user.email.as_str(), "disabled": disabled }));
    Ok(())
}

pub(super) async fn verify(output: &Output, desk: &Desk, email: &str) -> Result<(), Failure> {
    let user = find(desk, email).await?;
    let note = async { desk.auth.note_verified(&user, desk.now).await.map_err(Failure::failed) };
    desk.act("user_verified", Target::User(user.id.as_str()), note).await?;
    let sentence = format!("{} counts as verified", user.email);
    output.answer(&sentence, &json!({ "email": user.email.as_str(), "verified": true }));
    Ok(())
}

pub(super) async fn unlock(output: &Output, desk: &Desk, email: &str) -> Result<(), Failure> {
    let user = find(desk, email).await?;
    let unlock = async { desk.auth.unlock(&user, desk.now).await.map_err(Failure::failed) };
    let failures = desk.act("user_unlocked", Target::User(user.id.as_str()), unlock).await?;
    let sentence = format!("Unlocked {}; {failures} sign-ins had failed in a row", user.email);
    output.answer(&sentence, &json!({ "email": user.email.as_str(), "failures": failures }));
    Ok(())
}

pub(super) async fn token(output: &Output, desk: &Desk, email: &str, name: &str) -> Result<(), Failure> {
    let user = find(desk, email).await?;
    let (_, secrets) = keys(&desk.config).map_err(Failure::failed)?;
    // Nobody is sent anywhere from here, so the address of the server does not matter.
    let providers = providers(&desk.config, &desk.auth, &secrets, "http://localhost");
    let providers = providers.map_err(Failure::failed)?;
    let token = providers.access_token(&user, name, desk.now).await.map_err(Failure::failed)?;
    let none = || {
        let advice = format!(
            "there is no token: {name} must be configured with keep_tokens = true, and {email} must have signed in with it since"
        );
        Failure::new(Exit::NotFound, "not_found", advice)
    };
    let token = token.ok_or_else(none)?;
    audit::log("provider_token_printed", Target::User(user.id.as_str()), "done");
    output.answer(token.expose(), &json!({ "token": token.expose() }));
    Ok(())
}

pub(super) async fn delete(output: &Output, desk: &Desk, email: &str, yes: bool) -> Result<(), Failure> {
    let user = find(desk, email).await?;
    confirm(&format!("Delete {} and everything that belongs to it?", user.email), yes)?;
    let delete = async {
        let deleted = desk.auth.delete_user(&user, &*desk.stores.sessions, desk.now).await;
        match deleted.map_err(Failure::failed)? {
            Deleted::Done => Ok(()),
            Deleted::Missing => Err(missing(email)),
            Deleted::Leftovers => {
                let message = format!(
                    "{} is deleted, but not everything that belonged to {} could be removed; it opens nothing",
                    user.email, user.id
                );
                Err(Failure::new(Exit::Failed, "leftovers_remain", message))
            }
        }
    };
    desk.act("user_deleted", Target::User(user.id.as_str()), delete).await?;
    output.answer(
        &format!("Deleted {}", user.email),
        &json!({ "email": user.email.as_str(), "deleted": true }),
    );
    Ok(())
}
