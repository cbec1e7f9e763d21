//! [`Csrf`]: tokens against cross-site request forgery that need no storage.
//!
//! This is the "HMAC based token pattern" of OWASP's cheat sheet, a signed double-submit value. A token is a random number and its
//! HMAC-SHA256 over what it is bound to:
//!
//! * the session's ID, once a session is stored: a sign-in gives the session a new ID, so tokens from before it count no longer;
//! * for visitors, the value of a cookie of its own (`__Host-hallpass-csrf-…` over https), so that no session is stored for them.
//!
//! Needed where cookies are `SameSite=None`; elsewhere checking `Sec-Fetch-Site` and `Origin` is enough and costs nothing.
//!
//! ```
//! # use hallpass_auth::{Csrf, CsrfOptions};
//! # use hallpass_session::Session;
//! # use http::HeaderMap;
//! # let secret = "a secret of at least 32 bytes, kept";
//! let csrf = Csrf::new([secret], CsrfOptions::default());
//!
//! /// The token for a form, and the cookie that the response must set, if any.
//! fn form_token(csrf: &Csrf, session: &Session, headers: &HeaderMap) -> (String, Option<http::HeaderValue>) {
//!     let mut visitor = csrf.visitor(headers);
//!     let token = csrf.token(session, &mut visitor);
//!     (token, csrf.set_cookie(&visitor))
//! }
//!
//! /// Whether a change that carries `given` may happen.
//! fn may_change(csrf: &Csrf, session: &Session, headers: &HeaderMap, given: &str) -> bool {
//!     csrf.verify(session, &csrf.visitor(headers), given)
//! }
//! ```

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hallpass_session::{Session, cookie_pairs, random};
use http::{HeaderMap, HeaderValue, header::COOKIE};

use crate::MacKeys;

/// The header in which scripts send the token.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// The form field in which pages send the token.
pub const CSRF_FIELD: &str = "_csrf";

/// The length of a token's random part in bytes, which makes each one look different (against BREACH).
const NONCE: usize = 16;

/// The length of a visitor's number as text: 128 bits in base64url.
const NUMBER: usize = 22;

/// So many cookies of a visitor are looked at: pages that were first loaded at the same time set one each.
const MOST_READ: usize = 8;

/// How the cookie of visitors is set.
#[derive(Clone, Copy, Debug, Default)]
pub struct CsrfOptions {
    /// Over https only, with the prefix that keeps other hosts from setting it (RFC 6265bis §4.1.3.2). Default: no.
    pub secure: bool,
    /// Scripts of other sites sign people in: `SameSite=None` instead of `Lax`; needs `secure`. Default: no.
    pub cross_site: bool,
    /// `Partitioned`, as the session's cookie has it; needs `secure`. Default: no.
    pub partitioned: bool,
}

/// Makes and checks tokens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Csrf {
    keys: MacKeys,
    options: CsrfOptions,
}

/// What identifies a browser that has no session: the numbers in its cookies.
#[derive(Clone, Debug, Default)]
pub struct Visitor {
    numbers: Vec<String>,
    /// The first one was made for this response.
    fresh: bool,
}

impl Csrf {
    /// Tokens signed with a key that is derived from the first of these secrets and verified with all of them. Give those that sign
    /// session cookies.
    pub fn new<S: AsRef<[u8]>>(secrets: impl IntoIterator<Item = S>, options: CsrfOptions) -> Self {
        Self { keys: MacKeys::derive("hallpass csrf tokens v1", secrets), options }
    }

    /// The visitor who sent these request headers.
    pub fn visitor(&self, headers: &HeaderMap) -> Visitor {
        let pairs = headers.get_all(COOKIE).iter().flat_map(|header| cookie_pairs(header.as_bytes()));
        let ours = pairs.filter(|(name, value)| name.starts_with(self.prefix()) && is_number(value));
        Visitor { numbers: ours.take(MOST_READ).map(|(_, value)| value.to_owned()).collect(), fresh: false }
    }

    /// A token for the page or script that is being answered. For a visitor the response must carry
    /// [`set_cookie`](Self::set_cookie). A sign-in in the same request voids it: ask in the next one.
    pub fn token(&self, session: &Session, visitor: &mut Visitor) -> String {
        let nonce = random::<NONCE>();
        let mac = if let Some(id) = session.id() {
            self.keys.sign(&[b"session", &id.hash().0, &nonce])
        } else {
            self.keys.sign(&[b"visitor", visitor.number().as_bytes(), &nonce])
        };
        URL_SAFE_NO_PAD.encode([&nonce[..], &mac].concat())
    }

    /// Whether `given` was made for this session, or for this visitor while there is no session.
    pub fn verify(&self, session: &Session, visitor: &Visitor, given: &str) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(given) else { return false };
        let Some((nonce, mac)) = bytes.split_at_checked(NONCE) else { return false };
        if let Some(id) = session.id() {
            return self.keys.verify(&[b"session", &id.hash().0, nonce], mac);
        }
        self.is_of_visitor(visitor, nonce, mac)
    }

    /// Whether `given` was made for this visitor, whatever session there is now. For sign-in and registration alone: of two tabs with the form,
    /// the second is sent after the first has signed somebody in. Another site has no token of this browser either way.
    pub fn verify_visitor(&self, visitor: &Visitor, given: &str) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(given) else { return false };
        bytes.split_at_checked(NONCE).is_some_and(|(nonce, mac)| self.is_of_visitor(visitor, nonce, mac))
    }

    fn is_of_visitor(&self, visitor: &Visitor, nonce: &[u8], mac: &[u8]) -> bool {
        let is_of = |number: &String| self.keys.verify(&[b"visitor", number.as_bytes(), nonce], mac);
        visitor.numbers.iter().any(is_of)
    }

    /// The cookie that a token just made for this visitor needs; `None` when the browser has one, or none was made.
    pub fn set_cookie(&self, visitor: &Visitor) -> Option<HeaderValue> {
        let number = visitor.numbers.first().filter(|_| visitor.fresh)?;
        let CsrfOptions { secure, cross_site, partitioned } = self.options;
        // Each number has a name of its own: of two pages that are first loaded at the same time, neither voids the other's token.
        let mut cookie = format!("{}{}={number}; Path=/; HttpOnly", self.prefix(), &number[..6]);
        if secure {
            cookie.push_str("; Secure");
            cookie.push_str(if partitioned { "; Partitioned" } else { "" });
        }
        cookie.push_str(if cross_site && secure { "; SameSite=None" } else { "; SameSite=Lax" });
        HeaderValue::try_from(cookie).ok()
    }

    fn prefix(&self) -> &'static str {
        if self.options.secure { "__Host-hallpass-csrf-" } else { "hallpass-csrf-" }
    }
}

impl Visitor {
    /// The visitor's number, which is made if there is none.
    fn number(&mut self) -> &str {
        if self.numbers.is_empty() {
            self.numbers.push(URL_SAFE_NO_PAD.encode(random::<16>()));
            self.fresh = true;
        }
        &self.numbers[0]
    }
}

fn is_number(value: &str) -> bool {
    value.len() == NUMBER && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
