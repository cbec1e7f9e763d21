//! What the servers on one store tell each other: with which secret each of them signs, and which ones it accepts.
//!
//! A server writes a record at start and then every [`EVERY`]; one that died is forgotten after [`LIFETIME`]. Secrets are named by
//! their fingerprints. So a rotation waits until every server accepts the new secret, and servers with different ones are noticed.

use std::{collections::HashSet, sync::Arc, time::Duration};

use hallpass_auth::{Inserted, Record, RecordKey, RecordStore, Replaced};
use hallpass_session::{Clock, Secret, StoreClock, StoreError, Timestamp, fingerprint, hex, random};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

/// The kind of the records.
const KIND: &str = "server";

/// How often a server says that it is there.
const EVERY: Duration = Duration::from_secs(20);

/// How long its last word counts.
const LIFETIME: Duration = Duration::from_secs(60);

/// More servers than anybody has.
const MOST: usize = 1000;

/// One server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Peer {
    pub(crate) host: String,
    pub(crate) pid: u32,
    /// The fingerprint of the secret that it signs with.
    pub(crate) signs: String,
    /// Those of all secrets that it accepts.
    pub(crate) accepts: Vec<String>,
    /// When it last said so; milliseconds since the epoch.
    pub(crate) seen: i64,
}

impl Peer {
    /// This process.
    pub(crate) fn this(secrets: &[Secret<String>]) -> Self {
        let accepts: Vec<String> = secrets.iter().map(|secret| fingerprint(secret.expose())).collect();
        Self {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
            signs: accepts.first().cloned().unwrap_or_default(),
            accepts,
            seen: 0,
        }
    }

    /// Whether sessions that one of the two signs are none at the other.
    fn disagrees(&self, other: &Self) -> bool {
        !self.accepts.contains(&other.signs) || !other.accepts.contains(&self.signs)
    }
}

/// The servers that are there.
pub(crate) async fn peers(records: &dyn RecordStore, now: Timestamp) -> Result<Vec<Peer>, StoreError> {
    let found = records.export(KIND, None, MOST, now).await?;
    Ok(found.iter().filter_map(|record| serde_json::from_str(&record.body).ok()).collect())
}

/// This server's record.
pub(crate) struct Announcement {
    records: Arc<dyn RecordStore>,
    clock: StoreClock,
    key: RecordKey,
    peer: Peer,
    version: u64,
    /// Servers with other secrets that the log names already.
    told: HashSet<(String, u32)>,
}

impl Announcement {
    pub(crate) fn new(records: Arc<dyn RecordStore>, clock: StoreClock, secrets: &[Secret<String>]) -> Self {
        let key = RecordKey { kind: KIND, id: hex(&random::<16>()) };
        Self { records, clock, key, peer: Peer::this(secrets), version: 0, told: HashSet::new() }
    }

    /// Says that this server is there, and whether the others have its secrets. A store that fails is noticed elsewhere.
    pub(crate) async fn say(&mut self) {
        if let Err(error) = self.try_say().await {
            tracing::debug!(event = "server_not_announced", error = &error as &dyn std::error::Error);
        }
    }

    async fn try_say(&mut self) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.write(now).await?;
        for other in peers(&*self.records, now).await? {
            let who = (other.host.clone(), other.pid);
            if self.peer.disagrees(&other) && self.told.insert(who) {
                tracing::error!(
                    event = "secrets_differ",
                    host = other.host,
                    pid = other.pid,
                    "this server and that one sign sessions with secrets that the other does not accept, so people are signed \
                     out as they move between them; give all servers the same secrets, see hallpass key status"
                );
            }
        }
        Ok(())
    }

    async fn write(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.peer.seen = now.as_millis();
        let body =
            serde_json::to_string(&self.peer).map_err(|error| StoreError::new("announce a server", error))?;
        let expires = Some(now + LIFETIME);
        let record = Record { key: self.key.clone(), owner: None, body, expires, version: self.version };
        if self.version > 0 && self.records.replace(&record, now).await? == Replaced::Done {
            self.version += 1;
        } else if self.records.insert(&record, now).await? == Inserted::Done {
            self.version = 1;
        }
        Ok(())
    }

    /// Goes on saying so for as long as it is polled.
    pub(crate) async fn run(&mut self) {
        loop {
            sleep(EVERY).await;
            self.say().await;
        }
    }

    /// The server has ended.
    pub(crate) async fn leave(&self) {
        self.records.take(&self.key, self.clock.now()).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use hallpass_auth::MemoryRecords;

    use super::*;

    fn secrets(names: &[&str]) -> Vec<Secret<String>> {
        names.iter().map(|name| Secret::new((*name).to_owned())).collect()
    }

    #[tokio::test]
    async fn a_server_is_there_until_it_leaves_or_says_nothing_for_a_minute() {
        let records = Arc::new(MemoryRecords::new());
        let clock = StoreClock::of_machine();
        let mut one = Announcement::new(records.clone(), clock.clone(), &secrets(&["a", "b"]));
        let mut two = Announcement::new(records.clone(), clock.clone(), &secrets(&["b"]));
        one.say().await;
        two.say().await;
        one.say().await;
        let now = clock.now();
        assert_eq!(peers(&*records, now).await.unwrap().len(), 2);
        assert!(one.told.is_empty() == two.told.is_empty() && !one.told.is_empty(), "b does not accept a");
        two.leave().await;
        let left = peers(&*records, now).await.unwrap();
        assert_eq!((left.len(), left[0].accepts.len()), (1, 2));
        assert!(peers(&*records, now + LIFETIME + LIFETIME).await.unwrap().is_empty());
    }

    #[test]
    fn servers_agree_when_each_accepts_what_the_other_signs() {
        let peer = |names: &[&str]| Peer::this(&secrets(names));
        assert!(!peer(&["old", "new"]).disagrees(&peer(&["new", "old"])));
        assert!(!peer(&["old"]).disagrees(&peer(&["old", "new"])));
        assert!(peer(&["old"]).disagrees(&peer(&["new", "old"])));
    }
}
