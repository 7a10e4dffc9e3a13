//! Quotes over HTTPS, with a backend that plays hardware: the Coordinator's own, with and without a nonce, and
//! statements about those of others.

use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P384_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use marblerun_attestation::{
    Backend, Claims, EnclaveClaims, Evidence, Identity, Incarnation, IssueError, Issuer, ReportData, SgxIdentity,
    TcbStatus, Tee, Verifier, VerifyError,
};
use marblerun_coordinator::core::{Coordinator, Settings};
use marblerun_coordinator::server::Limits;
use marblerun_state::Phase;
use marblerun_store::Store;
use serde_json::json;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::support::{Server, manifest, state};

/// Evidence is the report data. Its first byte chooses the status.
struct Hardware;

impl Issuer for Hardware {
    fn tee(&self) -> Tee {
        Tee::Sgx
    }

    fn issue(&self, report_data: &ReportData) -> Result<Evidence, IssueError> {
        Ok(Evidence::from_wire(report_data.0.to_vec()).unwrap())
    }
}

const STATUSES: [TcbStatus; 8] = [
    TcbStatus::UpToDate,
    TcbStatus::OutOfDate,
    TcbStatus::Revoked,
    TcbStatus::ConfigurationNeeded,
    TcbStatus::OutOfDateConfigurationNeeded,
    TcbStatus::SwHardeningNeeded,
    TcbStatus::ConfigurationAndSwHardeningNeeded,
    TcbStatus::Unknown,
];

impl Verifier for Hardware {
    fn verify(&self, evidence: &Evidence, _now: u64) -> Result<Claims, VerifyError> {
        let report_data: [u8; 64] =
            evidence.as_bytes().try_into().map_err(|_| VerifyError("malformed report".to_owned()))?;
        Ok(Claims::Enclave(EnclaveClaims {
            identity: Identity::Sgx(SgxIdentity {
                unique_id: [1; 32],
                signer_id: [2; 32],
                product_id: 7,
                security_version: 3,
            }),
            debug: false,
            tcb_status: STATUSES[usize::from(report_data[0]) % STATUSES.len()],
            report_data: ReportData(report_data),
            advisories: None,
        }))
    }
}

async fn server(features: &[&str]) -> Server {
    let backend = Backend { issuer: Arc::new(Hardware), verifier: Arc::new(Hardware) };
    let settings = Settings { backend, ..Settings::simulation() };
    let coordinator = Coordinator::new(Store::in_memory(state(Phase::AcceptingManifest)), settings);
    let server = Server::serve(coordinator, Limits::default()).await;
    let manifest = manifest::with_features(features).to_string().into_bytes();
    server.coordinator.set_manifest(manifest).await.unwrap();
    server
}

#[tokio::test]
async fn a_quote_is_over_the_root_and_the_nonce_and_v1_knows_no_nonce() {
    let server = server(&[]).await;
    let root = server.coordinator.snapshot().authority().root_certificate.clone();
    let over = |nonce: &[u8]| json!(marblerun_api::bytes::encode(&ReportData::binding(&[&root, nonce]).0));
    assert_eq!(server.get("/api/v2/quote").await.data()["quote"], over(b""));
    // URL-safe alphabet.
    assert_eq!(server.get("/api/v2/quote?nonce=-_8=").await.data()["quote"], over(&[0xfb, 0xff]));
    assert_eq!(server.get("/api/v2/quote?nonce=AQ==&nonce=Ag==").await.data()["quote"], over(&[1]), "the first counts");
    assert_eq!(server.get("/quote?nonce=-_8=").await.data()["Quote"], over(b""));
}

#[tokio::test]
async fn every_status_is_told_and_signed_over_the_quote_as_it_was_received() {
    let server = server(&["SIGNQUOTEENDPOINT"]).await;
    let root = Certificate::from_der(&server.coordinator.snapshot().authority().root_certificate).unwrap();
    let key = root.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes().to_vec();
    for (number, expected) in [
        "UpToDate",
        "OutOfDate",
        "Revoked",
        "ConfigurationNeeded",
        "OutOfDateConfigurationNeeded",
        "SWHardeningNeeded",
        "ConfigurationAndSWHardeningNeeded",
        "Unknown",
    ]
    .into_iter()
    .enumerate()
    {
        let quote = marblerun_api::bytes::encode(&[u8::try_from(number).unwrap(); 64]);
        let reply = server.post("/api/v2/sign-quote", json!({"sgxQuote": quote}).to_string()).await;
        assert_eq!((reply.status, &reply.data()["tcbStatus"]), (200, &json!(expected)), "{reply:?}");
        let signature = reply.data()["verificationSignature"].as_str().map(marblerun_api::bytes::decode);
        UnparsedPublicKey::new(&ECDSA_P384_SHA256_ASN1, &key)
            .verify(format!("{quote}{expected}").as_bytes(), &signature.unwrap().unwrap())
            .unwrap();
    }
    let reply = server.post("/api/v2/sign-quote", json!({"sgxQuote": "AAEC"}).to_string()).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.data()["sgxQuote"], "quote verification failed: malformed report");
}

#[tokio::test]
async fn without_its_feature_a_route_is_forbidden_to_all() {
    for (features, expected) in
        [(&[][..], [403, 403]), (&["monotoniccounter"], [403, 401]), (&["SignQuoteEndpoint"], [400, 403])]
    {
        let server = server(features).await;
        let signed = server.post("/api/v2/sign-quote", "{}").await.status;
        let counted = server.post("/api/v2/monotonic-counter", "{}").await.status;
        assert_eq!([signed, counted], expected, "{features:?}");
    }
}

#[tokio::test]
async fn the_life_of_the_deployment_is_attested_over_a_nonce_that_is_long_enough() {
    let server = server(&[]).await;
    let root = server.coordinator.snapshot().authority().root_certificate.clone();
    let asked = |nonce: &[u8]| format!("/api/v3/attestation?nonce={}", URL_SAFE.encode(nonce));
    for nonce in [&[7; 16][..], &[8; 64]] {
        let answer = server.get(&asked(nonce)).await.json();
        let life = Incarnation { number: 1, id: [8; 16] };
        let quote = marblerun_api::bytes::decode(answer["quote"].as_str().unwrap()).unwrap();
        assert_eq!(quote, ReportData::of_incarnation(&root, nonce, Some(&life)).0);
        assert_eq!((&answer["incarnation"], &answer["incarnationId"]), (&json!(1), &json!("08".repeat(16))));
        assert_eq!(answer["cert"], server.get("/api/v2/quote").await.data()["cert"]);
    }
    for path in [asked(&[]), asked(&[7; 15]), asked(&[7; 65]), "/api/v3/attestation".to_owned(), asked(&[7; 16]) + "!"]
    {
        let refused = server.get(&path).await;
        assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("bad_nonce")), "{path}");
    }
}

#[tokio::test]
async fn in_recovery_mode_no_life_is_attested_and_in_simulation_nothing_is() {
    let backend = Backend { issuer: Arc::new(Hardware), verifier: Arc::new(Hardware) };
    let settings = Settings { backend, ..Settings::simulation() };
    let coordinator = Coordinator::new(Store::in_memory(state(Phase::Recovery)), settings);
    let root = coordinator.snapshot().authority().root_certificate.clone();
    let server = Server::serve(coordinator, Limits::default()).await;
    let asked = format!("/api/v3/attestation?nonce={}", URL_SAFE.encode([7; 16]));
    let answer = server.get(&asked).await.json();
    let quote = marblerun_api::bytes::decode(answer["quote"].as_str().unwrap()).unwrap();
    assert_eq!(quote, ReportData::of_incarnation(&root, &[7; 16], None).0);
    assert_eq!((&answer["incarnation"], &answer["incarnationId"]), (&json!(null), &json!(null)));

    let answer = Server::start().await.get(&asked).await.json();
    assert_eq!((&answer["quote"], &answer["tee"]), (&json!(null), &json!("simulation")));
    assert_eq!(answer["incarnation"], 1);
}
