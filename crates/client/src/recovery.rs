//! What holders of recovery keys do: decrypt their secret, sign it, and send it on, in the clear inside attested TLS
//! or encrypted to the Coordinator's ephemeral key, so that somebody else can carry it.

use marblerun_api::v2;
use marblerun_recovery::rsa_keys::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

use crate::{Client, ClientError};

/// Whatever holds a party's private key: a file, a token, another machine.
pub trait RecoverySigner {
    /// Signs the plain secret: RSASSA-PKCS1-v1_5 with SHA-256.
    ///
    /// # Errors
    /// With what the user should know.
    fn sign(&self, secret: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>>;
}

/// A party's private key in memory.
pub struct RecoveryKey(PrivateKey);

impl std::fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecoveryKey")
    }
}

impl RecoveryKey {
    /// Reads PEM: `PRIVATE KEY` (PKCS#8) or `RSA PRIVATE KEY` (PKCS#1), not encrypted.
    ///
    /// # Errors
    /// [`ClientError::Recovery`] with what is wrong.
    pub fn from_pem(pem: &str) -> Result<Self, ClientError> {
        PrivateKey::from_pem(pem).map(Self).map_err(|e| ClientError::Recovery(e.to_string()))
    }

    /// Decrypts what [`Client::set_manifest`] answered for this party.
    ///
    /// # Errors
    /// [`ClientError::Recovery`] if it was encrypted to another key.
    pub fn decrypt(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        let plain = self.0.decrypt(ciphertext);
        plain.map_err(|e| ClientError::Recovery(format!("decrypting the recovery secret: {e}")))
    }
}

impl RecoverySigner for RecoveryKey {
    fn sign(&self, secret: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.sign(secret)?)
    }
}

/// Encrypts a plain recovery secret to a Coordinator's ephemeral key ([`Client::recovery_public_key`], SPKI DER). The
/// key must come from an attested Coordinator: who can swap it reads the secret.
///
/// # Errors
/// [`ClientError::Recovery`] if the key is none or too small.
pub fn encrypt_recovery_secret(secret: &[u8], ephemeral_key: &[u8]) -> Result<Vec<u8>, ClientError> {
    PublicKey::from_spki_der(ephemeral_key)
        .and_then(|key| key.encrypt(secret))
        .map_err(|e| ClientError::Recovery(format!("encrypting the recovery secret: {e}")))
}

impl Client {
    /// Signs a plain recovery secret and uploads it.
    ///
    /// ```no_run
    /// # async fn example(client: marblerun_client::Client, ciphertext: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    /// use marblerun_client::RecoveryKey;
    ///
    /// // `client` pins the root that a Coordinator in recovery mode was attested with: a temporary one.
    /// let key = RecoveryKey::from_pem(&std::fs::read_to_string("alice.pem")?)?;
    /// let answer = client.recover_with_signer(&key.decrypt(ciphertext)?, &key).await?;
    /// println!("{} secrets are still needed", answer.remaining);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Recovery`] if the signer fails, else as [`Client::recover`].
    pub async fn recover_with_signer<S>(&self, secret: &[u8], signer: &S) -> Result<v2::Recover, ClientError>
    where
        S: RecoverySigner + ?Sized,
    {
        let signature = signer.sign(secret);
        let signature = signature.map_err(|e| ClientError::Recovery(format!("signing the recovery secret: {e}")))?;
        self.recover(secret, &signature).await
    }
}
