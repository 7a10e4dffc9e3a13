//! What holders of recovery keys send.

use marblerun_client::{ClientError, RecoveryKey, RecoverySigner, encrypt_recovery_secret};
use marblerun_recovery::rsa_keys::PublicKey;
use serde_json::json;

use crate::fake::{Fake, Script};

const KEY: &str = include_str!("../fixtures/recovery.key");
const SECRET: &[u8] = &[7; 33];

struct NoToken;

impl RecoverySigner for NoToken {
    fn sign(&self, _secret: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        Err("the token is not there".into())
    }
}

#[tokio::test]
async fn a_secret_goes_up_with_a_signature_over_the_plain_secret() {
    let fake = Fake::start(Script::v2()).await;
    let key = RecoveryKey::from_pem(KEY).unwrap();
    let answer = fake.client().recover_with_signer(SECRET, &key).await.unwrap();
    assert_eq!(answer.remaining, 1);
    let body: serde_json::Value = serde_json::from_slice(&fake.requests()[0].body).unwrap();
    assert_eq!(body["recoverySecret"], json!(marblerun_api::bytes::encode(SECRET)));
    let signature = marblerun_api::bytes::decode(body["recoverySecretSignature"].as_str().unwrap()).unwrap();
    let public = PublicKey::from_spki_der(&fake.client().recovery_public_key().await.unwrap()).unwrap();
    assert!(public.verifies(SECRET, &signature));
}

#[tokio::test]
async fn a_secret_that_others_carry_is_encrypted_to_the_coordinator() {
    let fake = Fake::start(Script::v2()).await;
    let ephemeral = fake.client().recovery_public_key().await.unwrap();
    let encrypted = encrypt_recovery_secret(SECRET, &ephemeral).unwrap();
    assert_eq!(encrypted.len(), 256);
    // The golden ephemeral key is the public half of this one.
    assert_eq!(*RecoveryKey::from_pem(KEY).unwrap().decrypt(&encrypted).unwrap(), SECRET);
    for (secret, key) in [(&SECRET.repeat(99)[..], &ephemeral[..]), (SECRET, b"no key")] {
        assert!(matches!(encrypt_recovery_secret(secret, key), Err(ClientError::Recovery(_))));
    }
}

#[tokio::test]
async fn without_a_signature_nothing_is_sent() {
    let fake = Fake::start(Script::v2()).await;
    let error = fake.client().recover_with_signer(SECRET, &NoToken).await.unwrap_err();
    assert_eq!(error.to_string(), "signing the recovery secret: the token is not there");
    assert!(fake.lines().is_empty());
}

#[test]
fn a_key_that_is_none_and_a_secret_of_somebody_else_are_told() {
    assert!(RecoveryKey::from_pem("nothing").is_err());
    let key = RecoveryKey::from_pem(KEY).unwrap();
    assert_eq!(format!("{key:?}"), "RecoveryKey");
    let error = key.decrypt(&[1; 256]).unwrap_err().to_string();
    assert!(error.starts_with("decrypting the recovery secret: "), "{error}");
}
