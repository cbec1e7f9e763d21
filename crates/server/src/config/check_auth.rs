//! What the settings of passwords, throttles and sign-ins become.

use std::num::NonZeroUsize;

use hallpass_auth::{
    Argon2Params, AuthOptions, HashPoolOptions, Limit, LoginKey, PasswordPolicy, ThrottleOptions,
};

use super::gather::Values;

/// Threads, and sign-ins that wait for one.
const MOST_HASHING: u64 = 65_536;

/// What authentication needs; `None` when it is refused.
pub(super) fn auth(values: &mut Values) -> Option<AuthOptions> {
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
