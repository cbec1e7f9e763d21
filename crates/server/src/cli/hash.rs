//! `hallpass hash`: what password hashing costs on this machine.

use std::time::{Duration, Instant};

use clap::Subcommand;
use hallpass_auth::{Argon2Params, Hasher};
use serde_json::json;

use super::{
    Exit,
    output::{Failure, Output},
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Find the strongest argon2id parameters whose hash takes no longer than the target
    Calibrate {
        /// How long one hash may take
        #[arg(long, default_value = "250ms", value_parser = humantime::parse_duration)]
        target: Duration,
        /// The most memory one hash may take, in MiB
        #[arg(long, default_value_t = 256)]
        max_memory: u32,
    },
}

pub(super) fn run(output: &Output, command: &Command) -> Result<(), Failure> {
    let Command::Calibrate { target, max_memory } = command;
    let Some((params, took)) = strongest(*target, max_memory.saturating_mul(1024)) else {
        let message = format!(
            "even the weakest parameters that are safe take longer than {target:?} here; allow more with --target"
        );
        return Err(Failure::new(Exit::Failed, "too_slow", message));
    };
    let (ms, rate) = (took.as_millis(), 1.0 / took.as_secs_f64());
    let sentence = format!(
        "One hash takes {ms} ms on one core: {rate:.1} sign-ins a second a core, {} MiB each. Put this into the configuration:\n\n\
         [password]\nargon2_memory_kib = {}\nargon2_iterations = {}\nargon2_parallelism = {}",
        params.memory_kib / 1024,
        params.memory_kib,
        params.iterations,
        params.parallelism
    );
    let value = json!({
        "argon2_memory_kib": params.memory_kib,
        "argon2_iterations": params.iterations,
        "argon2_parallelism": params.parallelism,
        "milliseconds": ms,
    });
    output.answer(&sentence, &value);
    Ok(())
}

/// More memory first, because it is what attackers lack (OWASP); then more passes.
fn strongest(target: Duration, max_memory_kib: u32) -> Option<(Argon2Params, Duration)> {
    let least = Argon2Params::default();
    let larger = std::iter::successors(Some(least), |params| {
        let memory_kib = params.memory_kib.checked_mul(2)?;
        (memory_kib <= max_memory_kib).then_some(Argon2Params { memory_kib, ..*params })
    });
    let mut best = fitting(larger, target)?;
    let start = best.0;
    let longer = (start.iterations + 1..=20).map(|iterations| Argon2Params { iterations, ..start });
    if let Some(more) = fitting(longer, target) {
        best = more;
    }
    Some(best)
}

/// The last of ever costlier parameters that stay within the target.
fn fitting(
    candidates: impl Iterator<Item = Argon2Params>,
    target: Duration,
) -> Option<(Argon2Params, Duration)> {
    let accepted = candidates.take_while(|params| params.check().is_ok());
    accepted.map(|params| (params, measure(params))).take_while(|(_, took)| *took <= target).last()
}

/// The quickest of three hashes: what disturbs a measurement only makes it longer.
fn measure(params: Argon2Params) -> Duration {
    let hasher = Hasher::new(params);
    let hash = |_| {
        let started = Instant::now();
        hasher.hash("correct horse battery staple");
        started.elapsed()
    };
    (0..3).map(hash).min().unwrap_or_default()
}
