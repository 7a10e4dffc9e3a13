//! The audit trail: reading it, keeping it, and proving that nothing of it was changed, dropped, swapped or cut off.
//!
//! A [`AuditSegment`] is entries in a row with the head that the Coordinator signed when they were read. It can be
//! kept as a file. [`verify_audit`] holds any number of segments in a row against a root certificate, offline.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1, UnparsedPublicKey};
use marblerun_api::v3;
use serde::{Deserialize, Serialize};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

use crate::{Client, ClientError};

/// Stands before the statement in what the root key signs.
const HEAD_DOMAIN: &[u8] = b"marblerun audit head v1\n";

/// How long the bytes of a backup may stand still.
const STANDSTILL: Duration = Duration::from_secs(60);

/// Which trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditTrail {
    /// What happened.
    Changes,
    /// What was attempted and refused.
    Refusals,
}

impl AuditTrail {
    /// Its name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::Refusals => "refusals",
        }
    }
}

/// Entries in a row, and a signed head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSegment {
    /// Which trail.
    pub trail: AuditTrail,
    /// Sequence number before the first entry.
    pub after: u64,
    /// Lower-case hex of the hash that the first entry chains to.
    pub previous: String,
    /// Entries, each a line of JSON; its hash is the SHA-256 of exactly these bytes.
    pub entries: Vec<String>,
    /// What the root key said about the trail when these were its newest entries.
    pub head: v3::AuditHead,
}

/// Where and how a trail breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The text is not what [`AuditSegment::to_text`] writes.
    #[error("line {line}: {reason}")]
    NotASegment {
        /// 1 for the first.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// An entry cannot be read.
    #[error("the entry after {after} is damaged: {reason}")]
    Damaged {
        /// Last good entry.
        after: u64,
        /// What is wrong.
        reason: String,
    },
    /// Entries are not in a row.
    #[error("entry {found} follows entry {after}: {}", gap(*after, *found))]
    Gap {
        /// Last good entry.
        after: u64,
        /// What stands behind it.
        found: u64,
    },
    /// An entry does not hold the hash of the one before it.
    #[error("entry {sequence} does not chain to entry {}: one of the two was changed", sequence.saturating_sub(1))]
    Unchained {
        /// The later one.
        sequence: u64,
    },
    /// The same entry stands in two segments and differs.
    #[error("entry {sequence} is not the same in all segments: the trail was forked or changed")]
    Forked {
        /// Which.
        sequence: u64,
    },
    /// Entries end before the head.
    #[error("the signed head is at entry {head}, and the entries end at {last}: {} missing", range(last.saturating_add(1), *head))]
    CutOff {
        /// Last entry there is.
        last: u64,
        /// Where the head is.
        head: u64,
    },
    /// Entries go on behind the head.
    #[error("the signed head is at entry {head}: nobody vouches for {} behind it", numbers(head.saturating_add(1), *last))]
    BeyondHead {
        /// Last entry there is.
        last: u64,
        /// Where the head is.
        head: u64,
    },
    /// The last entry is not the one that was signed.
    #[error("entry {sequence} is not the one that the signed head names: it was changed")]
    NotTheHead {
        /// The last one.
        sequence: u64,
    },
    /// A later segment has an older head.
    #[error(
        "the head of the later segment, at entry {head}, is older than one before it, at entry {newest}: an old head was put in place"
    )]
    OldHead {
        /// Where it is.
        head: u64,
        /// Where the newest is.
        newest: u64,
    },
    /// The head is not the root key's.
    #[error("the head is not signed by the root {root}: {reason}")]
    NotSigned {
        /// Fingerprint of the root that it was held against.
        root: String,
        /// What is wrong.
        reason: String,
    },
    /// Segments do not belong together.
    #[error("the segments are of different trails or deployments")]
    Mixed,
    /// There is nothing to verify.
    #[error("there is no segment")]
    Nothing,
}

/// What was proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditProof {
    /// Which trail.
    pub trail: AuditTrail,
    /// First entry; above `last` if there is none.
    pub first: u64,
    /// Last entry.
    pub last: u64,
    /// Which deployment.
    pub deployment: String,
    /// Which life of it, when the head was signed.
    pub incarnation: u64,
    /// When the newest head was signed, by the Coordinator's clock.
    pub time: String,
    /// SHA-256 of the root certificate whose key signed.
    pub root_fingerprint: String,
}

/// First line of a segment that is kept as a file.
#[derive(Serialize, Deserialize)]
struct FirstLine {
    marblerun: String,
    version: u32,
    trail: AuditTrail,
    after: u64,
    previous: String,
}

const KIND: &str = "audit";
const VERSION: u32 = 1;

/// What the chain needs of an entry.
#[derive(Deserialize)]
struct Link {
    sequence: u64,
    previous: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    deployment: String,
    incarnation: u64,
    time: String,
    root_fingerprint: String,
    changes: Place,
    refusals: Place,
}

#[derive(Deserialize)]
struct Place {
    sequence: u64,
    head: String,
}

impl AuditSegment {
    /// As a file: a line that says what it is, the entries as they are, and the signed head.
    #[must_use]
    pub fn to_text(&self) -> String {
        let first = FirstLine {
            marblerun: KIND.to_owned(),
            version: VERSION,
            trail: self.trail,
            after: self.after,
            previous: self.previous.clone(),
        };
        // Strings and numbers always serialise.
        let first = serde_json::to_string(&first).unwrap_or_default();
        let head = serde_json::to_string(&self.head).unwrap_or_default();
        let lines = std::iter::once(first).chain(self.entries.iter().cloned()).chain([head]);
        lines.fold(String::new(), |text, line| text + &line + "\n")
    }

    /// From a file. Proves nothing yet.
    ///
    /// # Errors
    /// [`AuditError::NotASegment`].
    pub fn from_text(text: &str) -> Result<Self, AuditError> {
        let wrong = |line: usize, reason: &str| AuditError::NotASegment { line, reason: reason.to_owned() };
        let mut lines: Vec<&str> = text.lines().collect();
        let last = lines.len();
        let first: FirstLine = lines
            .first()
            .and_then(|line| serde_json::from_str(line).ok())
            .filter(|first: &FirstLine| first.marblerun == KIND)
            .ok_or_else(|| wrong(1, "this is not an audit trail as 'marblerun audit log -o FILE' writes it"))?;
        if first.version != VERSION {
            return Err(wrong(1, "it was written by a newer program"));
        }
        let head = lines.pop().filter(|_| last > 1).and_then(|line| serde_json::from_str(line).ok());
        let head = head.ok_or_else(|| wrong(last, "the last line is not a signed head: the end is missing"))?;
        let entries = lines.into_iter().skip(1).map(str::to_owned).collect();
        Ok(Self { trail: first.trail, after: first.after, previous: first.previous, entries, head })
    }
}

/// Proves that the entries of segments in a row are those of one trail, without a gap, up to a head that the root key
/// signed. Segments may overlap.
///
/// # Errors
/// Where it breaks.
pub fn verify_audit(segments: &[AuditSegment], root: &[u8]) -> Result<AuditProof, AuditError> {
    let first = segments.first().ok_or(AuditError::Nothing)?;
    let mut known = HashMap::from([(first.after, first.previous.clone())]);
    let mut proof: Option<AuditProof> = None;
    for segment in segments {
        let statement = verified_statement(&segment.head, root)?;
        let place = match segment.trail {
            AuditTrail::Changes => &statement.changes,
            AuditTrail::Refusals => &statement.refusals,
        };
        if let Some(before) = &proof {
            if (segment.trail, &statement.deployment) != (before.trail, &before.deployment) {
                return Err(AuditError::Mixed);
            }
            if place.sequence < before.last {
                return Err(AuditError::OldHead { head: place.sequence, newest: before.last });
            }
            if segment.after > before.last {
                return Err(AuditError::Gap { after: before.last, found: segment.after.saturating_add(1) });
            }
        }
        let last = follow(segment, &mut known)?;
        if last < place.sequence {
            return Err(AuditError::CutOff { last, head: place.sequence });
        }
        if last > place.sequence {
            return Err(AuditError::BeyondHead { last, head: place.sequence });
        }
        if known.get(&last) != Some(&place.head) {
            return Err(AuditError::NotTheHead { sequence: last });
        }
        proof = Some(AuditProof {
            trail: segment.trail,
            first: first.after.saturating_add(1),
            last,
            deployment: statement.deployment,
            incarnation: statement.incarnation,
            time: statement.time,
            root_fingerprint: statement.root_fingerprint,
        });
    }
    proof.ok_or(AuditError::Nothing)
}

/// Follows the chain through a segment; answers its last sequence number. `known` are the hashes by sequence.
fn follow(segment: &AuditSegment, known: &mut HashMap<u64, String>) -> Result<u64, AuditError> {
    let (mut last, mut previous) = (segment.after, segment.previous.clone());
    if known.get(&last).is_some_and(|hash| *hash != previous) {
        return Err(AuditError::Forked { sequence: last });
    }
    for line in &segment.entries {
        let link: Link = serde_json::from_str(line)
            .map_err(|error| AuditError::Damaged { after: last, reason: error.to_string() })?;
        if last.checked_add(1) != Some(link.sequence) {
            return Err(AuditError::Gap { after: last, found: link.sequence });
        }
        if link.previous != previous {
            return Err(AuditError::Unchained { sequence: link.sequence });
        }
        (last, previous) = (link.sequence, hex::encode(digest(&SHA256, line.as_bytes())));
        if known.insert(last, previous.clone()).is_some_and(|hash| hash != previous) {
            return Err(AuditError::Forked { sequence: last });
        }
    }
    Ok(last)
}

fn verified_statement(head: &v3::AuditHead, root: &[u8]) -> Result<Statement, AuditError> {
    let fingerprint = hex::encode(digest(&SHA256, root));
    let refuse = |reason: &str| AuditError::NotSigned { root: fingerprint.clone(), reason: reason.to_owned() };
    let certificate = Certificate::from_der(root).map_err(|_| refuse("the root certificate is unreadable"))?;
    let key = certificate.tbs_certificate().subject_public_key_info().to_der();
    let key = key.map_err(|_| refuse("the root certificate is unreadable"))?;
    let statement: Statement =
        serde_json::from_str(&head.statement).map_err(|_| refuse("the statement is not one about audit trails"))?;
    let message = [HEAD_DOMAIN, head.statement.as_bytes()].concat();
    if UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, key).verify(&message, &head.signature.0).is_err() {
        return Err(refuse(&if statement.root_fingerprint == fingerprint {
            "the statement or its signature was changed".to_owned()
        } else {
            format!("it names the root {:?}", statement.root_fingerprint)
        }));
    }
    if statement.root_fingerprint != fingerprint {
        return Err(refuse("it names another certificate with the same key"));
    }
    Ok(statement)
}

fn gap(after: u64, found: u64) -> String {
    match after.checked_add(1) {
        Some(next) if next < found => format!("{} missing", range(next, found - 1)),
        _ => "they are out of order".to_owned(),
    }
}

fn range(first: u64, last: u64) -> String {
    format!("{} {}", numbers(first, last), if first == last { "is" } else { "are" })
}

fn numbers(first: u64, last: u64) -> String {
    if first == last { format!("entry {first}") } else { format!("entries {first} to {last}") }
}

impl Client {
    /// The heads of both trails, as the root key signed them just now. Needs an identity of a user.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn audit_head(&self) -> Result<v3::AuditHead, ClientError> {
        self.rest.v3("/api/v3/audit/head", None, None).await
    }

    /// One page of a trail. Needs an identity of a user.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn audit_page(&self, trail: AuditTrail, after: u64) -> Result<v3::AuditPage, ClientError> {
        let after = after.to_string();
        self.rest.v3(&format!("/api/v3/audit?trail={}&after={after}", trail.as_str()), None, None).await
    }

    /// All entries after a sequence number, up to a head that is signed now. Not verified yet; see [`verify_audit`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn audit_segment(&self, trail: AuditTrail, after: u64) -> Result<AuditSegment, ClientError> {
        // The head first: what is written meanwhile stands behind it and is left out.
        let head = self.audit_head().await?;
        let statement: Statement =
            serde_json::from_str(&head.statement).map_err(|error| ClientError::protocol("audit head", error))?;
        let end = match trail {
            AuditTrail::Changes => statement.changes.sequence,
            AuditTrail::Refusals => statement.refusals.sequence,
        };
        let page = self.audit_page(trail, after).await?;
        let mut segment =
            AuditSegment { trail, after: page.after, previous: page.previous, entries: page.entries, head };
        loop {
            let have = segment.after.saturating_add(segment.entries.len() as u64);
            if have >= end {
                let wanted = usize::try_from(end.saturating_sub(segment.after)).unwrap_or(usize::MAX);
                segment.entries.truncate(wanted);
                return Ok(segment);
            }
            let page = self.audit_page(trail, have).await?;
            if page.entries.is_empty() {
                // Cut off; verifying will say so.
                return Ok(segment);
            }
            segment.entries.extend(page.entries);
        }
    }

    /// A copy of the sealed state, handed on as it comes. Needs an identity with `UpdateManifest`. What has arrived must
    /// be checked: only a whole file is a backup. Answers its size.
    ///
    /// # Errors
    /// [`ClientError`]; those of `sink` too.
    pub async fn backup(&self, sink: impl FnMut(&[u8]) -> std::io::Result<()>) -> Result<u64, ClientError> {
        self.rest.get_bytes("/api/v3/backup", STANDSTILL, sink).await
    }
}

#[cfg(test)]
mod tests;
