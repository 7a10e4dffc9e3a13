//! One change of a sealed state. What decodes, encodes to something that decodes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marblerun_state::Change;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(change) = Change::decode(bytes) {
        Change::decode(&change.encode()).expect("what was decoded can be written");
    }
});
