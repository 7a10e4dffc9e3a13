//! Activation with real verification: quotes of SGX that are made in the test over a Marble's certificate, with keys and
//! collateral made for tests. The root of those is injected here, in process; no program can be given one. Reports of
//! SEV-SNP stand below, in `snp`.

mod snp;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use jiff::Timestamp;
use marblerun_attestation::{AnyTee, Backend, IntelCollateral, ReportData, Roots, Simulation};
use marblerun_coordinator::core::{ActivationError, ActivationRequest, Clock, Coordinator, PeerCertificate, Settings};
use marblerun_coordinator::start::temporary_state;
use marblerun_state::Phase;
use marblerun_store::Store;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;

use crate::world::{UUID, csr, json as bytes};

/// In the life of the synthetic collateral.
pub const NOW: i64 = 1_767_225_600;

pub const CERTIFICATE: &[u8] = b"the Marble's certificate";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../attestation/tests/fixtures/quotes/synthetic").join(name)
}

/// Believes SGX's keys and collateral made for tests.
pub fn verifier() -> AnyTee {
    let json = std::fs::read(fixture("collateral.json")).unwrap();
    let collateral = Arc::new(IntelCollateral::from_json(&json).unwrap());
    let roots = Roots { intel: std::fs::read(fixture("test_root.der")).unwrap(), ..Roots::vendors() };
    AnyTee::with_roots(Arc::new(collateral), roots)
}

/// A Coordinator that takes evidence of SGX, with a manifest of one package.
async fn coordinator(package: serde_json::Value) -> Coordinator {
    coordinator_with(verifier(), package).await
}

/// A Coordinator that verifies evidence like this, with a manifest of one package.
async fn coordinator_with(verifier: AnyTee, package: serde_json::Value) -> Coordinator {
    let backend = Backend { issuer: Arc::new(Simulation), verifier: Arc::new(verifier) };
    let clock = Clock::from_fn(|| Timestamp::from_second(NOW).unwrap());
    let settings = Settings { backend, clock, ..Settings::simulation() };
    let state = temporary_state(Phase::AcceptingManifest, "localhost", &settings.clock).unwrap();
    let coordinator = Coordinator::new(Store::in_memory(state), settings);
    let manifest = json!({"Packages": {"app": package}, "Marbles": {"web": {"Package": "app"}}});
    coordinator.set_manifest(bytes(&manifest)).await.unwrap();
    coordinator
}

/// What a Marble's runtime sends: a quote of a platform of that status over report data, in its frame.
pub fn quote(name: &str, report_data: &ReportData) -> Vec<u8> {
    let mut quote = std::fs::read(fixture(&format!("sgx_{name}.quote"))).unwrap();
    quote[368..432].copy_from_slice(&report_data.0);
    let pem = std::fs::read(fixture("test_attestation_key.pem")).unwrap();
    let PrivateKeyDer::Pkcs8(key) = PrivateKeyDer::from_pem_slice(&pem).unwrap() else { panic!("no PKCS#8") };
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_pkcs8_der()).unwrap();
    let signature = key.sign(&SystemRandom::new(), &quote[..432]).unwrap();
    quote[436..500].copy_from_slice(signature.as_ref());
    [&[1, 0, 0, 0, 2, 0, 0, 0][..], &(quote.len() as u64).to_le_bytes(), &quote].concat()
}

async fn activate(coordinator: &Coordinator, quote: Vec<u8>) -> Result<(), String> {
    activate_as(coordinator, CERTIFICATE, quote).await
}

async fn activate_as(coordinator: &Coordinator, certificate: &[u8], quote: Vec<u8>) -> Result<(), String> {
    activate_type(coordinator, "web", certificate, quote).await
}

pub async fn activate_type(
    coordinator: &Coordinator,
    marble_type: &str,
    certificate: &[u8],
    quote: Vec<u8>,
) -> Result<(), String> {
    let request = ActivationRequest { quote, csr: csr(), marble_type: marble_type.into(), uuid: UUID.into() };
    let peer = PeerCertificate(Arc::new(certificate.to_vec()));
    match coordinator.activate(Some(&peer), request).await {
        Ok(_) => Ok(()),
        Err(ActivationError::Refused(text)) => {
            Err(text.strip_prefix("marble verification failed: invalid quote: ").unwrap_or(&text).to_owned())
        }
        Err(other) => panic!("{other:?}"),
    }
}

pub fn bound() -> ReportData {
    ReportData::binding(&[CERTIFICATE])
}

pub fn package(more: serde_json::Value) -> serde_json::Value {
    let mut package = json!({"SignerID": "BB".repeat(32), "ProductID": 3, "SecurityVersion": 3});
    package.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    package
}

const STATUSES: [&str; 6] = [
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
];

#[tokio::test]
async fn a_platform_of_each_status_is_accepted_exactly_if_the_package_says_so() {
    for listed in std::iter::once(None).chain(STATUSES.map(Some)) {
        let list = listed.map_or_else(|| json!({}), |status| json!({"AcceptedTCBStatuses": [status]}));
        let coordinator = coordinator(package(list)).await;
        for status in STATUSES {
            let is_accepted = status == "UpToDate" || listed.unwrap_or("SWHardeningNeeded") == status;
            let expected = if is_accepted { Ok(()) } else { Err(format!("TCB level invalid: {status}")) };
            assert_eq!(activate(&coordinator, quote(status, &bound())).await, expected, "{status} with {listed:?}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_trusted_is_refused_whatever_the_package_says() {
    let all = [STATUSES.as_slice(), &["Revoked", "Unknown"]].concat();
    let all = json!({"AcceptedTCBStatuses": all});
    let coordinator = coordinator(package(all)).await;
    for (name, reason) in [
        ("Revoked", "TCB status is invalid: Revoked"),
        ("revoked_pck", "Failed to verify certificate chain: CertRevoked"),
        ("below_all_levels", "No matching TCB level found"),
        ("qe_wrong_mrsigner", "QE MRSIGNER mismatch"),
        ("debug_UpToDate", "PackageProperties not compliant"),
    ] {
        let text = activate(&coordinator, quote(name, &bound())).await.unwrap_err();
        assert!(text.starts_with(reason), "{name}: {text}");
    }
    activate(&coordinator, quote("qe_OutOfDate", &bound())).await.unwrap();
}

#[tokio::test]
async fn advisories_are_compared_in_any_case_and_all_must_be_accepted() {
    for (list, accepted) in
        [(json!([]), true), (json!(["intel-sa-90001", "INTEL-SA-90002"]), true), (json!(["INTEL-SA-90001"]), false)]
    {
        let coordinator = coordinator(package(json!({"AcceptedAdvisories": list}))).await;
        let activated = activate(&coordinator, quote("SWHardeningNeeded", &bound())).await;
        assert_eq!(activated.is_ok(), accepted, "{list}: {activated:?}");
    }
}

#[tokio::test]
async fn the_quote_must_be_for_this_certificate_to_its_last_byte() {
    let coordinator = coordinator(package(json!({}))).await;
    activate(&coordinator, quote("UpToDate", &bound())).await.unwrap();
    let other = ReportData::binding(&[b"another certificate"]);
    let text = activate(&coordinator, quote("UpToDate", &other)).await.unwrap_err();
    assert!(text.starts_with("hash(cert) != report.Data"), "{text}");
    let mut tail = bound();
    tail.0[63] = 1;
    assert!(activate(&coordinator, quote("UpToDate", &tail)).await.unwrap_err().starts_with("hash(cert)"));
    let text = activate(&coordinator, quote("OutOfDate", &other)).await.unwrap_err();
    assert_eq!(text, "TCB level invalid: OutOfDate", "the platform comes first");
    let mut flipped = quote("UpToDate", &bound());
    flipped[16 + 120] ^= 1;
    assert!(activate(&coordinator, flipped).await.unwrap_err().contains("signature is invalid"));
    assert_eq!(activate(&coordinator, Vec::new()).await.unwrap_err(), "empty report");
}

#[tokio::test]
async fn a_package_of_a_vm_takes_no_enclave_and_tells_the_peer_no_more_than_that() {
    let coordinator = coordinator(json!({"TDX": {"MRTD": "ab".repeat(48)}})).await;
    let text = activate(&coordinator, quote("UpToDate", &bound())).await.unwrap_err();
    assert_eq!(text, "PackageProperties not compliant: TEE");
}
