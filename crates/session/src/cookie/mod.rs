//! Cookies: reading the `Cookie` header, writing `Set-Cookie`.

mod options;
mod parse;
pub(crate) mod percent;
mod set_cookie;

use http::{HeaderMap, header::COOKIE};

pub(crate) use self::{
    options::check,
    set_cookie::{expire_cookie, set_cookie},
};
pub use self::{
    options::{CookieOptions, Priority, SameSite, Secure},
    parse::pairs,
};
use crate::{Keys, keys::Verified};

/// No correct cookie value is longer: an id of 256 bytes, all percent-encoded, and its signature.
const MAX_VALUE_LENGTH: usize = 1024;

/// A request may try so many different sessions; each that has ended costs a store access.
///
/// More than the cookies that a browser keeps for a site (180 in Chrome, 150 in Firefox), so that no number of ended ones
/// set by a neighbouring subdomain hides the live one. A client that sends as many costs the store no more for each byte than
/// one that sends them in requests of their own.
pub(crate) const MAX_CANDIDATES: usize = 256;

/// The correctly signed ids among the request's cookies of exactly this name, in the order in which they arrived.
///
/// A browser sends several cookies of one name when they were set for different paths or domains, or when a neighbouring
/// subdomain tossed one in; the right one may be any of them. Names are compared case-sensitively: browsers treat
/// `__HOST-sid` as an ordinary name, so it must never pass for `__Host-sid` (RFC 6265bis §4.1.3).
pub(crate) fn candidates<'a>(
    headers: &'a HeaderMap,
    name: &'a str,
    keys: &'a Keys,
) -> impl Iterator<Item = Verified> + 'a {
    of_request(headers)
        .filter(move |(cookie, value)| *cookie == name && value.len() <= MAX_VALUE_LENGTH)
        .filter_map(|(_, value)| {
            let verified = keys.verify(value);
            if verified.is_none() {
                crate::keys::unknown(value);
            }
            verified
        })
}

/// The request's cookies, in the order in which they arrived.
pub(crate) fn of_request(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers.get_all(COOKIE).iter().flat_map(|header| pairs(header.as_bytes()))
}
