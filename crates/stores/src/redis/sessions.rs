//! Sessions, layout `native`: a hash per session under its handle, which is the first half of its id's SHA-256.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use hallpass_session::{
    ChangeFeed, Created, Listed, Revision, SessionHandle, SessionId, SessionRecord, SessionStore, StoreError,
    StoreTime, Stored, Timestamp, Touch, Updated,
};
use redis::{Cmd, Value};

use super::{
    Redis,
    index::Entry,
    parsed,
    row::{FIELDS, Fields, LISTED, Row, fields},
    scripts::{CREATE, Call, DELETE, DELETE_OR_BLOCK, ROTATE, TAKE, TOUCH, UPDATE},
};
use crate::native;

/// How many sessions are asked for at once.
const PAGE: usize = 500;

impl Redis {
    fn key(&self, handle: SessionHandle) -> String {
        format!("{}s:{handle}", self.prefix)
    }

    fn read(&self, handle: SessionHandle, fields: usize) -> Cmd {
        let mut read = redis::cmd("HMGET");
        read.arg(self.key(handle)).arg(&FIELDS[..fields]);
        read
    }

    /// The live sessions among these, each with its place.
    async fn listed(
        &self,
        doing: &'static str,
        handles: &[SessionHandle],
        now: Timestamp,
    ) -> Result<Vec<(usize, Listed)>, StoreError> {
        let mut found = Vec::new();
        for (page, handles) in handles.chunks(PAGE).enumerate() {
            let reads = handles.iter().map(|handle| self.read(*handle, LISTED)).collect();
            let answers =
                self.link.send_any(reads).await.map_err(|failure| StoreError::new(doing, failure))?;
            for (place, (answer, handle)) in answers.into_iter().zip(handles).enumerate() {
                let fields: Fields = parsed(doing, answer)?;
                if let Some(row) = Row::read(fields).filter(|row| row.expires > now) {
                    found.push((page * PAGE + place, row.listed(*handle)));
                }
            }
        }
        Ok(found)
    }

    /// The user's live sessions; heals the index along the way.
    async fn of_index(
        &self,
        doing: &'static str,
        user: &str,
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        let entries = self.entries(doing, user).await?;
        let handles: Vec<SessionHandle> = entries.iter().map(|entry| entry.handle).collect();
        let mut found = self.listed(doing, &handles, now).await?;
        found.retain(|(_, listed)| listed.user.as_deref() == Some(user));
        let is_found = |place: usize| found.iter().any(|(at, _)| *at == place);
        let ended: Vec<&Entry> = entries
            .iter()
            .enumerate()
            .filter(|(place, _)| !is_found(*place))
            .map(|(_, entry)| entry)
            .collect();
        self.heal(user, &ended, now).await;
        Ok(found.into_iter().map(|(_, listed)| listed).collect())
    }

    /// The handles of all sessions, in order. Reads every key there is: for operators.
    async fn handles(&self, doing: &'static str) -> Result<Vec<SessionHandle>, StoreError> {
        let prefix = self.key_prefix();
        let keys = self.scan(doing, &prefix).await?;
        let mut handles: Vec<SessionHandle> =
            keys.iter().filter_map(|key| key.strip_prefix(&prefix)?.parse().ok()).collect();
        handles.sort_unstable();
        // A scan may name a key twice.
        handles.dedup();
        Ok(handles)
    }

    fn key_prefix(&self) -> String {
        format!("{}s:", self.prefix)
    }

    /// Enters the session into its user's index first, then stores it: in this order, in one round trip where that is possible.
    async fn store(
        &self,
        doing: &'static str,
        handle: SessionHandle,
        record: &SessionRecord,
        write: Call,
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        let calls: Vec<Call> = self.enter(handle, record, now).into_iter().chain([write]).collect();
        let answer = self.call(doing, &calls).await?.pop();
        parsed(doing, answer.unwrap_or(Value::Nil))
    }
}

#[async_trait]
impl SessionStore for Redis {
    fn changes(&self) -> Option<ChangeFeed<SessionHandle>> {
        let prefix = self.key_prefix();
        let keys = prefix.clone();
        Some(self.feed(prefix, Arc::new(move |key| key.strip_prefix(&keys)?.parse().ok())))
    }

    async fn load(&self, id: &SessionId, now: Timestamp) -> Result<Option<Stored>, StoreError> {
        let fields: Fields = self.ask("load a session", self.read(id.handle(), FIELDS.len())).await?;
        Ok(Row::read(fields).filter(|row| row.expires > now).and_then(Row::stored))
    }

    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Created, StoreError> {
        let create = CREATE.on(&[&self.key(id.handle())]);
        let create = create.with(now.as_millis()).with(record.expires().as_millis());
        let create = fields(create, id, record, Revision(1));
        let done = self.store("create a session", id.handle(), record, create, now).await?;
        Ok(if done == 1 { Created::Done(Revision(1)) } else { Created::Taken })
    }

    async fn update(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        expected: Revision,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        let next = Revision(expected.0 + 1);
        let update = UPDATE
            .on(&[&self.key(id.handle())])
            .with(now.as_millis())
            .with(expected.0)
            .with(record.seen.as_millis())
            .with(native::idle_millis(record.lifetime.idle))
            .with(record.lifetime.until.map(|until| until.as_millis().to_string()).unwrap_or_default());
        let update = fields(update, id, record, next);
        Ok(updated(self.store("save a session", id.handle(), record, update, now).await?, next))
    }

    async fn rotate(
        &self,
        old: &SessionId,
        expected: Revision,
        new: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        let doing = "move a session to a new id";
        let next = Revision(expected.0 + 1);
        let (old_key, new_key) = (self.key(old.handle()), self.key(new.handle()));
        let expires = record.expires().as_millis();
        if !self.link.is_cluster() {
            let rotate =
                ROTATE.on(&[&old_key, &new_key]).with(now.as_millis()).with(expected.0).with(expires);
            let rotate = fields(rotate, new, record, next);
            return Ok(updated(self.store(doing, new.handle(), record, rotate, now).await?, next));
        }
        // On two servers: a crash between the two ends the session. The index comes first, so that whoever ends the user's sessions at this
        // moment finds the new id, and keeps it from being stored.
        if let Some(enter) = self.enter(new.handle(), record, now) {
            self.number(doing, enter).await?;
        }
        let take = TAKE.on(&[&old_key]).with(now.as_millis()).with(expected.0);
        let taken = self.number(doing, take).await?;
        if taken == 1 {
            let create = CREATE.on(&[&new_key]).with(now.as_millis()).with(expires);
            if self.number(doing, fields(create, new, record, next)).await? == 0 {
                return Ok(Updated::Gone);
            }
        }
        Ok(updated(taken, next))
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<(), StoreError> {
        let touch = |touch: &Touch| {
            let call = TOUCH.on(&[&self.key(touch.id.handle())]).with(now.as_millis());
            call.with(touch.seen.as_millis()).with(touch.expires.as_millis())
        };
        if batch.is_empty() {
            return Ok(());
        }
        self.call_any("note the use of sessions", &batch.iter().map(touch).collect::<Vec<_>>())
            .await
            .map(drop)
    }

    async fn delete(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
        let delete = DELETE.on(&[&self.key(id.handle())]).with(now.as_millis());
        Ok(self.number("end a session", delete).await? == 1)
    }

    async fn of_user(&self, user: &str, now: Timestamp) -> Result<Vec<Listed>, StoreError> {
        let mut listed = self.of_index("list a user's sessions", user, now).await?;
        listed.sort_by_key(|listed| (std::cmp::Reverse(listed.seen), listed.handle));
        Ok(listed)
    }

    async fn delete_of_user(
        &self,
        user: &str,
        except: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let doing = "end a user's sessions";
        let except = except.map(SessionId::handle);
        let (mut ended, mut tried) = (0, HashSet::new());
        // A session that gets a new id beside this enters that id first: it is ended too, or kept from being stored.
        loop {
            let entries = self.entries(doing, user).await?;
            let is_new = |entry: &Entry| Some(entry.handle) != except && !tried.contains(&entry.handle);
            let new: Vec<Entry> = entries.into_iter().filter(is_new).collect();
            if new.is_empty() {
                return Ok(ended);
            }
            for entry in new {
                let script = if entry.is_old(now) { DELETE } else { DELETE_OR_BLOCK };
                let delete = script.on(&[&self.key(entry.handle)]).with(now.as_millis()).with(user);
                ended += u64::from(self.number(doing, delete).await? == 1);
                tried.insert(entry.handle);
            }
        }
    }

    async fn delete_handle(
        &self,
        handle: SessionHandle,
        user: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let delete = DELETE.on(&[&self.key(handle)]).with(now.as_millis());
        let delete = if let Some(user) = user { delete.with(user) } else { delete };
        Ok(self.number("end a session", delete).await? == 1)
    }

    async fn list(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        let doing = "list sessions";
        let mut handles = self.handles(doing).await?;
        handles.retain(|handle| after.is_none_or(|after| *handle > after));
        let mut page = Vec::new();
        for handles in handles.chunks(limit.clamp(1, PAGE)) {
            page.extend(self.listed(doing, handles, now).await?.into_iter().map(|(_, listed)| listed));
            if page.len() >= limit {
                break;
            }
        }
        page.truncate(limit);
        Ok(page)
    }

    /// Nothing: Redis removes what has expired by itself.
    async fn sweep(&self, _: usize, _: Timestamp) -> Result<usize, StoreError> {
        Ok(0)
    }

    async fn export(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Stored)>, StoreError> {
        let doing = "export sessions";
        let mut handles = self.handles(doing).await?;
        handles.retain(|handle| after.is_none_or(|after| *handle > after));
        let mut found = Vec::new();
        for handles in handles.chunks(limit.clamp(1, PAGE)) {
            let reads = handles.iter().map(|handle| self.read(*handle, FIELDS.len())).collect();
            let answers =
                self.link.send_any(reads).await.map_err(|failure| StoreError::new(doing, failure))?;
            for answer in answers {
                let row = Row::read(parsed(doing, answer)?).filter(|row| row.expires > now);
                let id = row.as_ref().and_then(|row| row.hash).map(SessionId::from_hash);
                found.extend(id.zip(row.and_then(Row::stored)));
            }
            if found.len() >= limit {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    async fn time(&self) -> Result<StoreTime, StoreError> {
        self.clock().await
    }
}

fn updated(answer: i64, revision: Revision) -> Updated {
    match answer {
        1 => Updated::Done(revision),
        0 => Updated::Conflict,
        _ => Updated::Gone,
    }
}
