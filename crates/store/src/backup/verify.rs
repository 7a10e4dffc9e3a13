//! Proving, offline, that a backup can be recovered with the keys at hand.
//!
//! It does what the key holders and the Coordinator would do: decrypts the parties' secrets, combines them, opens
//! the file, checks the state, and checks that the keys are those the manifest inside asks for.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use marblerun_recovery::rsa_keys::{PartyKey, PrivateKey, RsaError};
use marblerun_recovery::{
    Ceremony, Outcome, RecoveryError, RecoveryRoot, RecoverySet, Upload, is_plain_secret, verify_quorum,
};
use marblerun_state::State;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::facts::{Facts, facts, sha256};
use super::{BackupError, Condition, sealed_data_at};
use crate::format::{self, Layout, OpenOptions, read_front, upstream};

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

/// A backup that was opened.
#[derive(Debug)]
pub struct Proof {
    /// What the file says without a key.
    pub facts: Facts,
    /// SHA-256 of the root certificate inside, whose private key was found to fit.
    pub root_fingerprint: [u8; 32],
    /// SHA-256 of the manifest in force.
    pub manifest_fingerprint: [u8; 32],
    /// Sequence of the newest state; `None` for a file of the Go Coordinator, which has none.
    pub sequence: Option<u64>,
    /// Its time, Unix milliseconds; likewise.
    pub time_ms: Option<u64>,
    /// The readable header is not the one inside. A Coordinator goes by the one inside, and repairs it.
    pub header_altered: bool,
    /// Whether a Coordinator would accept the recovery.
    pub quorum: Quorum,
}

/// Whether the keys are those the manifest inside asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quorum {
    /// They are: these parties' keys signed.
    Proven(Vec<String>),
    /// Not checked: without private keys nothing can be signed.
    NotChecked,
}

/// Opens a backup (a file, or the one in a seal directory) with recovery keys and checks what is inside. Reads only.
///
/// # Errors
/// [`BackupError::NotWhole`]; [`BackupError::BadKey`], [`BackupError::NotOpened`], [`BackupError::QuorumRefused`] if it cannot be
/// recovered with these keys; [`BackupError::NotAsExpected`] if it has another root certificate.
pub fn verify(path: &Path, with: &VerifyWith) -> Result<Proof, BackupError> {
    open(path, with).map(|(proof, _)| proof)
}

/// As [`verify`], and gives the state inside.
///
/// # Errors
/// As [`verify`].
pub fn open(path: &Path, with: &VerifyWith) -> Result<(Proof, State), BackupError> {
    let path = sealed_data_at(path);
    let file = File::open(&path).map_err(BackupError::io("opening", &path))?;
    let facts = facts(&file, &path)?;
    if let Condition::Refused(refusal) = facts.condition {
        return Err(BackupError::NotWhole { path, refusal });
    }
    if facts.sealed.is_some() && facts.recovery.is_empty() {
        return Err(BackupError::NotOpened(
            "it names no recovery keys, so only the sealed_key of its own host opens it. Add RecoveryKeys to the \
             manifest, and back up again"
                .into(),
        ));
    }
    let secrets = Secrets::gather(&facts.recovery, with)?;
    let inside = match read_front(&file).map_err(BackupError::not_whole(&path))? {
        Layout::Sealed(front) => {
            let (root, used) =
                secrets.combine(&facts.recovery, &|root| front.dek_from_recovery_root(root).is_some())?;
            let dek = front.dek_from_recovery_root(root.expose());
            let dek = dek.ok_or_else(|| BackupError::NotOpened("the recovery slot does not open".into()))?;
            let opened = format::open(&file, &dek, OpenOptions::default()).map_err(BackupError::not_whole(&path))?;
            Inside {
                sequence: Some(opened.tail.sequence),
                time_ms: Some(opened.time_ms),
                header_altered: opened.header_altered,
                state: opened.state,
                used,
            }
        }
        Layout::Upstream(front) => {
            let opens = |root: &[u8]| upstream::open(&file, &front, root).is_ok();
            let (root, used) = secrets.combine(&facts.recovery, &opens)?;
            let plaintext = upstream::open(&file, &front, root.expose()).map_err(BackupError::not_whole(&path))?;
            let state = marblerun_state::upstream::import(&plaintext, &front.header, root, [0; 16], [0; 16]);
            let state = state.and_then(|state| state.validate().map(|()| state));
            let state = state.map_err(|error| BackupError::NotAsExpected(format!("the state inside: {error}")))?;
            Inside { sequence: None, time_ms: None, header_altered: false, state, used }
        }
    };
    inside.prove(facts, &secrets, with)
}

/// What was found inside.
struct Inside {
    sequence: Option<u64>,
    time_ms: Option<u64>,
    header_altered: bool,
    state: State,
    /// The secrets that were combined.
    used: Vec<Upload>,
}

impl Inside {
    fn prove(self, facts: Facts, secrets: &Secrets, with: &VerifyWith) -> Result<(Proof, State), BackupError> {
        let root = &self.state.authority().root_certificate;
        let fingerprint = sha256(root);
        if with.root_certificate.as_ref().is_some_and(|expected| expected != root) {
            return Err(BackupError::NotAsExpected(format!(
                "the backup opens, but belongs to another deployment: its root certificate has the fingerprint {}",
                hex::encode(fingerprint)
            )));
        }
        let Some(manifest) = self.state.manifest() else {
            return Err(BackupError::NotAsExpected("the state inside has no manifest".into()));
        };
        let uploads = secrets.signed(&self.used);
        let quorum = if uploads.is_empty() {
            Quorum::NotChecked
        } else {
            let manifest = &manifest.manifest;
            let names = verify_quorum(&manifest.recovery_keys, manifest.config.recovery_threshold, &uploads);
            Quorum::Proven(names.map_err(|error| BackupError::QuorumRefused(error.to_string()))?)
        };
        let proof = Proof {
            facts,
            root_fingerprint: fingerprint,
            manifest_fingerprint: manifest.fingerprint,
            sequence: self.sequence,
            time_ms: self.time_ms,
            header_altered: self.header_altered,
            quorum,
        };
        Ok((proof, self.state))
    }
}

/// Secrets at hand, each with the signatures that can be made over it.
struct Secrets(Vec<Upload>);

impl Secrets {
    /// Decrypts what can be decrypted, and signs it.
    fn gather(sets: &[RecoverySet], with: &VerifyWith) -> Result<Self, BackupError> {
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
    fn combine(
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
    fn signed(&self, used: &[Upload]) -> Vec<Upload> {
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
