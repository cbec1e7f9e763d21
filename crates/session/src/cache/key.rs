//! What can be cached, and under what.

use std::{hash::Hash, sync::Arc};

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

impl Cached for Stored {
    /// With what each allocation takes beside its content.
    fn weight(&self) -> usize {
        let record = &self.record;
        let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len() + 32);
        size_of::<SessionRecord>() + 32 + record.document.weight() + text(&record.user) + text(&record.label)
    }

    fn group(&self) -> Option<u64> {
        self.record.user.as_deref().map(text_mark)
    }
}
