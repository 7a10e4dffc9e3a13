//! Private keys in files, encrypted (PKCS#8, RFC 5958) or not.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use pkcs8::der::pem::PemLabel as _;
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument};
use zeroize::Zeroizing;

use crate::files;
use crate::output::ask_secret;

/// Holds the passphrase where there is no terminal to ask on.
pub const PASSPHRASE_VARIABLE: &str = "MARBLERUN_KEY_PASSPHRASE";

/// The PEM text of a private key. One that is encrypted is decrypted with the passphrase from the environment, or
/// with one that is asked for on the terminal.
pub fn read(path: &Path) -> Result<Zeroizing<String>> {
    let bytes = Zeroizing::new(files::read(path)?);
    let text = std::str::from_utf8(&bytes).with_context(|| format!("{} is not PEM", path.display()))?;
    decrypted(text, &|| passphrase(path)).with_context(|| format!("reading {}", path.display()))
}

fn passphrase(path: &Path) -> Result<Zeroizing<String>> {
    if let Ok(passphrase) = std::env::var(PASSPHRASE_VARIABLE) {
        return Ok(Zeroizing::new(passphrase));
    }
    match ask_secret(&format!("Passphrase of {}: ", path.display()))? {
        Some(passphrase) => Ok(passphrase),
        None => bail!("the key is encrypted, and there is no terminal to ask on: set {PASSPHRASE_VARIABLE}"),
    }
}

fn decrypted(text: &str, passphrase: &dyn Fn() -> Result<Zeroizing<String>>) -> Result<Zeroizing<String>> {
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        bail!(
            "this old form of encryption is not supported; 'openssl pkcs8 -topk8 -in FILE -out NEW' writes the present one"
        );
    }
    // Text may stand before and behind, as openssl writes it.
    let label = EncryptedPrivateKeyInfoRef::PEM_LABEL;
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let Some(start) = text.find(&begin) else { return Ok(Zeroizing::new(text.to_owned())) };
    let block = text.get(start..).unwrap_or_default();
    let block = block.find(&end).and_then(|at| block.get(..at + end.len())).context("its PEM has no end")?;
    let (_, encrypted) = SecretDocument::from_pem(block).map_err(|error| anyhow!("it is not PEM: {error}"))?;
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(encrypted.as_bytes())
        .map_err(|error| anyhow!("it is no encrypted PKCS#8 key of a kind that is supported: {error}"))?;
    let key = encrypted.decrypt(passphrase()?.as_bytes()).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(_) => anyhow!("the passphrase is wrong, or the file is damaged"),
        other => anyhow!("the passphrase is wrong, or the file is damaged ({other})"),
    })?;
    key.to_pem(PrivateKeyInfoRef::PEM_LABEL, LineEnding::LF).map_err(|error| anyhow!("writing it as PEM: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl genpkey -algorithm ED25519 | openssl pkcs8 -topk8 -passout pass:correct` (PBKDF2, AES-256-CBC).
    const ENCRYPTED: &str = include_str!("../tests/fixtures/encrypted.key");
    /// The same key, as openssl prints it with the passphrase.
    const PLAIN: &str = include_str!("../tests/fixtures/decrypted.key");

    fn with(text: &str, passphrase: &str) -> Result<String, String> {
        let passphrase = || Ok(Zeroizing::new(passphrase.to_owned()));
        decrypted(text, &passphrase).map(|text| text.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_encrypted_key_opens_with_its_passphrase_alone() {
        assert_eq!(with(ENCRYPTED, "correct").unwrap(), PLAIN);
        assert_eq!(with(&format!("Bag Attributes\n{ENCRYPTED}more"), "correct").unwrap(), PLAIN);
        assert_eq!(with(ENCRYPTED, "wrong").unwrap_err(), "the passphrase is wrong, or the file is damaged");
    }

    #[test]
    fn a_plain_key_needs_no_passphrase_and_what_is_broken_is_told() {
        let nobody = || -> Result<Zeroizing<String>> { panic!("nobody is asked") };
        assert_eq!(decrypted(PLAIN, &nobody).unwrap().as_str(), PLAIN);
        assert!(with("Proc-Type: 4,ENCRYPTED", "").unwrap_err().contains("openssl pkcs8 -topk8"));
        let cut = ENCRYPTED.get(..80).unwrap();
        assert_eq!(with(cut, "correct").unwrap_err(), "its PEM has no end");
        let junk = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert!(with(junk, "correct").unwrap_err().contains("no encrypted PKCS#8 key"));
    }
}
