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
    let token = new_token();
    TOKEN.insert(session, &token)?;
    Ok(token)
}

/// Whether `given` is the session's token. Takes the same time wherever they differ.
pub fn verify_csrf(session: &Session, given: &str) -> bool {
    let token = TOKEN.get(session).ok().flatten();
    token.is_some_and(|token| token.as_bytes().ct_eq(given.as_bytes()).into())
}

/// A new token in place of the old: after a login, what was known before must not count. Made at once, so that pages which
/// are loaded side by side afterwards get the same one.
pub(crate) fn renew_csrf(session: &Session) -> Result<(), ValueError> {
    match TOKEN.get(session)? {
        Some(_) => TOKEN.insert(session, &new_token()),
        None => Ok(()),
    }
}

fn new_token() -> String {
    URL_SAFE_NO_PAD.encode(random::<32>())
}
