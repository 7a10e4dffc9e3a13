//! Secure key release, against a local server that plays Azure by its published requests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod azure;

use std::sync::Arc;
use std::time::{Duration, Instant};

use azure::{Authority, Azure, enclave};
use marblerun_azure_hsm::{AzureHsm, Config, Credential, KeyName, Params};
use marblerun_sealing::{KeySealer as _, SealError, SealMode, SlotKind, upstream_hsm};

fn error_of<T>(result: Result<T, SealError>) -> SealError {
    match result {
        Err(error) => error,
        Ok(_) => panic!("it was released"),
    }
}

#[test]
fn a_slot_opens_wherever_the_key_is_released_and_a_kept_key_is_not_asked_for_again() {
    let azure = Azure::start();
    let hsm = azure.hsm();
    assert_eq!((hsm.kind(), hsm.simulated()), (SlotKind::Kms, false));
    let slot = hsm.new_slot(SealMode::ProductKey).unwrap();
    assert_eq!(hsm.slot_secret(&slot.params).unwrap(), slot.secret);
    let other = hsm.new_slot(SealMode::ProductKey).unwrap();
    assert_ne!(slot.secret, other.secret, "a salt of its own");
    assert_eq!(azure.releases(), 1);

    let elsewhere = azure.hsm();
    assert_eq!(elsewhere.slot_secret(&slot.params).unwrap(), slot.secret);
    assert_eq!(elsewhere.host_id().unwrap(), hsm.host_id().unwrap());
    assert_eq!(azure.releases(), 2);
    hsm.forget();
    assert_eq!(hsm.slot_secret(&slot.params).unwrap(), slot.secret);
    assert_eq!(azure.releases(), 3);
    let nonces: std::collections::BTreeSet<String> = azure
        .state()
        .requests
        .iter()
        .filter(|(path, _)| path.contains("/release"))
        .map(|(_, body)| serde_json::from_str::<serde_json::Value>(body).unwrap()["nonce"].to_string())
        .collect();
    assert_eq!(nonces.len(), 3, "each with a nonce of its own");
}

#[test]
fn slots_name_their_version_so_that_a_rotation_of_the_key_loses_nothing() {
    let azure = Azure::start();
    let before = azure.hsm().new_slot(SealMode::UniqueKey).unwrap();
    azure.state().keys.insert("v2".to_owned(), vec![2; 32]);
    let after = azure.hsm().new_slot(SealMode::UniqueKey).unwrap();
    let version = |params: &[u8]| Params::decode(params).unwrap().key_version.as_str().to_owned();
    assert_eq!((version(&before.params), version(&after.params)), ("v1".to_owned(), "v2".to_owned()));
    let hsm = azure.hsm();
    assert_eq!(hsm.slot_secret(&before.params).unwrap(), before.secret);
    assert_eq!(hsm.slot_secret(&after.params).unwrap(), after.secret);

    let fixed = Config { key_version: Some(KeyName::parse("v1").unwrap()), ..azure.config() };
    let slot = AzureHsm::new(fixed, enclave()).new_slot(SealMode::UniqueKey).unwrap();
    assert_eq!(version(&slot.params), "v1");

    azure.state().keys.remove("v1");
    let error = error_of(azure.hsm().slot_secret(&before.params));
    assert!(matches!(error, SealError::NotMine(_)), "{error}");
    assert!(error.to_string().contains("this version of it removed"), "{error}");
}

#[test]
fn a_federated_token_is_read_at_each_use() {
    let azure = Azure::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let config = Config { credential: Credential::FederatedToken(file.clone()), ..azure.config() };
    let hsm = AzureHsm::new(config, enclave());
    let error = error_of(hsm.new_slot(SealMode::ProductKey)).to_string();
    assert!(error.contains("token: No such file"), "{error}");
    std::fs::write(&file, "stale").unwrap();
    let error = error_of(hsm.new_slot(SealMode::ProductKey)).to_string();
    assert!(error.contains("the login service of Azure refuses: 401") && error.contains("AADSTS7000215"), "{error}");
    std::fs::write(&file, "federated\n").unwrap();
    hsm.new_slot(SealMode::ProductKey).unwrap();
}

#[test]
fn another_key_or_vault_than_the_configured_one_is_not_asked() {
    let azure = Azure::start();
    let slot = azure.hsm().new_slot(SealMode::ProductKey).unwrap();
    let asked = azure.releases();
    let mut forged = Params::decode(&slot.params).unwrap();
    forged.vault = "evil.example".to_owned();
    let other = AzureHsm::new(Config { key_name: KeyName::parse("other").unwrap(), ..azure.config() }, enclave());
    for error in [error_of(azure.hsm().slot_secret(&forged.encode())), error_of(other.slot_secret(&slot.params))] {
        assert!(matches!(error, SealError::NotMine(_)), "{error}");
    }
    assert_eq!(azure.releases(), asked);
    // Another salt or mode is another secret, never this one.
    forged = Params::decode(&slot.params).unwrap();
    forged.mode = 1;
    assert_ne!(azure.hsm().slot_secret(&forged.encode()).unwrap(), slot.secret);
    assert!(matches!(error_of(azure.hsm().slot_secret(&slot.params[1..])), SealError::Malformed(_)));
}

#[test]
fn an_answer_that_is_not_the_vaults_answer_to_this_request_is_not_believed() {
    let azure = Azure::start();
    let stranger = Authority::new().issue("localhost", "30");
    let other_host = azure.authority.issue("evil.example", "30");
    let expired = azure.authority.issue("localhost", "0");
    let refused = |change: &dyn Fn(&mut azure::Faults), reason: &str| {
        azure.state().faults = azure::Faults::default();
        change(&mut azure.state().faults);
        let error = error_of(azure.hsm().new_slot(SealMode::ProductKey));
        assert!(matches!(error, SealError::Unavailable { backend: "azure-managed-hsm", .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("not believed") && text.contains(reason), "{reason}: {text}");
    };
    refused(&|faults| faults.chain = Some(stranger.clone()), "invalid peer certificate");
    refused(&|faults| faults.chain = Some(other_host.clone()), "not valid for name");
    std::thread::sleep(Duration::from_secs(1));
    refused(&|faults| faults.chain = Some(expired.clone()), "expired");
    for algorithm in ["none", "HS256"] {
        refused(&|faults| faults.algorithm = Some(algorithm), "not accepted");
    }
    refused(&|faults| faults.algorithm = Some("ES256"), "another kind");
    refused(&|faults| faults.algorithm = Some("RS384"), "signature is wrong");
    refused(&|faults| faults.bad_signature = true, "signature is wrong");
    refused(&|faults| faults.nonce = Some("AAAAAAAAAAAAAAAAAAAAAA".to_owned()), "nonce");
    refused(&|faults| faults.kid = Some("https://localhost/keys/other/v1".to_owned()), "another key");
    // PS384 is on the list.
    azure.state().faults = azure::Faults { algorithm: Some("PS384"), ..Default::default() };
    azure.hsm().new_slot(SealMode::ProductKey).unwrap();
}

#[test]
fn a_service_that_stumbles_is_asked_again_and_one_that_refuses_is_not() {
    let azure = Azure::start();
    azure.state().faults.answers =
        [("oauth2", 503, None), ("attest", 500, None), ("release", 429, Some(1)), ("release", 502, None)].into();
    let started = Instant::now();
    azure.hsm().new_slot(SealMode::ProductKey).unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1), "Retry-After is kept to");
    assert_eq!(azure.releases(), 3);

    azure.state().faults.answers = [("release", 403, None)].into();
    let error = error_of(azure.hsm().new_slot(SealMode::ProductKey)).to_string();
    assert!(error.contains("the vault refuses: 403 Forbidden: Planned: as planned"), "{error}");
    assert!(error.contains("release policy"), "{error}");
    assert_eq!(azure.releases(), 4);
}

#[test]
fn a_slow_server_is_waited_for_until_the_deadline_and_no_longer() {
    let azure = Azure::start();
    azure.state().faults.delay = Duration::from_secs(30);
    let config = Config { deadline: Duration::from_secs(2), ..azure.config() };
    let started = Instant::now();
    let error = error_of(AzureHsm::new(config.clone(), enclave()).new_slot(SealMode::ProductKey)).to_string();
    assert!(error.contains("no answer within"), "{error}");
    azure.state().faults.delay = Duration::ZERO;
    azure.state().faults.answers = [("oauth2", 429, Some(3600))].into();
    let error = error_of(AzureHsm::new(config, enclave()).new_slot(SealMode::ProductKey)).to_string();
    assert!(error.contains("429 Too Many Requests"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
}

#[test]
fn without_evidence_nothing_is_sent() {
    let azure = Azure::start();
    for (attest, reason) in [
        (Arc::new(|_: &[u8; 32]| Ok(Vec::new())) as marblerun_azure_hsm::Attest, "OE_UNSUPPORTED"),
        (Arc::new(|_: &[u8; 32]| Ok(b"MREV....".to_vec())), "not of SGX"),
        (Arc::new(|_: &[u8; 32]| Err("the quoting enclave is gone".to_owned())), "the quoting enclave is gone"),
    ] {
        let error = error_of(AzureHsm::new(azure.config(), attest).new_slot(SealMode::ProductKey)).to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert!(azure.state().requests.is_empty());
}

#[test]
fn a_server_with_a_foreign_certificate_gets_no_secret() {
    let azure = Azure::start();
    let config = Config { roots: Authority::new().roots(), deadline: Duration::from_secs(1), ..azure.config() };
    let error = error_of(AzureHsm::new(config, enclave()).new_slot(SealMode::ProductKey)).to_string();
    assert!(error.contains("the login service of Azure") && error.contains("invalid peer certificate"), "{error}");
    assert!(azure.state().requests.is_empty());
}

#[test]
fn the_originals_envelope_opens_with_the_released_key_and_is_written_for_export() {
    let azure = Azure::start();
    // The fake HSM's first version is the key of the original's fake HSM.
    let fixture = format!("{}/../sealing/tests/fixtures/upstream-hsm-fake/sealed_key", env!("CARGO_MANIFEST_DIR"));
    let hsm = azure.hsm();
    let dek = hsm.open_upstream(&std::fs::read(&fixture).unwrap()).unwrap();
    assert_eq!(dek.len(), 32);
    let exported = hsm.seal_upstream(&dek).unwrap();
    assert_eq!(upstream_hsm::open(&[0, 0xff].repeat(16), &exported).unwrap(), dek);

    azure.state().keys.insert("v2".to_owned(), vec![2; 32]);
    let error = error_of(azure.hsm().open_upstream(&exported));
    assert!(matches!(error, SealError::NotMine(_)), "{error}");
    assert!(error.to_string().contains("version v2 was released"), "{error}");
    let old = Config { key_version: Some(KeyName::parse("v1").unwrap()), ..azure.config() };
    assert_eq!(AzureHsm::new(old, enclave()).open_upstream(&exported).unwrap(), dek);
    assert!(matches!(error_of(hsm.open_upstream(&[7; 32])), SealError::Malformed(_)));
}

#[test]
fn a_kept_key_is_dropped_after_its_time() {
    let azure = Azure::start();
    let hsm = AzureHsm::new(Config { keep: Duration::from_millis(1), ..azure.config() }, enclave());
    let slot = hsm.new_slot(SealMode::ProductKey).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    hsm.slot_secret(&slot.params).unwrap();
    assert_eq!(azure.releases(), 2);
}

/// Sealers are called from threads of a runtime too.
#[tokio::test]
async fn it_works_inside_a_runtime() {
    let azure = tokio::task::spawn_blocking(Azure::start).await.unwrap();
    let hsm = azure.hsm();
    hsm.new_slot(SealMode::ProductKey).unwrap();
    tokio::task::spawn_blocking(move || drop(azure)).await.unwrap();
}
