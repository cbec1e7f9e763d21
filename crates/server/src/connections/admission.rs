//! Who may open how many connections, and how many bytes all of them may hold.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::files::Affordable;

/// Connections beyond the limit that are accepted all the same, for health checks alone.
pub(super) const HEALTH_PLACES: usize = 64;

/// One client may have this part of those.
const HEALTH_SHARE: usize = 16;

/// What every connection may hold without being counted, in bytes: hyper's first buffer.
const FREE_BYTES: usize = 8 * 1024;

/// One client may hold this part of the memory for all.
const SHARE: usize = 4;

/// The counts of all open connections.
pub(super) struct Admission {
    most: Affordable,
    most_per_client: usize,
    most_bytes: usize,
    bytes: AtomicUsize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    open: usize,
    health: usize,
    clients: HashMap<IpAddr, Counted>,
}

#[derive(Default)]
struct Counted {
    open: usize,
    health: usize,
    bytes: Arc<AtomicUsize>,
}

/// What a new connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Everything.
    Any,
    /// Only ask whether the server is alive and ready.
    Health,
}

/// Why a connection may not do everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// All connections are taken.
    Server,
    /// This client has its share.
    Client,
}

/// A counted connection. Dropping it makes room for another.
pub(super) struct Place {
    admission: Arc<Admission>,
    client: Option<IpAddr>,
    share: Option<Arc<AtomicUsize>>,
    allowed: Use,
    held: AtomicUsize,
    over: AtomicBool,
}

impl Admission {
    pub(super) fn new(most: Affordable, most_per_client: usize, most_bytes: usize) -> Arc<Self> {
        let (bytes, counts) = (AtomicUsize::new(0), Mutex::default());
        Arc::new(Self { most, most_per_client, most_bytes, bytes, counts })
    }

    /// Counts a connection from `peer`. A trusted proxy speaks for many clients and has no share of its own.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr, is_proxy: bool) -> (Option<Place>, Option<Full>) {
        let mut counts = self.counts();
        let client = (!is_proxy).then(|| client(peer));
        let of_client = client.and_then(|client| counts.clients.get(&client));
        let (open, health) = of_client.map_or((0, 0), |counted| (counted.open, counted.health));
        let full = if counts.open >= self.most.connections {
            Some(Full::Server)
        } else {
            (open >= self.most_per_client).then_some(Full::Client)
        };
        let has_health = counts.health < self.most.health && health < self.most.health.div_ceil(HEALTH_SHARE);
        let allowed = match full {
            None => Use::Any,
            Some(_) if has_health => Use::Health,
            Some(_) => return (None, full),
        };
        let share = counts.take(client, allowed);
        let (admission, held, over) = (self.clone(), AtomicUsize::new(0), AtomicBool::new(false));
        (Some(Place { admission, client, share, allowed, held, over }), full)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Counting cannot panic half-way: a poisoned lock holds good counts.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn take(&mut self, client: Option<IpAddr>, allowed: Use) -> Option<Arc<AtomicUsize>> {
        let counted = client.map(|client| self.clients.entry(client).or_default());
        match allowed {
            Use::Any => self.open += 1,
            Use::Health => self.health += 1,
        }
        counted.map(|counted| {
            match allowed {
                Use::Any => counted.open += 1,
                Use::Health => counted.health += 1,
            }
            counted.bytes.clone()
        })
    }

    fn give_back(&mut self, client: Option<IpAddr>, allowed: Use) {
        match allowed {
            Use::Any => self.open -= 1,
            Use::Health => self.health -= 1,
        }
        let Some(client) = client else { return };
        let Some(counted) = self.clients.get_mut(&client) else { return };
        match allowed {
            Use::Any => counted.open -= 1,
            Use::Health => counted.health -= 1,
        }
        if counted.open + counted.health == 0 {
            self.clients.remove(&client);
        }
    }
}

impl Place {
    pub(super) fn allowed(&self) -> Use {
        self.allowed
    }

    /// Whether the peer is a trusted proxy.
    pub(super) fn is_proxy(&self) -> bool {
        self.client.is_none()
    }

    /// Counts bytes of an unfinished request. Says whether there is room for them.
    pub(super) fn hold(&self, bytes: usize) -> bool {
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        let more = counted(before + bytes) - counted(before);
        if more == 0 {
            return !self.is_over();
        }
        let all = self.admission.bytes.fetch_add(more, Ordering::Relaxed) + more;
        let own = self.share.as_ref().map_or(0, |share| share.fetch_add(more, Ordering::Relaxed) + more);
        if all > self.admission.most_bytes || own > self.admission.most_bytes / SHARE {
            self.over.store(true, Ordering::Relaxed);
        }
        !self.is_over()
    }

    /// Whether the connection held more than there was room for.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// The request is answered: what it held is free.
    pub(super) fn release(&self) {
        let held = counted(self.held.swap(0, Ordering::Relaxed));
        self.over.store(false, Ordering::Relaxed);
        if held > 0 {
            self.admission.bytes.fetch_sub(held, Ordering::Relaxed);
            if let Some(share) = &self.share {
                share.fetch_sub(held, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.release();
        self.admission.counts().give_back(self.client, self.allowed);
    }
}

fn counted(held: usize) -> usize {
    held.saturating_sub(FREE_BYTES)
}

/// Whom an address counts for: IPv6 clients have a /64 each.
fn client(addr: IpAddr) -> IpAddr {
    match addr.to_canonical() {
        IpAddr::V6(addr) => IpAddr::V6(Ipv6Addr::from_bits(addr.to_bits() >> 64 << 64)),
        addr @ IpAddr::V4(_) => addr,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections: usize, share: usize, bytes: usize) -> Arc<Admission> {
        Admission::new(Affordable { connections, health: HEALTH_PLACES }, share, bytes)
    }

    fn admit(admission: &Arc<Admission>, peer: &str) -> (Option<Place>, Option<Full>) {
        admission.admit(peer.parse().unwrap(), false)
    }

    fn allowed(admitted: &(Option<Place>, Option<Full>)) -> Option<Use> {
        admitted.0.as_ref().map(Place::allowed)
    }

    #[test]
    fn one_client_leaves_room_for_others() {
        let admission = admission(8, 2, 0);
        let mut taken: Vec<_> = (0..2).map(|_| admit(&admission, "2001:db8::1")).collect();
        assert!(taken.iter().all(|admitted| allowed(admitted) == Some(Use::Any)));
        // Another address of the same /64 is the same client.
        let more = admit(&admission, "2001:db8::ffff");
        assert_eq!((allowed(&more), more.1), (Some(Use::Health), Some(Full::Client)));
        taken.extend((0..3).map(|_| admit(&admission, "2001:db8::2")));
        assert!(admit(&admission, "2001:db8::3").0.is_none(), "nor does it get all health places");
        assert_eq!(allowed(&admit(&admission, "2001:db8:0:1::1")), Some(Use::Any));
        taken.clear();
        assert_eq!(
            allowed(&admit(&admission, "2001:db8::3")),
            Some(Use::Any),
            "what is closed counts no more"
        );
    }

    #[test]
    fn health_checks_have_places_when_all_are_taken() {
        let admission = admission(3, 3, 0);
        let taken: Vec<_> = (0..3).map(|last| admit(&admission, &format!("192.0.2.{last}"))).collect();
        let check = admit(&admission, "192.0.2.9");
        assert_eq!((allowed(&check), check.1), (Some(Use::Health), Some(Full::Server)));
        drop((taken, check));
        assert!(admission.counts().clients.is_empty(), "no client is remembered for ever");
    }

    #[test]
    fn a_trusted_proxy_has_no_share() {
        let admission = admission(9, 1, 0);
        let proxy: IpAddr = "10.0.0.1".parse().unwrap();
        let taken: Vec<_> = (0..9).map(|_| admission.admit(proxy, true)).collect();
        assert!(taken.iter().all(|admitted| allowed(admitted) == Some(Use::Any)));
    }

    #[test]
    fn bytes_are_bounded_for_one_client_and_for_all() {
        let admission = admission(9, 9, 4 * FREE_BYTES);
        let first = admit(&admission, "192.0.2.1").0.unwrap();
        let second = admit(&admission, "192.0.2.1").0.unwrap();
        assert!(first.hold(FREE_BYTES) && second.hold(FREE_BYTES), "ordinary requests are not counted");
        assert!(first.hold(FREE_BYTES));
        assert!(!second.hold(1) && second.is_over(), "the client's share is a quarter");
        second.release();
        assert!(!second.is_over());
        let others: Vec<_> =
            (2..6).map(|last| admit(&admission, &format!("192.0.2.{last}")).0.unwrap()).collect();
        assert!(others[..3].iter().all(|other| other.hold(2 * FREE_BYTES)));
        assert!(!others[3].hold(2 * FREE_BYTES), "all have what all may hold");
        drop((first, second, others));
        assert_eq!(admission.bytes.load(Ordering::Relaxed), 0);
    }
}
