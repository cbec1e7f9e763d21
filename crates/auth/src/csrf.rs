//! A token against cross-site request forgery, bound to the session: the synchroniser token of OWASP's cheat sheet.
//!
//! Needed where cookies are `SameSite=None`; elsewhere checking `Sec-Fetch-Site` and `Origin` is enough and costs nothing.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hallpass_session::{Session, Slot, ValueError, random};
use subtle::ConstantTimeEq;

/// The header in which scripts send the token.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// The form field in which pages send the token.
pub const CSRF_FIELD: &str = "_csrf";

const TOKEN: Slot<String> = Slot::new("csrf");

/// The session's token, 256 random bits as base64url; made on first use, which stores the session.
pub fn csrf_token(session: &Session) -> Result<String, ValueError> {
    if let Some(token) = TOKEN.get(session)? {
        return Ok(token);
    }
    let token = URL_SAFE_NO_PAD.encode(random::<32>());
    TOKEN.insert(session, &token)?;
    Ok(token)
}

/// Whether `given` is the session's token. Takes the same time wherever they differ.
pub fn verify_csrf(session: &Session, given: &str) -> bool {
    let token = TOKEN.get(session).ok().flatten();
    token.is_some_and(|token| token.as_bytes().ct_eq(given.as_bytes()).into())
}

/// Forgets the token, so that the next page gets a new one: after a login, what was known before must not count.
pub(crate) fn forget_csrf(session: &Session) {
    TOKEN.remove(session);
}
