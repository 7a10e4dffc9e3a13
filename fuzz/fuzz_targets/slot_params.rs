//! Parameters of slots as the host may have written them: what is read is written alike, and decides nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marblerun_sealing::{KeySealer as _, snp, upstream_hsm};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(params) = marblerun_tpm::Params::decode(bytes) {
        assert_eq!(params.encode(), bytes);
        let _ = params.object();
    }
    if let Ok(params) = marblerun_azure_hsm::Params::decode(bytes) {
        assert_eq!(params.encode(), bytes);
    }
    // There is no such device: nothing opens.
    let guest = snp::SevGuest::new("/dev/null".as_ref());
    assert!(snp::SnpDerivedKey::new(guest, snp::ProductKey::Measurement, 0).slot_secret(bytes).is_err());
    assert!(upstream_hsm::open(&[7; 32], bytes).is_err());
});
