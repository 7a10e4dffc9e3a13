//! Recovery of an imported state whose readable header is lost: nothing tells a right secret from junk before
//! the root is complete, so combinations are tried.
//!
//! Bounds: the newest [`WINDOW`] different secrets of each length are kept, and one upload tries at most
//! [`MAX_TRIES`] combinations and the [`WINDOW`] runs of newest ones, all with the uploaded secret in them.
//! So junk never grows memory or work; what was uploaded before the window does not matter at all; and holders who upload
//! within a window of each other complete the root, whatever came before: up to [`WINDOW`] of them one after the
//! other, up to [`CLOSE`] of them with junk in between. Who floods without pause can delay that, and only as
//! long as he floods; uploading a secret again makes it the newest.

use std::collections::BTreeMap;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::collection::combine_secrets;
use super::{Outcome, Upload, digest};
use crate::{Place, RecoveryRoot};

/// Secrets kept of each length.
const WINDOW: usize = 16;
/// Of the newest so many, every combination with the newest is tried.
const CLOSE: usize = 8;
/// Combinations tried for one upload: all subsets of the [`CLOSE`] newest that hold the newest.
pub(super) const MAX_TRIES: usize = 1 << (CLOSE - 1);

/// The newest secrets of each length, newest first.
#[derive(Default)]
pub(super) struct Search {
    windows: BTreeMap<usize, Vec<Upload>>,
}

impl Search {
    /// Keeps a secret and tries what it completes.
    pub(super) fn add(&mut self, upload: Upload, opens: &dyn Fn(&[u8]) -> bool) -> Outcome {
        let window = self.windows.entry(upload.secret.len()).or_default();
        window.retain(|old| !bool::from(old.secret.as_slice().ct_eq(upload.secret.as_slice())));
        window.insert(0, upload);
        window.truncate(WINDOW);

        let runs = (1..=window.len()).map(|length| (0..length).collect::<Vec<_>>());
        let close = window.len().min(CLOSE);
        let subsets = (1..=close).flat_map(|size| subsets_with_first(close, size));
        for chosen in runs.chain(subsets) {
            let members: Vec<&Upload> = chosen.iter().filter_map(|index| window.get(*index)).collect();
            let secrets: Vec<&[u8]> = members.iter().map(|member| member.secret.as_slice()).collect();
            let root: Option<Zeroizing<Vec<u8>>> = combine_secrets(&secrets);
            if let Some(root) = root.filter(|root| opens(root)) {
                let uploads = members.into_iter().cloned().collect();
                return Outcome::Complete { root: RecoveryRoot::new(root), uploads };
            }
        }
        Outcome::Accepted { remaining: 1, party: None }
    }
}

/// Everything has a place here; a secret is kept once.
pub(super) fn place(upload: &Upload) -> Place {
    let length = u64::try_from(upload.secret.len()).unwrap_or(u64::MAX).to_be_bytes();
    Place { class: digest(&[b"length", &length]), key: digest(&[b"secret", &upload.secret]), most: WINDOW }
}

/// All subsets of `0..count` with `size` elements that hold 0, those of small numbers first.
pub(super) fn subsets_with_first(count: usize, size: usize) -> impl Iterator<Item = Vec<usize>> {
    let mut next: Option<Vec<usize>> = (size > 0 && size <= count).then(|| (0..size).collect());
    std::iter::from_fn(move || {
        let current = next.take()?;
        // The rightmost element that can move up, not counting element 0, moves; those behind it follow closely.
        let movable = (1..size).rev().find(|at| current.get(*at).is_some_and(|value| *value < count - size + at));
        next = movable.map(|at| {
            let base = current.get(at).map_or(0, |value| value + 1);
            current.iter().copied().take(at).chain((0..size - at).map(|step| base + step)).collect()
        });
        Some(current)
    })
}
