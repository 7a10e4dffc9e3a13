//! A bundle of a stranger: read within its bounds or refused, and what was read says the same when it is sent on. What it
//! says of a TPM is read too, as if a paravisor's genuine report were bound to it, and is never believed.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use marblerun_attestation::testing::amd::{self, Endorsement, NOW, Processor};
use marblerun_attestation::{AnyTee, Bundle, Evidence, HclReport, NoCollateral, ReportData, SnpProduct, Unverified};

static PROCESSOR: LazyLock<Processor> = LazyLock::new(|| Processor::new(SnpProduct::Milan, 3, Endorsement::Vcek));
static CERTIFICATE: LazyLock<Vec<u8>> = LazyLock::new(|| PROCESSOR.certificate());
static VERIFIER: LazyLock<AnyTee> = LazyLock::new(|| AnyTee::with_roots(Arc::new(NoCollateral), amd::roots()));

fuzz_target!(|bytes: &[u8]| {
    let _ = HclReport::read(bytes);
    let Ok(bundle) = Bundle::from_wire(bytes) else { return };
    assert!(bundle.certificates.len() <= Bundle::MAX_CERTIFICATES);
    assert!(bundle.certificates.iter().map(Vec::len).sum::<usize>() <= Bundle::MAX_CERTIFICATE_BYTES);
    assert_eq!(Bundle::from_wire(&bundle.to_wire()), Ok(bundle.clone()));
    if let Ok(evidence) = Evidence::from_wire(bundle.to_wire()) {
        let _ = Unverified::read(&evidence);
    }
    let report = PROCESSOR.report(&PROCESSOR.vm(), &ReportData::binding(&[&bundle.runtime_data]));
    let bound = Bundle { tee: 4, certificates: vec![CERTIFICATE.clone()], report, ..bundle };
    if let Ok(evidence) = Evidence::from_wire(bound.to_wire()) {
        assert!(VERIFIER.examine(&evidence, NOW).is_err());
    }
});
