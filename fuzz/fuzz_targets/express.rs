//! Sessions that Express stored: what is read is written as JavaScript would, and writing that again changes nothing.

#![no_main]

use hallpass_session::{
    Timestamp,
    express::{ExpressCookie, parse, stringify},
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

const NOW: Timestamp = Timestamp::from_millis(1_795_424_473_000);

fuzz_target!(|text: &str| {
    session(text);
    if let Ok(options) = serde_json::from_str::<Map<String, Value>>(text) {
        cookie(&options);
    }
    if let Some(at) = Timestamp::parse(text) {
        assert_eq!(Timestamp::parse(&at.to_string()), Some(at));
    }
});

fn session(text: &str) {
    let Ok(Some(session)) = parse(text) else { return };
    let written = stringify(&session);
    let again = parse(&written).expect("what we write can be read").expect("and is an object");
    assert_eq!(stringify(&again), written);
    // Whatever JSON a strict reader takes is read the same by it afterwards, but for numbers, which become doubles.
    if serde_json::from_str::<Map<String, Value>>(text).is_ok() {
        assert!(serde_json::from_str::<Map<String, Value>>(&written).is_ok());
    }
}

fn cookie(options: &Map<String, Value>) {
    let Ok(mut cookie) = ExpressCookie::new(options, NOW) else { return };
    let written = cookie.to_json();
    let stored: Map<String, Value> = serde_json::from_str(&written).expect("a cookie is an object");
    let _ = (cookie.max_age(NOW), cookie.expires_at());
    for (name, value) in stored {
        let _ = cookie.set(&name, value, NOW);
    }
    assert!(serde_json::from_str::<Value>(&cookie.to_json()).is_ok());
}
