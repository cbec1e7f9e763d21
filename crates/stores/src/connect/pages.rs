//! [`Pages`]: what is still to be listed. No database here knows the order of handles, so a list begins by reading all keys; whoever asks for
//! the next page at once does not make it read them again.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hallpass_session::{SessionHandle, SessionId, StoreError, Stored, Timestamp};

use super::{
    rows::Rows,
    sessions::{Connect, PAGE},
};

/// How long the keys that were read count as all there are.
const FRESH: Duration = Duration::from_secs(60);

/// Keys in the order of their handles.
pub(super) type Keys = VecDeque<(SessionHandle, String)>;

/// The rest of the list that was asked for last.
#[derive(Default)]
pub(super) struct Pages(Mutex<Option<Rest>>);

struct Rest {
    after: SessionHandle,
    read: Timestamp,
    keys: Keys,
}

impl Pages {
    /// The keys after this handle and when they were read, if the last page ended there a short while ago.
    pub(super) fn take(&self, after: Option<SessionHandle>, now: Timestamp) -> Option<(Keys, Timestamp)> {
        let rest = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let fresh = rest.read <= now && now.since(rest.read) < FRESH;
        (Some(rest.after) == after && fresh).then_some((rest.keys, rest.read))
    }

    /// Keeps the keys for a page after this handle.
    pub(super) fn keep(&self, after: SessionHandle, keys: Keys, read: Timestamp) {
        let rest = (!keys.is_empty()).then_some(Rest { after, read, keys });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = rest;
    }
}

impl<R: Rows> Connect<R> {
    /// A page of all live sessions in the order of their handles, which no database here knows: it is made of all keys.
    pub(super) async fn page(
        &self,
        doing: &'static str,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Stored)>, StoreError> {
        if let Some((keys, read)) = self.pages.take(after, now) {
            let found = self.page_of(doing, keys, read, limit, now).await?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let keys = self.rows.keys(doing).await?.into_iter();
        let keys = keys.filter_map(|key| self.rows.id(&key).map(|id| (id.handle(), key)));
        let mut keys: Vec<_> = keys.filter(|(handle, _)| after.is_none_or(|after| *handle > after)).collect();
        keys.sort_unstable();
        // A scan may name a key twice.
        keys.dedup();
        self.page_of(doing, keys.into(), now, limit, now).await
    }

    /// The first live sessions of these keys; the rest is kept for the next page.
    async fn page_of(
        &self,
        doing: &'static str,
        mut keys: Keys,
        read: Timestamp,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Stored)>, StoreError> {
        let mut found = Vec::new();
        while found.len() < limit && !keys.is_empty() {
            let some = (limit - found.len()).min(PAGE).min(keys.len());
            let some: Vec<String> = keys.drain(..some).map(|(_, key)| key).collect();
            let rows = self.rows.get_all(doing, &some, now).await?;
            let mut page = self.all_stored(rows, now).await;
            page.sort_by_cached_key(|(id, _)| id.handle());
            found.extend(page);
        }
        if let Some((last, _)) = found.last() {
            self.pages.keep(last.handle(), keys, read);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_next_page_is_served_and_only_for_a_while() {
        let (pages, now) = (Pages::default(), Timestamp::from_millis(1_795_424_473_327));
        let (one, two) = (SessionHandle([1; 16]), SessionHandle([2; 16]));
        let keys = || Keys::from([(two, "b".to_owned())]);
        pages.keep(one, keys(), now);
        assert!(pages.take(Some(one), now + Duration::from_secs(59)).is_some());
        assert!(pages.take(Some(one), now).is_none(), "once");
        for (after, later) in [(None, now), (Some(two), now), (Some(one), now + FRESH)] {
            pages.keep(one, keys(), now);
            assert!(pages.take(after, later).is_none());
        }
        pages.keep(one, Keys::new(), now);
        assert!(
            pages.take(Some(one), now).is_none(),
            "at the end, all keys are read again: there may be new ones"
        );
    }
}
