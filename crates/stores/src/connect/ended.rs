//! Sessions that were ended here, and that no stale copy may bring back.
//!
//! An Express process saves whole sessions, over nothing too: a request that read a session before it was ended writes it again afterwards. So
//! every key that ends is remembered, in the database, for longer than any copy of its session could live.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use hallpass_session::{SessionId, StoreError, Timestamp};

use super::{
    rows::{End, Row, Rows},
    sessions::Connect,
};

/// How much longer than its session could live an ended key is remembered: no request takes so long.
pub(super) const MARGIN: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an ended key is remembered at most before the margin: browsers keep no cookie longer (RFC 6265bis, section 5.5).
pub(super) const LONGEST: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// How long after the end of a session a stale copy is looked for every minute. Later ones are found before the key is forgotten.
pub(super) const RECENT: Duration = Duration::from_secs(60 * 60);

/// How long the key of a session must be remembered that would have ended at `expires` (`None`: never), and that a save makes live for
/// `idle` again.
pub(super) fn until(expires: Option<Timestamp>, idle: Duration, now: Timestamp) -> Timestamp {
    let longest = now + LONGEST;
    expires.unwrap_or(longest).max(now + idle).min(longest) + MARGIN
}

impl<R: Rows> Connect<R> {
    /// Removes a row for good; the row and its text, if it lived.
    pub(super) async fn remove(
        &self,
        doing: &'static str,
        key: &str,
        end: End,
        now: Timestamp,
    ) -> Result<Option<(Row, Option<String>)>, StoreError> {
        // What a check of the store writes opens nothing, and the next check writes it again.
        let is_probe = self.rows.key(&SessionId::probe()).is_some_and(|probe| probe == key);
        let end = if is_probe { End::Moved } else { end };
        let Some(row) = self.rows.remove(doing, key, end, now).await? else { return Ok(None) };
        let text = self.rows.decode(&row.bytes).await.ok();
        let idle = text.as_deref().and_then(|text| self.text.idle(text)).unwrap_or(self.ttl());
        if until(row.expires, idle, now) > until(Some(now), self.ttl(), now) {
            self.rows.remember(doing, key, until(row.expires, idle, now)).await?;
        }
        Ok(Some((row, text)))
    }

    /// Ends the session under this key; whether it lived.
    pub(super) async fn end_session(
        &self,
        doing: &'static str,
        key: &str,
        end: End,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let Some((row, text)) = self.remove(doing, key, end, now).await? else { return Ok(false) };
        // It is gone; that it cannot be read is no reason to say otherwise.
        Ok(text.is_some_and(|text| self.text.read(&text, row.expires, now).is_some()))
    }

    /// Ends all sessions of a user but one; how many lived. A session that gets a new ID at this moment is found under the old ID, under the
    /// new one, or announced; so passes are made until one finds nothing new.
    pub(super) async fn end_sessions_of(
        &self,
        user: &str,
        except: Option<&str>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let doing = "end a user's sessions";
        let (mut ended, mut tried) = (0, HashSet::new());
        loop {
            let found = self.named(doing, user, now).await?;
            let mut keys: Vec<String> = found.iter().filter_map(|(id, _)| self.rows.key(id)).collect();
            keys.extend(self.rows.announced(doing, user).await?);
            keys.retain(|key| Some(key.as_str()) != except && tried.insert(key.clone()));
            if keys.is_empty() {
                return Ok(ended);
            }
            for key in keys {
                ended += u64::from(self.end_session(doing, &key, End::Ended, now).await?);
            }
        }
    }
}

/// The keys that ended lately, as far as this process has heard. Bounded: what it forgets too early, a sweep finds.
pub(super) struct Recent {
    hasher: RandomState,
    hashes: Mutex<Generations>,
}

struct Generations {
    young: HashSet<u64>,
    old: HashSet<u64>,
    begun: Instant,
}

/// How many keys a generation has at most: 16 bytes each.
const MOST: usize = 200_000;

impl Default for Recent {
    fn default() -> Self {
        let generations = Generations { young: HashSet::new(), old: HashSet::new(), begun: Instant::now() };
        Self { hasher: RandomState::new(), hashes: Mutex::new(generations) }
    }
}

impl Recent {
    /// Notes that this key has ended.
    pub(super) fn insert(&self, key: &str) {
        let mut all = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        if all.begun.elapsed() > RECENT || all.young.len() >= MOST {
            all.old = std::mem::take(&mut all.young);
            all.begun = Instant::now();
        }
        all.young.insert(self.hasher.hash_one(key));
    }

    /// Whether it has. Two keys in 10^14 are mistaken for each other, so ask the database before anything is removed.
    pub(super) fn contains(&self, key: &str) -> bool {
        let all = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = self.hasher.hash_one(key);
        all.young.contains(&hash) || all.old.contains(&hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_key_is_remembered_longer_than_any_copy_lives() {
        let (now, day) = (Timestamp::from_millis(1_795_424_473_327), Duration::from_secs(24 * 60 * 60));
        assert_eq!(
            until(Some(now + day), day * 7, now),
            now + day * 8,
            "a stale copy is saved with its whole age"
        );
        assert_eq!(until(Some(now + day * 7), day, now), now + day * 8, "or the row's own end is later");
        assert_eq!(until(None, day, now), now + day * 401, "one that never ends");
        assert_eq!(until(Some(now + day * 9000), day, now), now + day * 401);
    }

    #[test]
    fn recent_ends_are_bounded_and_the_newest_stay() {
        let recent = Recent::default();
        for number in 0..=MOST * 2 {
            recent.insert(&number.to_string());
        }
        assert!(recent.contains(&(MOST * 2).to_string()) && !recent.contains("0"));
    }
}
