//! Evidence of strangers: recognised or refused, and what is taken out of its frame is a part of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marblerun_attestation::Format;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Format::SgxQuote(part) | Format::TdxQuote(part) | Format::Bundle(part)) = Format::of(bytes) {
        assert!(bytes.as_ptr_range().contains(&part.as_ptr()));
        assert!(part.len() <= bytes.len());
    }
});
