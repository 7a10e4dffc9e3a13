//! What a Marble asks of its Coordinator before it shows anything of itself: evidence and the manifest in force. The client
//! API plays its part over real TLS; evidence is report data alone, and a verifier of the test's own reads it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use marblerun_api::marble::Parameters as Answer;
use marblerun_attestation::{
    Claims, EnclaveClaims, Evidence, Identity, IssueError, Issuer, Policy, ReportData, SgxIdentity, TcbStatus, Tee,
    Verifier, VerifyError,
};
use marblerun_client::Endpoint;
use marblerun_marble::{Config, Expected, PremainError, Trust, activate};
use support::*;

/// Evidence is 64 bytes of report data.
struct ReportDataAlone;

impl Verifier for ReportDataAlone {
    fn verify(&self, evidence: &Evidence, _now: u64) -> Result<Claims, VerifyError> {
        let report_data = evidence.as_bytes().try_into().map_err(|_| VerifyError("not genuine".to_owned()))?;
        Ok(Claims::Enclave(EnclaveClaims {
            identity: Identity::Sgx(SgxIdentity {
                unique_id: [1; 32],
                signer_id: [2; 32],
                product_id: 3,
                security_version: 4,
            }),
            debug: false,
            report_data: ReportData(report_data),
            tcb_status: TcbStatus::UpToDate,
            advisories: Some(Vec::new()),
        }))
    }
}

fn policy() -> Policy {
    Policy { unique_id: "01".repeat(32), ..Policy::default() }
}

/// A Coordinator with both of its APIs, and a Marble that expects this policy.
async fn deployment(shows: Shows, policy: Option<Policy>) -> (FakeCoordinator, ClientApi, Config, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let coordinator = FakeCoordinator::start(&[Step::Answer(Answer::default())]).await;
    let api = ClientApi::start(coordinator.authority.clone(), shows).await;
    let mut config = coordinator.config(directory.path());
    config.expected = Some(Expected {
        client_api: Endpoint::parse(&api.address.to_string()).unwrap(),
        policy,
        manifest: None,
        verifier: Arc::new(ReportDataAlone),
    });
    (coordinator, api, config, directory)
}

async fn run(config: &Config) -> Result<(), PremainError> {
    activate(config, &simulation(), Timestamp::now()).await.map(drop)
}

fn untrusted(result: Result<(), PremainError>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(error, PremainError::Untrusted(_)), "{error}");
    assert_eq!(error.exit_code(), 5);
    error.to_string()
}

#[tokio::test]
async fn a_coordinator_that_proves_what_it_runs_is_believed() {
    let (coordinator, api, config, _directory) = deployment(Shows::Evidence, Some(policy())).await;
    run(&config).await.unwrap();
    run(&config).await.unwrap();
    assert_eq!(coordinator.calls(), 2);
    let nonces = api.nonces();
    assert!(nonces.len() == 2 && nonces[0].len() == 32 && nonces[0] != nonces[1], "a fresh nonce each time");
}

#[tokio::test]
async fn a_coordinator_that_proves_nothing_or_something_else_gets_no_request() {
    let other = Policy { unique_id: "ff".repeat(32), ..Policy::default() };
    for (shows, policy, part) in [
        (Shows::Nothing, policy(), "it runs in simulation and proves nothing"),
        (Shows::Garbage, policy(), "not genuine"),
        (Shows::OldEvidence, policy(), "report data does not match"),
        (Shows::Evidence, other, "invalid UniqueID"),
    ] {
        let (coordinator, _api, config, _directory) = deployment(shows, Some(policy)).await;
        let text = untrusted(run(&config).await);
        assert!(text.contains(part), "{text}");
        assert_eq!(coordinator.calls(), 0, "{part}");
    }
}

#[tokio::test]
async fn evidence_of_one_coordinator_does_not_speak_for_another() {
    let (_genuine, _api, config, _directory) = deployment(Shows::Evidence, Some(policy())).await;
    // The client API is the genuine one's; whoever listens for Marbles is somebody else.
    let other = FakeCoordinator::start(&[Step::Answer(Answer::default())]).await;
    let config = Config { coordinator: other.address.to_string().parse().unwrap(), ..config };
    let text = untrusted(run(&config).await);
    assert!(text.contains("does not lead to the pinned root"), "{text}");
}

#[tokio::test]
async fn a_pinned_root_and_evidence_must_both_be_right() {
    let (coordinator, _api, config, _directory) = deployment(Shows::Evidence, Some(policy())).await;
    let root = coordinator.authority.root_certificate.clone();
    run(&Config { trust: Trust::Root(root), ..config.clone() }).await.unwrap();
    for trust in [Trust::Root(authority().root_certificate.clone()), Trust::Fingerprint([7; 32])] {
        let text = untrusted(run(&Config { trust, ..config.clone() }).await);
        assert!(text.contains("another root certificate than the pinned one"), "{text}");
    }
    assert_eq!(coordinator.calls(), 1);
}

#[tokio::test]
async fn only_the_expected_manifest_will_do() {
    let (coordinator, _api, config, _directory) = deployment(Shows::Evidence, Some(policy())).await;
    let with = |manifest: &[u8]| {
        let mut config = config.clone();
        let hash = digest(&SHA256, manifest);
        config.expected.as_mut().unwrap().manifest = Some(hash.as_ref().try_into().unwrap());
        config
    };
    run(&with(MANIFEST)).await.unwrap();
    let text = untrusted(run(&with(b"another")).await);
    assert!(text.contains("the manifest in force there has the fingerprint"), "{text}");
    // With a pinned root, it needs no evidence.
    let mut pinned = with(MANIFEST);
    pinned.expected.as_mut().unwrap().policy = None;
    pinned.trust = Trust::Root(coordinator.authority.root_certificate.clone());
    run(&pinned).await.unwrap();
    assert_eq!(coordinator.calls(), 2);
}

#[tokio::test]
async fn a_client_api_that_is_not_there_yet_is_waited_for() {
    let (coordinator, api, mut config, _directory) = deployment(Shows::Evidence, Some(policy())).await;
    api.stop().await;
    config.timeout = Duration::from_millis(200);
    let error = run(&config).await.unwrap_err();
    assert!(matches!(error, PremainError::GaveUp { .. }), "{error}");
    assert!(error.to_string().contains("client API"), "{error}");
    assert_eq!(coordinator.calls(), 0);
}

/// Hardware that fails so many times.
struct Failing;

impl Issuer for Failing {
    fn tee(&self) -> Tee {
        Tee::Sgx
    }

    fn issue(&self, _report_data: &ReportData) -> Result<Evidence, IssueError> {
        Err(IssueError { tee: Tee::Sgx, reason: "no quote".to_owned() })
    }
}

#[tokio::test]
async fn a_marble_whose_hardware_gives_no_evidence_asks_nobody_for_anything() {
    let (coordinator, _api, config, _directory) = deployment(Shows::Evidence, None).await;
    let backend = marblerun_attestation::Backend { issuer: Arc::new(Failing), verifier: Arc::new(ReportDataAlone) };
    let error = activate(&config, &backend, Timestamp::now()).await.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    let text = error.to_string();
    assert!(text.contains("Intel SGX gives no evidence: no quote. It is not replaced by simulation"), "{text}");
    assert_eq!(coordinator.calls(), 0);
}
