//! The host-bound key file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marblerun_store::format::KeyFile;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(KeyFile::Ours(key)) = KeyFile::decode(bytes) {
        let _ = key.encode();
    }
});
