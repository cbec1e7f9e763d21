//! From values to a [`Config`]: what cannot be, or would be unsafe, becomes a problem that says what to write instead.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use hallpass_session::{SameSite, TrustProxy};
use http::HeaderValue;
use tracing_subscriber::EnvFilter;
use url::Url;

use super::{
    Config, Limits,
    check_auth::auth,
    check_session::{check_cookie_domain, clear_site_data, key_file, secrets, session},
    gather::Values,
    log_format, providers,
    schema::{Kind, SETTINGS},
    stores,
};
use crate::{
    cors::{CorsPolicy, is_origin},
    host::AllowedHosts,
};

/// The longest time any setting takes.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// Room for a few unfinished requests of the largest size.
const LEAST_RECEIVE_MEMORY: usize = 1024 * 1024;

/// The configuration these values describe; `None` or problems when there is none.
pub(super) fn check(values: &mut Values) -> Option<Config> {
    let listen = listen(values);
    let public_url = public_url(values);
    let trust_proxy = trust_proxy(values);
    let https = public_url.as_ref().is_some_and(|url| url.scheme() == "https");
    let secrets = secrets(values);
    check_cookie_domain(values, public_url.as_ref());
    let session = session(values, https, public_url.as_ref().map_or("/", Url::path));
    let auth = auth(values);
    let cors = cors(values);
    let csrf_token = csrf_token(values, session.cookie.same_site);
    let trusted_origins = trusted_origins(values, public_url.as_ref());
    let allowed_hosts = allowed_hosts(values, public_url.as_ref());
    check_log_level(values);
    check_durations(values);
    let stores = stores::check(values, &session.cookie);
    let providers = providers::check(values);
    Some(Config {
        secrets_file: values.own_file("session.secrets").map(PathBuf::from),
        key_file: key_file(values, stores.as_ref()),
        secret_files: values.secret_files(),
        listen: listen?,
        public_url,
        stores: stores?,
        trust_proxy: trust_proxy?,
        service_name: values.text("service_name").to_owned(),
        secrets,
        session,
        auth: auth?,
        providers,
        proxy: providers::proxy(values),
        clear_site_data: clear_site_data(values),
        registration_open: values.flag_of("registration.open"),
        cors: cors?,
        csrf_token,
        trusted_origins,
        allowed_hosts: allowed_hosts?,
        hsts: https.then(|| hsts(values)),
        templates: templates(values),
        log_level: values.text("log.level").to_owned(),
        log_format: log_format(values),
        limits: limits(values)?,
    })
}

fn listen(values: &mut Values) -> Option<SocketAddr> {
    let text = values.text("listen").replace("localhost", "127.0.0.1");
    let listen = text.parse().ok();
    if listen.is_none() {
        values.problem(
            "listen",
            format!("{text:?} is no address with a port; write 127.0.0.1:8080 or [::1]:8080"),
        );
    }
    listen
}

fn public_url(values: &mut Values) -> Option<Url> {
    let text = values.text("public_url").to_owned();
    if text.is_empty() {
        return None;
    }
    let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = url else {
        values.problem("public_url", format!("{text:?} is no web address; write https://auth.example.com"));
        return None;
    };
    let bare = url.query().is_none() && url.fragment().is_none();
    if !bare || !url.username().is_empty() || url.password().is_some() {
        let advice =
            "has no query, fragment or user; write https://example.com or https://example.com/accounts";
        values.problem("public_url", advice.to_owned());
    }
    if !is_plain_path(url.path()) {
        let advice = "its path may hold letters, digits, - . _ ~ and %XX between single slashes";
        values.problem("public_url", advice.to_owned());
    }
    Some(url)
}

/// Whether a path may stand in a cookie, in a page and in an address without being escaped.
fn is_plain_path(path: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%/".contains(&byte);
    path.bytes().all(allowed) && !path.contains("//")
}

fn trust_proxy(values: &mut Values) -> Option<TrustProxy> {
    match TrustProxy::parse(values.text("trust_proxy")) {
        Ok(trust) => Some(trust),
        Err(error) => {
            values.problem("trust_proxy", error.to_string());
            None
        }
    }
}

/// Times that nobody means, and that sums with would overflow.
fn check_durations(values: &mut Values) {
    for setting in SETTINGS {
        if setting.kind == Kind::Duration && values.duration(setting.path) > LONGEST {
            values.problem(setting.path, "must be at most 3650d".to_owned());
        }
    }
}

fn cors(values: &mut Values) -> Option<CorsPolicy> {
    let policy = CorsPolicy::new(
        values.list("cors.origins"),
        values.flag_of("cors.credentials"),
        values.list("cors.methods"),
        values.list("cors.allowed_headers"),
        values.list("cors.exposed_headers"),
        values.duration("cors.max_age"),
    );
    policy.map_err(|problems| problems.into_iter().for_each(|(at, advice)| values.problem(at, advice))).ok()
}

/// Whether tokens are demanded. `SameSite=None` sends the cookie with every site's requests, so it needs them.
fn csrf_token(values: &mut Values, same_site: SameSite) -> bool {
    let token = values.text("csrf.mode") == "token";
    if same_site == SameSite::None && !token {
        values.problem("session.same_site", "none needs csrf.mode = \"token\"".to_owned());
    }
    token
}

fn trusted_origins(values: &mut Values, public_url: Option<&Url>) -> Vec<String> {
    let mut trusted: Vec<String> =
        public_url.map(|url| url.origin().ascii_serialization()).into_iter().collect();
    for origin in values.list("csrf.trusted_origins").to_vec() {
        if is_origin(&origin) {
            trusted.push(origin);
        } else {
            values.problem(
                "csrf.trusted_origins",
                format!("{origin:?} is no origin; write https://app.example.com"),
            );
        }
    }
    trusted
}

fn allowed_hosts(values: &mut Values, public_url: Option<&Url>) -> Option<AllowedHosts> {
    let allowed = AllowedHosts::new(public_url.and_then(Url::host_str), values.list("allowed_hosts"));
    allowed.map_err(|advice| values.problem("allowed_hosts", advice)).ok()
}

/// RFC 6797 §6.1.
fn hsts(values: &Values) -> HeaderValue {
    let seconds = values.duration("hsts.max_age").as_secs();
    let below = if values.flag_of("hsts.include_subdomains") { "; includeSubDomains" } else { "" };
    // Digits and letters are always a header value.
    HeaderValue::from_str(&format!("max-age={seconds}{below}"))
        .unwrap_or(HeaderValue::from_static("max-age=31536000"))
}

fn templates(values: &mut Values) -> Option<PathBuf> {
    let path = values.text("pages.templates").to_owned();
    if path.is_empty() {
        return None;
    }
    if !PathBuf::from(&path).is_dir() {
        values.problem("pages.templates", format!("{path:?} is no folder"));
    }
    Some(path.into())
}

fn check_log_level(values: &mut Values) {
    let level = values.text("log.level").to_owned();
    if let Some(odd) = level.split(',').find(|directive| !is_directive(directive.trim())) {
        let advice = format!(
            "{odd:?} names no level; write one of error, warn, info, debug, trace, off, or a part of this program with its level: hallpass_auth=debug"
        );
        values.problem("log.level", advice);
    } else if level.is_empty() || EnvFilter::builder().parse(&level).is_err() {
        values
            .problem("log.level", format!("{level:?} is no level; write info, or info,hallpass_auth=debug"));
    }
}

/// A level alone, or a target with one. The filter would take any other word for a target that never logs.
fn is_directive(directive: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    const OURS: [&str; 5] =
        ["hallpass", "hallpass_auth", "hallpass_server", "hallpass_session", "hallpass_stores"];
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let Some((target, level)) = directive.rsplit_once('=') else {
        return is_level(directive) || OURS.contains(&directive.split("::").next().unwrap_or_default());
    };
    let part = target.split(['[', ':']).next().unwrap_or_default();
    let misspelt = |ours: &&str| *ours != part && strsim::jaro_winkler(ours, part) > 0.93;
    is_level(level) && (OURS.contains(&part) || !OURS.iter().any(misspelt))
}

fn limits(values: &mut Values) -> Option<Limits> {
    let large = |path| usize::try_from(values.number(path)).unwrap_or(usize::MAX);
    let limits = Limits {
        request_timeout: values.duration("server.request_timeout"),
        header_timeout: values.duration("server.header_timeout"),
        keep_alive_timeout: values.duration("server.keep_alive_timeout"),
        write_timeout: values.duration("server.write_timeout"),
        max_connections: large("server.max_connections"),
        max_connections_per_client: large("server.max_connections_per_client"),
        receive_memory: large("server.receive_memory"),
        drain_delay: values.duration("server.drain_delay"),
        drain_timeout: values.duration("server.drain_timeout"),
    };
    for (at, value) in [
        ("server.request_timeout", limits.request_timeout),
        ("server.header_timeout", limits.header_timeout),
        ("server.keep_alive_timeout", limits.keep_alive_timeout),
        ("server.write_timeout", limits.write_timeout),
    ] {
        if value < Duration::from_millis(100) {
            values.problem(at, "must be at least 100ms".to_owned());
        }
    }
    if limits.receive_memory < LEAST_RECEIVE_MEMORY {
        values.problem("server.receive_memory", "must be at least 1MiB".to_owned());
    }
    if !(1..=1_000_000).contains(&limits.max_connections) {
        values.problem("server.max_connections", "must be from 1 to 1000000".to_owned());
        return None;
    }
    Some(limits)
}
