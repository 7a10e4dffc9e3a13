//! Who signed: secrets against recovery keys.
//!
//! Upstream does not ask that a party signs its own secret, only that every secret is signed by another key.
//! Whether that holds for given signatures is a matching of secrets to keys.

use std::collections::BTreeMap;

use subtle::ConstantTimeEq;

use crate::rsa_keys::PublicKey;
use crate::{RecoveryError, Upload};

/// Checks, after opening, that the secrets were signed by the manifest's recovery keys: each by
/// another key, and as many as the policy asks for. This is the check that decides.
///
/// Uploads of one secret count once; each of them is a signature that may count for it. The answer is the
/// name of the key that counts for each secret, in order.
///
/// # Errors
/// [`RecoveryError::Refused`] naming what does not fit; [`RecoveryError::BadKey`] if a key is unusable.
pub fn verify_quorum(
    keys: &BTreeMap<String, String>,
    threshold: u64,
    uploads: &[Upload],
) -> Result<Vec<String>, RecoveryError> {
    let keys = keys
        .iter()
        .map(|(name, pem)| {
            let key = PublicKey::from_pem(pem)
                .map_err(|error| RecoveryError::BadKey { name: name.clone(), reason: error.to_string() })?;
            Ok((name.as_str(), key))
        })
        .collect::<Result<Vec<_>, RecoveryError>>()?;
    let secrets = group(uploads);

    let refuse = |reason: String| Err(RecoveryError::Refused(reason));
    let (all, used) = (keys.len(), secrets.len());
    let everyone = threshold == 0 || threshold == all as u64;
    if everyone && used != all {
        return refuse(format!(
            "recovery keys in manifest do not match the keys used for recovery: expected {all}, got {used}"
        ));
    }
    if !everyone && used as u64 != threshold {
        return refuse(format!(
            "recovery threshold in manifest does not match the number of keys used for recovery: \
             expected {threshold}, got {used}"
        ));
    }
    if all == 0 {
        return refuse("the manifest has no recovery keys, so nobody can prove to be allowed to recover".to_owned());
    }

    let signers = Signers::new(keys.iter().map(|(_, key)| key));
    let edges: Vec<Vec<usize>> = secrets
        .iter()
        .map(|uploads| uploads.iter().flat_map(|upload| signers.of(&upload.secret, &upload.signature)).collect())
        .collect();
    let matching = match_each(&edges, all);
    let name = |index: usize| keys.get(index).map_or("", |(name, _)| *name);
    let chosen: Option<Vec<usize>> = matching.iter().copied().collect();
    match chosen {
        Some(chosen) => Ok(chosen.into_iter().map(|index| name(index).to_owned()).collect()),
        None => {
            let idle: Vec<&str> = (0..all).filter(|key| !matching.contains(&Some(*key))).map(name).collect();
            refuse(match everyone {
                true => format!(
                    "no matching recovery key found for recovery public key \"{}\": \
                     upload a secret again, signed with the private key of each of: {}",
                    idle.first().unwrap_or(&""),
                    idle.join(", ")
                ),
                false => format!(
                    "no matching recovery public key found for recovery key: {} of the {used} secrets are signed by \
                     different recovery keys; upload the others again, each signed with the private key of another of: {}",
                    matching.iter().flatten().count(),
                    idle.join(", ")
                ),
            })
        }
    }
}

/// Uploads by secret, in order of first appearance.
fn group(uploads: &[Upload]) -> Vec<Vec<&Upload>> {
    let mut groups: Vec<Vec<&Upload>> = Vec::new();
    for upload in uploads {
        let same = |group: &&mut Vec<&Upload>| {
            group.first().is_some_and(|first| first.secret.as_slice().ct_eq(upload.secret.as_slice()).into())
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(upload),
            None => groups.push(vec![upload]),
        }
    }
    groups
}

/// Public keys by index, with those that are the same key under several names.
pub(crate) struct Signers<'a> {
    keys: Vec<&'a PublicKey>,
}

impl<'a> Signers<'a> {
    pub(crate) fn new(keys: impl Iterator<Item = &'a PublicKey>) -> Self {
        Self { keys: keys.collect() }
    }

    /// Indices of the keys that made a signature: none, one, or all names of one key.
    pub(crate) fn of(&self, secret: &[u8], signature: &[u8]) -> Vec<usize> {
        let signer = self.keys.iter().find(|key| key.verifies(secret, signature));
        signer.map_or_else(Vec::new, |signer| {
            let same = self.keys.iter().enumerate().filter(|(_, key)| key.spki_der() == signer.spki_der());
            same.map(|(index, _)| index).collect()
        })
    }
}

/// Gives as many items as possible a key each, no key twice (Kuhn's algorithm). Items that come first are kept
/// over later ones.
pub(crate) fn match_each(edges: &[Vec<usize>], keys: usize) -> Vec<Option<usize>> {
    let mut owner: Vec<Option<usize>> = vec![None; keys];
    for item in 0..edges.len() {
        augment(item, edges, &mut owner, &mut vec![false; keys]);
    }
    let mut matched = vec![None; edges.len()];
    for (key, item) in owner.into_iter().enumerate() {
        if let Some(slot) = item.and_then(|item| matched.get_mut(item)) {
            *slot = Some(key);
        }
    }
    matched
}

/// Finds a key for an item, moving others to another key of theirs if need be.
fn augment(item: usize, edges: &[Vec<usize>], owner: &mut [Option<usize>], visited: &mut [bool]) -> bool {
    for key in edges.get(item).into_iter().flatten() {
        if visited.get_mut(*key).is_none_or(|seen| std::mem::replace(seen, true)) {
            continue;
        }
        let current = owner.get(*key).copied().flatten();
        if current.is_none_or(|other| augment(other, edges, owner, visited)) {
            if let Some(slot) = owner.get_mut(*key) {
                *slot = Some(item);
            }
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests;
