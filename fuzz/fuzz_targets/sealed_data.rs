//! A sealed file as anyone may put it in place: read without a key, and with one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marblerun_store::format::{self, Dek, Layout, OpenOptions};

fuzz_target!(|bytes: &[u8]| {
    // Behind a checksum in the file; an attacker makes it right.
    if let Ok(header) = format::Header::decode(bytes) {
        header.encode().expect("what was decoded can be written");
    }
    let dek = Dek::from_bytes([7; 32].into());
    match format::read_front(bytes) {
        Ok(Layout::Sealed(_)) => {
            let _ = format::inspect(bytes);
            let _ = format::open(bytes, &dek, OpenOptions::default());
        }
        Ok(Layout::Upstream(front)) => {
            let _ = format::upstream::open(bytes, &front, &[7; 32]);
        }
        _ => {}
    }
});
