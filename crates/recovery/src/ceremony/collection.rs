//! The secrets accepted so far for one recovery set.

use subtle::{ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use super::search::{MAX_TRIES, subsets_with_first};
use super::{Outcome, Upload, digest, refuse};
use crate::establish::xor;
use crate::quorum::{Signers, match_each};
use crate::rsa_keys::PublicKey;
use crate::{Place, RecoveryError, RecoveryRoot, RecoverySet, Scheme, commitment, shamir};

/// This many different signatures are kept for an accepted secret, the newest. Only who has the secret itself
/// can fill them.
const MAX_SIGNATURES: usize = 8;

/// Length of a Shamir share of a 32-byte root.
const SHARE: usize = 33;

/// How a secret is recognised, alone; the surest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Recognition {
    Hash,
    Opening,
    Signature,
}

/// How many secrets make the root.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// This many, XORed (one: the secret itself).
    Xor(usize),
    /// This many shares.
    Shamir(usize),
    /// Hashes of this many secrets are all that is known: their length tells XOR (all of them) from shares (as
    /// many as it takes).
    HashesOnly(usize),
}

pub(super) struct Collection {
    names: Vec<String>,
    /// In the order of `names`; `None` if they are not known or not usable.
    keys: Option<Vec<PublicKey>>,
    /// Hash of a secret and its owner, where known.
    hashes: Vec<([u8; 32], Option<usize>)>,
    recognition: Recognition,
    rule: Rule,
    /// Newest first. At most one for each hash, or for each key.
    accepted: Vec<Accepted>,
}

struct Accepted {
    secret: Zeroizing<Vec<u8>>,
    /// Index into `hashes`, or into `keys` where signatures are what recognises.
    slot: usize,
    /// Newest first; none twice.
    signatures: Vec<Signature>,
}

struct Signature {
    bytes: Vec<u8>,
    /// Keys that made it; empty where keys are unknown.
    keys: Vec<usize>,
}

pub(super) enum Taken {
    /// Not a secret of this set.
    NotMine,
    /// Accepted.
    Mine(Outcome),
}

/// What becomes of a secret, whatever was taken before.
pub(super) enum Standing {
    /// It is not one of this set, or it is not kept.
    NotMine,
    /// It is one, with a signature that nobody of the set made.
    Refused,
    /// It is kept.
    At(Place),
}

impl Collection {
    /// `None` if nothing in the set would recognise a secret.
    pub(super) fn new(set: &RecoverySet) -> Option<Self> {
        let keys = set.parties.iter().map(|party| PublicKey::from_spki_der(&party.public_key).ok());
        let keys: Option<Vec<PublicKey>> = keys.collect::<Option<_>>().filter(|keys: &Vec<_>| !keys.is_empty());
        let owned = set.parties.iter().enumerate().filter_map(|(party, p)| Some((p.commitment?, Some(party))));
        let hashes: Vec<_> = owned.chain(set.unassigned_commitments.iter().map(|hash| (*hash, None))).collect();

        let threshold = usize::try_from(set.threshold).ok()?;
        let rule = match (set.threshold, set.scheme) {
            (0, _) => Rule::HashesOnly(hashes.len()),
            (_, Scheme::Single) => Rule::Xor(1),
            (_, Scheme::Xor) => Rule::Xor(threshold),
            (_, Scheme::Shamir) => Rule::Shamir(threshold),
        };
        let recognition = if !hashes.is_empty() && hashes.len() >= set.parties.len() {
            Recognition::Hash
        } else if rule == Rule::Xor(1) {
            Recognition::Opening
        } else if keys.is_some() && threshold > 0 {
            Recognition::Signature
        } else {
            return None;
        };
        let names = set.parties.iter().map(|party| party.name.clone()).collect();
        Some(Self { names, keys, hashes, recognition, rule, accepted: Vec::new() })
    }

    /// Takes a secret, if it is one of this set.
    pub(super) fn take(&mut self, upload: &Upload, opens: &dyn Fn(&[u8]) -> bool) -> Result<Taken, RecoveryError> {
        match self.recognition {
            Recognition::Hash => {
                let Some(slot) = self.find(&upload.secret) else { return Ok(Taken::NotMine) };
                let owner = self.hashes.get(slot).and_then(|(_, owner)| *owner);
                let signers = self.check_signature(upload, owner)?;
                let fresh = self.remember(slot, upload, &signers);
                self.after(fresh, owner.or(signers.first().copied()), opens).map(Taken::Mine)
            }
            Recognition::Opening => {
                if upload.secret.len() == SHARE || !opens(&upload.secret) {
                    return Ok(Taken::NotMine);
                }
                self.check_signature(upload, (self.names.len() == 1).then_some(0))?;
                let root = RecoveryRoot::new(upload.secret.clone());
                Ok(Taken::Mine(Outcome::Complete { root, uploads: vec![upload.clone()] }))
            }
            Recognition::Signature => {
                let signers = self.signers(upload);
                let used = |key: &usize| self.accepted.iter().any(|accepted| accepted.slot == *key);
                // Without a free key, the oldest secret goes.
                let oldest = || self.accepted.iter().rev().map(|old| old.slot).find(|slot| signers.contains(slot));
                let free = signers.iter().find(|key| !used(key)).copied();
                let Some(slot) = free.or_else(oldest) else { return Ok(Taken::NotMine) };
                let same = |old: &Accepted| bool::from(old.secret.as_slice().ct_eq(upload.secret.as_slice()));
                let known = self.accepted.iter().any(|old| signers.contains(&old.slot) && same(old));
                if !known {
                    self.accepted.retain(|old| old.slot != slot);
                    self.remember(slot, upload, &[slot]);
                }
                self.after(!known, Some(slot), opens).map(Taken::Mine)
            }
        }
    }

    /// Where a secret stands; see [`super::Ceremony::place`]. `number` tells this set from the others of its header.
    pub(super) fn place(&self, number: u64, upload: &Upload) -> Standing {
        let number = number.to_be_bytes();
        let key = digest(&[b"upload", &upload.secret, &upload.signature]);
        match self.recognition {
            Recognition::Hash => {
                let Some(slot) = self.find(&upload.secret) else { return Standing::NotMine };
                if self.keys.is_some() && self.signers(upload).is_empty() {
                    return Standing::Refused;
                }
                let slot = u64::try_from(slot).unwrap_or(u64::MAX).to_be_bytes();
                Standing::At(Place { class: digest(&[b"hash", &number, &slot]), key, most: MAX_SIGNATURES })
            }
            Recognition::Opening => Standing::NotMine,
            Recognition::Signature => {
                let signers = self.signers(upload);
                let Some(first) = signers.first() else { return Standing::NotMine };
                let first = u64::try_from(*first).unwrap_or(u64::MAX).to_be_bytes();
                Standing::At(Place { class: digest(&[b"key", &number, &first]), key, most: signers.len() })
            }
        }
    }

    /// Which hash is that of the secret. Looks at all of them, whatever it finds.
    fn find(&self, secret: &[u8]) -> Option<usize> {
        let hash = commitment(secret);
        let found = self.hashes.iter().zip(1u32..).fold(0, |mut found, ((known, _), number)| {
            found.conditional_assign(&number, known.ct_eq(&hash));
            found
        });
        usize::try_from(found).ok()?.checked_sub(1)
    }

    /// Keys that signed; none where keys are not known.
    fn check_signature(&self, upload: &Upload, owner: Option<usize>) -> Result<Vec<usize>, RecoveryError> {
        let signers = self.signers(upload);
        if self.keys.is_none() || !signers.is_empty() {
            return Ok(signers);
        }
        let names = self.names.join(", ");
        refuse(match owner.and_then(|owner| self.names.get(owner)) {
            Some(owner) => format!(
                "the secret of {owner:?} is right, but no recovery key of this state made the signature over it; \
                 sign the decrypted secret with the private key of {owner:?} and upload it again"
            ),
            None => format!(
                "no recovery key of this state made the signature over the secret (parties: {names}); \
                 sign the decrypted secret with your private key and upload it again"
            ),
        })
    }

    fn signers(&self, upload: &Upload) -> Vec<usize> {
        self.keys.as_ref().map_or_else(Vec::new, |keys| Signers::new(keys.iter()).of(&upload.secret, &upload.signature))
    }

    /// Whether anything about it is new.
    fn remember(&mut self, slot: usize, upload: &Upload, signers: &[usize]) -> bool {
        let signature = Signature { bytes: upload.signature.clone(), keys: signers.to_vec() };
        let Some(at) = self.accepted.iter().position(|accepted| accepted.slot == slot) else {
            let accepted = Accepted { secret: upload.secret.clone(), slot, signatures: vec![signature] };
            self.accepted.insert(0, accepted);
            return true;
        };
        let mut accepted = self.accepted.remove(at);
        let fresh = !accepted.signatures.iter().any(|old| match signers {
            [] => old.bytes == signature.bytes,
            _ => old.keys == signature.keys,
        });
        if fresh {
            accepted.signatures.insert(0, signature);
        }
        accepted.signatures.truncate(MAX_SIGNATURES);
        self.accepted.insert(0, accepted);
        fresh
    }

    /// Completes the root if that is possible now.
    fn after(
        &mut self,
        fresh: bool,
        party: Option<usize>,
        opens: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Outcome, RecoveryError> {
        let counted = self.counted();
        for chosen in self.candidates(&counted) {
            let members: Vec<&Accepted> = chosen.iter().filter_map(|index| self.accepted.get(*index)).collect();
            let Some(root) = combine(&members).filter(|root| opens(root)) else { continue };
            let uploads = members.iter().flat_map(|accepted| accepted.uploads()).collect();
            if let Rule::HashesOnly(_) = self.rule
                && members.iter().all(|accepted| accepted.secret.len() == SHARE)
            {
                // One share fewer did not open: now the threshold is known.
                self.rule = Rule::Shamir(members.len());
            }
            return Ok(Outcome::Complete { root: RecoveryRoot::new(root), uploads });
        }
        let party = party.and_then(|index| self.names.get(index)).cloned();
        let remaining = self.remaining();
        if remaining == 0 {
            return refuse(
                "all secrets are the ones that the header of the sealed state names, but together they do not open \
                 it: the header or the sealed state is damaged; restore another copy"
                    .to_owned(),
            );
        }
        if !fresh {
            let whose = party.map_or_else(String::new, |party| format!(" (of {party:?})"));
            return refuse(format!(
                "uploaded an invalid or already used secret: this secret{whose} has been accepted already; \
                 {remaining} more needed"
            ));
        }
        Ok(Outcome::Accepted { remaining, party })
    }

    /// Indices of the accepted secrets that count, newest first: where keys are known, those that can be given
    /// another key each.
    fn counted(&self) -> Vec<usize> {
        match &self.keys {
            Some(keys) => {
                let matched = match_each(&self.edges(), keys.len());
                matched.iter().enumerate().filter(|(_, key)| key.is_some()).map(|(index, _)| index).collect()
            }
            None => (0..self.accepted.len()).collect(),
        }
    }

    fn edges(&self) -> Vec<Vec<usize>> {
        let keys = |accepted: &Accepted| accepted.signatures.iter().flat_map(|s| s.keys.iter().copied()).collect();
        self.accepted.iter().map(keys).collect()
    }

    /// Sets of secrets that may combine to the root. One where secrets are recognised by hash; where a signer may
    /// have signed a wrong secret, some more, all with the newest.
    fn candidates(&self, counted: &[usize]) -> Vec<Vec<usize>> {
        let exactly = |needed: usize| match counted.get(..needed) {
            Some(newest) if self.recognition == Recognition::Hash => vec![newest.to_vec()],
            Some(_) => subsets_with_first(counted.len(), needed)
                .take(MAX_TRIES)
                .map(|subset| subset.into_iter().filter_map(|index| counted.get(index).copied()).collect())
                .collect(),
            None => Vec::new(),
        };
        match self.rule {
            Rule::Xor(needed) | Rule::Shamir(needed) => exactly(needed),
            Rule::HashesOnly(all) => {
                let is_share = |index: &usize| self.accepted.get(*index).is_some_and(|a| a.secret.len() == SHARE);
                let shares: Vec<usize> = counted.iter().copied().filter(is_share).collect();
                match shares.len() {
                    0 => exactly(all),
                    1 => Vec::new(),
                    _ => vec![shares],
                }
            }
        }
    }

    pub(super) fn remaining(&self) -> usize {
        let counted = self.counted().len();
        match (self.rule, self.recognition) {
            (Rule::Xor(needed) | Rule::Shamir(needed), Recognition::Hash) => needed.saturating_sub(counted),
            // Enough signed, but what they signed does not combine: one of them has to sign another secret.
            (Rule::Xor(needed) | Rule::Shamir(needed), _) => needed.saturating_sub(counted).max(1),
            (Rule::HashesOnly(all), _) => match self.accepted.first() {
                Some(first) if first.secret.len() != SHARE => all.saturating_sub(counted),
                _ if counted >= all => 0,
                _ => 2usize.saturating_sub(counted).max(1),
            },
        }
    }

    pub(super) fn progress(&self) -> Vec<(String, bool)> {
        if self.keys.is_none() && self.names.is_empty() {
            let count = self.hashes.len().max(1);
            return (0..count).map(|index| ("unknown".to_owned(), index < self.accepted.len())).collect();
        }
        let keys = self.keys.as_ref().map_or(0, Vec::len);
        let signed: Vec<usize> = match_each(&self.edges(), keys).into_iter().flatten().collect();
        let owned = |party: usize| {
            let owner = |accepted: &Accepted| self.hashes.get(accepted.slot).and_then(|(_, owner)| *owner);
            self.accepted.iter().any(|accepted| owner(accepted) == Some(party))
        };
        let names = self.names.iter().enumerate();
        names
            .map(|(party, name)| match self.keys {
                Some(_) => (name.clone(), signed.contains(&party)),
                None => (name.clone(), owned(party)),
            })
            .collect()
    }

    pub(super) fn party_names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn recognition(&self) -> Recognition {
        self.recognition
    }
}

impl Accepted {
    fn uploads(&self) -> impl Iterator<Item = Upload> {
        let upload = |signature: &Signature| Upload { secret: self.secret.clone(), signature: signature.bytes.clone() };
        self.signatures.iter().map(upload)
    }
}

/// The root, if secrets of these lengths can make one. Their length tells shares from XOR parts: a share of a
/// root has one byte more than the root.
fn combine(members: &[&Accepted]) -> Option<Zeroizing<Vec<u8>>> {
    let secrets: Vec<&[u8]> = members.iter().map(|accepted| accepted.secret.as_slice()).collect();
    combine_secrets(&secrets)
}

/// As [`combine`], of plain bytes.
pub(super) fn combine_secrets(secrets: &[&[u8]]) -> Option<Zeroizing<Vec<u8>>> {
    let length = secrets.first()?.len();
    if secrets.iter().any(|secret| secret.len() != length) {
        return None;
    }
    match length {
        SHARE => shamir::combine(secrets),
        _ => Some(xor(secrets)),
    }
}
