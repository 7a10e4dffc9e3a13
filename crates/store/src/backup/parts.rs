//! A shared state in pieces: where a snapshot does not fit into one object, it lies in parts beside it, and the object
//! has what stands before and behind it (cluster protocol, section 8).
//!
//! Which bank is in use is found by trial: checksums and sequence numbers let one fit only. So nothing that could be
//! forged is believed for it.

use crate::format::{self, Layout, read_front};

/// A state that was put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    /// The whole file.
    pub sealed_data: Vec<u8>,
    /// How many parts it took.
    pub parts: usize,
}

/// Puts the parts of one bank, in their order, between prologue and header, and the deltas of `head`. Parts behind those
/// that fit are left over from a larger snapshot, and passed over. `None`: they are not the parts of this head.
#[must_use]
pub fn assemble(head: &[u8], parts: &[Vec<u8>]) -> Option<Assembled> {
    let Ok(Layout::Sealed(front)) = read_front(head) else { return None };
    let (before, deltas) = head.split_at_checked(usize::try_from(front.records_at).ok()?)?;
    (1..=parts.len()).rev().find_map(|count| {
        let snapshot = parts.iter().take(count).flatten();
        let sealed_data: Vec<u8> = before.iter().chain(snapshot).chain(deltas).copied().collect();
        let body = format::inspect(&sealed_data).ok()?.body.ok()?;
        let is_whole = body.torn.is_none() && body.end == sealed_data.len() as u64;
        is_whole.then_some(Assembled { sealed_data, parts: count })
    })
}
