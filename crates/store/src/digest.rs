//! SHA-256, and the beginnings of digests and tags that serve as names.

use aws_lc_rs::digest::{Context, SHA256};

/// SHA-256 of the parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    beginning(context.finish().as_ref())
}

/// The first bytes. Zeros stand for those that are not there.
pub(crate) fn beginning<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut first = [0; N];
    first.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    first
}
