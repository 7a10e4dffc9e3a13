//! Evidence, with a backend that plays hardware: what Marbles show, and what the Coordinator shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aws_lc_rs::signature::{ECDSA_P384_SHA256_ASN1, UnparsedPublicKey};
use marblerun_attestation::{
    Backend, Claims, EnclaveClaims, Evidence, Identity, IssueError, Issuer, ReportData, SgxIdentity, TcbStatus, Tee,
    Verifier, VerifyError,
};
use marblerun_coordinator::core::{ActivationError, ActivationRequest, Coordinator, PeerCertificate, Settings};
use marblerun_coordinator::start::temporary_state;
use marblerun_state::Phase;
use marblerun_store::Store;
use serde_json::json;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::world::{UUID, csr, json as bytes};

/// Evidence is 64 bytes of report data; genuine if it has that length.
#[derive(Default)]
struct Hardware {
    issued: AtomicUsize,
    is_dead: AtomicBool,
}

impl Issuer for Hardware {
    fn tee(&self) -> Tee {
        Tee::Sgx
    }

    fn issue(&self, report_data: &ReportData) -> Result<Evidence, IssueError> {
        self.issued.fetch_add(1, Ordering::Relaxed);
        if self.is_dead.load(Ordering::Relaxed) {
            return Err(IssueError { tee: Tee::Sgx, reason: "it does not answer".to_owned() });
        }
        Ok(Evidence::from_wire(report_data.0.to_vec()).unwrap())
    }
}

impl Verifier for Hardware {
    fn verify(&self, evidence: &Evidence, _now: u64) -> Result<Claims, VerifyError> {
        let report_data = evidence.as_bytes().try_into().map_err(|_| VerifyError("empty report".to_owned()))?;
        Ok(Claims::Enclave(EnclaveClaims {
            identity: Identity::Sgx(SgxIdentity {
                unique_id: [1; 32],
                signer_id: [2; 32],
                product_id: 7,
                security_version: 3,
            }),
            debug: false,
            report_data: ReportData(report_data),
            tcb_status: TcbStatus::OutOfDate,
            advisories: None,
        }))
    }
}

async fn coordinator(manifest: &serde_json::Value) -> (Coordinator, Arc<Hardware>) {
    let hardware = Arc::new(Hardware::default());
    let backend = Backend { issuer: hardware.clone(), verifier: hardware.clone() };
    let settings = Settings { backend, ..Settings::simulation() };
    let state = temporary_state(Phase::AcceptingManifest, "localhost", &settings.clock).unwrap();
    let coordinator = Coordinator::new(Store::in_memory(state), settings);
    coordinator.set_manifest(bytes(manifest)).await.unwrap();
    (coordinator, hardware)
}

fn manifest(package: serde_json::Value) -> serde_json::Value {
    json!({
        "Packages": {"app": package},
        "Marbles": {"web": {"Package": "app", "MaxActivations": 1}},
        "Config": {"FeatureGates": ["SignQuoteEndpoint"]},
    })
}

fn package() -> serde_json::Value {
    json!({"SignerID": "02".repeat(32), "ProductID": 7, "SecurityVersion": 3, "AcceptedTCBStatuses": ["OutOfDate"]})
}

async fn activate(coordinator: &Coordinator, peer: &PeerCertificate, quote: Vec<u8>) -> Result<(), ActivationError> {
    let request = ActivationRequest { quote, csr: csr(), marble_type: "web".into(), uuid: UUID.into() };
    coordinator.activate(Some(peer), request).await.map(drop)
}

fn peer(certificate: &[u8]) -> PeerCertificate {
    PeerCertificate(Arc::new(certificate.to_vec()))
}

fn evidence_for(certificate: &[u8]) -> Vec<u8> {
    ReportData::binding(&[certificate]).0.to_vec()
}

fn refusal(result: Result<(), ActivationError>) -> String {
    match result.unwrap_err() {
        ActivationError::Refused(text) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn evidence_counts_only_for_the_certificate_whose_key_tls_proved() {
    let (coordinator, _) = coordinator(&manifest(package())).await;
    let stolen = activate(&coordinator, &peer(b"mine"), evidence_for(b"yours")).await;
    assert!(refusal(stolen).starts_with("marble verification failed: invalid quote: hash(cert) != report.Data"));
    for none in [vec![], b"garbage".to_vec()] {
        let text = refusal(activate(&coordinator, &peer(b"mine"), none).await);
        assert_eq!(text, "marble verification failed: invalid quote: empty report");
    }
    let endless = activate(&coordinator, &peer(b"mine"), vec![0; 1 << 20]).await;
    assert!(refusal(endless).contains("longer than"));
    activate(&coordinator, &peer(b"mine"), evidence_for(b"mine")).await.unwrap();
    let spent = refusal(activate(&coordinator, &peer(b"mine"), evidence_for(b"mine")).await);
    assert!(spent.contains("reached max activations"), "{spent}");
    let order = refusal(activate(&coordinator, &peer(b"mine"), vec![]).await);
    assert!(order.contains("invalid quote"), "evidence is looked at before the limit: {order}");
}

#[tokio::test]
async fn an_enclave_of_another_package_is_refused() {
    for (field, value) in [
        ("SignerID", json!("03".repeat(32))),
        ("ProductID", json!(8)),
        ("SecurityVersion", json!(4)),
        ("AcceptedTCBStatuses", json!(["SWHardeningNeeded"])),
    ] {
        let mut package = package();
        package[field] = value;
        let (coordinator, _) = coordinator(&manifest(package)).await;
        let text = refusal(activate(&coordinator, &peer(b"mine"), evidence_for(b"mine")).await);
        assert!(text.starts_with("marble verification failed: invalid quote: "), "{field}: {text}");
        assert_eq!(coordinator.snapshot().activations("web"), 0);
    }
    let mut declared = manifest(json!({"UniqueID": "ff".repeat(32)}));
    declared["Infrastructures"] = json!({"cloud": {}});
    let (coordinator, _) = coordinator(&declared).await;
    let text = refusal(activate(&coordinator, &peer(b"mine"), evidence_for(b"mine")).await);
    assert_eq!(text, "marble verification failed: invalid infrastructure");
}

#[tokio::test]
async fn the_coordinators_own_evidence_is_bound_to_its_root_and_the_nonce() {
    let (coordinator, hardware) = coordinator(&manifest(package())).await;
    let root = coordinator.snapshot().authority().root_certificate.clone();
    for _ in 0..3 {
        let quote = coordinator.quote(&[]).await.unwrap().quote.unwrap();
        assert_eq!(quote, evidence_for(&root));
    }
    assert_eq!(hardware.issued.load(Ordering::Relaxed), 1, "without a nonce the same answer serves all");
    let nonce = b"nonce".as_slice();
    let quote = coordinator.quote(nonce).await.unwrap().quote.unwrap();
    assert_eq!(quote, ReportData::binding(&[&root, nonce]).0);
    assert_eq!(coordinator.tee(), Tee::Sgx);
}

#[tokio::test]
async fn hardware_that_fails_later_leaves_the_quote_that_was_made_at_the_start() {
    let (coordinator, hardware) = coordinator(&manifest(package())).await;
    coordinator.make_first_quote().await.unwrap();
    let root = coordinator.snapshot().authority().root_certificate.clone();
    hardware.is_dead.store(true, Ordering::Relaxed);
    assert_eq!(coordinator.quote(&[]).await.unwrap().quote.unwrap(), evidence_for(&root));
    let error = coordinator.quote(b"nonce").await.unwrap_err();
    assert_eq!(error.code, "no_quote");
    assert_eq!(error.message, "getting quote: failed to get quote: Intel SGX gives no evidence: it does not answer");
    hardware.is_dead.store(false, Ordering::Relaxed);
    coordinator.quote(b"nonce").await.unwrap();
}

#[tokio::test]
async fn hardware_that_never_answers_gives_no_first_quote() {
    let (coordinator, hardware) = coordinator(&manifest(package())).await;
    hardware.is_dead.store(true, Ordering::Relaxed);
    let error = coordinator.make_first_quote().await.unwrap_err();
    assert_eq!(error.to_string(), "Intel SGX gives no evidence: it does not answer");
    assert!(hardware.issued.load(Ordering::Relaxed) > 1, "it was asked again");
    assert_eq!(coordinator.quote(&[]).await.unwrap_err().code, "no_quote", "and nothing stands in for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn askers_at_the_same_time_each_get_evidence_over_their_nonce() {
    let (coordinator, _) = coordinator(&manifest(package())).await;
    let root = coordinator.snapshot().authority().root_certificate.clone();
    let asking = (0..32u8).map(|number| {
        let coordinator = coordinator.clone();
        tokio::spawn(async move { (number, coordinator.quote(&[number]).await.unwrap().quote.unwrap()) })
    });
    for asked in asking.collect::<Vec<_>>() {
        let (number, quote) = asked.await.unwrap();
        assert_eq!(quote, ReportData::binding(&[&root, &[number]]).0);
    }
}

#[tokio::test]
async fn a_statement_about_a_quote_is_signed_by_the_root() {
    let (coordinator, _) = coordinator(&manifest(package())).await;
    let quote = vec![9; 64];
    let (status, signature) = coordinator.sign_quote(&quote).await.unwrap();
    assert_eq!(status, "OutOfDate", "a status that nobody accepts is reported all the same");
    let root = Certificate::from_der(&coordinator.snapshot().authority().root_certificate).unwrap();
    let key = root.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes().to_vec();
    let signed = format!("{}{status}", marblerun_api::bytes::encode(&quote));
    UnparsedPublicKey::new(&ECDSA_P384_SHA256_ASN1, key).verify(signed.as_bytes(), &signature).unwrap();
    for bad in [vec![], vec![1, 2, 3]] {
        let error = coordinator.sign_quote(&bad).await.unwrap_err();
        assert_eq!((error.code, error.message.as_str()), ("quote_verification_failed", "empty report"));
    }
}
