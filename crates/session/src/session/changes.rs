//! What one request changed: kept apart from what was loaded, so that it can be applied again to a newer version.

use std::{fmt, sync::Arc};

use serde_json::value::RawValue;

use super::hold::HOLD;
use crate::{
    Lifetime, SessionRecord, Timestamp, ValueError,
    document::{Index, Named},
};

/// Computes the new JSON text of a key from the old one; `None`: the key is absent. Runs again when another request came first.
pub(crate) type Function = Arc<dyn Fn(Option<&str>) -> Computed + Send + Sync>;

/// What a [`Function`] returns.
pub(crate) type Computed = Result<Option<Box<RawValue>>, ValueError>;

/// The changes of one request, in a form that can be applied to any version of the session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// The document was emptied before `edits`.
    pub(crate) cleared: bool,
    /// When it was last emptied, as [`Edit::at`] counts.
    cleared_at: u32,
    /// One a key.
    edits: Vec<Edit>,
    index: Index,
    /// Counts edits, so that those which were written can be told from later ones.
    count: u32,
    /// The session begins anew with a proof of identity.
    pub(crate) established: Option<Established>,
    pub(crate) label: Option<Arc<str>>,
    pub(crate) lifetime: Option<Lifetime>,
    /// The lease of this request ends with this write.
    pub(crate) release: bool,
}

/// What a request did to one key.
#[derive(Clone, Debug)]
struct Edit {
    key: Box<str>,
    /// When the edit began.
    at: u32,
    /// The value as this request sees it; `None`: removed.
    value: Option<Box<RawValue>>,
    /// How it follows from the stored value; `None`: it does not depend on that.
    updates: Option<Updates>,
}

impl Named for Edit {
    fn name(&self) -> Option<&str> {
        Some(&self.key)
    }
}

/// Functions of the stored value.
#[derive(Clone)]
struct Updates {
    functions: Vec<Function>,
    /// The stored value that [`Edit::value`] was computed from.
    from: Option<Box<str>>,
}

impl fmt::Debug for Updates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Updates({})", self.functions.len())
    }
}

/// Who proved their identity.
#[derive(Clone, Debug)]
pub(crate) struct Established {
    pub(crate) user: Arc<str>,
    /// When the session began anew.
    pub(crate) at: Timestamp,
    /// When the identity was proved.
    pub(crate) proved: Timestamp,
}

/// The result of `functions`, one after the other.
pub(crate) fn fold(functions: &[Function], old: Option<&str>) -> Computed {
    let mut value = old.map(|old| RawValue::from_string(old.to_owned())).and_then(Result::ok);
    for function in functions {
        value = function(value.as_deref().map(RawValue::get))?;
    }
    Ok(value)
}

impl Changes {
    /// What this request did to `key`: `None` nothing, `Some(None)` removed it, `Some(Some(..))` set it.
    #[expect(clippy::option_option, reason = "three answers, spelled out above")]
    pub(crate) fn entry(&self, key: &str) -> Option<Option<&RawValue>> {
        self.find(key).map(|edit| edit.value.as_deref())
    }

    fn find(&self, key: &str) -> Option<&Edit> {
        self.index.find(&self.edits, key).map(|place| &self.edits[place])
    }

    /// Sets `key`, or removes it.
    pub(crate) fn set(&mut self, key: &str, value: Option<Box<RawValue>>) {
        self.put(key, value, None);
    }

    fn put(&mut self, key: &str, value: Option<Box<RawValue>>, updates: Option<Updates>) {
        self.count += 1;
        let edit = Edit { key: key.into(), at: self.count, value, updates };
        if let Some(place) = self.index.find(&self.edits, key) {
            self.edits[place] = edit;
        } else {
            self.index.add(key, self.edits.len());
            self.edits.push(edit);
        }
    }

    /// Applies `function` to `key`, now and to any newer version. `stored` is the value as it was loaded. `true` when it changed something.
    pub(crate) fn update(
        &mut self,
        key: &str,
        stored: Option<&str>,
        function: Function,
    ) -> Result<bool, ValueError> {
        let stored = stored.filter(|_| !self.cleared);
        let Some(place) = self.index.find(&self.edits, key) else {
            let value = function(stored)?;
            let changed = value.as_deref().map(RawValue::get) != stored;
            let updates = Updates { functions: vec![function], from: stored.map(Into::into) };
            self.put(key, value, Some(updates));
            return Ok(changed);
        };
        let edit = &mut self.edits[place];
        let value = function(edit.value.as_deref().map(RawValue::get))?;
        let changed = value.as_deref().map(RawValue::get) != edit.value.as_deref().map(RawValue::get);
        edit.value = value;
        if let Some(updates) = &mut edit.updates {
            updates.functions.push(function);
        } else {
            // It was set here, so it is the same on any version.
            self.count += 1;
            edit.at = self.count;
        }
        Ok(changed)
    }

    /// Forgets the last function that `update` was given for `key`: the value is as it was before.
    pub(crate) fn withdraw(&mut self, key: &str, value: Option<Box<RawValue>>) {
        let Some(place) = self.index.find(&self.edits, key) else { return };
        let edit = &mut self.edits[place];
        edit.value = value;
        if let Some(updates) = &mut edit.updates {
            updates.functions.pop();
            if updates.functions.is_empty() {
                self.edits.remove(place);
                self.index.reset();
            }
        }
    }

    /// Whether applying these changes twice is not the same as once.
    pub(crate) fn has_updates(&self) -> bool {
        self.edits.iter().any(|edit| edit.updates.is_some())
    }

    /// Empties the document.
    pub(crate) fn clear(&mut self) {
        self.cleared = true;
        self.count += 1;
        self.cleared_at = self.count;
        self.edits.clear();
        self.index.reset();
    }

    /// Forgets what `written`, an earlier state of these changes, has brought into `stored`.
    pub(crate) fn forget(&mut self, written: &Self, stored: Option<&SessionRecord>) {
        let stored = |key: &str| stored.and_then(|stored| stored.document.get_raw(key));
        self.edits.retain_mut(|edit| {
            let Some(old) = written.find(&edit.key).filter(|old| old.at == edit.at) else {
                return true;
            };
            let (Some(updates), Some(old)) = (&mut edit.updates, &old.updates) else { return false };
            updates.functions.drain(..old.functions.len().min(updates.functions.len()));
            if updates.functions.is_empty() {
                return false;
            }
            updates.from = stored(&edit.key).map(Into::into);
            if let Ok(value) = fold(&updates.functions, updates.from.as_deref()) {
                edit.value = value;
            }
            true
        });
        self.index.reset();
        // What was emptied once must not be emptied again of what others have written since.
        self.cleared &= self.cleared_at != written.cleared_at;
    }

    /// `base` with these changes, last used at `now`.
    pub(crate) fn apply(&self, base: &SessionRecord, now: Timestamp) -> Result<SessionRecord, ValueError> {
        let mut record = base.clone();
        if self.cleared {
            record.document.clear();
            // Nobody ends another request's lease by emptying the session.
            record.document.copy_from(&base.document, HOLD);
        }
        for edit in &self.edits {
            let stored = record.document.get_raw(&edit.key);
            let again = match &edit.updates {
                Some(updates) if stored != updates.from.as_deref() => Some(fold(&updates.functions, stored)?),
                _ => None,
            };
            match again.as_ref().unwrap_or(&edit.value) {
                Some(value) => record.document.insert_raw(&edit.key, value),
                None => drop(record.document.remove(&edit.key)),
            }
        }
        if self.release {
            record.document.remove(HOLD);
        }
        if let Some(Established { user, at, proved }) = &self.established {
            record.user = Some(user.clone());
            record.authenticated = Some(*proved);
            record.created = *at;
        }
        if let Some(label) = &self.label {
            record.label = Some(label.clone());
        }
        if let Some(lifetime) = self.lifetime {
            record.lifetime = lifetime;
        }
        record.seen = record.seen.max(now);
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Document,
        document::{decode, encode, work},
    };

    const KEYS: usize = 5000;

    fn key(number: usize) -> String {
        format!("k{number}")
    }

    fn record() -> SessionRecord {
        let mut document = Document::new();
        (0..KEYS).for_each(|number| document.insert(&key(number), &1).unwrap());
        let lifetime = Lifetime { idle: std::time::Duration::from_secs(1), until: None, persistent: false };
        let now = Timestamp::from_millis(1);
        SessionRecord {
            document,
            user: None,
            label: None,
            created: now,
            authenticated: None,
            seen: now,
            lifetime,
        }
    }

    /// Counts compared keys, because time depends on the machine.
    #[test]
    fn changing_many_keys_takes_work_for_each_and_not_for_each_pair() {
        let (base, mut changes) = (record(), Changes::default());
        let one_more: Function = Arc::new(|old| {
            let old: u32 = old.map(|old| decode("k", old)).transpose()?.unwrap_or(0);
            encode("k", &(old + 1)).map(Some)
        });
        work::compared();
        for number in 0..2 * KEYS {
            let name = key(number);
            assert!(changes.entry(&name).is_none());
            match number % 3 {
                0 => changes.set(&name, None),
                1 => changes.set(&name, Some(encode(&name, &7).unwrap())),
                _ => drop(changes.update(&name, base.document.get_raw(&name), one_more.clone()).unwrap()),
            }
        }
        let changed = changes.apply(&base, Timestamp::from_millis(2)).unwrap();
        let written = changes.clone();
        changes.set("late", Some(encode("late", &1).unwrap()));
        changes.forget(&written, Some(&changed));
        let compared = work::compared();
        assert!(compared < 40 * KEYS, "{compared} keys were compared for {KEYS}");
        assert_eq!(changed.document.get_raw("k0"), None);
        assert_eq!((changed.document.get_raw("k1"), changed.document.get_raw("k2")), (Some("7"), Some("2")));
        assert_eq!(changed.document.get_raw(&key(KEYS)), Some("1"));
        assert_eq!((changes.edits.len(), changes.entry("late").is_some()), (1, true));
    }
}
