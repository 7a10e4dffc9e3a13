//! What verification costs with collateral at hand: `cargo bench -p marblerun-attestation --features testing`. Prints CPU time of this
//! thread for each; there is no limit here, since machines differ.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use marblerun_attestation::testing::amd::{self, Endorsement, Processor};
use marblerun_attestation::{
    AnyTee, Bundle, CollateralError, CollateralSource, Evidence, IntelCollateral, IntelPlatform, ReportData, Roots,
    SnpProduct, VcekRequest,
};

struct AtHand(Option<Arc<IntelCollateral>>);

impl CollateralSource for AtHand {
    fn intel(&self, _: &IntelPlatform, _: u64) -> Result<Arc<IntelCollateral>, CollateralError> {
        self.0.clone().ok_or_else(|| CollateralError("none".to_owned()))
    }

    fn vcek(&self, _: &VcekRequest, _: u64) -> Result<Arc<[u8]>, CollateralError> {
        Err(CollateralError("none".to_owned()))
    }

    fn amd_crl(&self, _: SnpProduct, _: u64) -> Result<Option<Arc<[u8]>>, CollateralError> {
        Ok(None)
    }
}

fn main() {
    let ours = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/quotes"));
    let shared = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/quotes"));
    let intel = |folder: &Path, root: &str, quote: &str, collateral: &str| {
        let collateral = IntelCollateral::from_json(&std::fs::read(folder.join(collateral)).ok()?).unwrap();
        let roots = Roots { intel: std::fs::read(ours.join(root)).unwrap(), ..Roots::vendors() };
        let verifier = AnyTee::with_roots(Arc::new(AtHand(Some(Arc::new(collateral)))), roots);
        Some((verifier, Evidence::from_wire(std::fs::read(folder.join(quote)).ok()?).unwrap()))
    };
    let (made, real) = ("synthetic/test_root.der", "intel_sgx_root_ca.der");
    let sgx = "sgx/automata-00606a.quote";
    let tdx = "tdx/phala-b0c06f-v4.quote";
    time(
        "SGX, made for tests",
        1_767_225_600,
        intel(ours, made, "synthetic/sgx_UpToDate.quote", "synthetic/collateral.json"),
    );
    time("SGX", 1_755_648_000, intel(shared, real, sgx, "sgx/00606a-202508.collateral.json"));
    time("TDX", 1_750_377_600, intel(shared, real, tdx, "tdx/b0c06f-202506.collateral.json"));
    let processor = Processor::new(SnpProduct::Milan, 3, Endorsement::Vcek);
    let made = processor.evidence(&processor.vm(), &ReportData([7; 64]));
    time("SEV-SNP, made for tests", amd::NOW, Some((AnyTee::with_roots(Arc::new(AtHand(None)), amd::roots()), made)));
    let report = std::fs::read(shared.join("snp/trustee-milan.report")).ok();
    let vcek = std::fs::read(shared.join("snp/trustee-milan.vcek.der")).ok();
    let snp = report.zip(vcek).map(|(report, vcek)| {
        let bundle = Bundle { tee: 3, report, certificates: vec![vcek], ..Bundle::default() };
        (AnyTee::new(Arc::new(AtHand(None))), Evidence::from_wire(bundle.to_wire()).unwrap())
    });
    time("SEV-SNP", 1_767_225_600, snp);
}

/// The mean of many: the kernel counts a thread's time at its ticks, which are longer than one verification.
fn time(name: &str, now: u64, subject: Option<(AnyTee, Evidence)>) {
    let Some((verifier, evidence)) = subject else {
        println!("{name}: skipped, its evidence is no part of the project");
        return;
    };
    let (start, wall) = (cpu(), Instant::now());
    for _ in 0..RUNS {
        verifier.examine(&evidence, now).unwrap();
    }
    let spent = match (start, cpu()) {
        (Some(start), Some(end)) => end - start,
        _ => wall.elapsed().as_secs_f64() * 1e3,
    };
    println!("{name}: {:.2} ms", spent / f64::from(RUNS));
}

const RUNS: u32 = 1000;

/// Milliseconds of CPU that this thread has had.
fn cpu() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split_whitespace().next()?.parse::<f64>().ok().map(|nanoseconds| nanoseconds / 1e6)
}
