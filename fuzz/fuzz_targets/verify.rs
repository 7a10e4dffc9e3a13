//! Evidence and collateral with bits changed: nothing but what was made by the test's keys is ever believed. The first bytes
//! choose what is changed and where; what is left over is evidence of its own.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use marblerun_attestation::testing::amd::{self, Endorsement, Processor};
use marblerun_attestation::{
    AnyTee, Bundle, Evidence, IntelCollateral, ReportData, Roots, SnpProduct, Unverified,
};

const QUOTE: &[u8] = include_bytes!("../../crates/attestation/tests/fixtures/quotes/synthetic/sgx_UpToDate.quote");
const COLLATERAL: &[u8] = include_bytes!("../../crates/attestation/tests/fixtures/quotes/synthetic/collateral.json");
const ROOT: &[u8] = include_bytes!("../../crates/attestation/tests/fixtures/quotes/synthetic/test_root.der");
const NOW: u64 = 1_767_225_600;

fn verifier(collateral: IntelCollateral) -> AnyTee {
    let roots = Roots { intel: ROOT.to_vec(), ..amd::roots() };
    AnyTee::with_roots(Arc::new(Arc::new(collateral)), roots)
}

static GOOD: LazyLock<AnyTee> = LazyLock::new(|| verifier(IntelCollateral::from_json(COLLATERAL).unwrap()));

/// A report of SEV-SNP with its key's certificate.
static SNP: LazyLock<Bundle> = LazyLock::new(|| {
    let processor = Processor::new(SnpProduct::Milan, 3, Endorsement::Vcek);
    processor.bundle(processor.report(&processor.vm(), &ReportData([7; 64])))
});

fuzz_target!(|bytes: &[u8]| {
    let Some(([kind, bit, high, low], rest)) = bytes.split_first_chunk() else { return };
    let at = usize::from(u16::from_be_bytes([*high, *low]));
    match kind % 4 {
        // One bit of what is signed in a quote.
        0 => {
            let mut quote = QUOTE.to_vec();
            quote[at % 1012] ^= 1 << (bit % 8);
            assert!(GOOD.examine(&Evidence::from_wire(quote).unwrap(), NOW).is_err());
        }
        // Evidence as it comes.
        1 => {
            let evidence = Evidence::from_wire(rest.to_vec()).unwrap_or_default();
            let _ = Unverified::read(&evidence);
            if GOOD.examine(&evidence, NOW).is_ok() {
                assert!(rest.windows(432).any(|part| part == &QUOTE[..432]));
            }
        }
        // One bit of what is signed in a report of SEV-SNP, or of the signature.
        2 => {
            let mut bundle = SNP.clone();
            bundle.report[at % (0x2a0 + 144)] ^= 1 << (bit % 8);
            assert!(GOOD.examine(&Evidence::from_wire(bundle.to_wire()).unwrap(), NOW).is_err());
        }
        // A report of SEV-SNP, and a collateral, as they come.
        _ => {
            let bundle = Bundle { tee: 3, report: rest.to_vec(), certificates: vec![rest.to_vec()], ..Bundle::default() };
            if let Ok(evidence) = Evidence::from_wire(bundle.to_wire()) {
                assert!(GOOD.examine(&evidence, NOW).is_err());
            }
            if let Ok(collateral) = IntelCollateral::from_json(rest) {
                let _ = (collateral.window(), collateral.subject(), collateral.evaluation_number());
            }
        }
    }
});
