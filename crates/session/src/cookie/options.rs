//! What a session cookie looks like, under express-session's names.

use std::{net::IpAddr, time::Duration};

use crate::Timestamp;

/// Browsers keep no cookie longer (RFC 6265bis §5.5).
const MAX_MAX_AGE: Duration = Duration::from_secs(400 * 24 * 3600);

/// When the cookie is `Secure`, that is, sent over https only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secure {
    /// Always. Browsers make an exception for `http://localhost`.
    #[default]
    On,
    /// Never: for development only.
    Off,
    /// When the request came over https, as the connection or a [trusted proxy](crate::TrustProxy) says.
    Auto,
}

/// To which cross-site requests the browser adds the cookie (RFC 6265bis §5.6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// To none, not even when a person follows a link.
    Strict,
    /// To links and other safe top-level navigations.
    #[default]
    Lax,
    /// To all. Protect every change against cross-site request forgery by other means.
    None,
}

/// Which cookies the browser drops first when a site has too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// First.
    Low,
    /// As usual.
    Medium,
    /// Last.
    High,
}

/// The cookie's name and attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieOptions {
    /// Its name. `__Host-` in front makes browsers insist on `Secure`, `Path=/` and no `Domain`; use it where you can.
    pub name: String,
    /// The paths it is sent to.
    pub path: String,
    /// The domain whose subdomains get it too; `None`: only the host that set it.
    pub domain: Option<String>,
    /// Scripts cannot read it.
    pub http_only: bool,
    /// It travels over https only.
    pub secure: Secure,
    /// It stays away from requests that other sites make.
    pub same_site: SameSite,
    /// The browser keeps it this long after it was last set; `None`: until it is closed. Also the idle timeout unless
    /// [`idle_timeout`](crate::SessionOptions::idle_timeout) is given.
    pub max_age: Option<Duration>,
    /// Cookie and session end at this time at the latest. Instead of `max_age`.
    pub expires: Option<Timestamp>,
    /// Which cookies are dropped first.
    pub priority: Option<Priority>,
    /// Kept apart for each site that embeds this one (CHIPS).
    pub partitioned: bool,
}

impl Default for CookieOptions {
    fn default() -> Self {
        Self {
            name: "session".to_owned(),
            path: "/".to_owned(),
            domain: None,
            http_only: true,
            secure: Secure::On,
            same_site: SameSite::Lax,
            max_age: None,
            expires: None,
            priority: None,
            partitioned: false,
        }
    }
}

/// Everything that is wrong with `options`, a sentence each: what browsers would refuse silently.
pub(crate) fn check(options: &CookieOptions) -> impl Iterator<Item = String> {
    let CookieOptions { name, path, domain, secure, same_site, max_age, expires, .. } = options;
    let always_secure = *secure == Secure::On;
    let lower = name.to_ascii_lowercase();
    let (host, secured) = (name.starts_with("__Host-"), name.starts_with("__Secure-"));
    let look_alike = !host && lower.starts_with("__host-") || !secured && lower.starts_with("__secure-");
    [
        (!is_token(name))
            .then(|| format!("the cookie name {name:?} may hold only letters, digits and !#$%&'*+-.^_`|~")),
        look_alike.then(|| {
            format!(
                "the cookie name {name:?} looks like a prefix that browsers know; write __Host- or __Secure-"
            )
        }),
        (host && !always_secure).then(|| "a __Host- cookie needs secure = on".to_owned()),
        (host && path != "/").then(|| "a __Host- cookie needs the path /".to_owned()),
        (host && domain.is_some()).then(|| {
            "a __Host- cookie has no domain; use __Secure- for cookies shared by subdomains".to_owned()
        }),
        (secured && !always_secure).then(|| "a __Secure- cookie needs secure = on".to_owned()),
        (*same_site == SameSite::None && !always_secure)
            .then(|| "same_site = none needs secure = on, or browsers drop the cookie".to_owned()),
        (options.partitioned && !always_secure).then(|| "a partitioned cookie needs secure = on".to_owned()),
        (!is_path(path)).then(|| {
            format!("the cookie path {path:?} must begin with / and hold no ; or control characters")
        }),
        domain
            .as_deref()
            .filter(|domain| !is_domain(domain))
            .map(|domain| format!("{domain:?} is no cookie domain; write example.com")),
        (max_age.is_some() && expires.is_some())
            .then(|| "the cookie has both max_age and expires; keep one".to_owned()),
        max_age.filter(Duration::is_zero).map(|_| "max_age must be longer than zero".to_owned()),
        max_age
            .filter(|age| *age > MAX_MAX_AGE)
            .map(|_| "max_age is longer than 400 days, the longest browsers keep a cookie".to_owned()),
    ]
    .into_iter()
    .flatten()
}

/// A token of RFC 9110 §5.6.2, as RFC 6265bis wants cookie names.
fn is_token(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(allowed)
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';')
}

fn is_domain(domain: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    domain.parse::<IpAddr>().is_err() && domain.split('.').all(label)
}
