//! A manifest file as the command line reads it. What comes out is JSON that converts to itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marblerun_manifest::yaml;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((json, _)) = yaml::load(bytes) {
        let (again, _) = yaml::load(&json).expect("JSON is accepted");
        assert_eq!(json, again);
    }
});
