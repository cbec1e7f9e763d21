//! What can be cached, and under what.

use std::hash::Hash;

use crate::{SessionHandle, SessionRecord, Stored};

/// What values are cached under.
pub trait CacheKey: Clone + Eq + Hash + Send + Sync + 'static {
    /// A hash that is always the same for the same key. Different keys may share one.
    fn mark(&self) -> u64;
}

impl CacheKey for SessionHandle {
    /// The handle is half a SHA-256 already.
    fn mark(&self) -> u64 {
        let mut half = [0; 8];
        half.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(half)
    }
}

/// A hash of a text, for [`CacheKey::mark`] (FNV-1a).
pub fn text_mark(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What can be cached.
pub trait Cached: Clone + Send + Sync + 'static {
    /// About how much memory it takes, in bytes.
    fn weight(&self) -> usize;

    /// A hash of the name under which several are changed at once ([`Coherent::group_changed`](super::Coherent::group_changed)).
    fn group(&self) -> Option<u64> {
        None
    }
}

/// What an allocation takes beside its content.
const OVERHEAD: usize = 16;

impl Cached for Stored {
    fn weight(&self) -> usize {
        let record = &self.record;
        let text = |text: Option<&str>| text.map_or(0, |text| text.len() + 2 * OVERHEAD);
        let entry = |key: &str, value: &str| key.len() + value.len() + 2 * OVERHEAD + 2 * size_of::<&str>();
        let document: usize = record.document.iter().map(|(key, value)| entry(key, value.get())).sum();
        let source = record.document.source().map_or(0, |source| source.len() + 2 * OVERHEAD);
        size_of::<SessionRecord>()
            + 2 * OVERHEAD
            + document
            + source
            + text(record.user.as_deref())
            + text(record.label.as_deref())
    }

    fn group(&self) -> Option<u64> {
        self.record.user.as_deref().map(text_mark)
    }
}
