//! What templates can see: the secrets of the manifest and the reserved ones.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::model::SecretKind;

/// Bytes of a secret: shared, wiped when the last holder drops them, never shown.
#[derive(Clone, Default)]
pub struct SecretBytes(Arc<Zeroizing<Vec<u8>>>);

impl SecretBytes {
    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl From<Zeroizing<Vec<u8>>> for SecretBytes {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(Arc::new(bytes))
    }
}

impl From<&[u8]> for SecretBytes {
    fn from(bytes: &[u8]) -> Self {
        Self(Arc::new(Zeroizing::new(bytes.to_vec())))
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

/// A secret as templates see it. Cheap to clone. `None` parts are unset, which is not the same as empty.
#[derive(Debug, Clone, Default)]
pub struct SecretValue {
    /// `.Type`; the reserved secrets have none.
    pub kind: Option<SecretKind>,
    /// `.Size`, bits.
    pub size: u64,
    /// `.Shared`
    pub shared: bool,
    /// `.UserDefined`
    pub user_defined: bool,
    /// `.ValidFor`, days.
    pub valid_for: u64,
    /// `.Cert`, DER.
    pub cert: Option<Arc<[u8]>>,
    /// `.Private`: the value, or PKCS#8 DER.
    pub private: Option<SecretBytes>,
    /// `.Public`: the value, or SubjectPublicKeyInfo DER.
    pub public: Option<SecretBytes>,
}

/// The one byte that stands for any part of a secret in a dry run.
pub(super) const DUMMY: &[u8] = b"A";

impl SecretValue {
    /// A value with a dummy byte in each part, as the dry run uses.
    #[must_use]
    pub fn dummy() -> Self {
        let bytes = Some(SecretBytes::from(DUMMY));
        Self { cert: Some(Arc::from(DUMMY)), private: bytes.clone(), public: bytes, ..Self::default() }
    }
}

/// Where the values of secrets come from. A value is asked for only if a template uses it, perhaps several times.
pub trait SecretSource {
    /// The secret of that name.
    fn secret(&self, name: &str) -> Option<SecretValue>;

    /// All names, sorted by their bytes. Asked for only by templates that list, count or compare all secrets.
    fn names(&self) -> Vec<String>;
}

impl SecretSource for BTreeMap<String, SecretValue> {
    fn secret(&self, name: &str) -> Option<SecretValue> {
        self.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}

/// `.MarbleRun`: what every Marble may use.
#[derive(Debug, Clone, Default)]
pub struct Reserved {
    /// `.RootCA`: the Marble root certificate, no keys.
    pub root_ca: SecretValue,
    /// `.MarbleCert`: the Marble's own certificate and keys.
    pub marble_cert: SecretValue,
    /// `.CoordinatorRoot`: certificate only.
    pub coordinator_root: SecretValue,
    /// `.CoordinatorIntermediate`: certificate only.
    pub coordinator_intermediate: SecretValue,
}

impl Reserved {
    /// Dummies in the parts that exist, as the dry run uses.
    #[must_use]
    pub fn dummy() -> Self {
        let dummy = SecretValue::dummy();
        let certificate = SecretValue { cert: dummy.cert.clone(), ..SecretValue::default() };
        Self {
            root_ca: certificate.clone(),
            marble_cert: dummy,
            coordinator_root: certificate.clone(),
            coordinator_intermediate: certificate,
        }
    }
}

/// The data a template is executed with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// `.MarbleRun`
    pub reserved: &'a Reserved,
    /// `.Secrets`
    pub secrets: &'a dyn SecretSource,
    /// `.Previous.Secrets`
    pub previous_secrets: &'a dyn SecretSource,
}
