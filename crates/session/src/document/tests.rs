//! Documents keep what they are given, byte for byte and in order.

use proptest::prelude::*;

use super::*;

#[test]
fn foreign_values_survive_unchanged() {
    // What JSON.stringify writes and serde_json would refuse or rewrite: big numbers, odd floats, a lone surrogate.
    let json =
        r#"{"z":1e+21,"a":1.50,"smile":"\ud83d","cookie":{"originalMaxAge":null},"n":-0,"é\n":[1, 2]}"#;
    let mut document = Document::from_json(json).unwrap();
    assert_eq!(document.to_json(), json);
    document.insert("new", &7).unwrap();
    document.insert("a", &2).unwrap();
    let expected = json.replace("1.50", "2").replace("[1, 2]}", "[1, 2],\"new\":7}");
    assert_eq!(document.to_json(), expected);
    assert!(document.get::<String>("smile").is_err());
}

#[test]
fn the_last_of_two_equal_keys_counts() {
    assert_eq!(Document::from_json(r#"{"a":1,"b":2,"a":3}"#).unwrap().to_json(), r#"{"a":3,"b":2}"#);
}

/// Comparing each of these keys with all others takes minutes, which a test notices without measuring time.
#[test]
fn a_document_of_many_keys_is_read_in_one_pass() {
    const KEYS: usize = 1_000_000;
    let pair = |key: usize| format!("\"k{key}\":{key}");
    let entries: Vec<String> = (0..KEYS).map(pair).collect();
    let text = format!("{{{}}}", entries.join(","));
    let document = Document::from_json(&text).unwrap();
    assert_eq!((document.len(), document.to_json() == text), (KEYS, true));
    let mut whole = Document::new();
    whole.insert("cookie", &1).unwrap();
    whole.append(&document, |key| key != "k0");
    assert_eq!((whole.len(), whole.get_raw("k1"), whole.get_raw("k0")), (KEYS, Some("1"), None));
}

/// Counts compared keys, because time depends on the machine.
#[test]
fn writing_many_keys_one_by_one_takes_work_for_each_and_not_for_each_pair() {
    const KEYS: usize = 5000;
    let key = |number: usize| format!("k{number}");
    let mut document = Document::new();
    let mut expected = Vec::new();
    work::compared();
    for number in 0..KEYS {
        document.insert(&key(number), &0).unwrap();
        document.insert(&key(number), &number).unwrap();
        assert!(document.get_raw("none").is_none() && !document.remove("none"));
    }
    for number in 0..KEYS {
        if number % 3 == 0 {
            expected.push((key(number), number.to_string()));
        } else {
            assert!(document.remove(&key(number)) && !document.remove(&key(number)));
        }
    }
    for number in (0..KEYS).filter(|number| number % 3 == 1) {
        document.insert(&key(number), &-1).unwrap();
        expected.push((key(number), "-1".to_owned()));
    }
    let copy = document.clone();
    for (key, value) in &expected {
        assert_eq!((copy.get_raw(key), document.get_raw(key)), (Some(&**value), Some(&**value)));
    }
    let compared = work::compared();
    assert!(compared < 16 * KEYS, "{compared} keys were compared for {KEYS}");
    let found: Vec<_> = document.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    assert_eq!((document.len(), found), (expected.len(), expected));
}

#[test]
fn appended_entries_follow_and_replace() {
    let mut document = Document::from_json(r#"{"a":1,"b":2}"#).unwrap();
    let other = Document::from_json(r#"{"c":3,"a":4,"d":5}"#).unwrap();
    document.append(&other, |key| key != "d");
    assert_eq!(document.to_json(), r#"{"a":4,"b":2,"c":3}"#);
    let numbered = (0..=FEW).map(|key| format!("\"{key}\":0")).collect::<Vec<_>>().join(",");
    let mut large = Document::from_json(&format!("{{\"a\":1,{numbered}}}")).unwrap();
    large.append(&document, |key| key != "b");
    assert_eq!(large.to_json(), format!("{{\"a\":4,{numbered},\"c\":3}}"));
}

#[test]
fn what_is_not_an_object_is_an_error() {
    for bad in ["", "[]", "null", "{", r#"{"a"}"#, r#"{"a":1}x"#] {
        assert!(Document::from_json(bad).is_err(), "{bad}");
    }
}

#[test]
fn debug_shows_no_values() {
    let mut document = Document::new();
    document.insert("token", "hunter2").unwrap();
    assert_eq!(format!("{document:?}"), r#"{"token"}"#);
    let error = document.get::<u8>("token").unwrap_err();
    assert!(!format!("{error}").contains("hunter2"));
}

proptest! {
    /// A long document does what a list of pairs does.
    #[test]
    fn changes_one_by_one_do_what_a_list_does(
        changes in proptest::collection::vec((0..80_u8, proptest::option::weighted(0.6, 0..9_u8)), 0..400)
    ) {
        let (mut document, mut list) = (Document::new(), Vec::<(String, u8)>::new());
        for (key, value) in changes {
            let key = key.to_string();
            let place = list.iter().position(|(old, _)| *old == key);
            if let Some(value) = value {
                document.insert(&key, &value).unwrap();
                match place {
                    Some(place) => list[place].1 = value,
                    None => list.push((key, value)),
                }
            } else {
                prop_assert_eq!(document.remove(&key), place.is_some());
                place.map(|place| list.remove(place));
            }
            let found: Vec<_> = document.iter().map(|(key, value)| (key.to_owned(), value.parse().unwrap())).collect();
            prop_assert_eq!((document.len(), &found), (list.len(), &list));
        }
    }

    /// What holds of few keys holds of many: `serde_json` keeps the first place and the last value too.
    #[test]
    fn of_equal_keys_the_last_value_counts(keys in proptest::collection::vec(0..60_u8, 0..120)) {
        let pairs = keys.iter().enumerate().map(|(value, key)| format!("\"{key}\":{value}"));
        let text = format!("{{{}}}", pairs.collect::<Vec<_>>().join(","));
        let mut expected = Document::new();
        for (value, key) in keys.iter().enumerate() {
            expected.insert(&key.to_string(), &value).unwrap();
        }
        prop_assert_eq!(Document::from_json(&text).unwrap(), expected);
    }

    #[test]
    fn any_document_round_trips(entries in proptest::collection::vec((".*", any::<Option<f64>>()), 0..8)) {
        let mut document = Document::new();
        for (key, value) in &entries {
            document.insert(key, value).unwrap();
        }
        let again = Document::from_json(&document.to_json()).unwrap();
        prop_assert_eq!(&again, &document);
        prop_assert_eq!(serde_json::to_string(&document).unwrap(), document.to_json());
    }
}
