//! Recovery uploads by strangers: none of them may be taken, and the right one works afterwards.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marblerun_recovery::{Ceremony, Outcome, Upload};

fuzz_target!(|bytes: &[u8]| {
    let mut ceremony = Ceremony::new(&[]);
    let right = [0x5a; 32];
    let opens = |candidate: &[u8]| candidate == right;
    for chunk in bytes.chunks(34) {
        let upload = Upload { secret: chunk.to_vec().into(), signature: Vec::new() };
        if let Ok(Outcome::Complete { root, .. }) = ceremony.add(upload, &opens) {
            assert_eq!(root.expose(), right);
            return;
        }
    }
    let upload = Upload { secret: right.to_vec().into(), signature: Vec::new() };
    assert!(matches!(ceremony.add(upload, &opens), Ok(Outcome::Complete { .. })));
});
