//! `hallpass user merge`.

use hallpass_auth::oauth::{Merged, Providers};
use serde_json::json;

use super::{find, missing, no_place, show};
use crate::cli::{
    Desk, Exit,
    audit::Target,
    output::{Failure, Output, confirm},
};

pub(super) async fn merge(
    output: &Output,
    desk: &Desk,
    from: &str,
    into: &str,
    yes: bool,
) -> Result<(), Failure> {
    let (gone, stays) = (find(desk, from).await?, find(desk, into).await?);
    if desk.config.stores.users.is_some() {
        let failure = no_place("a merge: its own rows name both accounts");
        return Err(failure.with_advice("merge them in that application"));
    }
    if gone.id == stays.id {
        return Err(Failure::new(Exit::Usage, "usage", "this is one account; name two"));
    }
    let links = show::links(desk, &gone).await?;
    let mut gets = Vec::new();
    if !links.is_empty() {
        gets.push(format!("the connected accounts {}", show::in_words(&links)));
    }
    if !gone.roles.is_empty() {
        gets.push(format!("the roles {}", gone.roles.join(", ")));
    }
    let gets = if gets.is_empty() { "nothing".to_owned() } else { gets.join(" and ") };
    let question = format!(
        "{} gets {gets}. The sessions of {} end, and it is deleted with its password. Merge?",
        stays.email, gone.email
    );
    confirm(&question, yes)?;
    let work = async {
        let providers = Providers::none(desk.auth.clone());
        let merged = providers.merge(&gone, &stays, &*desk.stores.sessions, desk.now).await;
        match merged.map_err(Failure::failed)? {
            Merged::Done { links, roles } => Ok((links, roles)),
            Merged::NoPlace => Err(no_place("a merge")),
            Merged::Gone => Err(missing(into)),
            Merged::Leftovers => {
                let message = format!(
                    "{} is merged into {}, but not everything that belonged to {} could be removed; it opens nothing",
                    gone.email, stays.email, gone.id
                );
                Err(Failure::new(Exit::Failed, "leftovers_remain", message))
            }
        }
    };
    let (links, roles) =
        desk.act("users_merged", Target::Users(gone.id.as_str(), stays.id.as_str()), work).await?;
    let sentence =
        format!("Merged {} into {}; {links} connected accounts open it now", gone.email, stays.email);
    let answer = json!({ "email": stays.email.as_str(), "id": stays.id, "links": links, "roles": roles });
    output.answer(&sentence, &answer);
    Ok(())
}
