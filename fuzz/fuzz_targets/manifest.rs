//! A manifest as anyone may upload it: decoding and checking.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marblerun_manifest::check::{CheckEnv, review};

fuzz_target!(|bytes: &[u8]| {
    let env = CheckEnv { now: jiff::Timestamp::UNIX_EPOCH, variables: None };
    let _ = review(bytes, &env);
});
