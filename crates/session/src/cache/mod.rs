//! Sessions at the price of none, and revoked everywhere at once: [`CachedSessions`] around any store that tells its changes.
//!
//! A session check is answered from memory, but only while it is proven that the store's [`ChangeFeed`] has told every change up to
//! [`max_staleness`](CacheOptions::max_staleness) ago, made by this program, by another one, or by Express. When the feed is silent for
//! longer, every read goes to the store until it speaks again, so the bound holds when the network does not. A store without a feed is
//! never cached.
//!
//! Staleness is measured in [time that includes suspension](crate::Timer), so a machine that wakes up serves
//! nothing from before. A jump of the wall clock against that time ends the proof too: it reveals a suspension
//! where no clock counts it, and the pause of a virtual machine.
//!
//! ```text
//! load:    ticket ── read the store ── keep under the ticket's mark        (validity.rs; every interleaving is tried)
//! change:              the feed tells ── the mark is void ── next reader loads
//! read:    mark current, and proof fresh? then the copy, else load (one load a key)
//! ```

mod coherent;
mod feed;
mod flights;
mod key;
mod sessions;
mod touches;
mod validity;

use std::time::Duration;

use crate::Timer;

pub use self::{
    coherent::Coherent,
    feed::{ChangeFeed, Listener, NoFeed},
    key::{CacheKey, Cached, text_mark},
    sessions::CachedSessions,
};

/// How to cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// The most memory that cached values take, in bytes, about. Default: 64 MiB, which are a hundred thousand sessions and more.
    pub size: usize,
    /// How old may be what is served: what is changed elsewhere is seen at the latest after this time, also when the network is broken.
    /// Default: 1 second.
    pub max_staleness: Duration,
    /// Uses of sessions are collected for so long and noted together. Default: 1 second.
    pub flush_every: Duration,
    /// What measures `max_staleness`. Default: the clocks of this machine.
    pub timer: Timer,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            size: 64 * 1024 * 1024,
            max_staleness: Duration::from_secs(1),
            flush_every: Duration::from_secs(1),
            timer: Timer::default(),
        }
    }
}
