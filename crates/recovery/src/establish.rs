//! New recovery secrets for the keys of a manifest.

use std::collections::BTreeMap;

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::rsa_keys::{MIN_STRONG_BITS, PublicKey};
use crate::{Party, RecoveryError, RecoveryRoot, RecoverySet, Scheme, commitment, shamir};

/// Limits of the sealed format.
const MAX_PARTIES: usize = 255;
const MAX_NAME: usize = 256;
/// Length of a root and of an XOR secret.
const KEY: usize = 32;

/// A new set of recovery secrets.
#[derive(Debug)]
pub struct Established {
    /// For the header of the sealed state.
    pub set: RecoverySet,
    /// For the recovery slot and the sealed state.
    pub root: RecoveryRoot,
    encrypted: BTreeMap<String, Vec<u8>>,
}

impl Established {
    /// Party name to ciphertext: what the API answers.
    #[must_use]
    pub fn encrypted_secrets(&self) -> BTreeMap<String, Vec<u8>> {
        self.encrypted.clone()
    }
}

/// Makes recovery secrets for the keys of a manifest (`RecoveryKeys`, PEM) and its `RecoveryThreshold`.
/// `None` if there are no keys.
///
/// A ciphertext under a key below 2048 bits is answered, as upstream does, but is not kept in the set: what
/// stands in a backup must stay closed for long.
///
/// # Errors
/// [`RecoveryError::BadKey`], [`RecoveryError::BadPolicy`].
pub fn establish(keys: &BTreeMap<String, String>, threshold: u64) -> Result<Option<Established>, RecoveryError> {
    check_policy(keys.len(), threshold)?;
    let keys = keys
        .iter()
        .map(|(name, pem)| {
            let bad = |reason: String| RecoveryError::BadKey { name: name.clone(), reason };
            if name.len() > MAX_NAME {
                return Err(bad(format!("its name has more than {MAX_NAME} bytes")));
            }
            Ok((name.as_str(), PublicKey::from_pem(pem).map_err(|error| bad(error.to_string()))?))
        })
        .collect::<Result<Vec<_>, _>>()?;

    let all = keys.len();
    let needed = usize::try_from(threshold).ok().filter(|threshold| *threshold != 0).unwrap_or(all);
    let (scheme, root, secrets) = match (all, needed) {
        (0, _) => return Ok(None),
        (1, _) => {
            let root = random_key()?;
            (Scheme::Single, root.clone(), vec![root])
        }
        _ if needed == all => {
            let secrets = (0..all).map(|_| random_key()).collect::<Result<Vec<_>, _>>()?;
            (Scheme::Xor, xor(&secrets), secrets)
        }
        _ => {
            let root = random_key()?;
            let shares = shamir::split(&root, all, needed)?;
            (Scheme::Shamir, root, shares)
        }
    };

    let mut encrypted = BTreeMap::new();
    let mut parties = Vec::with_capacity(all);
    for ((name, key), secret) in keys.iter().zip(&secrets) {
        let ciphertext = key
            .encrypt(secret)
            .map_err(|error| RecoveryError::BadKey { name: (*name).to_owned(), reason: error.to_string() })?;
        parties.push(Party {
            name: (*name).to_owned(),
            public_key: key.spki_der().to_vec(),
            commitment: Some(commitment(secret)),
            encrypted_secret: if key.bits() < MIN_STRONG_BITS { Vec::new() } else { ciphertext.clone() },
        });
        encrypted.insert((*name).to_owned(), ciphertext);
    }
    let mut epoch = [0; 16];
    rand::fill(&mut epoch).map_err(|_| RecoveryError::Crypto("random source"))?;
    let threshold = u32::try_from(needed).map_err(|_| RecoveryError::Crypto("recovery threshold"))?;
    let set = RecoverySet { scheme, threshold, epoch, parties, unassigned_commitments: Vec::new() };
    Ok(Some(Established { set, root: RecoveryRoot::new(root), encrypted }))
}

/// Upstream's rules and texts, and the limit of the sealed format.
fn check_policy(keys: usize, threshold: u64) -> Result<(), RecoveryError> {
    let refuse = |reason: String| Err(RecoveryError::BadPolicy(reason));
    if (keys as u64) < threshold {
        return refuse(format!(
            "not enough recovery keys ({keys}) defined to meet the recovery threshold of {threshold}"
        ));
    }
    if threshold == 1 {
        return refuse("invalid recovery threshold: if set, threshold must be at least 2".to_owned());
    }
    if keys > MAX_PARTIES {
        return refuse(format!("{keys} recovery keys are defined; at most {MAX_PARTIES} are possible"));
    }
    Ok(())
}

fn random_key() -> Result<Zeroizing<Vec<u8>>, RecoveryError> {
    let mut key = Zeroizing::new(vec![0; KEY]);
    rand::fill(&mut key).map_err(|_| RecoveryError::Crypto("random source"))?;
    Ok(key)
}

/// XOR of secrets of one length.
pub(crate) fn xor<S: AsRef<[u8]>>(secrets: &[S]) -> Zeroizing<Vec<u8>> {
    let length = secrets.first().map_or(0, |secret| secret.as_ref().len());
    let mut sum = Zeroizing::new(vec![0; length]);
    for secret in secrets {
        for (byte, other) in sum.iter_mut().zip(secret.as_ref()) {
            *byte ^= other;
        }
    }
    sum
}

#[cfg(test)]
mod tests;
