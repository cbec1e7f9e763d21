//! Keeps a failure that repeats from flooding the log: one line a second for each kind of event.
//!
//! While a store is down, every request meets the same failure. The first line says what is wrong; the next ones say
//! it again, with `left_out`: how many like them were not written. Events of which each one matters are all written.

use std::{
    collections::HashMap,
    fmt,
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{Event, Level, Subscriber, field::Field};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// How long lines of one kind are apart at least.
const PERIOD: Duration = Duration::from_secs(1);

/// After this time without another event of the kind, a line says how many were left out.
pub(crate) const QUIET: Duration = Duration::from_secs(2);

/// The name of events that are limited though they are no warnings.
pub(crate) const REPEATED: &str = "repeated";

/// Warnings that say what somebody did to an account, or what the limit itself did: evidence, of which nothing may be
/// missing. Attempts to sign in are bounded by the throttle already.
pub(crate) const EACH_MATTERS: &[&str] = &[
    "account_claimed",
    "account_locked",
    "account_stays_locked",
    "back_channel_logout_refused",
    "events_left_out",
    "former_records_remain",
    "id_reused",
    "known_browser_distrusted",
    "known_browsers_remain",
    "leftovers_remain",
    "login_disabled",
    "login_locked",
    "login_refused",
    "login_throttled",
    "other_sessions_remain",
    "password_change_refused",
    "password_hash_refused",
    "password_not_confirmed",
    "provider_refused",
    "provider_sign_in_interrupted",
    "provisioning_not_noted",
    "provisioning_note_remains",
    "register_throttled",
    "session_not_stored",
    "session_remains",
    "sessions_remain",
    "unlink_interrupted",
    "unlinked_remains",
    "unlinked_unseen",
];

/// The limit of this process's log.
pub(crate) static LIMIT: LazyLock<Limit> = LazyLock::new(Limit::default);

/// When a line of each kind was written last, and what was left out since.
#[derive(Default)]
pub(crate) struct Limit(Mutex<HashMap<Kind, Written>>);

/// The event's name and, for responses, the status.
type Kind = (String, u64);

struct Written {
    at: Instant,
    left_out: u64,
}

impl Limit {
    /// How many events of this kind were left out since the last line; `None` when this one is left out too.
    fn admit(&self, kind: Kind, now: Instant) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(written) = kinds.get_mut(&kind) else {
            kinds.insert(kind, Written { at: now, left_out: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(written.at) < PERIOD {
            written.left_out += 1;
            return None;
        }
        written.at = now;
        Some(std::mem::take(&mut written.left_out))
    }

    /// The kinds whose last events were left out and of which none has come since.
    fn ended(&self, now: Instant, quiet: Duration) -> Vec<(Kind, u64)> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ended = Vec::new();
        kinds.retain(|kind, written| {
            let quiet = now.saturating_duration_since(written.at) >= quiet;
            if quiet && written.left_out > 0 {
                ended.push((kind.clone(), written.left_out));
            }
            !quiet
        });
        ended
    }

    /// Says what was left out of the kinds of which no line was written for `quiet`.
    pub(crate) fn report(&self, quiet: Duration) {
        for ((kind, status), left_out) in self.ended(Instant::now(), quiet) {
            let status = (status > 0).then_some(status);
            tracing::warn!(event = "events_left_out", kind, status, left_out);
        }
    }
}

/// Writes events as `F` does, but no more of a kind than the limit lets.
pub(crate) struct Limited<F>(pub(crate) F);

impl<S, N, F> FormatEvent<S, N> for Limited<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(kind) = limited_kind(event) else {
            return self.0.format_event(context, writer, event);
        };
        match LIMIT.admit(kind, Instant::now()) {
            None => Ok(()),
            Some(0) => self.0.format_event(context, writer, event),
            Some(left_out) => {
                let mut line = String::new();
                self.0.format_event(context, Writer::new(&mut line), event)?;
                writer.write_str(&with_count(&line, left_out))
            }
        }
    }
}

/// The line with the number of those that were left out, in either format.
fn with_count(line: &str, left_out: u64) -> String {
    match line.trim_end().strip_suffix('}').filter(|_| line.starts_with('{')) {
        Some(fields) => format!("{fields},\"left_out\":{left_out}}}\n"),
        None => format!("{} left_out={left_out}\n", line.trim_end()),
    }
}

/// The kind of an event that is limited.
fn limited_kind(event: &Event<'_>) -> Option<Kind> {
    let metadata = event.metadata();
    if *metadata.level() > Level::WARN && metadata.name() != REPEATED {
        return None;
    }
    let mut named = Named { event: None, status: 0, counts_itself: false };
    event.record(&mut named);
    let name = named.event.unwrap_or_else(|| metadata.name().to_owned());
    let is_limited = !named.counts_itself && !EACH_MATTERS.contains(&name.as_str());
    is_limited.then_some((name, named.status))
}

/// Reads what tells kinds apart.
struct Named {
    event: Option<String>,
    status: u64,
    /// It says `left_out` itself: whoever wrote it limits it already.
    counts_itself: bool,
}

impl tracing::field::Visit for Named {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            self.event = Some(value.to_owned());
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "status" => self.status = value,
            "left_out" => self.counts_itself = true,
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> Kind {
        (name.to_owned(), 0)
    }

    #[test]
    fn one_line_a_second_and_kind_counts_the_others() {
        let (limit, start) = (Limit::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(limit.admit(kind("a"), at(0)), Some(0));
        assert_eq!(limit.admit(kind("b"), at(0)), Some(0), "kinds do not hide each other");
        for ms in [1, 500, 999] {
            assert_eq!(limit.admit(kind("a"), at(ms)), None);
        }
        assert_eq!(limit.admit(kind("a"), at(1000)), Some(3));
        assert_eq!(limit.admit(kind("a"), at(1001)), None);
        assert_eq!(limit.ended(at(2999), QUIET), [], "another line may still say it");
        assert_eq!(limit.ended(at(3000), QUIET), [(kind("a"), 1)]);
        assert_eq!(limit.ended(at(9000), QUIET), []);
        assert_eq!(limit.admit(kind("a"), at(9000)), Some(0));
    }

    #[test]
    fn the_count_stands_in_both_formats() {
        assert_eq!(with_count("{\"event\":\"a\"}\n", 7), "{\"event\":\"a\",\"left_out\":7}\n");
        assert_eq!(with_count("WARN request: event=\"a\"\n", 7), "WARN request: event=\"a\" left_out=7\n");
    }
}
