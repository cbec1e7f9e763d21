//! What the value of a flag means: one table for all databases. It fails closed.
//!
//! | value | `enabled` | `disabled` | `verified` |
//! |---|---|---|---|
//! | true, 1, and the texts `1`, `true`, `t`, `yes`, `y`, `on` | enabled | disabled | yes |
//! | false, 0, and the texts `0`, `false`, `f`, `no`, `n`, `off` | disabled | enabled | no |
//! | a time in the past | enabled | disabled | yes |
//! | a time in the future | disabled | disabled | unknown |
//! | NULL, no field | disabled | enabled | no |
//! | an empty text | disabled | disabled | no |
//! | anything else | disabled | disabled | unknown |
//!
//! Texts are read without regard to case and to the blanks around them. A number from 100,000,000 on is a time in seconds, from
//! 100,000,000,000 on in milliseconds; a text of the form `2026-01-31` or `2026-01-31 12:00:00` is one too, in UTC where it names no zone.

use std::{borrow::Cow, time::Duration};

use hallpass_session::Timestamp;

use super::{Flag, UserMap, Verified};

/// How far the clock of whoever wrote a time may be ahead.
const LEEWAY: Duration = Duration::from_secs(60);

/// From here on, numbers are times in seconds: the spring of 1973.
const SECONDS: i64 = 100_000_000;
/// From here on, in milliseconds.
const MILLIS: i64 = 100_000_000_000;

const YES: [&str; 6] = ["1", "true", "t", "yes", "y", "on"];
const NO: [&str; 6] = ["0", "false", "f", "no", "n", "off"];

/// How many rows are looked at for what their flags hold.
pub(super) const SAMPLE: u32 = 1000;

/// A value as a database has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw<'a> {
    Missing,
    Bool(bool),
    Whole(i64),
    Real(f64),
    Text(Cow<'a, str>),
    /// Milliseconds since the epoch.
    Time(i64),
    Other,
}

/// What a value means, whatever the flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Yes,
    No,
    Past,
    Future,
    Missing,
    Empty,
    Unclear,
}

impl Raw<'_> {
    pub(super) fn into_owned(self) -> Raw<'static> {
        match self {
            Self::Missing => Raw::Missing,
            Self::Bool(flag) => Raw::Bool(flag),
            Self::Whole(number) => Raw::Whole(number),
            Self::Real(number) => Raw::Real(number),
            Self::Text(text) => Raw::Text(text.into_owned().into()),
            Self::Time(millis) => Raw::Time(millis),
            Self::Other => Raw::Other,
        }
    }

    pub(super) fn read(&self, now: Timestamp) -> Reading {
        let time = |millis: i64| {
            if Timestamp::from_millis(millis) <= now + LEEWAY { Reading::Past } else { Reading::Future }
        };
        match self {
            Self::Missing => Reading::Missing,
            Self::Bool(true) | Self::Whole(1) => Reading::Yes,
            Self::Bool(false) | Self::Whole(0) => Reading::No,
            Self::Whole(number @ SECONDS..MILLIS) => time(number * 1000),
            Self::Whole(number) if *number >= MILLIS => time(*number),
            Self::Real(number) => {
                whole(*number).map_or(Reading::Unclear, |number| Raw::Whole(number).read(now))
            }
            Self::Text(text) => {
                of_text(text).or_else(|| date(text.trim()).map(time)).unwrap_or(Reading::Unclear)
            }
            Self::Time(millis) => time(*millis),
            Self::Whole(_) | Self::Other => Reading::Unclear,
        }
    }
}

/// A number without a fraction, as far as a number of 64 bits holds it exactly.
pub(super) fn whole(number: f64) -> Option<i64> {
    let exact = number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0;
    if exact { format!("{number:.0}").parse().ok() } else { None }
}

fn of_text(text: &str) -> Option<Reading> {
    let text = text.trim();
    let is = |word: &&str| text.eq_ignore_ascii_case(word);
    match text {
        "" => Some(Reading::Empty),
        _ if YES.iter().any(is) => Some(Reading::Yes),
        _ if NO.iter().any(is) => Some(Reading::No),
        _ => None,
    }
}

/// Milliseconds since the epoch of a date as SQL and ISO 8601 write it, with or without a time of day and an offset.
fn date(text: &str) -> Option<i64> {
    let (day, rest) = (text.get(..10)?, text.get(10..)?);
    let rest = match rest.chars().next() {
        None => return millis(day, "00:00:00", 0),
        Some('T' | 't' | ' ') => rest[1..].trim_end(),
        Some(_) => return None,
    };
    let zone = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = (rest[..zone].trim_end(), &rest[zone..]);
    let clock = if clock.len() == 5 { format!("{clock}:00") } else { clock.to_owned() };
    millis(day, &clock, offset(zone)?)
}

fn millis(day: &str, clock: &str, offset: i64) -> Option<i64> {
    let utc = Timestamp::parse(&format!("{day}T{clock}Z"))?;
    Some(utc.as_millis() - offset)
}

/// Milliseconds east of UTC: nothing, `Z`, `+02`, `+0200` or `+02:00`.
fn offset(zone: &str) -> Option<i64> {
    let Some(sign) = zone.chars().next().filter(|sign| !sign.eq_ignore_ascii_case(&'z')) else {
        return (zone.len() <= 1).then_some(0);
    };
    let digits = zone[1..].replace(':', "");
    let all = digits.bytes().all(|byte| byte.is_ascii_digit()) && matches!(digits.len(), 2 | 4);
    let number = |part: Option<&str>| part.unwrap_or("0").parse::<i64>().ok();
    let (hours, minutes) =
        (number(digits.get(..2))?, number(digits.get(2..).filter(|part| !part.is_empty()))?);
    let sign = if sign == '-' { -1 } else { 1 };
    (all && hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000)
}

/// Whether the account is kept from signing in.
pub(super) fn disabled(flag: Option<&Flag>, reading: Reading) -> bool {
    match flag {
        None => false,
        Some(Flag::Disabled(_)) => !matches!(reading, Reading::No | Reading::Missing),
        Some(Flag::Enabled(_)) => !matches!(reading, Reading::Yes | Reading::Past),
    }
}

/// Whether the address was verified; `None`: the value does not say.
pub(super) fn verified(reading: Reading) -> Option<bool> {
    match reading {
        Reading::Yes | Reading::Past => Some(true),
        Reading::No | Reading::Missing | Reading::Empty => Some(false),
        Reading::Future | Reading::Unclear => None,
    }
}

/// How an application writes a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Bool,
    Number,
    /// For yes and for no.
    Words(&'static str, &'static str),
    Time,
}

/// How these values are written: as the first that tells is.
pub(super) fn style<'a>(values: impl IntoIterator<Item = &'a Raw<'a>>) -> Option<Style> {
    values.into_iter().find_map(|value| match value {
        Raw::Bool(_) => Some(Style::Bool),
        Raw::Whole(_) => Some(Style::Number),
        Raw::Real(number) => whole(*number).map(|_| Style::Number),
        Raw::Time(_) => Some(Style::Time),
        Raw::Text(text) => words(text.trim()).or_else(|| date(text.trim()).map(|_| Style::Time)),
        Raw::Missing | Raw::Other => None,
    })
}

fn words(text: &str) -> Option<Style> {
    let upper = text.starts_with(char::is_uppercase);
    let at = |words: [&str; 6]| words.iter().position(|word| text.eq_ignore_ascii_case(word));
    let pair = at(YES).or_else(|| at(NO))?;
    // Only `Y`/`N` and `T`/`F` are usual in capitals.
    Some(match (YES[pair], upper) {
        ("t", true) => Style::Words("T", "F"),
        ("y", true) => Style::Words("Y", "N"),
        (yes, _) => Style::Words(yes, NO[pair]),
    })
}

impl UserMap {
    /// Whether an account whose flag holds this is kept from signing in.
    pub(super) fn is_disabled(&self, flag: &Raw<'_>) -> bool {
        disabled(self.flag.as_ref(), flag.read(self.clock.now()))
    }

    /// Whether the address of an account whose mark is this was verified.
    pub(super) fn is_verified(&self, mark: &Raw<'_>) -> Option<bool> {
        match self.verified {
            Verified::Field(_) => verified(mark.read(self.clock.now())),
            Verified::Always | Verified::Unknown => self.verified.without_field(),
        }
    }

    /// Says at start how many of some accounts have a flag that is neither a yes nor a plain no.
    pub(super) fn warn_unclear(&self, field: &str, values: &[Raw<'_>]) {
        let now = self.clock.now();
        let enabled = matches!(&self.flag, Some(Flag::Enabled(name)) if name == field);
        let verified = self.verified.field().is_some_and(|name| name == field);
        let is_unclear = |value: &&Raw<'_>| match value.read(now) {
            Reading::Unclear => true,
            Reading::Missing => enabled,
            Reading::Empty => !verified,
            Reading::Future => enabled || verified,
            Reading::Yes | Reading::No | Reading::Past => false,
        };
        let (accounts, unclear) = (values.len(), values.iter().filter(is_unclear).count());
        if unclear == 0 {
            return;
        }
        let effect = if verified {
            "no provider's address opens such an account unless it was verified here"
        } else {
            "such an account cannot sign in; write true or false there"
        };
        tracing::warn!(
            event = "flag_unclear",
            table = self.table,
            field,
            accounts,
            unclear,
            "of these accounts so many have neither a yes nor a no in this field: {effect}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn text(text: &str) -> Raw<'_> {
        Raw::Text(text.into())
    }

    #[test]
    fn every_kind_of_value_has_one_meaning() {
        use Reading::{Empty, Future, Missing, No, Past, Unclear, Yes};
        let table = [
            (Raw::Missing, Missing),
            (Raw::Bool(true), Yes),
            (Raw::Bool(false), No),
            (Raw::Whole(1), Yes),
            (Raw::Whole(0), No),
            (Raw::Whole(2), Unclear),
            (Raw::Whole(-1), Unclear),
            (Raw::Whole(99_999_999), Unclear),
            (Raw::Whole(1_699_999_999), Past),
            (Raw::Whole(1_700_000_061), Future),
            (Raw::Whole(1_699_999_999_000), Past),
            (Raw::Whole(1_700_000_061_000), Future),
            (Raw::Whole(i64::MAX), Future),
            (Raw::Whole(i64::MIN), Unclear),
            (Raw::Real(1.0), Yes),
            (Raw::Real(0.0), No),
            (Raw::Real(-0.0), No),
            (Raw::Real(0.5), Unclear),
            (Raw::Real(-1.0), Unclear),
            (Raw::Real(f64::NAN), Unclear),
            (Raw::Real(f64::INFINITY), Unclear),
            (Raw::Real(1_699_999_999.0), Past),
            (Raw::Time(0), Past),
            (Raw::Time(NOW.as_millis()), Past),
            (Raw::Time(NOW.as_millis() + 60_000), Past),
            (Raw::Time(NOW.as_millis() + 60_001), Future),
            (Raw::Other, Unclear),
            (text(""), Empty),
            (text("  "), Empty),
            (text("2"), Unclear),
            (text("1.0"), Unclear),
            (text("active"), Unclear),
            (text("null"), Unclear),
            (text("2023-11-14"), Past),
            (text("2023-11-14 22:13:20"), Past),
            (text("2023-11-14T22:13:20.5Z"), Past),
            (text("2023-11-15 00:13:20.123 +02:00"), Past),
            (text("2023-11-15T00:13:20+0200"), Past),
            (text("2023-11-15 00:13:20+02"), Past),
            (text("2023-11-14 22:14"), Past),
            (text("2023-11-14 23:00:00"), Future),
            (text("2023-11-14T22:13:20-05:00"), Future),
            (text("9999-12-31"), Future),
            (text("2023-02-30"), Unclear),
            (text("2023-11-14x"), Unclear),
            (text("2023-11-14 25:00:00"), Unclear),
            (text("2023-11-14 22:13:20 Europe/Berlin"), Unclear),
            (text("20231114"), Unclear),
            (text("\u{661}"), Unclear),
        ];
        for (value, meaning) in table {
            assert_eq!(value.read(NOW), meaning, "{value:?}");
        }
        for (words, meaning) in [(YES, Yes), (NO, No)] {
            for word in words {
                for spelled in [word.to_owned(), word.to_uppercase(), format!(" {word}\t")] {
                    assert_eq!(text(&spelled).read(NOW), meaning, "{spelled:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_plain_keeps_out_and_verifies_nothing() {
        use Reading::{Empty, Future, Missing, No, Past, Unclear, Yes};
        let (enabled, banned) = (Flag::Enabled("e".to_owned()), Flag::Disabled("d".to_owned()));
        for (reading, by_enabled, by_disabled, is_verified) in [
            (Yes, false, true, Some(true)),
            (Past, false, true, Some(true)),
            (No, true, false, Some(false)),
            (Missing, true, false, Some(false)),
            (Empty, true, true, Some(false)),
            (Future, true, true, None),
            (Unclear, true, true, None),
        ] {
            assert_eq!(disabled(Some(&enabled), reading), by_enabled, "enabled {reading:?}");
            assert_eq!(disabled(Some(&banned), reading), by_disabled, "disabled {reading:?}");
            assert_eq!(verified(reading), is_verified, "verified {reading:?}");
            assert!(!disabled(None, reading));
        }
    }

    #[test]
    fn flags_are_written_as_the_application_writes_them() {
        for (value, expected) in [
            (text("YES"), Some(Style::Words("yes", "no"))),
            (text("N"), Some(Style::Words("Y", "N"))),
            (text("false"), Some(Style::Words("true", "false"))),
            (text("2023-11-14"), Some(Style::Time)),
            (text("code"), None),
            (Raw::Whole(0), Some(Style::Number)),
            (Raw::Bool(true), Some(Style::Bool)),
            (Raw::Time(0), Some(Style::Time)),
            (Raw::Missing, None),
        ] {
            assert_eq!(style(&[Raw::Missing, value.clone()]), expected, "{value:?}");
            if let Some(Style::Words(yes, no)) = expected {
                assert_eq!((text(yes).read(NOW), text(no).read(NOW)), (Reading::Yes, Reading::No));
            }
        }
    }
}
