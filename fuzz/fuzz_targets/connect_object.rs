//! Sessions as BSON objects (connect-mongo with `stringify: false`): what nobody touched keeps its types.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| hallpass_stores::fuzzing::object(bytes));
