//! The manifest in force, with what follows from it: fingerprint, users and their permissions.

use std::collections::{BTreeMap, BTreeSet};

use marblerun_manifest::Manifest;

/// What a user may do. Names are upstream's stored names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Permission {
    /// `readsecret`
    ReadSecret,
    /// `writesecret`
    WriteSecret,
    /// `updatesecurityversion`
    UpdateSecurityVersion,
    /// `updatemanifest`
    UpdateManifest,
}

/// A user in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name in the manifest.
    pub name: String,
    /// DER of the client certificate.
    pub certificate: Vec<u8>,
    /// Permission to the resources it covers (empty set: the permission alone).
    pub permissions: BTreeMap<Permission, BTreeSet<String>>,
}

impl User {
    /// Granted iff the user has the permission and every name is in its set; an empty list needs the permission alone.
    #[must_use]
    pub fn is_allowed<'a>(&self, permission: Permission, mut names: impl Iterator<Item = &'a str>) -> bool {
        self.permissions.get(&permission).is_some_and(|set| names.all(|name| set.contains(name)))
    }
}

/// The manifest in force.
#[derive(Debug)]
pub struct ActiveManifest {
    /// The bytes that were set.
    pub raw: Vec<u8>,
    /// SHA-256 of `raw`.
    pub fingerprint: [u8; 32],
    /// ASN.1 DER ECDSA by the root key over SHA-256 of `raw`.
    pub signature: Vec<u8>,
    /// Decoded.
    pub manifest: Manifest,
    /// By name.
    pub users: BTreeMap<String, User>,
}

impl ActiveManifest {
    /// Decodes and resolves users.
    ///
    /// # Errors
    /// [`crate::ChangeError`] if the manifest does not decode or a user certificate is unreadable.
    pub fn new(_raw: Vec<u8>, _signature: Vec<u8>) -> Result<Self, crate::ChangeError> {
        todo!()
    }

    /// The user whose certificate is exactly this DER (first by name).
    #[must_use]
    pub fn user_by_certificate(&self, der: &[u8]) -> Option<&User> {
        self.users.values().find(|user| user.certificate == der)
    }
}
