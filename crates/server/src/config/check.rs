//! From values to a [`Config`]: what cannot be, or would be unsafe, becomes a problem that says what to write instead.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use hallpass_auth::{
    Argon2Params, AuthOptions, HashPoolOptions, Limit, LoginKey, PasswordPolicy, ThrottleOptions,
};
use hallpass_session::{CookieOptions, Keys, SameSite, Secret, Secure, SessionOptions, TrustProxy};
use hallpass_stores::StoreUrl;
use http::HeaderValue;
use tracing_subscriber::EnvFilter;
use url::Url;

use super::{
    Config, Limits, LogFormat,
    gather::Values,
    providers,
    schema::{Kind, SETTINGS},
    stores::{self, StoresConfig},
};
use crate::{
    cors::{CorsPolicy, is_origin},
    host::AllowedHosts,
};

/// The longest time any setting takes.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// How long browsers keep a cookie at most (RFC 6265bis §5.5).
const LONGEST_COOKIE: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// Room for a few unfinished requests of the largest size.
const LEAST_RECEIVE_MEMORY: usize = 1024 * 1024;

/// Threads, and sign-ins that wait for one.
const MOST_HASHING: u64 = 65_536;

/// The configuration these values describe; `None` or problems when there is none.
pub(super) fn check(values: &mut Values) -> Option<Config> {
    let listen = listen(values);
    let public_url = public_url(values);
    let trust_proxy = trust_proxy(values);
    let https = public_url.as_ref().is_some_and(|url| url.scheme() == "https");
    let secrets = secrets(values);
    check_cookie_domain(values, public_url.as_ref());
    let session = session(values, https);
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
        key_file: key_file(values, stores.as_ref()),
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
        log_format: match values.text("log.format") {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            _ => LogFormat::Auto,
        },
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
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !bare || !url.username().is_empty() || url.password().is_some() {
        values.problem("public_url", "has no path, query or user; write https://auth.example.com".to_owned());
    }
    Some(url)
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

fn secrets(values: &mut Values) -> Vec<Secret<String>> {
    let secrets = values.list("session.secrets").to_vec();
    if let Some(error) = (!secrets.is_empty()).then(|| Keys::new(&secrets).err()).flatten() {
        values.problem("session.secrets", error.to_string());
    }
    secrets.into_iter().map(Secret::new).collect()
}

/// Beside the database file; of a database elsewhere, in the working directory.
fn key_file(values: &Values, stores: Option<&StoresConfig>) -> PathBuf {
    match (values.text("key_file"), stores.map(|stores| &stores.database)) {
        ("", Some(StoreUrl::Sqlite(path))) => path.with_file_name("hallpass.key"),
        ("", _) => "hallpass.key".into(),
        (path, _) => path.into(),
    }
}

fn session(values: &mut Values, https: bool) -> SessionOptions {
    let domain = values.text("session.cookie_domain");
    let domain = (!domain.is_empty()).then(|| domain.to_owned());
    let name = match values.text("session.cookie_name") {
        "" => match (https, &domain) {
            (true, None) => "__Host-hallpass",
            (true, Some(_)) => "__Secure-hallpass",
            (false, _) => "hallpass",
        },
        name => name,
    };
    let options = SessionOptions {
        cookie: CookieOptions {
            name: name.to_owned(),
            domain,
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

/// A cookie for a domain that the server is not part of would be refused by every browser.
fn check_cookie_domain(values: &mut Values, public_url: Option<&Url>) {
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

/// Times that nobody means, and that sums with would overflow.
fn check_durations(values: &mut Values) {
    for setting in SETTINGS {
        if setting.kind == Kind::Duration && values.duration(setting.path) > LONGEST {
            values.problem(setting.path, "must be at most 3650d".to_owned());
        }
    }
}

fn auth(values: &mut Values) -> Option<AuthOptions> {
    let small = |path| u32::try_from(values.number(path)).unwrap_or(u32::MAX);
    let argon2 = Argon2Params {
        memory_kib: small("password.argon2_memory_kib"),
        iterations: small("password.argon2_iterations"),
        parallelism: small("password.argon2_parallelism"),
    };
    let large = |path| usize::try_from(values.number(path)).unwrap_or(usize::MAX);
    let hashing = HashPoolOptions::default();
    let options = AuthOptions {
        login_key: match values.text("session.login_key") {
            "passport" => LoginKey::passport(),
            key => LoginKey::plain(key),
        },
        password: PasswordPolicy {
            min_length: large("password.min_length"),
            max_length: large("password.max_length"),
            service_name: values.text("service_name").to_owned(),
            ..PasswordPolicy::default()
        },
        argon2,
        hashing: HashPoolOptions {
            threads: NonZeroUsize::new(large("password.hashing_threads")).unwrap_or(hashing.threads),
            queue_deadline: values.duration("password.queue_deadline"),
            max_waiting: large("password.max_waiting"),
        },
        throttle: ThrottleOptions {
            account: limit(
                values,
                [
                    "throttle.account.free",
                    "throttle.account.window",
                    "throttle.account.first_wait",
                    "throttle.account.max_wait",
                ],
            ),
            max_failures: u32::try_from(values.number("throttle.account.max_failures")).unwrap_or(u32::MAX),
            address: limit(
                values,
                [
                    "throttle.address.free",
                    "throttle.address.window",
                    "throttle.address.first_wait",
                    "throttle.address.max_wait",
                ],
            ),
            register: limit(
                values,
                [
                    "throttle.register.free",
                    "throttle.register.window",
                    "throttle.register.first_wait",
                    "throttle.register.max_wait",
                ],
            ),
        },
        remember_for: values.duration("session.remember_for"),
        accept_foreign_sign_ins: values.flag_of("session.accept_foreign_sign_ins")
            || ["session.layout", "moving.layout"].iter().any(|layout| values.text(layout) == "connect"),
        sign_in_path: Some("/login".to_owned()),
        ordinary_roles: ordinary_roles(values),
        ..AuthOptions::default()
    };
    check_auth(values, &options).then_some(options)
}

/// Only an application's own table gives roles to everybody.
fn ordinary_roles(values: &Values) -> Vec<String> {
    let existing = ["users.table", "users.collection"].iter().any(|path| !values.text(path).is_empty());
    if existing { values.list("users.ordinary_roles").to_vec() } else { Vec::new() }
}

fn limit(values: &Values, [free, window, first_wait, max_wait]: [&'static str; 4]) -> Limit {
    Limit {
        free: u32::try_from(values.number(free)).unwrap_or(u32::MAX),
        window: values.duration(window),
        first_wait: values.duration(first_wait),
        max_wait: values.duration(max_wait),
    }
}

fn check_auth(values: &mut Values, options: &AuthOptions) -> bool {
    let before = values.problems.len();
    let policy = &options.password;
    if policy.min_length < 8 {
        values.problem("password.min_length", "must be at least 8 (NIST SP 800-63B-4)".to_owned());
    }
    if policy.max_length < 64 || policy.max_length < policy.min_length || policy.max_length > 4096 {
        values.problem("password.max_length", "must be from 64 to 4096, and not below min_length".to_owned());
    }
    if let Err(error) = options.argon2.check() {
        values.problem("password.argon2_memory_kib", error.to_string());
    }
    for (at, least) in [("password.hashing_threads", 0), ("password.max_waiting", 1)] {
        if !(least..=MOST_HASHING).contains(&values.number(at)) {
            values.problem(at, format!("must be from {least} to {MOST_HASHING}"));
        }
    }
    let throttle = &options.throttle;
    for (name, limit) in
        [("account", throttle.account), ("address", throttle.address), ("register", throttle.register)]
    {
        if limit.free == 0 || limit.first_wait.is_zero() || limit.max_wait < limit.first_wait {
            values.problem(
                &format!("throttle.{name}"),
                "free must be at least 1, first_wait longer than zero, max_wait not shorter than it"
                    .to_owned(),
            );
        }
    }
    if !(1..=100).contains(&throttle.max_failures) {
        let advice = "must be from 1 to 100 (NIST SP 800-63B-4 §3.2.2)";
        values.problem("throttle.account.max_failures", advice.to_owned());
    }
    values.problems.len() == before
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

fn clear_site_data(values: &mut Values) -> String {
    let kinds = values.list("session.clear_site_data").to_vec();
    if let Some(kind) = kinds.iter().find(|kind| !["cache", "cookies", "storage"].contains(&kind.as_str())) {
        values.problem("session.clear_site_data", format!("{kind:?} is none of cache, cookies, storage"));
    }
    kinds.iter().map(|kind| format!("{kind:?}")).collect::<Vec<_>>().join(", ")
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
    if level.is_empty() || EnvFilter::builder().parse(&level).is_err() {
        values
            .problem("log.level", format!("{level:?} is no level; write info, or info,hallpass_auth=debug"));
    }
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
