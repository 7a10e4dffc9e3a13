//! `marblerun recover` and `marblerun recover-with-signature ..`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use marblerun_api::bytes::Base64;
use marblerun_client::Client;
use marblerun_recovery::rsa_keys::{PrivateKey, PublicKey};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::{At, Global, RecoverArgs, RecoverWithSignatureArgs, RecoverWithSignatureCommand, RecoveryKey};
use crate::files;
use crate::output::Output;
use crate::trust::Session;

/// Lengths of plain recovery secrets: old and present keys, and threshold shares.
const PLAIN_LENGTHS: [usize; 4] = [16, 24, 32, 33];

/// `recover`: decrypts and signs here, uploads.
pub async fn run(global: &Global, output: &Output<'_>, args: RecoverArgs) -> Result<()> {
    let key = load_key(&args.key)?.context(
        "a recovery private key is needed to sign the secret: give --key FILE (or see 'marblerun recover-with-signature')",
    )?;
    let stored = files::read(&args.secret)?;
    if !args.data && serde_json::from_slice::<RecoveryData>(&stored).is_ok() {
        bail!("{} is recovery data as 'manifest set' writes it: add --data", args.secret.display());
    }
    let mine = |ciphertext: &[u8]| ciphertext.len() == modulus_len(&key) && key.decrypt(ciphertext).is_ok();
    let stored = if args.data { entry(&stored, args.name.as_deref(), mine)? } else { stored };
    let secret = plain_secret(stored, Some(&key))?;
    let signature = key.sign(&secret).map_err(|e| anyhow!("signing the recovery secret: {e}"))?;
    upload(global, output, &args.at, &secret, &signature).await
}

/// `recover-with-signature` and its preparation steps.
pub async fn run_with_signature(global: &Global, output: &Output<'_>, args: RecoverWithSignatureArgs) -> Result<()> {
    match args.command {
        Some(RecoverWithSignatureCommand::PublicKey { at }) => public_key(global, output, &at).await,
        Some(RecoverWithSignatureCommand::EncryptSecret { secret, coordinator_pub_key, key }) => {
            let file = required_output(output)?;
            let secret = plain_secret(files::read(&secret)?, load_key(&key)?.as_ref())?;
            let encrypted = read_public_key(&coordinator_pub_key)?
                .encrypt(&secret)
                .map_err(|e| anyhow!("encrypting the recovery secret: {e}"))?;
            files::write_new(file, &encrypted)
        }
        Some(RecoverWithSignatureCommand::SignSecret { secret, key }) => {
            let file = required_output(output)?;
            let key = load_key(&key)?.context("signing requires a recovery private key: give --key FILE")?;
            let secret = plain_secret(files::read(&secret)?, Some(&key))?;
            let signature = key.sign(&secret).map_err(|e| anyhow!("signing the recovery secret: {e}"))?;
            files::write_new(file, &signature)
        }
        None => {
            let (Some(secret), Some(signature)) = (args.secret, args.signature) else {
                bail!("SECRET and --signature are needed");
            };
            let signature = files::read(&signature)?;
            let secret = Zeroizing::new(files::read(&secret)?);
            upload(global, output, &args.at, &secret, &signature).await
        }
    }
}

async fn upload(global: &Global, output: &Output<'_>, at: &At, secret: &[u8], signature: &[u8]) -> Result<()> {
    let session = Session::attest(global, &global.coordinator(at)?).await?;
    let client: Client = session.client()?;
    let answer = client.recover(secret, signature).await.context("sending recovery request")?;
    output.result(&json!({"remaining": answer.remaining, "message": answer.message}), || match answer.remaining {
        0 => "Recovery successful.".to_owned(),
        n => format!("Secret was processed successfully. Upload the next secret. Remaining secrets: {n}"),
    })?;
    session.save_quote(global)
}

async fn public_key(global: &Global, output: &Output<'_>, at: &At) -> Result<()> {
    let session = Session::attest(global, &global.coordinator(at)?).await?;
    let der = session.client()?.recovery_public_key().await.context("retrieving recovery public key")?;
    let pem = der::pem::encode_string("PUBLIC KEY", der::pem::LineEnding::LF, &der)
        .map_err(|e| anyhow!("encoding the public key: {e}"))?;
    if output.is_structured() {
        output.result(&json!({"publicKey": pem}), String::new)?;
    } else {
        match output.file() {
            Some(file) if file != "-" => files::write_new(file.as_ref(), pem.as_bytes())?,
            _ => output.data(pem.as_bytes(), |_| None)?,
        }
    }
    session.save_quote(global)
}

fn required_output<'a>(output: &Output<'a>) -> Result<&'a Path> {
    output
        .file()
        .filter(|file| !file.is_empty() && *file != "-")
        .map(Path::new)
        .context("required flag(s) \"output\" not set: the result is binary, name the file to write with -o")
}

fn load_key(key: &RecoveryKey) -> Result<Option<PrivateKey>> {
    let Some(path) = &key.key else { return Ok(None) };
    let pem = Zeroizing::new(files::read(path)?);
    let pem = std::str::from_utf8(&pem).with_context(|| format!("{} is not PEM", path.display()))?;
    let key = PrivateKey::from_pem(pem).map_err(|e| anyhow!("reading {}: {e}", path.display()))?;
    Ok(Some(key))
}

fn read_public_key(path: &Path) -> Result<PublicKey> {
    let pem = files::read(path)?;
    let pem = std::str::from_utf8(&pem).with_context(|| format!("{} is not PEM", path.display()))?;
    PublicKey::from_pem(pem).map_err(|e| anyhow!("reading {}: {e}", path.display()))
}

/// Bytes of a ciphertext of that key.
fn modulus_len(key: &PrivateKey) -> usize {
    key.public().bits().div_ceil(8)
}

/// What `manifest set` answered.
#[derive(Deserialize)]
struct RecoveryData {
    #[serde(rename = "RecoverySecrets")]
    secrets: BTreeMap<String, Base64>,
}

/// The encrypted secret of one party in a recovery data file: of the party named, else the one `is_mine` recognises.
fn entry(json: &[u8], name: Option<&str>, is_mine: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
    let data: RecoveryData =
        serde_json::from_slice(json).context("this is not recovery data as 'manifest set' writes it")?;
    let names = || data.secrets.keys().cloned().collect::<Vec<_>>().join(", ");
    let found = match name {
        Some(name) => data.secrets.get(name),
        None if data.secrets.len() == 1 => data.secrets.values().next(),
        None => match data.secrets.values().find(|Base64(bytes)| is_mine(bytes)) {
            Some(entry) => Some(entry),
            None => bail!("no entry of the recovery data is encrypted to this key; there are: {}", names()),
        },
    };
    found.map(|Base64(bytes)| bytes.clone()).with_context(|| format!("no such entry; there are: {}", names()))
}

/// The plain secret: decrypted if the file is a ciphertext of the key (then it is as long as its modulus).
fn plain_secret(stored: Vec<u8>, key: Option<&PrivateKey>) -> Result<Zeroizing<Vec<u8>>> {
    let stored = Zeroizing::new(stored);
    match key {
        Some(key) if stored.len() == modulus_len(key) => {
            key.decrypt(&stored).map_err(|e| anyhow!("decrypting the recovery secret: {e}"))
        }
        _ if PLAIN_LENGTHS.contains(&stored.len()) => Ok(stored),
        Some(key) => bail!(
            "the recovery secret has {} bytes: it is neither plain (16, 32 or 33 bytes) nor encrypted to this key ({} bytes)",
            stored.len(),
            modulus_len(key)
        ),
        None => bail!(
            "the recovery secret ({} bytes) appears to be encrypted; give the private key with --key to decrypt it",
            stored.len()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_is_the_only_one_or_the_one_named_or_the_one_for_this_key() {
        let one = br#"{"RecoverySecrets":{"a":"AAE="}}"#;
        assert_eq!(entry(one, None, |_| false).unwrap(), [0, 1]);
        assert!(entry(one, Some("b"), |_| true).is_err());
        let two = br#"{"RecoverySecrets":{"a":"AAE=","b":"Ag=="}}"#;
        assert!(entry(two, None, |_| false).is_err());
        assert_eq!(entry(two, None, |bytes| bytes == [2]).unwrap(), [2]);
        assert_eq!(entry(two, Some("b"), |_| false).unwrap(), [2]);
        assert!(entry(b"no json", None, |_| true).is_err());
    }

    #[test]
    fn a_threshold_share_is_taken_as_it_is() {
        for length in PLAIN_LENGTHS {
            assert_eq!(plain_secret(vec![7; length], None).unwrap().len(), length);
        }
        assert!(plain_secret(vec![7; 256], None).is_err());
    }
}
