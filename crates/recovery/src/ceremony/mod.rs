//! Collecting secrets until the root is complete: a pure state machine that anybody may feed.
//!
//! Uploads are not authenticated, and who uploads may be hostile. So a secret is first *recognised*, alone and
//! cheaply, before anything is remembered:
//!
//! | what the header tells | a secret is recognised by |
//! |---|---|
//! | hashes of all secrets (ours; upstream's with several parties) | its hash, then its signature if keys are known |
//! | a single party without hash (upstream's) | opening the state |
//! | public keys without hashes (an import whose hashes were lost) | its signature: one secret a key, the newest |
//! | nothing (an upstream header that is empty or damaged) | nothing: bounded search, see [`search`] |
//!
//! In the first three rows junk changes nothing, however much of it comes: it is refused in constant time (one
//! hash and a comparison with each known hash; or one try to open). What was accepted stays accepted; a further
//! signature for it is remembered beside the first, so that who signed wrongly signs again and nobody else has to.
//!
//! A completed ceremony stays complete: where the check after opening refuses (a signature is missing), the next
//! good upload completes it again.

use zeroize::Zeroizing;

use crate::{Place, RecoveryError, RecoveryRoot, RecoverySet};

mod collection;
mod search;

use collection::{Collection, Recognition, Standing, Taken};
use search::Search;

/// Longer than any signature of the keys we take (8192 bits); bounds what an upload can make us keep.
const MAX_SIGNATURE: usize = 1024;

/// One uploaded recovery secret with the signature over it.
#[derive(Clone)]
pub struct Upload {
    /// The plain secret.
    pub secret: Zeroizing<Vec<u8>>,
    /// PKCS#1 v1.5 signature over SHA-256 of the secret.
    pub signature: Vec<u8>,
}

/// Whether an uploaded value of this length is a plain secret: a key of 16, 24 or 32 bytes, or a share of 33.
/// Any other is a secret encrypted to the Coordinator's ephemeral key.
#[must_use]
pub fn is_plain_secret(length: usize) -> bool {
    matches!(length, 16 | 24 | 32 | 33)
}

/// What an accepted upload led to.
pub enum Outcome {
    /// Accepted, more are needed.
    Accepted {
        /// How many more. Where the header does not tell the threshold, the least that is possible.
        remaining: usize,
        /// Whose secret it was, where known; else whose key signed it.
        party: Option<String>,
    },
    /// The root is complete and opens the slot. The uploads that made it, for [`crate::verify_quorum`].
    Complete {
        /// The root.
        root: RecoveryRoot,
        /// Exactly the secrets combined, with their signatures (several uploads of one secret are its signatures).
        uploads: Vec<Upload>,
    },
}

/// Collects secrets until the root is complete. One ceremony belongs to one sealed file.
///
/// Invariant: a refused upload leaves it unchanged, costs O(1) and bounded memory.
pub struct Ceremony {
    collections: Vec<Collection>,
    /// Used where no set can recognise anything.
    search: Search,
}

impl Ceremony {
    /// A ceremony for the recovery sets in a header (none: secrets are tried as they come, bounded).
    #[must_use]
    pub fn new(sets: &[RecoverySet]) -> Self {
        let mut collections: Vec<Collection> = sets.iter().filter_map(Collection::new).collect();
        collections.sort_by_key(Collection::recognition);
        Self { collections, search: Search::default() }
    }

    /// Takes one secret. `opens` tells whether a candidate root opens the state's recovery slot
    /// (60 bytes, O(1)) or, for an imported state, decrypts it. It is called at most once for an upload, but
    /// where hashes are lost up to about 150 times; only for secrets that may complete the root.
    ///
    /// # Errors
    /// [`RecoveryError::Refused`] with what to do.
    pub fn add(&mut self, upload: Upload, opens: &dyn Fn(&[u8]) -> bool) -> Result<Outcome, RecoveryError> {
        if !is_plain_secret(upload.secret.len()) {
            return refuse("invalid secret length".to_owned());
        }
        if upload.signature.len() > MAX_SIGNATURE {
            return refuse(format!("the signature is too long: {} bytes", upload.signature.len()));
        }
        if self.collections.is_empty() {
            return Ok(self.search.add(upload, opens));
        }
        for collection in &mut self.collections {
            match collection.take(&upload, opens)? {
                Taken::NotMine => {}
                Taken::Mine(outcome) => return Ok(outcome),
            }
        }
        let known: Vec<&str> = self.collections.iter().flat_map(Collection::party_names).map(String::as_str).collect();
        let parties = match known.is_empty() {
            true => String::new(),
            false => format!(" (parties: {})", known.join(", ")),
        };
        let by_signature = self.collections.iter().any(|c| c.recognition() == Recognition::Signature);
        let signature = if by_signature { ", or none of its recovery keys made the signature" } else { "" };
        refuse(format!(
            "uploaded an invalid or already used secret: it is none of the secrets of this state{parties}{signature}. \
             Recovery data of another deployment, or from before or after a change of the recovery keys, does not fit"
        ))
    }

    /// Where an upload stands among those that are kept, if it is one of them. It does not depend on what was taken
    /// before. `None` also where a secret alone completes the root, for then nothing is kept.
    #[must_use]
    pub fn place(&self, upload: &Upload) -> Option<Place> {
        if !is_plain_secret(upload.secret.len()) || upload.signature.len() > MAX_SIGNATURE {
            return None;
        }
        if self.collections.is_empty() {
            return Some(search::place(upload));
        }
        let mut places =
            self.collections.iter().zip(0u64..).map(|(collection, number)| collection.place(number, upload));
        places.find(|place| !matches!(place, Standing::NotMine)).and_then(|place| match place {
            Standing::At(place) => Some(place),
            Standing::NotMine | Standing::Refused => None,
        })
    }

    /// Progress by name: (party or "unknown", accepted). Where keys are known, a party counts as soon as a secret
    /// signed with its key is accepted.
    #[must_use]
    pub fn progress(&self) -> Vec<(String, bool)> {
        self.collections.iter().flat_map(Collection::progress).collect()
    }

    /// Secrets still needed; where the header does not tell, the least that is possible.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.collections.iter().map(Collection::remaining).min().unwrap_or(1)
    }
}

/// A name for what parts say together.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
    let mut name = [0; 32];
    name.copy_from_slice(context.finish().as_ref());
    name
}

fn refuse<T>(reason: String) -> Result<T, RecoveryError> {
    Err(RecoveryError::Refused(reason))
}

#[cfg(test)]
mod tests;
