//! The `Set-Cookie` header.

use std::{fmt::Write, time::Duration};

use http::HeaderValue;

use super::options::{CookieOptions, Priority, SameSite};
use crate::{Timestamp, calendar};

/// Sets the cookie to `value`; `max_age: None` keeps it until the browser is closed.
///
/// `Max-Age` and `Expires` both: the former does not depend on the browser's clock, the latter is what express-session sends.
pub(crate) fn set_cookie(
    options: &CookieOptions,
    value: &str,
    max_age: Option<Duration>,
    now: Timestamp,
    secure: bool,
) -> HeaderValue {
    let lifetime = max_age.map(|age| (age.as_secs(), now + age));
    header(options, value, lifetime, secure)
}

/// Clears the cookie: same name, path, domain and attributes, or browsers keep it.
pub(crate) fn expire_cookie(options: &CookieOptions, secure: bool) -> HeaderValue {
    header(options, "", Some((0, Timestamp::from_millis(0))), secure)
}

fn header(
    options: &CookieOptions,
    value: &str,
    lifetime: Option<(u64, Timestamp)>,
    secure: bool,
) -> HeaderValue {
    let mut cookie = String::with_capacity(options.name.len() + value.len() + 160);
    write_cookie(&mut cookie, options, value, lifetime, secure).expect("a String takes everything");
    HeaderValue::try_from(cookie).expect("options were checked at construction, values are percent-encoded")
}

/// Attributes in express-session's order.
fn write_cookie(
    out: &mut String,
    options: &CookieOptions,
    value: &str,
    lifetime: Option<(u64, Timestamp)>,
    secure: bool,
) -> std::fmt::Result {
    write!(out, "{}={value}", options.name)?;
    if let Some(domain) = &options.domain {
        write!(out, "; Domain={domain}")?;
    }
    write!(out, "; Path={}", options.path)?;
    if let Some((seconds, end)) = lifetime {
        write!(out, "; Max-Age={seconds}; Expires={}", calendar::http(end.as_millis()))?;
    }
    let priority = options.priority.map(|priority| match priority {
        Priority::Low => "; Priority=Low",
        Priority::Medium => "; Priority=Medium",
        Priority::High => "; Priority=High",
    });
    out.push_str(if options.http_only { "; HttpOnly" } else { "" });
    out.push_str(if secure { "; Secure" } else { "" });
    out.push_str(if options.partitioned { "; Partitioned" } else { "" });
    out.push_str(priority.unwrap_or_default());
    out.push_str(match options.same_site {
        SameSite::Strict => "; SameSite=Strict",
        SameSite::Lax => "; SameSite=Lax",
        SameSite::None => "; SameSite=None",
    });
    Ok(())
}
