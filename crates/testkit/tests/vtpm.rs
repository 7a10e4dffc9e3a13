//! A VM below a paravisor, with the real programs: what a paravisor leaves lies in a TPM in software. They are to be built
//! with `--features marblerun-coordinator/tpm,marblerun-marble/tpm`.
#![allow(missing_docs)]

use std::process::{Command, Output};
use std::sync::Arc;

use marblerun_attestation::testing::amd::{self, Endorsement, Kds, Processor};
use marblerun_attestation::testing::paravisor;
use marblerun_attestation::{AnyTee, Claims, Evidence, ReportData, SnpProduct, Tee, Verifier, VerifyError};
use marblerun_client::{AttestOptions, EraConfig, attest};
use marblerun_testkit::{Coordinator, CoordinatorBuilder, SoftTpm, binary};
use serde_json::{Value, json};

/// A host of which AMD has the certificate, and a VM on it with the paravisor's TPM.
struct World {
    home: tempfile::TempDir,
    processor: Processor,
    tpm: SoftTpm,
}

impl World {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let (processor, tpm) = (Processor::new(SnpProduct::Genoa, 3, Endorsement::Vcek), SoftTpm::start().unwrap());
        tpm.play_paravisor(|modulus| {
            let data = paravisor::runtime_data(modulus, &[1, 0, 1]);
            paravisor::hcl_report(&processor.report(&processor.vm(), &ReportData::binding(&[&data])), &data)
        })
        .unwrap();
        Self { home, processor, tpm }
    }

    fn coordinator(&self, tee: &str) -> CoordinatorBuilder {
        Coordinator::builder(&self.home.path().join("seal"))
            .env("MARBLERUN_TEE", tee)
            .env("MARBLERUN_TPM", self.tpm.tcti())
            .env("MARBLERUN_SEAL", "tpm")
            .env("MARBLERUN_KDS_URL", "none")
            .env("TSS2_LOG", "all+NONE")
    }

    fn premain(&self, coordinator: &Coordinator) -> Output {
        Command::new(binary("marblerun-premain"))
            .args(["sh", "-c", "echo started"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("EDG_MARBLE_TYPE", "web")
            .env("EDG_MARBLE_COORDINATOR_ADDR", coordinator.mesh_addr.to_string())
            .env("MARBLERUN_TEE", "snp-vtpm")
            .env("MARBLERUN_TPM", self.tpm.tcti())
            .env("MARBLERUN_PREMAIN_TIMEOUT", "20")
            .env("TSS2_LOG", "all+NONE")
            .current_dir(self.home.path())
            .output()
            .unwrap()
    }

    /// What a client expects that knows the image, with register 4 as it is after that many measurements.
    fn expecting(&self, register_4: &str) -> AttestOptions {
        let zero = "00".repeat(32);
        let snp = json!({"Measurement": "a1".repeat(48), "PCRs": {"4": register_4, "7": zero, "9": zero}});
        let era = EraConfig::from_json(json!({"SNP": snp}).to_string().as_bytes()).unwrap();
        let nonce = b"chosen for this question".to_vec();
        let verifier = Arc::new(PlayedAmd(AnyTee::with_roots(
            Arc::new(Kds { vcek: Some(self.processor.certificate()), list: None }),
            amd::roots(),
        )));
        AttestOptions { nonce, verifier, ..AttestOptions::expecting(&era) }
    }
}

/// Verifies at a time when all that was made is good.
struct PlayedAmd(AnyTee);

impl Verifier for PlayedAmd {
    fn verify(&self, evidence: &Evidence, _now: u64) -> Result<Claims, VerifyError> {
        self.0.verify(evidence, amd::NOW)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_below_a_paravisor_proves_itself_by_its_registers_and_takes_nobody_at_his_word() {
    let world = World::new();
    let coordinator = world.coordinator("snp-vtpm").start().await.unwrap();
    assert!(coordinator.log().contains("AMD SEV-SNP below a paravisor (vTPM)"), "{}", coordinator.log());
    let zero = "00".repeat(32);
    let attested = attest(&coordinator.endpoint(), &world.expecting(&zero)).await.unwrap();
    let Some(claims) = &attested.claims else { panic!("nothing was verified") };
    assert_eq!(claims.identity.tee(), Tee::SnpVtpm);
    let refused = attest(&coordinator.endpoint(), &world.expecting(&"11".repeat(32))).await.unwrap_err();
    assert!(refused.to_string().contains("PCRs.4"), "{refused}");
    let amds_own = AttestOptions { verifier: Arc::new(AnyTee::default()), ..world.expecting(&zero) };
    let refused = attest(&coordinator.endpoint(), &amds_own).await.unwrap_err();
    assert!(refused.to_string().contains("no certificate of the key that signed it"), "{refused}");

    // A program that was not given the test's roots, as none can be, admits no VM of a processor that never was.
    let package = json!({"SNP": {"Measurement": "a1".repeat(48), "PCRs": {"4": zero, "9": zero}}});
    let manifest = json!({"Packages": {"app": package}, "Marbles": {"web": {"Package": "app"}}});
    let client = attested.client(coordinator.endpoint()).build().unwrap();
    client.set_manifest(manifest.to_string().as_bytes()).await.unwrap();
    let output = world.premain(&coordinator);
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("invalid quote: no collateral to verify the evidence with"), "{told}");
    assert!(coordinator.log().contains("Genoa processor 0102030405060708"), "{}", coordinator.log());

    // Another system is measured: what was sealed does not depend on register 4, but who asks for evidence sees it.
    world.tpm.extend_pcr(4).unwrap();
    let refused = attest(&coordinator.endpoint(), &world.expecting(&zero)).await.unwrap_err();
    assert!(refused.to_string().contains("PCRs.4"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marbles_below_a_paravisor_start_as_any_other_and_without_one_do_not_start() {
    let world = World::new();
    // In simulation evidence is taken for what it is worth there.
    let simulated = world.coordinator("simulation").start().await.unwrap();
    let attested = attest(&simulated.endpoint(), &AttestOptions::insecure()).await.unwrap();
    let manifest: Value = json!({"Packages": {"app": {"Debug": true}}, "Marbles": {"web": {"Package": "app"}}});
    let client = attested.client(simulated.endpoint()).build().unwrap();
    client.set_manifest(manifest.to_string().as_bytes()).await.unwrap();
    let output = world.premain(&simulated);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "started", "{output:?}");

    let bare = World { tpm: SoftTpm::start().unwrap(), ..world };
    let output = bare.premain(&simulated);
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("the TPM has no report of a paravisor"), "{told}");
    let error = bare.coordinator("snp-vtpm").start().await.unwrap_err().to_string();
    assert!(
        error.contains("the TPM has no report of a paravisor") && error.contains("MARBLERUN_TEE=simulation"),
        "{error}"
    );
}
