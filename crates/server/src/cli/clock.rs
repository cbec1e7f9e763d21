//! `hallpass check-config --online`: whether this machine's clock agrees with the database's.

use hallpass_auth::oauth::{Finding, Verdict};
use hallpass_session::{Clock, StoreTime, SystemClock};
use hallpass_stores::{StoreUrl, read_clock};

use crate::config::Config;

/// Compares both clocks; `None` where the database has none. Changes nothing there.
pub(super) async fn examine(config: &Config) -> Option<Finding> {
    let stores = &config.stores;
    let has_clock = |url: &&StoreUrl| !matches!(url, StoreUrl::Sqlite(_));
    let url = stores.sessions.as_ref().filter(has_clock).or(Some(&stores.database).filter(has_clock))?;
    let options = &stores.options;
    let before = SystemClock.now();
    let answer = read_clock(url, &options.server).await;
    let after = SystemClock.now();
    let finding = |verdict, detail: String| Some(Finding { what: "clock", verdict, detail });
    let theirs = match answer {
        Ok(StoreTime::Clock(theirs)) => theirs.as_millis(),
        Ok(_) => return None,
        Err(error) => return finding(Verdict::Bad, error.to_string()),
    };
    // The answer was given at some time in between.
    let ahead = (before.as_millis() - theirs).max(theirs - after.as_millis()).max(0);
    let way = if theirs < before.as_millis() { "ahead of" } else { "behind" };
    if u128::from(ahead.unsigned_abs()) <= options.clock.max_deviation.as_millis() {
        return finding(Verdict::Good, "this machine's clock and the database's agree".to_owned());
    }
    let seconds = ahead.div_euclid(1000);
    finding(
        Verdict::Bad,
        format!(
            "this machine's clock is {seconds} seconds {way} the database's; run a time service such as \
             chrony on both"
        ),
    )
}
