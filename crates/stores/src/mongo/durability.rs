//! Whether MongoDB keeps what it has answered, as it is set up.

use std::time::Duration;

use hallpass_session::StoreError;
use mongodb::{
    Database,
    bson::{Document, doc},
    error::{Error, ErrorKind},
    options::{Acknowledgment, ReadPreference, SelectionCriteria},
};
use tokio::time::timeout;

use super::{KIND, Mongo};
use crate::durability::DurabilityWarning;

/// Whether the server takes a write that is to wait for the journal.
pub(super) async fn can_wait_for_the_journal(database: &Database, patience: Duration) -> bool {
    let change = database.run_command(journaled_change_of_nothing());
    match timeout(patience, change.into_future()).await {
        Ok(Err(error)) => !refuses_journal(&error),
        _ => true,
    }
}

/// A command that changes nothing, because nothing has this ID, and waits until the journal is on disk.
pub(super) fn journaled_change_of_nothing() -> Document {
    let nothing = doc! { "q": { "_id": "hallpass-check" }, "u": { "$set": { "checked": true } } };
    doc! { "update": "hallpass_feed", "updates": [nothing], "writeConcern": { "w": 1, "j": true } }
}

fn refuses_journal(error: &Error) -> bool {
    const BAD_VALUE: i32 = 2;
    matches!(&*error.kind, ErrorKind::Command(error) if error.code == BAD_VALUE && error.message.contains("journal"))
}

impl Mongo {
    /// What is set so that a crash or a failover can take back what was answered.
    pub(crate) async fn durability(&self) -> Result<Vec<DurabilityWarning>, StoreError> {
        let mut found = self.asked();
        if !self.journaled {
            found.push(warning(
                "journaling is off".to_owned(),
                "a crash of MongoDB takes back the last minute, sign-outs included",
                "start mongod without --nojournal",
            ));
        }
        if self.replicated {
            found.extend(self.set().await);
        }
        Ok(found)
    }

    /// What the URL asks for that is less than what is answered.
    fn asked(&self) -> Vec<DurabilityWarning> {
        let mut found = Vec::new();
        let concern = self.database.write_concern().cloned().unwrap_or_default();
        if self.replicated && !matches!(concern.w, Some(Acknowledgment::Majority | Acknowledgment::Custom(_)))
        {
            let w = if let Some(Acknowledgment::Nodes(nodes)) = concern.w { nodes } else { 1 };
            found.push(warning(
                format!("w={w} in the URL"),
                "a failover can take back what was answered, sign-outs included",
                "leave w out of the URL, or write w=majority",
            ));
        }
        if concern.journal == Some(false) {
            found.push(warning(
                "journal=false in the URL".to_owned(),
                "a crash can take back what was answered, sign-outs included",
                "leave journal out of the URL",
            ));
        }
        match self.database.selection_criteria() {
            None | Some(SelectionCriteria::ReadPreference(ReadPreference::Primary)) => {}
            Some(_) => found.push(warning(
                "readPreference in the URL is not primary".to_owned(),
                "a secondary can show a session for a while that has ended",
                "leave readPreference out of the URL",
            )),
        }
        found
    }

    /// How the replica set is set up; nothing where this user may not ask.
    async fn set(&self) -> Option<DurabilityWarning> {
        let admin = self.database.client().database("admin");
        let config = admin.run_command(doc! { "replSetGetConfig": 1 });
        let config: Document = timeout(self.timeout, config.into_future()).await.ok()?.ok()?;
        let journals = config.get_document("config").ok()?.get_bool("writeConcernMajorityJournalDefault");
        matches!(journals, Ok(false)).then(|| {
            warning(
                "writeConcernMajorityJournalDefault: false".to_owned(),
                "Hallpass asks for journaled writes, but others' can be taken back when several servers crash at once",
                "set it to true with rs.reconfig()",
            )
        })
    }
}

fn warning(setting: String, consequence: &'static str, advice: &'static str) -> DurabilityWarning {
    DurabilityWarning { database: KIND, setting, consequence, advice }
}
