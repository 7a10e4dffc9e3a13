//! What changes between two manifests, for people: path, old, new. Values of secrets and long contents are compared
//! but never shown.

mod leaves;

use crate::model::Manifest;
use leaves::Leaf;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where, such as `Packages.app.SecurityVersion`.
    pub path: String,
    /// As it was; `None` if it was not given.
    pub old: Option<String>,
    /// As it is now; `None` if it is not given any more.
    pub new: Option<String>,
}

/// All differences, by path. Values that only look different (`null` and an absent field, the order of names) are none.
#[must_use]
pub fn diff(old: &Manifest, new: &Manifest) -> Vec<Change> {
    let (old, new) = (leaves::of(old), leaves::of(new));
    let mut paths: Vec<&String> = old.keys().chain(new.keys()).collect();
    paths.sort();
    paths.dedup();
    let shown = |leaf: Option<&Leaf>| leaf.map(|leaf| leaf.shown.clone());
    paths
        .into_iter()
        .map(|path| (path, old.get(path), new.get(path)))
        .filter(|(_, old, new)| old.map(|leaf| leaf.digest) != new.map(|leaf| leaf.digest))
        .map(|(path, old, new)| Change { path: path.clone(), old: shown(old), new: shown(new) })
        .collect()
}

#[cfg(test)]
mod tests;
