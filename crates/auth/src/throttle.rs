//! [`Throttle`]: how often somebody may try.
//!
//! Each attempt is charged before its answer is known, so that parallel guesses cannot slip through; a success is given back. After
//! some free attempts each further one has to wait, longer and longer, but never for ever. A browser that has signed in to the account before,
//! as its device cookie shows, has a count of its own, and so has an address from which the owner has signed in: whoever guesses from
//! elsewhere does not lock the owner out (ASVS 5.0 6.1.1, NIST SP 800-63B-4 §3.2.2).
//!
//! Failures in a row are counted over days. At the limit, a password alone opens the account only in a known browser.
//!
//! A sign-in asks the store three times here, and waits twice: all counts are read together, both are charged side by side while the password
//! is hashed, and what a success gives back is written beside the session.

mod account;
mod count;
mod network;
mod options;
mod records;

use std::{net::IpAddr, sync::Arc, time::Duration};

use hallpass_session::{StoreError, Timestamp, hex};
use sha2::{Digest, Sha256};

pub use self::options::{Limit, ThrottleOptions};
use self::{
    account::{AccountCharge, AccountCounts, DeviceCounts, address_hash},
    count::Counted,
    network::{Network, NetworkCounts},
    records::{Body, Place},
};
use crate::{RecordKey, RecordStore, UserId, device::Device, email::login_form};

pub(crate) const KIND: &str = "throttle";

/// The wait of somebody whose attempt met too many others.
const CONTENDED: Duration = Duration::from_secs(1);

/// Counts attempts in a [`RecordStore`], so that all servers on it count together.
#[derive(Clone)]
pub(crate) struct Throttle {
    records: Arc<dyn RecordStore>,
}

/// The answer to an attempt.
#[derive(Debug)]
pub(crate) enum Charge<T = ()> {
    Allowed(T),
    Throttled {
        retry_after: Duration,
    },
    /// Too many failures in a row.
    Locked,
}

/// Who tries to sign in to which account.
#[derive(Clone, Copy)]
pub(crate) struct Attempted<'a> {
    /// Its [key](account_key).
    pub(crate) account: &'a str,
    pub(crate) addr: IpAddr,
    /// Its device cookie for the account, whose signature is right.
    pub(crate) device: Option<Device>,
}

/// What is known of a sign-in before it is counted.
pub(crate) struct Asked {
    account: Place<AccountCounts>,
    address: String,
    network: Network,
    from: Place<NetworkCounts>,
    device: Option<(Device, Place<DeviceCounts>)>,
}

impl Asked {
    /// Drops a device cookie that no longer counts: `is_current` says whether it is of the account's present epoch.
    pub(crate) fn check_device(
        &mut self,
        is_current: impl FnOnce(&Device) -> bool,
        limits: &ThrottleOptions,
        now: Timestamp,
    ) {
        let account = &self.account.body;
        self.device = self.device.take().filter(|(device, counts)| {
            account.counts_device(device.issued) && !counts.body.is_spent(limits, now) && is_current(device)
        });
    }

    /// The browser, if it is known to the account.
    pub(crate) fn device(&self) -> Option<&Device> {
        self.device.as_ref().map(|(device, _)| device)
    }

    /// Whether the limits are still far, as far as is known.
    pub(crate) fn is_quiet(&self, limits: &ThrottleOptions, now: Timestamp) -> bool {
        match &self.device {
            Some((_, counts)) => counts.body.is_quiet(limits, now),
            None => {
                self.account.body.is_quiet(&self.address, limits, now)
                    && self.from.body.is_quiet(&self.network, &limits.address, now)
            }
        }
    }
}

/// A sign-in that was counted.
#[derive(Debug)]
pub(crate) struct SignIn {
    account: Place<AccountCounts>,
    address: String,
    by: By,
    /// It is the last one before the limit of failures in a row.
    pub(crate) is_last: bool,
}

impl SignIn {
    pub(crate) fn is_known_browser(&self) -> bool {
        matches!(self.by, By::Device(_))
    }
}

/// Where a sign-in was counted.
#[derive(Debug)]
enum By {
    Device(Place<DeviceCounts>),
    Others(Network, Place<NetworkCounts>),
}

impl Throttle {
    pub(crate) fn new(records: Arc<dyn RecordStore>) -> Self {
        Self { records }
    }

    fn records(&self) -> &dyn RecordStore {
        &*self.records
    }

    /// Reads what a sign-in is counted on.
    pub(crate) async fn ask_sign_in(
        &self,
        attempted: Attempted<'_>,
        now: Timestamp,
    ) -> Result<Asked, StoreError> {
        let network = Network::of(attempted.addr);
        let (account, from) = (key(attempted.account), key(&network.id("login")));
        let device = attempted.device.map(|device| (device, device_key(&device)));
        let mut keys = vec![account.clone(), from.clone()];
        keys.extend(device.as_ref().map(|(_, key)| key.clone()));
        let mut found = self.records.get_all(&keys, now).await?.into_iter();
        let mut next = || found.next().flatten();
        Ok(Asked {
            account: Place::new(account, next()),
            address: address_hash(attempted.account, attempted.addr),
            network,
            from: Place::new(from, next()),
            device: device.map(|(device, key)| (device, Place::new(key, next()))),
        })
    }

    /// Counts a sign-in: of a known browser on itself alone, else on the account and on the client's networks. Or says how long to wait.
    pub(crate) async fn charge_sign_in(
        &self,
        asked: Asked,
        limits: &ThrottleOptions,
        now: Timestamp,
    ) -> Result<Charge<SignIn>, StoreError> {
        let Asked { account, address, network, from, device } = asked;
        match device {
            Some((_, device)) => self.charge_device(device, account, address, limits, now).await,
            None => self.charge_others((account, address), (network, from), limits, now).await,
        }
    }

    async fn charge_device(
        &self,
        mut device: Place<DeviceCounts>,
        account: Place<AccountCounts>,
        address: String,
        limits: &ThrottleOptions,
        now: Timestamp,
    ) -> Result<Charge<SignIn>, StoreError> {
        let charge = device.change(self.records(), None, now, |counts| counts.charge(limits, now)).await?;
        Ok(match decided(charge) {
            Charge::Allowed(()) => {
                let is_last = device.body.is_spent(limits, now);
                Charge::Allowed(SignIn { account, address, by: By::Device(device), is_last })
            }
            Charge::Throttled { retry_after } => Charge::Throttled { retry_after },
            // Other attempts of this browser came first. From the next one on it counts among all others.
            Charge::Locked => Charge::Throttled { retry_after: CONTENDED },
        })
    }

    async fn charge_others(
        &self,
        (mut account, address): (Place<AccountCounts>, String),
        (network, mut from): (Network, Place<NetworkCounts>),
        limits: &ThrottleOptions,
        now: Timestamp,
    ) -> Result<Charge<SignIn>, StoreError> {
        if let Some(retry_after) = from.body.wait(&network, &limits.address, now) {
            return Ok(Charge::Throttled { retry_after });
        }
        let (from_charge, charge) = tokio::try_join!(
            from.change(self.records(), None, now, |counts| counts.charge(&network, &limits.address, now)),
            account.change(self.records(), None, now, |counts| counts.charge(&address, limits, now)),
        )?;
        let from_charge = decided(from_charge.map(AccountCharge::Counted));
        match (from_charge, decided(charge)) {
            (Charge::Allowed(()), Charge::Allowed(())) => {
                let is_last = account.body.is_locked(limits, now);
                Ok(Charge::Allowed(SignIn { account, address, by: By::Others(network, from), is_last }))
            }
            (Charge::Throttled { retry_after }, Charge::Allowed(())) => {
                // Others from this network came first: that is nothing the account's owner should wait for.
                account.change(self.records(), None, now, |counts| counts.refund(&address, now)).await?;
                Ok(Charge::Throttled { retry_after })
            }
            (_, Charge::Throttled { retry_after }) => Ok(Charge::Throttled { retry_after }),
            (_, Charge::Locked | Charge::Allowed(())) => Ok(Charge::Locked),
        }
    }

    /// The sign-in succeeded: failures in a row are forgotten, and so is what was counted with it; the networks get their attempt back,
    /// and the address counts as the owner's.
    pub(crate) async fn settle(
        &self,
        sign_in: SignIn,
        user: &UserId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let SignIn { mut account, address, by, .. } = sign_in;
        match by {
            By::Device(device) => {
                let forget = async { self.records.take(&device.key, now).await };
                let succeeded =
                    account.change(self.records(), None, now, |counts| counts.succeeded(None, now));
                tokio::try_join!(forget, succeeded).map(drop)
            }
            By::Others(network, mut from) => {
                let refund = from.change(self.records(), None, now, |counts| counts.refund(&network, now));
                let succeeded = account.change(self.records(), Some(user), now, |counts| {
                    counts.succeeded(Some(&address), now);
                });
                tokio::try_join!(refund, succeeded).map(drop)
            }
        }
    }

    /// The sign-in was never decided, because the password could not be verified: it counts nowhere.
    pub(crate) async fn take_back(&self, sign_in: SignIn, now: Timestamp) -> Result<(), StoreError> {
        let SignIn { mut account, address, by, .. } = sign_in;
        match by {
            By::Device(mut device) => {
                device.change(self.records(), None, now, DeviceCounts::refund).await.map(drop)
            }
            By::Others(network, mut from) => {
                let refund = from.change(self.records(), None, now, |counts| counts.refund(&network, now));
                let account =
                    account.change(self.records(), None, now, |counts| counts.refund(&address, now));
                tokio::try_join!(refund, account).map(drop)
            }
        }
    }

    /// Somebody has signed in to the account without a password of it: failures in a row are forgotten, and the address counts as
    /// the owner's.
    pub(crate) async fn note_sign_in(
        &self,
        account: &str,
        addr: IpAddr,
        user: &UserId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let address = address_hash(account, addr);
        let mut account = self.account(account, now).await?;
        account
            .change(self.records(), Some(user), now, |counts| counts.succeeded(Some(&address), now))
            .await
            .map(drop)
    }

    /// Counts an attempt at the password of an account by somebody who is signed in to it. Guesses of others are another count.
    pub(crate) async fn charge_signed_in(
        &self,
        account: &str,
        limits: &ThrottleOptions,
        now: Timestamp,
    ) -> Result<Charge<SignedIn>, StoreError> {
        let mut account = self.account(account, now).await?;
        let charge = account.change(self.records(), None, now, |counts| counts.charge_signed_in(limits, now));
        Ok(match decided(charge.await?) {
            Charge::Allowed(()) => Charge::Allowed(SignedIn(account)),
            Charge::Throttled { retry_after } => Charge::Throttled { retry_after },
            Charge::Locked => Charge::Locked,
        })
    }

    /// The password was right.
    pub(crate) async fn forget_signed_in(
        &self,
        SignedIn(mut account): SignedIn,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        account.change(self.records(), None, now, AccountCounts::forget_signed_in).await.map(drop)
    }

    /// The password was never verified.
    pub(crate) async fn take_back_signed_in(
        &self,
        SignedIn(mut account): SignedIn,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        account.change(self.records(), None, now, AccountCounts::refund_signed_in).await.map(drop)
    }

    /// Counts an attempt at something else on the client's networks, or says how long to wait.
    pub(crate) async fn charge_networks(
        &self,
        purpose: &str,
        addr: IpAddr,
        limit: &Limit,
        now: Timestamp,
    ) -> Result<Charge, StoreError> {
        let network = Network::of(addr);
        let mut from = self.place::<NetworkCounts>(key(&network.id(purpose)), now).await?;
        let charge = from.change(self.records(), None, now, |counts| counts.charge(&network, limit, now));
        Ok(decided(charge.await?.map(AccountCharge::Counted)))
    }

    /// All counts of an account begin anew. How many failures in a row there were.
    pub(crate) async fn unlock(&self, account: &str, now: Timestamp) -> Result<u32, StoreError> {
        let mut account = self.account(account, now).await?;
        let failures = account.change(self.records(), None, now, |counts| counts.unlock(now)).await?;
        Ok(failures.unwrap_or_default())
    }

    /// All device cookies of an account from before now are void.
    pub(crate) async fn void_devices(
        &self,
        account: &str,
        user: &UserId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut account = self.account(account, now).await?;
        account.change(self.records(), Some(user), now, |counts| counts.void_devices(now)).await.map(drop)
    }

    async fn account(&self, account: &str, now: Timestamp) -> Result<Place<AccountCounts>, StoreError> {
        self.place(key(account), now).await
    }

    async fn place<B: Body>(&self, key: RecordKey, now: Timestamp) -> Result<Place<B>, StoreError> {
        let record = self.records.get(&key, now).await?;
        Ok(Place::new(key, record))
    }
}

/// An attempt at the password of the account that somebody is signed in to.
#[derive(Debug)]
pub(crate) struct SignedIn(Place<AccountCounts>);

/// The answer; whoever met too many others waits a moment.
fn decided(charge: Option<AccountCharge>) -> Charge {
    match charge {
        Some(AccountCharge::Counted(Counted::Allowed)) => Charge::Allowed(()),
        Some(AccountCharge::Counted(Counted::Waits(retry_after) | Counted::Cut(retry_after))) => {
            Charge::Throttled { retry_after }
        }
        Some(AccountCharge::Locked) => Charge::Locked,
        None => Charge::Throttled { retry_after: CONTENDED },
    }
}

fn key(id: &str) -> RecordKey {
    RecordKey { kind: KIND, id: id.to_owned() }
}

fn device_key(device: &Device) -> RecordKey {
    key(&format!("device:{}", hex(&device.hash()[..16])))
}

/// The key of an account: a hash, so that records hold no addresses, and the same for accounts that do not exist. All spellings that
/// lead to one account are one key.
pub(crate) fn account_key(login: &str) -> String {
    format!("account:{}", hex(&Sha256::digest(login_form(login).as_bytes())[..16]))
}

#[cfg(test)]
mod tests;
