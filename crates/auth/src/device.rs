//! [`DeviceCookies`]: browsers in which somebody has signed in to an account before.
//!
//! A browser that signs in to an account gets a signed device cookie for it, as OWASP describes
//! ("Slow Down Online Guessing Attacks with Device Cookies"). The cookie signs nobody in. It gives the browser a count
//! of failed sign-ins of its own for this account, so that guesses from elsewhere do not lock the owner out.
//!
//! A device cookie holds a random device ID, when it was issued, and a keyed hash of the account's session epoch; its
//! name holds a keyed hash of the login. It is valid for one account, until the account's password changes, the user
//! signs out everywhere, or 400 days have passed. Signing out keeps it; each sign-in replaces it.

use std::{fmt, fmt::Write};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hallpass_session::{KeysError, MIN_SECRET_LENGTH, Timestamp, cookie_pairs, hex, random};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, header::COOKIE};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What the keys are derived for.
const SALT: &[u8] = b"hallpass device cookies v1";

const SECURE_PREFIX: &str = "__Host-hallpass-device-";
const PREFIX: &str = "hallpass-device-";

/// As long as browsers keep a cookie (RFC 6265bis §5.5), in seconds.
pub(crate) const MAX_AGE: u64 = 400 * 24 * 3600;

/// How far apart the clocks of two servers may be, in milliseconds.
const CLOCK_SKEW: i64 = 60_000;

/// For how many accounts a browser has device cookies at a time; the oldest make room.
const MAX_ACCOUNTS: usize = 8;

/// A device cookie is 64 bytes: ID, issue time, epoch, signature.
const LENGTH: usize = 64;
/// The same in base64.
const TEXT_LENGTH: usize = 86;

type Mac256 = Hmac<Sha256>;

/// Issues and verifies device cookies: see [`AuthOptions::device_cookies`](crate::AuthOptions::device_cookies).
///
/// ```
/// # use hallpass_auth::{AuthOptions, DeviceCookies};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let secret = "a secret of at least thirty-two bytes";
/// let options = AuthOptions { device_cookies: Some(DeviceCookies::new([secret])?), ..AuthOptions::default() };
/// # drop(options);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DeviceCookies {
    /// The first signs, all verify.
    keys: Vec<Mac256>,
    secure: bool,
    cross_site: bool,
}

/// A device cookie whose signature is right.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device {
    id: [u8; 16],
    pub(crate) issued: Timestamp,
    epoch: [u8; 8],
    /// Which key signed it.
    key: usize,
}

/// The device cookies that a request brings, unverified.
#[derive(Clone, Default)]
pub(crate) struct SentDevices(Vec<(Box<str>, Box<str>)>);

impl SentDevices {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let pairs = headers.get_all(COOKIE).iter().flat_map(|header| cookie_pairs(header.as_bytes()));
        let ours = |(name, value): &(&str, &str)| {
            let rest = name.strip_prefix(SECURE_PREFIX).or_else(|| name.strip_prefix(PREFIX));
            let hash =
                rest.is_some_and(|rest| rest.len() == 8 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
            hash && value.len() == TEXT_LENGTH
        };
        // Some more than a browser has, in case another host of the domain sets some in front.
        let devices = pairs.filter(ours).take(4 * MAX_ACCOUNTS);
        Self(devices.map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Shows how many there are.
impl fmt::Debug for SentDevices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} device cookies", self.0.len())
    }
}

impl Device {
    /// Names the device in records, which hold no ID.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.id).into()
    }

    /// Tells it from other devices in the queue of hashes.
    pub(crate) fn number(&self) -> u64 {
        self.id.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

impl DeviceCookies {
    /// Device cookies under keys derived from these secrets (HKDF), which may be those that sign session cookies. The first signs, all
    /// verify: to rotate, put a new one in front. On several servers they must be the same.
    ///
    /// # Errors
    /// No secret, or one shorter than [`MIN_SECRET_LENGTH`] bytes.
    pub fn new<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Result<Self, KeysError> {
        let key = |(index, secret): (usize, S)| {
            let secret = secret.as_ref().as_bytes();
            if secret.len() < MIN_SECRET_LENGTH {
                return Err(KeysError::Short { position: index + 1, length: secret.len() });
            }
            Ok(derive(secret))
        };
        let keys: Vec<Mac256> = secrets.into_iter().enumerate().map(key).collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err(KeysError::Missing);
        }
        Ok(Self { keys, secure: true, cross_site: false })
    }

    /// Without `Secure` and the prefix `__Host-`: for development without https.
    #[must_use]
    pub fn insecure(self) -> Self {
        Self { secure: false, ..self }
    }

    /// With `SameSite=None`, for front ends on other sites, whose session cookie has it too. Default: `Lax`.
    #[must_use]
    pub fn cross_site(self) -> Self {
        Self { cross_site: true, ..self }
    }

    /// The device cookie of this account among those sent. Whether it is of the account's present epoch is another question.
    pub(crate) fn find(&self, sent: &SentDevices, account: &str, now: Timestamp) -> Option<Device> {
        let of_key = |(index, key): (usize, &Mac256)| {
            let name = self.name(key, account);
            let mut values = sent.0.iter().filter(|(sent, _)| **sent == *name).map(|(_, value)| value);
            values.find_map(|value| verify(key, index, account, value, now))
        };
        self.keys.iter().enumerate().find_map(of_key)
    }

    /// Whether the device cookie was issued for this epoch of the account.
    pub(crate) fn is_current(&self, device: &Device, account: &str, epoch: u64) -> bool {
        let hash = self.keys.get(device.key).map(|key| epoch_hash(key, account, epoch));
        hash.is_some_and(|hash| hash.ct_eq(&device.epoch).into())
    }

    /// `Set-Cookie` headers: a new device cookie for this account; the oldest of other accounts end when there are too many, and so does
    /// one of this account under an old key.
    pub(crate) fn issue(
        &self,
        sent: &SentDevices,
        account: &str,
        epoch: u64,
        now: Timestamp,
    ) -> Vec<HeaderValue> {
        let Some(key) = self.keys.first() else { return Vec::new() };
        let mut body = [0; LENGTH - 32];
        body[..16].copy_from_slice(&random::<16>());
        body[16..24].copy_from_slice(&now.as_millis().to_be_bytes());
        body[24..].copy_from_slice(&epoch_hash(key, account, epoch));
        let value = URL_SAFE_NO_PAD.encode([&body[..], &sign(key, account, &body)].concat());
        let name = self.name(key, account);
        let old = self.keys[1..].iter().map(|key| self.name(key, account));
        let mut ended: Vec<String> =
            old.filter(|name| sent.0.iter().any(|(sent, _)| **sent == **name)).collect();
        ended.extend(self.surplus(sent, &name, &ended));
        let ended = ended.iter().map(|name| self.set_cookie(name, "", 0));
        std::iter::once(self.set_cookie(&name, &value, MAX_AGE)).chain(ended).flatten().collect()
    }

    /// The oldest device cookies of other accounts beyond [`MAX_ACCOUNTS`].
    fn surplus(&self, sent: &SentDevices, name: &str, ended: &[String]) -> Vec<String> {
        let prefix = self.prefix();
        let others = sent.0.iter().filter(|(sent, _)| {
            sent.starts_with(prefix) && **sent != *name && !ended.iter().any(|ended| **ended == **sent)
        });
        let mut others: Vec<(i64, &str)> = others.map(|(name, value)| (issued(value), &**name)).collect();
        others.sort_unstable();
        let surplus = (others.len() + 1).saturating_sub(MAX_ACCOUNTS);
        others.into_iter().take(surplus).map(|(_, name)| name.to_owned()).collect()
    }

    fn prefix(&self) -> &'static str {
        if self.secure { SECURE_PREFIX } else { PREFIX }
    }

    fn name(&self, key: &Mac256, account: &str) -> String {
        format!("{}{}", self.prefix(), hex(&mac(key, &[b"name", account.as_bytes()])[..4]))
    }

    fn set_cookie(&self, name: &str, value: &str, max_age: u64) -> Option<HeaderValue> {
        // Browsers take `None` with `Secure` only.
        let same_site = if self.cross_site && self.secure { "None" } else { "Lax" };
        let mut cookie = format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite={same_site}");
        if self.secure {
            write!(cookie, "; Secure").ok()?;
        }
        HeaderValue::try_from(cookie).ok()
    }
}

/// HKDF with SHA-256 (RFC 5869), one block of output.
fn derive(secret: &[u8]) -> Mac256 {
    let extracted = mac_of(&keyed(SALT), &[secret]);
    keyed(&mac_of(&keyed(&extracted), &[b"cookie", &[1]]))
}

/// HMAC takes keys of any length; the error is there for other algorithms.
fn keyed(key: &[u8]) -> Mac256 {
    Mac256::new_from_slice(key).unwrap_or_else(|_| unreachable!("a key of any length will do"))
}

fn mac_of(key: &Mac256, parts: &[&[u8]]) -> [u8; 32] {
    let mut state = key.clone();
    for part in parts {
        state.update(part);
    }
    state.finalize().into_bytes().into()
}

/// The MAC of these parts, which are kept apart by their lengths.
fn mac(key: &Mac256, parts: &[&[u8]]) -> [u8; 32] {
    let mut state = key.clone();
    for part in parts {
        state.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        state.update(part);
    }
    state.finalize().into_bytes().into()
}

fn sign(key: &Mac256, account: &str, body: &[u8]) -> [u8; 32] {
    mac(key, &[b"device", account.as_bytes(), body])
}

fn epoch_hash(key: &Mac256, account: &str, epoch: u64) -> [u8; 8] {
    let hash = mac(key, &[b"epoch", account.as_bytes(), &epoch.to_be_bytes()]);
    hash.first_chunk().copied().unwrap_or_default()
}

fn decode(value: &str) -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    (URL_SAFE_NO_PAD.decode_slice(value, &mut bytes) == Ok(LENGTH)).then_some(bytes)
}

/// When it was issued, as it says.
fn issued(value: &str) -> i64 {
    let bytes = decode(value);
    let time = bytes.as_ref().and_then(|bytes| bytes[16..24].first_chunk());
    time.map_or(0, |time| i64::from_be_bytes(*time))
}

fn verify(key: &Mac256, index: usize, account: &str, value: &str, now: Timestamp) -> Option<Device> {
    let bytes = decode(value)?;
    let (body, signature) = bytes.split_at(LENGTH - 32);
    if !bool::from(sign(key, account, body).ct_eq(signature)) {
        return None;
    }
    let issued = Timestamp::from_millis(i64::from_be_bytes(*body[16..24].first_chunk()?));
    let age = now.as_millis().saturating_sub(issued.as_millis());
    let lives = age >= -CLOCK_SKEW && age < i64::try_from(MAX_AGE * 1000).unwrap_or(i64::MAX);
    let device = Device { id: *body.first_chunk()?, issued, epoch: *body[24..].first_chunk()?, key: index };
    lives.then_some(device)
}

/// Shows how many keys there are.
impl fmt::Debug for DeviceCookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceCookies({})", self.keys.len())
    }
}

/// Hashes logins for the log: the same login has the same hash, and nobody without the secret can tell whose it is.
#[derive(Clone)]
pub(crate) struct LogKey(Mac256);

impl LogKey {
    pub(crate) fn new(secret: &[u8]) -> Self {
        let extracted = mac_of(&keyed(b"hallpass logins in logs v1"), &[secret]);
        Self(keyed(&extracted))
    }

    pub(crate) fn hash(&self, account: &str) -> String {
        hex(&mac(&self.0, &[account.as_bytes()])[..8])
    }
}

#[cfg(test)]
mod tests;
