//! [`SessionOptions`]: everything express-session configures, and the deadlines it lacks.

use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};

use http::Method;

use crate::{Clock, CookieOptions, IdGenerator, RandomIds, SystemClock, cookie};

/// The idle timeout when neither it nor the cookie's `max_age` is given.
const DEFAULT_IDLE: Duration = Duration::from_secs(24 * 3600);

/// What becomes of the stored session when a handler [lets go](crate::Session::unset) of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unset {
    /// It stays as it was before the request.
    #[default]
    Keep,
    /// It ends.
    Destroy,
}

/// Which requests [hold](crate::Session::hold) their session as soon as they extract it.
///
/// ```
/// # use hallpass_session::{Hold, SessionOptions};
/// // Requests of one session that may change something run one after the other. Those that only read do not wait.
/// let options = SessionOptions { hold: Hold::UnsafeMethods, ..SessionOptions::default() };
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    /// Those that call [`Session::hold`](crate::Session::hold) or extract a `HeldSession`.
    #[default]
    OnDemand,
    /// Also all whose method is not safe (RFC 9110 §9.2.1): all but `GET`, `HEAD`, `OPTIONS` and `TRACE`. It costs each of them one
    /// write when it begins. A change that a safe method makes waits for nobody, and may come between.
    UnsafeMethods,
}

impl Hold {
    /// Whether a request with this method holds its session.
    pub(crate) fn covers(self, method: &Method) -> bool {
        self == Self::UnsafeMethods
            && !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
    }
}

/// How sessions behave. Write `SessionOptions { rolling: true, ..Default::default() }`.
#[derive(Clone)]
pub struct SessionOptions {
    /// The cookie.
    pub cookie: CookieOptions,
    /// Makes new ids. Default: 256 random bits.
    pub ids: Arc<dyn IdGenerator>,
    /// What time it is. Default: the operating system's clock. Servers whose clocks differ disagree when a session ends: give them that of
    /// the store, a [`StoreClock`](crate::StoreClock).
    pub clock: Arc<dyn Clock>,
    /// Stores a session for every visitor whose request asks for one, changed or not. Default: off.
    pub save_uninitialized: bool,
    /// Writes every session that was asked for, changed or not. Default: off.
    pub resave: bool,
    /// Sends the cookie again with every response whose handler asked for the session, so that `max_age` starts anew. Default: off.
    pub rolling: bool,
    /// What `unset` means for the stored session. Default: keep.
    pub unset: Unset,
    /// A session ends this long after its last use. Default: the cookie's `max_age`, or 24 hours without one.
    pub idle_timeout: Option<Duration>,
    /// A session ends this long after it began, used or not; a login begins anew. Default: 30 days, the most that
    /// NIST SP 800-63B-4 §2.1.3 recommends. `None`: no limit.
    pub absolute_timeout: Option<Duration>,
    /// How many sessions a user may have: a sign-in ends those used longest ago, within seconds after its answer. Default: 100.
    /// `None`: any number.
    pub max_per_user: Option<NonZeroUsize>,
    /// How long a proof of identity counts as fresh. Default: 1 hour.
    pub fresh_for: Duration,
    /// A use within this time of the last noted one is not noted again, which saves a write. Default: 1 minute;
    /// zero notes every use.
    pub touch_after: Duration,
    /// Which requests [hold](crate::Session::hold) their session from the beginning. Default: those that ask for it.
    pub hold: Hold,
    /// How long a request may [hold](crate::Session::hold) its session. After that another may have it. Default: 30 seconds.
    pub hold_for: Duration,
    /// How long a request waits for a session that another one holds. Default: 30 seconds.
    pub hold_wait: Duration,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            cookie: CookieOptions::default(),
            ids: Arc::new(RandomIds),
            clock: Arc::new(SystemClock),
            save_uninitialized: false,
            resave: false,
            rolling: false,
            unset: Unset::Keep,
            idle_timeout: None,
            absolute_timeout: Some(Duration::from_secs(30 * 24 * 3600)),
            max_per_user: NonZeroUsize::new(100),
            fresh_for: Duration::from_secs(3600),
            touch_after: Duration::from_secs(60),
            hold: Hold::OnDemand,
            hold_for: Duration::from_secs(30),
            hold_wait: Duration::from_secs(30),
        }
    }
}

impl SessionOptions {
    /// The defaults, by this clock: usually that of the stores, so that all servers agree when a session ends.
    pub fn with_clock(clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..Self::default() }
    }

    /// How long a session lives without being used.
    pub fn idle(&self) -> Duration {
        self.idle_timeout.or(self.cookie.max_age).unwrap_or(DEFAULT_IDLE)
    }

    /// Refuses combinations that could not work, all at once.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let too_long = |idle: &Duration| self.absolute_timeout.is_some_and(|absolute| *idle > absolute);
        let deadlines = [
            self.idle().is_zero().then_some("idle_timeout must be longer than zero"),
            self.absolute_timeout
                .filter(Duration::is_zero)
                .map(|_| "absolute_timeout must be longer than zero"),
            self.idle_timeout
                .filter(too_long)
                .map(|_| "idle_timeout must not be longer than absolute_timeout"),
            (self.touch_after >= self.idle()).then_some("touch_after must be shorter than the idle timeout"),
        ];
        let problems: Vec<String> =
            cookie::check(&self.cookie).chain(deadlines.into_iter().flatten().map(str::to_owned)).collect();
        if problems.is_empty() { Ok(()) } else { Err(OptionsError { problems }) }
    }
}

impl fmt::Debug for SessionOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionOptions")
            .field("cookie", &self.cookie)
            .field("rolling", &self.rolling)
            .field("idle", &self.idle())
            .field("absolute_timeout", &self.absolute_timeout)
            .finish_non_exhaustive()
    }
}

/// The options contradict each other. Prints one sentence a problem, each saying what to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionsError {
    problems: Vec<String>,
}

impl OptionsError {
    /// The problems, a sentence each.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("; "))
    }
}

impl std::error::Error for OptionsError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SameSite, Secure, Timestamp};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn problem(change: impl Fn(&mut SessionOptions)) -> String {
        let mut options = SessionOptions::default();
        change(&mut options);
        options.validate().map_or_else(|error| error.to_string(), |()| "none".to_owned())
    }

    #[test]
    fn impossible_combinations_are_refused_with_advice() {
        type Change = fn(&mut SessionOptions);
        let table: &[(&str, Change)] = &[
            ("needs secure = on", |o| {
                o.cookie.name = "__Host-id".into();
                o.cookie.secure = Secure::Auto;
            }),
            ("needs the path /", |o| {
                o.cookie.name = "__Host-id".into();
                o.cookie.path = "/app".into();
            }),
            ("has no domain", |o| {
                o.cookie.name = "__Host-id".into();
                o.cookie.domain = Some("example.com".into());
            }),
            ("__Secure- cookie needs secure", |o| {
                o.cookie.name = "__Secure-id".into();
                o.cookie.secure = Secure::Off;
            }),
            ("looks like a prefix", |o| o.cookie.name = "__HOST-id".into()),
            ("looks like a prefix", |o| o.cookie.name = "__secure-id".into()),
            ("may hold only", |o| o.cookie.name = "a b".into()),
            ("may hold only", |o| o.cookie.name = String::new()),
            ("same_site = none needs", |o| {
                o.cookie.same_site = SameSite::None;
                o.cookie.secure = Secure::Auto;
            }),
            ("partitioned cookie needs", |o| {
                o.cookie.partitioned = true;
                o.cookie.secure = Secure::Off;
            }),
            ("must begin with /", |o| o.cookie.path = "app".into()),
            ("must begin with /", |o| o.cookie.path = "/a;b".into()),
            ("no cookie domain", |o| o.cookie.domain = Some("a;b".into())),
            ("no cookie domain", |o| o.cookie.domain = Some("127.0.0.1".into())),
            ("both max_age and expires", |o| {
                o.cookie.max_age = Some(DAY);
                o.cookie.expires = Some(Timestamp::from_millis(1));
            }),
            ("longer than 400 days", |o| o.cookie.max_age = Some(DAY * 401)),
            ("max_age must be longer than zero", |o| o.cookie.max_age = Some(Duration::ZERO)),
            ("idle_timeout must be longer than zero", |o| o.idle_timeout = Some(Duration::ZERO)),
            ("absolute_timeout must be longer", |o| o.absolute_timeout = Some(Duration::ZERO)),
            ("not be longer than absolute", |o| o.idle_timeout = Some(DAY * 31)),
            ("touch_after must be shorter", |o| o.touch_after = DAY),
        ];
        for (sentence, change) in table {
            let problem = problem(change);
            assert!(problem.contains(sentence), "expected {sentence:?} in {problem:?}");
        }
    }

    #[test]
    fn all_problems_are_told_at_once_and_good_options_have_none() {
        let mut options = SessionOptions::default();
        options.cookie.name = "__Host-a b".into();
        options.cookie.path = "x".into();
        options.touch_after = DAY * 2;
        assert!(options.validate().unwrap_err().problems().len() >= 4);
        assert_eq!(problem(|_| {}), "none");
        assert_eq!(problem(|o| o.cookie.name = "__Host-id".into()), "none");
        assert_eq!(problem(|o| o.cookie.same_site = SameSite::None), "none");
    }

    #[test]
    fn idle_comes_from_the_most_specific_option() {
        let mut options = SessionOptions::default();
        assert_eq!(options.idle(), DAY);
        options.cookie.max_age = Some(DAY * 7);
        assert_eq!(options.idle(), DAY * 7);
        options.idle_timeout = Some(DAY * 2);
        assert_eq!(options.idle(), DAY * 2);
    }
}
