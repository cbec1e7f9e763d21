//! Sessions that connect-mongo encrypts.

use hallpass_session::StoreError;
use mongodb::{
    Cursor,
    bson::{RawDocumentBuf, doc},
};

use super::{
    crypto::Sealer,
    documents::{row, shown},
    rows::Collection,
};
use crate::connect::rows::{Rows, Unreadable};

impl Collection {
    /// Says at start if none of some stored sessions can be decrypted: then everybody who has one is signed out.
    pub(super) async fn warn_of_another_secret(&self) -> Result<(), StoreError> {
        const SAMPLE: i64 = 8;
        if self.sealer.is_none() {
            return Ok(());
        }
        let doing = "look at stored sessions";
        let raw = self.raw();
        let found = raw.find(doc! {}).limit(SAMPLE).projection(shown());
        let mut found: Cursor<RawDocumentBuf> = self.mongo.run(doing, found).await?;
        let mut why = None;
        while self.mongo.run(doing, found.advance()).await? {
            let Some(row) = row(found.current()) else { continue };
            match self.decode(&row.bytes).await {
                Ok(_) => return Ok(()),
                Err(unreadable) => why = Some(unreadable.0),
            }
        }
        if let Some(reason) = why {
            let advice = "no stored session can be decrypted: everybody who has one counts as signed out";
            tracing::warn!(event = "sessions_not_decrypted", reason, advice);
        }
        Ok(())
    }

    /// Seals or opens, off the request's way if that takes long.
    pub(super) async fn crypto<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Sealer) -> T + Send + 'static,
    ) -> Result<Option<T>, Unreadable> {
        let Some(sealer) = self.sealer.clone() else { return Ok(None) };
        if !sealer.is_slow() {
            return Ok(Some(work(&sealer)));
        }
        let done = tokio::task::spawn_blocking(move || work(&sealer)).await;
        done.map(Some).map_err(|_| Unreadable("the encryption broke down"))
    }
}
