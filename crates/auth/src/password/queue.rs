//! [`Queue`]: who hashes next, so that one client's requests do not keep others from signing in.
//!
//! Requests wait in two classes. Those of known browsers go first, but four at most for each other request, so that
//! others are served too. Within a class, the networks take turns (IPv4 by /24, IPv6 by /48), and within a network
//! its clients (IPv4 addresses, IPv6 /64s, or known browsers): round-robin, as fair queueing in routers.
//!
//! Each class holds a limited number of requests. When it is full, the network with the most waiting requests loses
//! its newest one to a network that has fewer, so a network can fill the queue only while no other needs it.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

/// How many known browsers are served for each other request while both wait.
const KNOWN_IN_A_ROW: u32 = 4;

/// Who asks for a password hash: decides who is served first when many wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requester {
    known: bool,
    network: u64,
    client: u64,
}

impl Requester {
    /// A client of which only the address is known.
    pub fn address(addr: IpAddr) -> Self {
        let (network, client) = flows(addr);
        Self { known: false, network, client }
    }

    /// A client that has signed in to the account before; `id` tells it from others of its network.
    pub fn known(addr: IpAddr, id: u64) -> Self {
        let (network, _) = flows(addr);
        Self { known: true, network, client: id }
    }

    /// The operator of this program.
    pub const fn operator() -> Self {
        Self { known: true, network: 0, client: 0 }
    }
}

/// The numbers of the network and of the client in it. IPv4 stands beyond what IPv6 uses (`2000::/3`).
fn flows(addr: IpAddr) -> (u64, u64) {
    match addr.to_canonical() {
        IpAddr::V4(addr) => {
            let bits = u64::from(u32::from(addr));
            (u64::MAX << 32 | bits >> 8, bits)
        }
        IpAddr::V6(addr) => {
            let bits = u64::try_from(u128::from(addr) >> 64).unwrap_or_default();
            (bits >> 16, bits)
        }
    }
}

/// Gives out permits to hash.
pub(super) struct Queue {
    /// The most requests that wait in one class.
    capacity: usize,
    state: Mutex<State>,
}

struct State {
    /// Permits that nobody waits for.
    free: usize,
    known: Networks,
    others: Networks,
    /// How many known browsers were served since the last other request.
    known_in_a_row: u32,
}

/// May hash while this exists.
pub(super) struct Permit(Option<Arc<Queue>>);

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.release();
        }
    }
}

impl Queue {
    pub(super) fn new(permits: usize, capacity: usize) -> Arc<Self> {
        let (known, others) = (Networks::default(), Networks::default());
        let state = State { free: permits, known, others, known_in_a_row: 0 };
        Arc::new(Self { capacity, state: Mutex::new(state) })
    }

    /// A permit; `None` when too many wait, or the wait was too long.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        requester: Requester,
        deadline: Duration,
    ) -> Option<Permit> {
        let waits = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Some(Permit(Some(self.clone())));
            }
            let (waiter, waits) = oneshot::channel();
            let class = if requester.known { &mut state.known } else { &mut state.others };
            if !class.admit(requester, self.capacity) {
                return None;
            }
            class.push(requester.network, |clients| {
                clients.push(requester.client, |line| line.push_back(waiter));
            });
            waits
        };
        timeout(deadline, waits).await.ok()?.ok()
    }

    /// Gives a permit that has come back to whoever is next.
    fn release(self: Arc<Self>) {
        let mut permit = Permit(Some(self.clone()));
        loop {
            let next = {
                let mut state = self.state();
                let next = state.next();
                state.free += usize::from(next.is_none());
                next
            };
            let Some(next) = next else {
                permit.0 = None;
                return;
            };
            match next.send(permit) {
                Ok(()) => return,
                // The request has gone away meanwhile.
                Err(back) => permit = back,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.state().free
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        let state = self.state();
        state.known.len() + state.others.len()
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl State {
    fn next(&mut self) -> Option<Waiter> {
        let others_are_due = self.known_in_a_row >= KNOWN_IN_A_ROW;
        let other = if others_are_due { self.others.pop() } else { None };
        if let Some(other) = other {
            self.known_in_a_row = 0;
            return Some(other);
        }
        if let Some(known) = self.known.pop() {
            self.known_in_a_row += 1;
            return Some(known);
        }
        self.known_in_a_row = 0;
        self.others.pop()
    }
}

type Waiter = oneshot::Sender<Permit>;

/// Something that requests wait in.
trait Line: Default {
    fn len(&self) -> usize;
    fn pop(&mut self) -> Option<Waiter>;
    /// Turns away the newest request of the longest part.
    fn drop_newest(&mut self);
    /// Removes requests that have gone away.
    fn purge(&mut self);
}

impl Line for VecDeque<Waiter> {
    fn len(&self) -> usize {
        self.len()
    }

    fn pop(&mut self) -> Option<Waiter> {
        loop {
            let next = self.pop_front()?;
            if !next.is_closed() {
                return Some(next);
            }
        }
    }

    fn drop_newest(&mut self) {
        self.pop_back();
    }

    fn purge(&mut self) {
        self.retain(|waiter| !waiter.is_closed());
    }
}

/// Lines that take turns.
#[derive(Default)]
struct Ring<T> {
    /// The keys of the parts, in the order of their turns.
    turns: VecDeque<u64>,
    parts: HashMap<u64, T>,
}

type Clients = Ring<VecDeque<Waiter>>;
type Networks = Ring<Clients>;

impl<T: Line> Ring<T> {
    fn push(&mut self, key: u64, push: impl FnOnce(&mut T)) {
        let turns = &mut self.turns;
        push(self.parts.entry(key).or_insert_with(|| {
            turns.push_back(key);
            T::default()
        }));
    }

    fn longest(&mut self) -> Option<&mut T> {
        self.parts.values_mut().max_by_key(|part| part.len())
    }

    fn len_of(&self, key: u64) -> usize {
        self.parts.get(&key).map_or(0, Line::len)
    }

    /// Makes room by turning away the newest request of the longest part; `false` when that would be no fairer.
    fn displace(&mut self, key: u64) -> bool {
        let own = self.len_of(key);
        match self.longest() {
            Some(longest) if longest.len() > own + 1 => {
                longest.drop_newest();
                true
            }
            _ => false,
        }
    }
}

impl Networks {
    /// Whether one more request of this client may wait.
    fn admit(&mut self, requester: Requester, capacity: usize) -> bool {
        if self.len() < capacity {
            return true;
        }
        self.purge();
        if self.len() < capacity || self.displace(requester.network) {
            return true;
        }
        // No network has more: then the clients of this one share.
        self.parts.get_mut(&requester.network).is_some_and(|clients| clients.displace(requester.client))
    }
}

impl<T: Line> Line for Ring<T> {
    fn len(&self) -> usize {
        self.parts.values().map(Line::len).sum()
    }

    fn pop(&mut self) -> Option<Waiter> {
        loop {
            let key = self.turns.pop_front()?;
            let Some(part) = self.parts.get_mut(&key) else { continue };
            let next = part.pop();
            if part.len() == 0 {
                self.parts.remove(&key);
            } else {
                self.turns.push_back(key);
            }
            if next.is_some() {
                return next;
            }
        }
    }

    fn drop_newest(&mut self) {
        if let Some(longest) = self.longest() {
            longest.drop_newest();
        }
    }

    fn purge(&mut self) {
        self.parts.retain(|_, part| {
            part.purge();
            part.len() > 0
        });
        self.turns.retain(|key| self.parts.contains_key(key));
    }
}

#[cfg(test)]
mod tests;
