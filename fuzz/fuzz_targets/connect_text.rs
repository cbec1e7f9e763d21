//! Sessions as express-session writes them: what is read is written back with nothing lost.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| hallpass_stores::fuzzing::text(text));
