//! The log: one line a response, each with the id that the client got too. Never a query, a body, a cookie or a token.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use axum::{extract::Request, middleware::Next, response::Response};
use hallpass_session::{Client, hex, random};
use http::{HeaderName, HeaderValue, StatusCode};
use tokio::time::sleep;
use tracing::Instrument;
use tracing_subscriber::{EnvFilter, fmt};

use crate::{
    config::{Config, LogFormat},
    log_limit::{LIMIT, Limited, QUIET, REPEATED},
    routes::is_health,
};

/// Names a request in the log, to the client and to the handlers.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How much of a path is logged.
const MAX_PATH: usize = 200;

/// How often the log says what it left out and has not said since.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Under which target the acts of operators are logged.
pub(crate) const AUDIT: &str = "hallpass::audit";

/// Starts logging to standard error.
pub(crate) fn start(config: &Config) {
    start_with(config, &config.log_level);
    log_panics();
}

/// The same for a command that an operator types: only what they did is logged.
pub(crate) fn start_for_commands(config: &Config) {
    start_with(config, &format!("{AUDIT}=info"));
}

/// Logs why the server does not start, in the format of the log, which may not have begun yet.
pub(crate) fn not_started(format: LogFormat, code: &str, message: &str) {
    start_as(format, "info");
    tracing::error!(event = "not_started", code, "{message}");
}

/// Whether lines are for people.
pub(crate) fn is_text(format: LogFormat) -> bool {
    match format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    }
}

/// A panic is a line of the log like every other.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let message = payload.downcast_ref::<&str>().copied();
        let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let place = panic.location().map(ToString::to_string);
        tracing::error!(event = "panicked", place, "{}", message.unwrap_or("a panic without a message"));
    }));
}

fn start_with(config: &Config, level: &str) {
    start_as(config.log_format, level);
}

fn start_as(format: LogFormat, level: &str) {
    let text = is_text(format);
    let filter = EnvFilter::builder().parse_lossy(level);
    let log = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let log = log.with_ansi(text && std::io::stderr().is_terminal());
    // A second start in one process (tests) keeps the first log.
    if text {
        log.compact().map_event_format(Limited).try_init().ok();
    } else {
        log.json().flatten_event(true).with_span_list(false).map_event_format(Limited).try_init().ok();
    }
}

/// Says what the log left out, from time to time, for as long as it is polled.
pub(crate) async fn report_what_is_left_out() {
    loop {
        sleep(REPORT_EVERY).await;
        LIMIT.report(QUIET);
    }
}

/// Names the request, and logs its answer. While the server cannot serve, all answers are the same 503 for the same
/// reason, and clients repeat themselves: those lines are limited as warnings are. Every other answer has its line.
pub(crate) async fn responses(mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers().get(&REQUEST_ID));
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let (method, started) = (request.method().clone(), Instant::now());
    let path: String = request.uri().path().chars().take(MAX_PATH).collect();
    let client = request.extensions().get::<Client>().map(|client| client.addr);
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default());
    let mut response = next.run(request).instrument(span.clone()).await;
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let status = response.status().as_u16();
    let client = client.map(tracing::field::display);
    span.in_scope(|| {
        if is_health(&path) {
            tracing::debug!(event = "response", %method, path, status, ms, client);
        } else if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            tracing::info!(name: REPEATED, event = "response", %method, path, status, ms, client);
        } else {
            tracing::info!(event = "response", %method, path, status, ms, client);
        }
    });
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The id a proxy gave the request, if it is one; else a fresh one.
fn request_id(given: Option<&HeaderValue>) -> HeaderValue {
    let sane = |id: &&HeaderValue| {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
        (1..=64).contains(&id.len()) && id.as_bytes().iter().all(allowed)
    };
    let fresh = || HeaderValue::from_str(&hex(&random::<8>())).unwrap_or(HeaderValue::from_static("-"));
    given.filter(sane).cloned().unwrap_or_else(fresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_proxies_are_kept_unless_they_could_forge_log_lines() {
        let kept = HeaderValue::from_static("7f3a_B-9");
        assert_eq!(request_id(Some(&kept)), kept);
        for bad in ["", "a b", "a\"b", &"x".repeat(65)] {
            let id = request_id(Some(&HeaderValue::from_str(bad).unwrap()));
            assert_eq!(id.len(), 16, "{bad:?}");
        }
        assert_ne!(request_id(None), request_id(None));
    }
}
