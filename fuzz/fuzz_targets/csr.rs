//! A certification request as any Marble may send it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marblerun_pki::VerifiedCsr;

fuzz_target!(|bytes: &[u8]| {
    let _ = VerifiedCsr::parse(bytes);
});
