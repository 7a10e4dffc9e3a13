//! The recovery keys at hand: what they decrypt, what it combines to, and the signatures they make.

use std::collections::BTreeMap;

use marblerun_recovery::rsa_keys::{PartyKey, PrivateKey, RsaError};
use marblerun_recovery::{Ceremony, Outcome, RecoveryError, RecoveryRoot, RecoverySet, Upload, is_plain_secret};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::BackupError;

/// What to open a backup with.
#[derive(Default)]
pub struct VerifyWith {
    /// Private recovery keys, PEM.
    pub private_keys: Vec<Zeroizing<String>>,
    /// Private recovery keys that are elsewhere, such as on a token. They count after the others.
    pub device_keys: Vec<Box<dyn PartyKey>>,
    /// Secrets that are decrypted already.
    pub secrets: Vec<Zeroizing<Vec<u8>>>,
    /// Party to encrypted secret, as `manifest set` answered; beside those in the header of the backup.
    pub recovery_data: BTreeMap<String, Vec<u8>>,
    /// Root certificate (DER) the backup must have.
    pub root_certificate: Option<Vec<u8>>,
}

/// Secrets at hand, each with the signatures that can be made over it.
pub(super) struct Secrets(Vec<Upload>);

impl Secrets {
    /// Decrypts what can be decrypted, and signs it.
    pub(super) fn gather(sets: &[RecoverySet], with: &VerifyWith) -> Result<Self, BackupError> {
        let bad = |i: usize, error: RsaError| BackupError::BadKey(format!("recovery key {}: {error}", i + 1));
        let keys = with.private_keys.iter().enumerate();
        let keys = keys.map(|(i, pem)| PrivateKey::from_pem(pem).map_err(|error| bad(i, error)));
        let in_memory = keys.collect::<Result<Vec<_>, _>>()?;
        let elsewhere = with.device_keys.iter().map(Box::as_ref);
        let keys: Vec<&dyn PartyKey> = in_memory.iter().map(|key| key as &dyn PartyKey).chain(elsewhere).collect();
        let mut found = Vec::new();
        for (i, key) in keys.iter().copied().enumerate() {
            let secrets = decrypt(key, sets, &with.recovery_data).map_err(|error| bad(i, error))?;
            if secrets.is_empty() && with.secrets.is_empty() {
                return Err(BackupError::BadKey(no_secret(i + 1, sets, with)));
            }
            for secret in secrets {
                found.push(sign(key, secret)?);
            }
        }
        for secret in &with.secrets {
            if keys.is_empty() {
                found.push(Upload { secret: secret.clone(), signature: Vec::new() });
            }
            // Whose it is may not be known. A Coordinator takes the signature of any party, once.
            for key in keys.iter().copied() {
                found.push(sign(key, secret.clone())?);
            }
        }
        if found.is_empty() {
            return Err(BackupError::BadKey("give at least one recovery key, or one decrypted recovery secret".into()));
        }
        Ok(Self(found))
    }

    /// Combines them to the root. Answers which secrets it took.
    pub(super) fn combine(
        &self,
        sets: &[RecoverySet],
        opens: &dyn Fn(&[u8]) -> bool,
    ) -> Result<(RecoveryRoot, Vec<Upload>), BackupError> {
        let mut ceremony = Ceremony::new(&without_keys(sets));
        let mut seen: Vec<&Upload> = Vec::new();
        let mut refused = Vec::new();
        for upload in &self.0 {
            if seen.iter().any(|other| same(other, upload)) {
                continue;
            }
            seen.push(upload);
            let plain = Upload { secret: upload.secret.clone(), signature: Vec::new() };
            match ceremony.add(plain, opens) {
                Ok(Outcome::Complete { root, uploads }) => return Ok((root, uploads)),
                Ok(Outcome::Accepted { .. }) => {}
                Err(RecoveryError::Refused(reason)) => refused.push(reason),
                Err(other) => refused.push(other.to_string()),
            }
        }
        let mut reason = match ceremony.remaining() {
            0 => "they do not combine to its recovery root".to_owned(),
            1 => "one more recovery secret is needed".to_owned(),
            more => format!("{more} more recovery secrets are needed"),
        };
        refused.dedup();
        for refusal in refused {
            reason = format!("{reason}; {refusal}");
        }
        Err(BackupError::NotOpened(reason))
    }

    /// The secrets that were combined, with every signature over them there is. None if one has no signature.
    pub(super) fn signed(&self, used: &[Upload]) -> Vec<Upload> {
        let mut signed = Vec::new();
        for secret in used {
            let before = signed.len();
            let theirs = self.0.iter().filter(|upload| same(upload, secret) && !upload.signature.is_empty());
            signed.extend(theirs.cloned());
            if signed.len() == before {
                return Vec::new();
            }
        }
        signed
    }
}

fn same(a: &Upload, b: &Upload) -> bool {
    a.secret.as_slice().ct_eq(b.secret.as_slice()).into()
}

fn sign(key: &dyn PartyKey, secret: Zeroizing<Vec<u8>>) -> Result<Upload, BackupError> {
    let signature = key.sign(&secret).map_err(|error| BackupError::BadKey(error.to_string()))?;
    Ok(Upload { secret, signature })
}

/// What a key decrypts: the secret of its own party in the header, and whatever fits of the recovery data.
fn decrypt(
    key: &dyn PartyKey,
    sets: &[RecoverySet],
    data: &BTreeMap<String, Vec<u8>>,
) -> Result<Vec<Zeroizing<Vec<u8>>>, RsaError> {
    let parties = sets.iter().flat_map(|set| &set.parties);
    let own = parties.filter(|party| party.public_key == key.public().spki_der()).map(|party| &party.encrypted_secret);
    let mut secrets = Vec::new();
    for ciphertext in own.chain(data.values()).filter(|ciphertext| !ciphertext.is_empty()) {
        match key.decrypt(ciphertext) {
            Ok(secret) if is_plain_secret(secret.len()) => secrets.push(secret),
            // A device that fails says nothing about whose the secret is.
            Err(error @ RsaError::Device(_)) => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(secrets)
}

fn no_secret(number: usize, sets: &[RecoverySet], with: &VerifyWith) -> String {
    let mut parties = sets.iter().flat_map(|set| &set.parties).peekable();
    if !with.recovery_data.is_empty() {
        return format!("recovery key {number} decrypts none of the secrets in the recovery data");
    }
    if parties.peek().is_none() {
        return "the backup names no parties; give the recovery data that was answered when its manifest was set, or \
                decrypted secrets"
            .into();
    }
    let names: Vec<&str> = parties.clone().map(|party| party.name.as_str()).collect();
    if parties.all(|party| party.encrypted_secret.is_empty()) {
        return "the backup does not hold the parties' encrypted secrets; give the recovery data that was answered when \
                its manifest was set"
            .into();
    }
    format!("recovery key {number} is none of this backup's recovery keys (parties: {})", names.join(", "))
}

/// Without keys a ceremony asks for no signatures; those are checked against the manifest inside.
fn without_keys(sets: &[RecoverySet]) -> Vec<RecoverySet> {
    let mut sets = sets.to_vec();
    sets.iter_mut().flat_map(|set| &mut set.parties).for_each(|party| party.public_key.clear());
    sets
}
