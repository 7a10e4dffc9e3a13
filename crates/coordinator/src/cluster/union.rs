//! What is told of a recovery, on the wire: a sequence of parts of bounded size, and so many of them. Of a peer's parts,
//! what is not whole is refused as a whole.

use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use marblerun_api::peer::{CeremonyPart, CeremonySession, CeremonyUpload};
use marblerun_recovery::{SessionKeys, SharedSessions, SharedUploads, Stamp, Stamped, Upload};
use zeroize::Zeroizing;

use crate::core::Union;

/// Uploads in a part: far below the largest message, whatever they are.
const UPLOADS_IN_PART: usize = 16;
/// Longest secret and signature that a ceremony looks at.
const LONGEST_SECRET: usize = 64;
const LONGEST_SIGNATURE: usize = 1024;
/// Longest key, and longest certificate authority with all its names.
const LONGEST_KEY: usize = 8 << 10;
const LONGEST_AUTHORITY: usize = 32 << 10;

/// To the wire.
pub(super) fn parts(union: &Union) -> Vec<CeremonyPart> {
    let head = CeremonyPart {
        header: union.header.to_vec(),
        idle_ms: u64::try_from(union.idle.as_millis()).unwrap_or(u64::MAX),
        finished: union.finished,
        ..CeremonyPart::default()
    };
    let sessions = union.sessions.iter().map(|session| CeremonyPart {
        sessions: vec![CeremonySession {
            id: session.id.to_vec(),
            decryption_key: session.decryption_key.to_vec(),
            authority: session.authority.to_vec(),
        }],
        ..CeremonyPart::default()
    });
    let uploads = union
        .uploads
        .chunks(UPLOADS_IN_PART)
        .map(|chunk| CeremonyPart { uploads: chunk.iter().map(encode).collect(), ..CeremonyPart::default() });
    std::iter::once(head).chain(sessions).chain(uploads).collect()
}

fn encode(stamped: &Stamped) -> CeremonyUpload {
    CeremonyUpload {
        count: stamped.stamp.count,
        by: stamped.stamp.by.to_vec(),
        secret: stamped.upload.secret.to_vec(),
        signature: stamped.upload.signature.clone(),
    }
}

/// From the wire.
///
/// # Errors
/// What is wrong with it.
pub(super) async fn collect(parts: impl Stream<Item = Result<CeremonyPart, String>>) -> Result<Union, String> {
    let mut parts = std::pin::pin!(parts);
    let mut union = Union::default();
    let mut first = true;
    while let Some(part) = parts.next().await {
        let part = part?;
        let is_head = std::mem::take(&mut first);
        if is_head {
            union.header = part.header.as_slice().try_into().map_err(|_| "the name of a state has 32 bytes")?;
            union.idle = Duration::from_millis(part.idle_ms);
            union.finished = part.finished;
        }
        let (uploads, sessions) = (part.uploads, part.sessions);
        if union.uploads.len() + uploads.len() > SharedUploads::MOST
            || union.sessions.len() + sessions.len() > SharedSessions::MOST
            || (uploads.is_empty() && sessions.is_empty() && !is_head)
        {
            return Err("more parts than a recovery has".to_owned());
        }
        for upload in uploads {
            union.uploads.push(decode(upload).ok_or("a recovery secret that is none")?);
        }
        for session in sessions {
            union.sessions.push(decode_session(session).ok_or("a session that is none")?);
        }
    }
    if first { Err("no part at all".to_owned()) } else { Ok(union) }
}

fn decode(upload: CeremonyUpload) -> Option<Stamped> {
    let CeremonyUpload { count, by, secret, signature } = upload;
    let secret = Zeroizing::new(secret);
    if secret.len() > LONGEST_SECRET || signature.len() > LONGEST_SIGNATURE {
        return None;
    }
    let stamp = Stamp { count, by: by.as_slice().try_into().ok()? };
    Some(Stamped { stamp, upload: Upload { secret, signature } })
}

fn decode_session(session: CeremonySession) -> Option<SessionKeys> {
    let CeremonySession { id, decryption_key, authority } = session;
    let (decryption_key, authority) = (Zeroizing::new(decryption_key), Zeroizing::new(authority));
    if decryption_key.len() > LONGEST_KEY || authority.len() > LONGEST_AUTHORITY {
        return None;
    }
    Some(SessionKeys { id: id.as_slice().try_into().ok()?, decryption_key, authority })
}

#[cfg(test)]
mod tests;
