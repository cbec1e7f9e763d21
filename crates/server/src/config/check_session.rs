//! What the settings of sessions, their cookie and its secrets become.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use hallpass_session::{CookieOptions, Keys, SameSite, Secret, Secure, SessionOptions};
use hallpass_stores::StoreUrl;
use url::Url;

use super::{gather::Values, stores::StoresConfig};

/// How long browsers keep a cookie at most (RFC 6265bis §5.5).
const LONGEST_COOKIE: Duration = Duration::from_secs(400 * 24 * 60 * 60);

pub(super) fn secrets(values: &mut Values) -> Vec<Secret<String>> {
    let secrets = values.list("session.secrets").to_vec();
    if let Some(error) = (!secrets.is_empty()).then(|| Keys::new(&secrets).err()).flatten() {
        values.problem("session.secrets", error.to_string());
    }
    secrets.into_iter().map(Secret::new).collect()
}

/// Beside the database file; of a database elsewhere, in the working directory.
pub(super) fn key_file(values: &Values, stores: Option<&StoresConfig>) -> PathBuf {
    match (values.text("key_file"), stores.map(|stores| &stores.database)) {
        ("", Some(StoreUrl::Sqlite(path))) => path.with_file_name("hallpass.key"),
        ("", _) => "hallpass.key".into(),
        (path, _) => path.into(),
    }
}

pub(super) fn session(values: &mut Values, https: bool, public_path: &str) -> SessionOptions {
    let domain = values.text("session.cookie_domain");
    let domain = (!domain.is_empty()).then(|| domain.to_owned());
    let path = cookie_path(values, public_path);
    let name = match values.text("session.cookie_name") {
        "" => match (https, &domain) {
            (true, None) if path == "/" => "__Host-hallpass",
            (true, _) => "__Secure-hallpass",
            (false, _) => "hallpass",
        },
        name => name,
    };
    let options = SessionOptions {
        cookie: CookieOptions {
            name: name.to_owned(),
            domain,
            path,
            secure: if https { Secure::On } else { Secure::Off },
            same_site: match values.text("session.same_site") {
                "strict" => SameSite::Strict,
                "none" => SameSite::None,
                _ => SameSite::Lax,
            },
            partitioned: values.flag_of("session.partitioned"),
            ..CookieOptions::default()
        },
        idle_timeout: Some(values.duration("session.idle_timeout")),
        absolute_timeout: Some(values.duration("session.absolute_timeout")),
        touch_after: values.duration("session.touch_after"),
        max_per_user: NonZeroUsize::new(
            usize::try_from(values.number("session.max_per_user")).unwrap_or(usize::MAX),
        ),
        ..SessionOptions::default()
    };
    if let Err(error) = options.validate() {
        for problem in error.problems() {
            let hint = if problem.contains("secure = on") { " (give an https public_url)" } else { "" };
            values.problem("session", format!("{problem}{hint}"));
        }
    }
    let remember_for = values.duration("session.remember_for");
    if remember_for.is_zero() || remember_for > LONGEST_COOKIE {
        values.problem("session.remember_for", "must be longer than zero, and at most 400d".to_owned());
    }
    options
}

/// The path of `public_url`, so that two servers on one host keep out of each other's way; what is shared with Express
/// is the application's too, wherever it is.
fn cookie_path(values: &Values, public_path: &str) -> String {
    let shared = ["session.layout", "moving.layout"].iter().any(|layout| values.text(layout) == "connect");
    let path = match values.text("session.cookie_path") {
        "" if shared => "/",
        "" => public_path.trim_end_matches('/'),
        path => path,
    };
    if path.is_empty() { "/".to_owned() } else { path.to_owned() }
}

/// A cookie for a domain that the server is not part of would be refused by every browser.
pub(super) fn check_cookie_domain(values: &mut Values, public_url: Option<&Url>) {
    let domain = values.text("session.cookie_domain").trim_start_matches('.').to_ascii_lowercase();
    if domain.is_empty() {
        return;
    }
    let covers = public_url.and_then(Url::host_str).is_some_and(|host| {
        host.strip_suffix(&domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    if !covers {
        let advice =
            "must be the host of public_url or a domain above it; other cookies are refused by browsers";
        values.problem("session.cookie_domain", advice.to_owned());
    }
}

pub(super) fn clear_site_data(values: &mut Values) -> String {
    let kinds = values.list("session.clear_site_data").to_vec();
    if let Some(kind) = kinds.iter().find(|kind| !["cache", "cookies", "storage"].contains(&kind.as_str())) {
        values.problem("session.clear_site_data", format!("{kind:?} is none of cache, cookies, storage"));
    }
    kinds.iter().map(|kind| format!("{kind:?}")).collect::<Vec<_>>().join(", ")
}
