//! What must hold of a session's text whatever somebody else wrote there: for the fuzzer, and for tests with random texts.

use std::time::Duration;

use hallpass_session::Timestamp;

use super::{ConnectOptions, text::Text};

const NOW: Timestamp = Timestamp::from_millis(1_795_424_473_327);

/// Reads a text; if it is a session, writes it and reads it again: nothing may be lost, and it must be the same from then on.
pub fn text(text: &str) {
    for user_path in [None, Some("passport.user".to_owned())] {
        let format = Text::new(&ConnectOptions { user_path, ..ConnectOptions::default() });
        let expires = Some(NOW + Duration::from_secs(60));
        let Some(record) = format.read(text, expires, NOW) else { continue };
        let written = format.write(&record, Some(text)).expect("what was read can be written");
        let once = format.read(&written, expires, NOW).expect("what we write is a session");
        assert_eq!(once.document, record.document);
        assert_eq!((&once.user, &once.label, once.seen), (&record.user, &record.label, record.seen));
        let again = format.write(&once, Some(&written)).expect("what was read can be written");
        assert_eq!(again, written);
        assert_eq!(format.read(&again, expires, NOW), Some(once));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| serde_json::Value::from(number).to_string()),
            ".*".prop_map(|text| serde_json::Value::from(text).to_string()),
            Just("null".to_owned()),
            Just("1e+21".to_owned()),
            Just(r#""\ud83d""#.to_owned()),
        ];
        let key = prop_oneof![
            Just("cookie"),
            Just("_hallpass"),
            Just("originalMaxAge"),
            Just("expires"),
            Just("until"),
            Just("seen"),
            Just("idle"),
            Just("created"),
            Just("passport"),
            Just("user"),
            Just("label"),
            Just("é"),
        ];
        leaf.prop_recursive(3, 32, 6, move |inner| {
            proptest::collection::vec((key.clone(), inner), 0..6).prop_map(|entries| {
                let entries: Vec<String> =
                    entries.iter().map(|(key, value)| format!("{key:?}:{value}")).collect();
                format!("{{{}}}", entries.join(","))
            })
        })
    }

    /// Found by the random ones below.
    #[test]
    fn a_lifetime_too_short_to_be_written_is_none() {
        super::text(r#"{"cookie":{"originalMaxAge":4.893408071927872e-140}}"#);
    }

    proptest! {
        #[test]
        fn any_text_is_no_session_or_stays_the_same(text in prop_oneof![json(), ".*".boxed()]) {
            super::text(&text);
        }
    }
}
