//! Dates of the Gregorian calendar as JavaScript writes them, for any year (ECMA-262 §21.4).

use std::fmt;

const DAY: i64 = 86_400_000;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// A moment in UTC.
struct Moment {
    year: i64,
    month: i64,
    day: i64,
    weekday: &'static str,
    /// Milliseconds since midnight.
    time: i64,
}

impl Moment {
    /// `millis` since 1970. Counts in eras of 400 years, and in years that begin in March, so that a leap day comes last.
    fn new(millis: i64) -> Self {
        let (days, time) = (millis.div_euclid(DAY), millis.rem_euclid(DAY));
        let since_march_of_0 = days + 719_468;
        let (era, of_era) = (since_march_of_0.div_euclid(146_097), since_march_of_0.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let since_march = (5 * of_year + 2) / 153;
        let month = if since_march < 10 { since_march + 3 } else { since_march - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        let day = of_year - (153 * since_march + 2) / 5 + 1;
        let weekday = usize::try_from(days.rem_euclid(7)).map_or("", |at| WEEKDAYS[at]);
        Self { year, month, day, weekday, time }
    }

    /// `HH:MM:SS`.
    fn clock(&self) -> String {
        let seconds = self.time / 1000;
        format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }
}

/// `toISOString()`: RFC 3339 with milliseconds up to the year 9999, six digits and a sign for the others.
pub(crate) fn iso(millis: i64, out: &mut impl fmt::Write) -> fmt::Result {
    let at = Moment::new(millis);
    if (0..=9999).contains(&at.year) {
        write!(out, "{:04}", at.year)?;
    } else {
        write!(out, "{:+07}", at.year)?;
    }
    write!(out, "-{:02}-{:02}T{}.{:03}Z", at.month, at.day, at.clock(), at.time % 1000)
}

/// `toUTCString()`: the date of RFC 9110 §5.6.7 in years of four digits.
pub(crate) fn http(millis: i64) -> String {
    let at = Moment::new(millis);
    let month = usize::try_from(at.month - 1).map_or("", |month| MONTHS[month]);
    let sign = if at.year < 0 { "-" } else { "" };
    format!("{}, {:02} {month} {sign}{:04} {} GMT", at.weekday, at.day, at.year.abs(), at.clock())
}

/// Reads what [`iso`] writes, with any number of digits behind the second or none.
pub(crate) fn parse_iso(text: &str) -> Option<i64> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let digits = if date.starts_with(['+', '-']) { 7 } else { 4 };
    let (year, rest) = (date.get(..digits)?, date.get(digits..)?);
    let [month, day] = numbers(rest.strip_prefix('-')?, '-')?;
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, "000"));
    let [hour, minute, second] = numbers(whole, ':')?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let millis: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let days = days(year.parse().ok()?, month, day)?;
    let is_midnight = (hour, minute, second, millis) == (24, 0, 0, 0);
    let is_time = hour <= 23 && minute <= 59 && second <= 59 || is_midnight;
    is_time.then_some(days * DAY + ((hour * 60 + minute) * 60 + second) * 1000 + millis)
}

/// As many numbers of two digits.
fn numbers<const N: usize>(text: &str, between: char) -> Option<[i64; N]> {
    let two = |part: &str| {
        (part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit())).then(|| part.parse())
    };
    let parts: Option<Vec<i64>> = text.split(between).map(|part| two(part)?.ok()).collect();
    parts?.try_into().ok()
}

/// Days since 1970 of a date, if there is such a day.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let of_march = if month <= 2 { year - 1 } else { year };
    let since_march = (month + 9) % 12;
    let year_of_era = of_march.rem_euclid(400);
    let of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * since_march + 2) / 5 + day - 1;
    let days = of_march.div_euclid(400) * 146_097 + of_era - 719_468;
    let there = Moment::new(days * DAY);
    (there.month == month && there.day == day).then_some(days)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Timestamp;

    fn written(millis: i64) -> String {
        let mut text = String::new();
        iso(millis, &mut text).unwrap();
        text
    }

    /// What Node prints.
    #[test]
    fn as_javascript_writes_them() {
        for (millis, iso, utc) in [
            (0, "1970-01-01T00:00:00.000Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (-1, "1969-12-31T23:59:59.999Z", "Wed, 31 Dec 1969 23:59:59 GMT"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z", "Tue, 29 Feb 2000 00:00:00 GMT"),
            (253_402_300_800_000, "+010000-01-01T00:00:00.000Z", "Sat, 01 Jan 10000 00:00:00 GMT"),
            (8_640_000_000_000_000, "+275760-09-13T00:00:00.000Z", "Sat, 13 Sep 275760 00:00:00 GMT"),
            (-62_167_219_200_000, "0000-01-01T00:00:00.000Z", "Sat, 01 Jan 0000 00:00:00 GMT"),
            (-62_198_755_200_000, "-000001-01-01T00:00:00.000Z", "Fri, 01 Jan -0001 00:00:00 GMT"),
            (-8_640_000_000_000_000, "-271821-04-20T00:00:00.000Z", "Tue, 20 Apr -271821 00:00:00 GMT"),
        ] {
            assert_eq!((written(millis).as_str(), http(millis).as_str()), (iso, utc));
        }
    }

    #[test]
    fn days_that_there_are_not() {
        for text in [
            "2026-02-29T00:00:00.000Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-01T24:00:01Z",
            "2026-01-01T00:60:00Z",
            "2026-1-01T00:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.x00Z",
            "26-01-01T00:00:00Z",
            "2026-01-0\u{661}T00:00:00Z",
            "",
        ] {
            assert_eq!(parse_iso(text), None, "{text}");
        }
        assert_eq!(parse_iso("2026-01-01T24:00:00Z"), parse_iso("2026-01-02T00:00:00.000Z"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(millis in -8_640_000_000_000_000_i64..=8_640_000_000_000_000) {
            prop_assert_eq!(parse_iso(&written(millis)), Some(millis));
        }

        #[test]
        fn as_others_write_them(millis in 0_i64..253_402_300_800_000) {
            let at = Timestamp::from_millis(millis).to_system_time();
            prop_assert_eq!(written(millis), humantime::format_rfc3339_millis(at).to_string());
            prop_assert_eq!(http(millis), httpdate::fmt_http_date(at));
        }

        #[test]
        fn no_time_and_no_text_is_too_odd(millis: i64, text: String) {
            written(millis);
            http(millis);
            parse_iso(&text);
        }
    }
}
