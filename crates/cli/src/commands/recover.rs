//! `marblerun recover` and `marblerun recover-with-signature ..`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use marblerun_api::bytes::Base64;
use marblerun_client::Client;
use marblerun_recovery::rsa_keys::{PartyKey, PublicKey, RsaError};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::{At, Global, RecoverArgs, RecoverWithSignatureArgs, RecoverWithSignatureCommand};
use crate::output::Output;
use crate::trust::Session;
use crate::{files, recovery_key};

/// Lengths of plain recovery secrets: old and present keys, and threshold shares.
const PLAIN_LENGTHS: [usize; 4] = [16, 24, 32, 33];

/// `recover`: decrypts and signs here, uploads.
pub async fn run(global: &Global, output: &Output<'_>, args: RecoverArgs) -> Result<()> {
    let key = recovery_key::required(&args.key)?;
    let key = key.as_ref();
    let stored = files::read(&args.secret)?;
    if !args.data && serde_json::from_slice::<RecoveryData>(&stored).is_ok() {
        bail!("{} is recovery data as 'manifest set' writes it: add --data", args.secret.display());
    }
    let mine = |ciphertext: &[u8]| {
        if ciphertext.len() != modulus_len(key) {
            return Ok(false);
        }
        match key.decrypt(ciphertext) {
            Ok(_) => Ok(true),
            Err(RsaError::Decryption) => Ok(false),
            Err(other) => Err(anyhow!("decrypting the recovery secret: {other}")),
        }
    };
    let stored = if args.data {
        entry(&stored, args.name.as_deref(), mine).with_context(|| format!("reading {}", args.secret.display()))?
    } else {
        stored
    };
    let secret = plain_secret(stored, Some(key))?;
    let signature = key.sign(&secret).map_err(|e| anyhow!("signing the recovery secret: {e}"))?;
    upload(global, output, &args.at, args.force, &secret, &signature).await
}

/// `recover-with-signature` and its preparation steps.
pub async fn run_with_signature(global: &Global, output: &Output<'_>, args: RecoverWithSignatureArgs) -> Result<()> {
    match args.command {
        Some(RecoverWithSignatureCommand::PublicKey { at }) => public_key(global, output, &at).await,
        Some(RecoverWithSignatureCommand::EncryptSecret { secret, coordinator_pub_key, key }) => {
            let file = required_output(output)?;
            let key = recovery_key::optional(&key)?;
            let secret = plain_secret(files::read(&secret)?, key.as_deref())?;
            let encrypted = read_public_key(&coordinator_pub_key)?
                .encrypt(&secret)
                .map_err(|e| anyhow!("encrypting the recovery secret: {e}"))?;
            files::write_new(file, &encrypted)
        }
        Some(RecoverWithSignatureCommand::SignSecret { secret, key }) => {
            let file = required_output(output)?;
            let key = recovery_key::required(&key)?;
            let secret = plain_secret(files::read(&secret)?, Some(key.as_ref()))?;
            let signature = key.sign(&secret).map_err(|e| anyhow!("signing the recovery secret: {e}"))?;
            files::write_new(file, &signature)
        }
        None => {
            let (Some(secret), Some(signature)) = (args.secret, args.signature) else {
                bail!("SECRET and --signature are needed");
            };
            let signature = files::read(&signature)?;
            let secret = Zeroizing::new(files::read(&secret)?);
            upload(global, output, &args.at, args.force, &secret, &signature).await
        }
    }
}

async fn upload(
    global: &Global,
    output: &Output<'_>,
    at: &At,
    force: bool,
    secret: &[u8],
    signature: &[u8],
) -> Result<()> {
    let session = Session::attest(global, &global.coordinator(at)?).await?;
    let client: Client = session.client()?;
    let answer = match force {
        true => client.recover_forced(secret, signature).await,
        false => client.recover(secret, signature).await,
    };
    let answer = answer.context("sending recovery request")?;
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

fn read_public_key(path: &Path) -> Result<PublicKey> {
    let pem = files::read(path)?;
    let pem = std::str::from_utf8(&pem).with_context(|| format!("{} is not PEM", path.display()))?;
    PublicKey::from_pem(pem).map_err(|e| anyhow!("reading {}: {e}", path.display()))
}

/// Bytes of a ciphertext of that key.
fn modulus_len(key: &dyn PartyKey) -> usize {
    key.public().bits().div_ceil(8)
}

/// What `manifest set` answered.
#[derive(Deserialize)]
struct RecoveryData {
    #[serde(rename = "RecoverySecrets")]
    secrets: BTreeMap<String, Base64>,
}

/// The encrypted secret of one party in a recovery data file: of the party named, else the one `is_mine` recognises.
fn entry(json: &[u8], name: Option<&str>, is_mine: impl Fn(&[u8]) -> Result<bool>) -> Result<Vec<u8>> {
    let data: RecoveryData =
        serde_json::from_slice(json).context("this is not recovery data as 'manifest set' writes it")?;
    let names = || data.secrets.keys().cloned().collect::<Vec<_>>().join(", ");
    let found = match name {
        Some(name) => data.secrets.get(name),
        None if data.secrets.len() == 1 => data.secrets.values().next(),
        None => {
            let mut mine = None;
            for entry in data.secrets.values() {
                if is_mine(&entry.0)? {
                    mine = Some(entry);
                    break;
                }
            }
            if mine.is_none() {
                bail!("no entry of the recovery data is encrypted to this key; there are: {}", names());
            }
            mine
        }
    };
    found.map(|Base64(bytes)| bytes.clone()).with_context(|| {
        format!("the recovery data has no entry {:?}; there are: {}", name.unwrap_or_default(), names())
    })
}

/// The plain secret: decrypted if the file is a ciphertext of the key (then it is as long as its modulus).
fn plain_secret(stored: Vec<u8>, key: Option<&dyn PartyKey>) -> Result<Zeroizing<Vec<u8>>> {
    let stored = Zeroizing::new(stored);
    match key {
        Some(key) if stored.len() == modulus_len(key) => {
            let other =
                |e| anyhow!("decrypting the recovery secret: {e}. It is encrypted to another key than this one");
            key.decrypt(&stored).map_err(other)
        }
        _ if PLAIN_LENGTHS.contains(&stored.len()) => Ok(stored),
        Some(key) => bail!(
            "the recovery secret has {} bytes: it is neither plain (16, 24, 32 or 33 bytes) nor encrypted to this key ({} bytes)",
            stored.len(),
            modulus_len(key)
        ),
        None => bail!(
            "the recovery secret ({} bytes) appears to be encrypted; give the private key with --key or --pkcs11-config to decrypt it",
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
        assert_eq!(entry(one, None, |_| Ok(false)).unwrap(), [0, 1]);
        assert!(entry(one, Some("b"), |_| Ok(true)).is_err());
        let two = br#"{"RecoverySecrets":{"a":"AAE=","b":"Ag=="}}"#;
        assert!(entry(two, None, |_| Ok(false)).is_err());
        assert_eq!(entry(two, None, |bytes| Ok(bytes == [2])).unwrap(), [2]);
        assert_eq!(entry(two, Some("b"), |_| Ok(false)).unwrap(), [2]);
        assert!(entry(b"no json", None, |_| Ok(true)).is_err());
        let broken = entry(two, None, |_| bail!("the token was taken out"));
        assert_eq!(broken.unwrap_err().to_string(), "the token was taken out");
    }

    #[test]
    fn a_threshold_share_is_taken_as_it_is() {
        for length in PLAIN_LENGTHS {
            assert_eq!(plain_secret(vec![7; length], None).unwrap().len(), length);
        }
        assert!(plain_secret(vec![7; 256], None).is_err());
    }
}
