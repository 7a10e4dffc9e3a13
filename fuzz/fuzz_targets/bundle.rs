//! A bundle of a stranger: read within its bounds or refused, and what was read says the same when it is sent on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marblerun_attestation::Bundle;

fuzz_target!(|bytes: &[u8]| {
    let Ok(bundle) = Bundle::from_wire(bytes) else { return };
    assert!(bundle.certificates.len() <= Bundle::MAX_CERTIFICATES);
    assert!(bundle.certificates.iter().map(Vec::len).sum::<usize>() <= Bundle::MAX_CERTIFICATE_BYTES);
    assert_eq!(Bundle::from_wire(&bundle.to_wire()), Ok(bundle));
});
