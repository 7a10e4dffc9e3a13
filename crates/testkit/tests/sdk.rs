//! Every function of the SDK against a real Coordinator, as the life of one deployment.
#![allow(missing_docs)]

use std::collections::BTreeMap;

use marblerun_client::wire::v3::{Mode, Phase};
use marblerun_client::{
    AttestError, AttestOptions, Client, ClientError, EraConfig, ExpectedManifest, MarbleCredentials, RecoveryKey,
    attest, secrets, verify_deployment,
};
use marblerun_testkit::{Coordinator, FakeMarble, RecoveryKeyPair, TestUser};
use serde_json::{Value, json};

const UUID: &str = "33333333-3333-4333-8333-333333333333";

fn manifest(users: &[(&str, &TestUser)], key: &RecoveryKeyPair, version: u64) -> Vec<u8> {
    let all: serde_json::Map<String, Value> = users
        .iter()
        .map(|(name, user)| {
            (name.to_string(), json!({"Certificate": user.certificate_pem, "Roles": ["update", "packages", "secrets"]}))
        })
        .collect();
    json!({
        "Packages": {"app": {"Debug": true, "SignerID": "ab".repeat(32), "ProductID": 1, "SecurityVersion": version}},
        "Marbles": {"app": {"Package": "app"}},
        "Secrets": {"token": {"Type": "plain", "UserDefined": true}},
        "Users": all,
        "Roles": {
            "update": {"ResourceType": "Manifest", "Actions": ["UpdateManifest"]},
            "packages": {"ResourceType": "Packages", "ResourceNames": ["app"], "Actions": ["UpdateSecurityVersion"]},
            "secrets": {"ResourceType": "Secrets", "ResourceNames": ["token"], "Actions": ["ReadSecret", "WriteSecret"]}
        },
        "RecoveryKeys": {"alice": key.public_pem().unwrap()},
        "Config": {"FeatureGates": ["MonotonicCounter", "SignQuoteEndpoint"]}
    })
    .to_string()
    .into_bytes()
}

async fn user(coordinator: &Coordinator, user: &TestUser) -> Client {
    coordinator.client_builder().await.unwrap().identity(user.identity().unwrap()).build().unwrap()
}

fn code<T>(result: Result<T, ClientError>) -> Option<u16> {
    result.err().and_then(|error| error.code())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_lives_with_a_coordinator_from_its_first_manifest_to_its_recovery() {
    let home = tempfile::tempdir().unwrap();
    let seal = home.path().join("seal");
    let (alice, bob, stranger) =
        (TestUser::new("alice").unwrap(), TestUser::new("bob").unwrap(), TestUser::new("stranger").unwrap());
    let key = RecoveryKeyPair::new().unwrap();
    let first = manifest(&[("alice", &alice), ("bob", &bob)], &key, 1);
    let coordinator = Coordinator::builder(&seal).host_key(&home.path().join("host")).start().await.unwrap();
    let endpoint = coordinator.endpoint();

    // It proves nothing, and no policy makes something of that.
    let era = json!({"SignerID": "ab".repeat(32), "ProductID": 3, "SecurityVersion": 3}).to_string();
    let era = EraConfig::from_json(era.as_bytes()).unwrap();
    let error = attest(&endpoint, &AttestOptions::expecting(&era)).await.unwrap_err();
    assert!(matches!(&error, ClientError::Attestation(error) if **error == AttestError::NoEvidence), "{error}");
    let insecure = AttestOptions { nonce: b"nonce".to_vec(), ..AttestOptions::insecure() };
    let attested = attest(&endpoint, &insecure).await.unwrap();
    let client = attested.client(endpoint.clone()).build().unwrap();

    // Before the first manifest.
    assert_eq!(client.status().await.unwrap().code, 2);
    assert_eq!(code(client.manifest().await), Some(500));
    assert_eq!(client.v3().health().await.unwrap().status, "ok");
    let check = client.v3().check_manifest(b"{}").await.unwrap();
    assert!(!check.accepted && !check.findings.is_empty());
    assert!(client.v3().check_manifest(&first).await.unwrap().accepted);
    let recovery_secrets = client.set_manifest(&first).await.unwrap();
    assert!(client.v3().readiness().await.unwrap().ready);
    assert_eq!(client.v3().status().await.unwrap().phase, Phase::AcceptingMarbles);
    verify_deployment(&endpoint, &insecure, ExpectedManifest::Raw(&first)).await.unwrap();
    let other = verify_deployment(&endpoint, &insecure, ExpectedManifest::Raw(b"{}")).await;
    assert!(matches!(other, Err(ClientError::OtherManifest { .. })));

    // Users.
    let (as_alice, as_bob) = (user(&coordinator, &alice).await, user(&coordinator, &bob).await);
    let token = BTreeMap::from([("token".to_owned(), secrets::value(b"s3cret"))]);
    as_alice.set_secrets(token.clone()).await.unwrap();
    let read = as_bob.secrets(&["token".to_owned()]).await.unwrap();
    assert_eq!(read["token"].private.as_ref().unwrap().0, b"s3cret");
    assert_eq!(code(user(&coordinator, &stranger).await.set_secrets(token).await), Some(401));

    // A Marble and its counter.
    let activation = FakeMarble::new().unwrap().activate(coordinator.mesh_addr, "app", UUID).await.unwrap();
    let credentials = MarbleCredentials::from_vars(|name| activation.text(name).ok()).unwrap();
    let marble = Client::builder(endpoint.clone()).marble(credentials).build().unwrap();
    assert_eq!(marble.set_monotonic_counter("orders", 7).await.unwrap(), 0);
    assert_eq!(marble.set_monotonic_counter("orders", 0).await.unwrap(), 7);
    assert_eq!(code(as_alice.set_monotonic_counter("orders", 9).await), Some(401));
    assert_eq!(code(client.sign_quote(b"no quote").await), Some(400), "simulation states nothing about quotes");

    // Updates: one of a package, one of everything.
    let package = br#"{"Packages": {"app": {"SecurityVersion": 2}}}"#;
    assert_eq!(as_alice.apply_update(package).await.unwrap().missing_acknowledgments, 0);
    assert_eq!(client.v3().packages().await.unwrap().packages["app"].security_version, Some(2));
    assert_eq!(code(client.pending_update().await), Some(404));
    let second = manifest(&[("alice", &alice), ("bob", &bob)], &key, 3);
    let waiting = as_alice.apply_update(&second).await.unwrap();
    assert_eq!((waiting.missing_acknowledgments, waiting.missing_users), (1, vec!["bob".to_owned()]));
    assert_eq!(client.pending_update().await.unwrap().manifest.0, second);
    as_bob.cancel_update().await.unwrap();
    as_alice.apply_update(&second).await.unwrap();
    assert_eq!(code(as_bob.acknowledge_update(&first).await), Some(500), "other bytes");
    assert_eq!(as_bob.acknowledge_update(&second).await.unwrap().missing_acknowledgments, 0);
    client.verify_manifest(ExpectedManifest::Raw(&second)).await.unwrap();
    assert!(client.update_log().await.unwrap().last().unwrap().contains("Complete Manifest updated"));

    // The host is lost; the holder of the key brings the state back.
    coordinator.terminate().await.unwrap();
    let coordinator = Coordinator::builder(&seal).host_key(&home.path().join("new-host")).start().await.unwrap();
    let temporary = coordinator.client().await.unwrap();
    assert_eq!(temporary.v3().status().await.unwrap().store.mode, Mode::Recovery);
    let progress = temporary.v3().recovery().await.unwrap();
    assert!(progress.needed && progress.parties.iter().any(|party| party.name == "alice" && !party.accepted));
    let key = RecoveryKey::from_pem(&key.private_pem().unwrap()).unwrap();
    let secret = key.decrypt(&recovery_secrets["alice"].0).unwrap();
    let carried =
        marblerun_client::encrypt_recovery_secret(&secret, &temporary.recovery_public_key().await.unwrap()).unwrap();
    assert!(temporary.recover(&carried, b"no signature").await.is_err());
    assert_eq!(temporary.recover_with_signer(&secret, &key).await.unwrap().remaining, 0);
    let again = coordinator.attest().await.unwrap();
    assert_eq!((again.root, coordinator.status().await.unwrap()), (attested.root, 3), "the root is the old one");
}
