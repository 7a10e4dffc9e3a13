//! The manifest in force, with what follows from it: fingerprint, users and their permissions.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use der::{Decode, Encode};
use marblerun_manifest::Manifest;
use marblerun_manifest::model::Role;
use marblerun_recovery::pem;
use sha2::{Digest, Sha256};
use x509_cert::certificate::{CertificateInner, Raw};

use crate::ChangeError;

/// What a user may do. Names are upstream's stored names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Permission {
    /// `readsecret`
    ReadSecret,
    /// `updatemanifest`
    UpdateManifest,
    /// `updatesecurityversion`
    UpdateSecurityVersion,
    /// `writesecret`
    WriteSecret,
}

impl Permission {
    /// Upstream's name: the action of the manifest, in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadSecret => "readsecret",
            Self::UpdateManifest => "updatemanifest",
            Self::UpdateSecurityVersion => "updatesecurityversion",
            Self::WriteSecret => "writesecret",
        }
    }

    /// The permission an action of a role grants; `None` for an unknown action.
    #[must_use]
    pub fn from_action(action: &str) -> Option<Self> {
        [Self::ReadSecret, Self::UpdateManifest, Self::UpdateSecurityVersion, Self::WriteSecret]
            .into_iter()
            .find(|permission| action.to_lowercase() == permission.as_str())
    }
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
    pub raw: Bytes,
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
    /// [`ChangeError`] if the manifest does not decode, or a user's role is missing or certificate unreadable.
    pub fn new(raw: Bytes, signature: Vec<u8>) -> Result<Self, ChangeError> {
        let manifest =
            Manifest::decode(&raw).map_err(|error| ChangeError(format!("the manifest does not decode: {error}")))?;
        let users = manifest
            .users
            .iter()
            .map(|(name, user)| {
                let certificate = user_certificate(&user.certificate)
                    .map_err(|reason| ChangeError(format!("certificate of user {name:?}: {reason}")))?;
                let permissions = permissions(name, &user.roles, &manifest.roles)?;
                Ok((name.clone(), User { name: name.clone(), certificate, permissions }))
            })
            .collect::<Result<_, ChangeError>>()?;
        Ok(Self { fingerprint: Sha256::digest(&raw).into(), raw, signature, manifest, users })
    }

    /// The user whose certificate is exactly this DER (first by name).
    #[must_use]
    pub fn user_by_certificate(&self, der: &[u8]) -> Option<&User> {
        self.users.values().find(|user| user.certificate == der)
    }
}

/// Sets of the same permission are united over roles and actions.
fn permissions(
    user: &str,
    roles: &[String],
    defined: &BTreeMap<String, Role>,
) -> Result<BTreeMap<Permission, BTreeSet<String>>, ChangeError> {
    let mut granted: BTreeMap<Permission, BTreeSet<String>> = BTreeMap::new();
    for name in roles {
        let Some(role) = defined.get(name) else {
            return Err(ChangeError(format!("user {user:?} has role {name:?}, which is not defined")));
        };
        for action in &role.actions {
            let Some(permission) = Permission::from_action(action) else {
                return Err(ChangeError(format!("role {name:?} has action {action:?}, which does not exist")));
            };
            granted.entry(permission).or_default().extend(role.resource_names.iter().cloned());
        }
    }
    Ok(granted)
}

/// The first PEM block of any label, which must hold an X.509 certificate of any version.
fn user_certificate(text: &str) -> Result<Vec<u8>, String> {
    let block = pem::first_block(text).ok_or("no PEM block found")?;
    let _: CertificateInner<Raw> = CertificateInner::from_der(&block.contents).map_err(|error| error.to_string())?;
    Ok(block.contents)
}

/// SubjectPublicKeyInfo of a certificate, DER.
pub(crate) fn certificate_spki(certificate: &[u8]) -> Result<Vec<u8>, String> {
    let parsed: CertificateInner<Raw> = CertificateInner::from_der(certificate).map_err(|error| error.to_string())?;
    parsed.tbs_certificate().subject_public_key_info().to_der().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
