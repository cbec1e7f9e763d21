//! Links under another name of their provider: after its `issuer`, or what stands for it, has changed.

use hallpass_session::Timestamp;

use super::{Protocol, Providers, link::Body, profile};
use crate::{
    Error, Inserted, Record, RecordKey,
    records::kinds::{OAUTH_LINK, OAUTH_TOKENS},
};

/// How many links are read at once.
const PAGE: usize = 100;

/// The answer to [`Providers::rekey`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rekeyed {
    /// So many links have the provider's present name now.
    pub moved: u64,
    /// So many stay as they were: the person has another link already, to another account.
    pub taken: u64,
}

impl Providers {
    /// Gives the links that were made with the provider `name` while it was called `from` the name it has now. `None`: no such provider is
    /// configured. Kept tokens of those links are removed, because they are sealed for the link; the next sign-in brings new ones.
    pub async fn rekey(&self, name: &str, from: &str, now: Timestamp) -> Result<Option<Rekeyed>, Error> {
        let to = match self.get(name).map(|provider| &provider.protocol) {
            None => return Ok(None),
            Some(Protocol::OpenId(openid)) => openid.issuer.as_str(),
            Some(Protocol::OAuth2(oauth)) => oauth.issuer.as_str(),
        };
        let (mut done, mut after) = (Rekeyed::default(), None);
        loop {
            let page = self.records().export(OAUTH_LINK, after.as_deref(), PAGE, now).await?;
            let Some(last) = page.last() else { return Ok(Some(done)) };
            after = Some(last.key.id.clone());
            for record in page {
                let Ok(body) = serde_json::from_str::<Body>(&record.body) else { continue };
                if body.provider == name && body.issuer == from && from != to {
                    let moved = self.rename(record, body, to, now).await?;
                    done.moved += u64::from(moved);
                    done.taken += u64::from(!moved);
                }
            }
        }
    }

    /// The new link first: after an interruption there are both, which lead to the same account.
    async fn rename(&self, old: Record, mut body: Body, to: &str, now: Timestamp) -> Result<bool, Error> {
        let id = profile::key(to, &body.subject);
        to.clone_into(&mut body.issuer);
        let key = RecordKey { kind: OAUTH_LINK, id };
        let failed = |error| hallpass_session::StoreError::new("note a link", error);
        let body = serde_json::to_string(&body).map_err(failed)?;
        let new = Record { key, body, owner: old.owner.clone(), expires: old.expires, version: 0 };
        if self.records().insert(&new, now).await? == Inserted::Taken {
            let there = self.records().get(&new.key, now).await?;
            if there.is_none_or(|there| there.owner != old.owner) {
                return Ok(false);
            }
        }
        self.records().take(&old.key, now).await?;
        self.records().take(&RecordKey { kind: OAUTH_TOKENS, id: old.key.id }, now).await?;
        Ok(true)
    }
}
