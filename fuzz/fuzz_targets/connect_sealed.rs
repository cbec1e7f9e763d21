//! Encrypted sessions that nobody encrypted.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| hallpass_stores::fuzzing::sealed(bytes));
