//! A template as a manifest may hold it: parsed within bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marblerun_manifest::template::{Kind, Template};

fuzz_target!(|bytes: &[u8]| {
    for kind in [Kind::File, Kind::Env] {
        let _ = Template::parse(bytes, kind);
    }
});
