//! Secrets: generated keys and certificates, derived per-Marble keys.

use jiff::Timestamp;
use marblerun_manifest::model::{CertTemplate, SecretDefinition, SecretKind};
use zeroize::Zeroizing;

use crate::certificate::{self, Order};
use crate::derivation::{MAX_DERIVED_LEN, SecretDerivation};
use crate::keypair::{Curve, KeyKind, KeyPair};
use crate::template::{KeyId, Template};
use crate::{Authority, PkiError};

/// Validity of a certificate whose definition says nothing of it.
const DEFAULT_VALID_FOR: u64 = 365;

/// Go refuses less; weaker keys break nothing but themselves.
const MIN_RSA_BITS: u64 = 1024;
/// Generation takes minutes above; nobody uses it.
const MAX_RSA_BITS: u64 = 16_384;
/// 4 MiB: more does not fit into an activation.
const MAX_SYMMETRIC_BITS: u64 = 8 << 22;

/// A secret with its value. All parts may be absent (unset user-defined secrets).
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Kind.
    pub kind: SecretKind,
    /// Bits.
    pub size: u64,
    /// One value for all Marbles.
    pub shared: bool,
    /// Uploaded by a user.
    pub user_defined: bool,
    /// Days; 365 filled in for generated certificates that name none.
    pub valid_for: u64,
    /// DER certificate.
    pub certificate: Option<Vec<u8>>,
    /// Value, or PKCS#8 DER.
    pub private: Option<Zeroizing<Vec<u8>>>,
    /// Value, or SubjectPublicKeyInfo DER.
    pub public: Option<Zeroizing<Vec<u8>>>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("kind", &self.kind)
            .field("size", &self.size)
            .field("shared", &self.shared)
            .field("user_defined", &self.user_defined)
            .field("valid_for", &self.valid_for)
            .field("set", &self.private.is_some())
            .finish_non_exhaustive()
    }
}

impl Secret {
    /// The secret a definition stands for before it has a value. A user-defined one takes over what the
    /// manifest presets; a generated one says how long it will be valid.
    ///
    /// # Errors
    /// If the kind is unknown.
    pub fn from_definition(name: &str, definition: &SecretDefinition) -> Result<Self, PkiError> {
        let kind = SecretKind::from_name(&definition.kind)
            .ok_or_else(|| PkiError::definition(format!("unknown type: {} for secret: {name}", definition.kind)))?;
        let mut secret = Self {
            kind,
            size: definition.size,
            shared: definition.shared,
            user_defined: definition.user_defined,
            valid_for: definition.valid_for,
            certificate: None,
            private: None,
            public: None,
        };
        if definition.user_defined {
            if let Some(CertTemplate::Der(der)) = &definition.cert {
                secret.certificate = Some(der.clone());
            }
            secret.private = definition.private.clone().map(Zeroizing::new);
            secret.public = definition.public.clone().map(Zeroizing::new);
        } else if kind.is_certificate() && definition.valid_for == 0 && !has_not_after(definition) {
            secret.valid_for = DEFAULT_VALID_FOR;
        }
        Ok(secret)
    }

    fn set_value(&mut self, value: Zeroizing<Vec<u8>>) {
        self.public = Some(value.clone());
        self.private = Some(value);
    }

    fn set_certificate(&mut self, certificate: Vec<u8>, key: KeyPair) {
        self.certificate = Some(certificate);
        self.private = Some(key.private);
        self.public = Some(Zeroizing::new(key.public));
    }
}

/// Generates a shared secret. CPU-heavy for RSA. For a certificate, the template is the definition's.
///
/// # Errors
/// [`PkiError::Definition`] with upstream's gist and the secret's name.
pub fn generate_shared(
    name: &str,
    definition: &SecretDefinition,
    authority: &Authority,
    now: Timestamp,
) -> Result<Secret, PkiError> {
    generate(name, definition, authority, None, now)
}

/// Generates a secret of one Marble: symmetric keys by derivation, certificates afresh.
///
/// # Errors
/// [`PkiError::Definition`] with upstream's gist and the secret's name.
pub fn generate_per_marble(
    name: &str,
    definition: &SecretDefinition,
    authority: &Authority,
    derivation: SecretDerivation<'_>,
    now: Timestamp,
) -> Result<Secret, PkiError> {
    generate(name, definition, authority, Some(derivation), now)
}

/// Issues a shared certificate again under a new authority (package update): everything it says is kept,
/// the end of its validity too; key, serial and start of validity are new.
///
/// # Errors
/// If the stored certificate cannot be read or the key cannot be made.
pub fn reissue_shared(name: &str, stored: &Secret, authority: &Authority, now: Timestamp) -> Result<Secret, PkiError> {
    let Making::Certificate(kind) = Making::of(name, stored)? else {
        return Err(PkiError::definition(format!("secret {name} is no certificate")));
    };
    let issued = stored
        .certificate
        .as_deref()
        .ok_or_else(|| PkiError::definition(format!("secret {name} has no certificate to issue again")))?;
    let template = Template::from_issued(&certificate::parse(issued)?)?;
    let mut secret = stored.clone();
    let (certificate, key) =
        issue(&template, kind, stored.valid_for, authority, now).map_err(|error| error.for_secret(name))?;
    secret.set_certificate(certificate, key);
    Ok(secret)
}

/// Says whether a definition could be generated, without making a key. For secrets that are made only
/// when a Marble needs them, but whose mistakes belong into the answer to whoever sets the manifest.
///
/// # Errors
/// As the generation would have.
pub fn check_definition(name: &str, definition: &SecretDefinition, now: Timestamp) -> Result<(), PkiError> {
    let secret = Secret::from_definition(name, definition)?;
    if secret.user_defined {
        return Ok(());
    }
    match Making::of(name, &secret)? {
        Making::Symmetric(length) if !secret.shared && length > MAX_DERIVED_LEN => {
            Err(PkiError::definition("hkdf: requested key length too large").for_secret(name))
        }
        Making::Symmetric(_) => Ok(()),
        Making::Certificate(_) => Template::from_definition(definition)
            .and_then(|template| {
                let not_after = template.not_after.unwrap_or_else(|| days_from(now, secret.valid_for));
                certificate::check(&template.fields, &template.subject, not_after)
            })
            .map_err(|error| error.for_secret(name)),
    }
}

/// What there is to make, sizes checked.
enum Making {
    /// Bytes.
    Symmetric(usize),
    Certificate(KeyKind),
}

impl Making {
    fn of(name: &str, secret: &Secret) -> Result<Self, PkiError> {
        let refuse = |text: String| Err(PkiError::Definition(text));
        let size = secret.size;
        let bits = usize::try_from(size).unwrap_or(usize::MAX);
        match secret.kind {
            SecretKind::Plain => refuse(format!("secret {name} is invalid: unsupported secret of type plain")),
            SecretKind::SymmetricKey if size == 0 || !size.is_multiple_of(8) => {
                refuse(format!("invalid secret size: {name}"))
            }
            SecretKind::SymmetricKey if size > MAX_SYMMETRIC_BITS => {
                refuse(format!("invalid secret size: {name}: {size} bits are more than {MAX_SYMMETRIC_BITS}"))
            }
            SecretKind::SymmetricKey => Ok(Self::Symmetric(bits / 8)),
            SecretKind::CertRsa if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&size) => refuse(format!(
                "invalid secret size: {name}: an RSA key has {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, not {size}"
            )),
            SecretKind::CertRsa => Ok(Self::Certificate(KeyKind::Rsa(bits))),
            SecretKind::CertEcdsa => match size {
                224 => Ok(Self::Certificate(KeyKind::Ec(Curve::P224))),
                256 => Ok(Self::Certificate(KeyKind::Ec(Curve::P256))),
                384 => Ok(Self::Certificate(KeyKind::Ec(Curve::P384))),
                521 => Ok(Self::Certificate(KeyKind::Ec(Curve::P521))),
                _ => refuse(format!(
                    "invalid secret size: {name}: an ECDSA key has 224, 256, 384 or 521 bits, not {size}"
                )),
            },
            SecretKind::CertEd25519 if size != 0 => {
                refuse(format!("invalid secret size: {name}: an Ed25519 key has a fixed size, leave Size out"))
            }
            SecretKind::CertEd25519 => Ok(Self::Certificate(KeyKind::Ed25519)),
        }
    }
}

fn generate(
    name: &str,
    definition: &SecretDefinition,
    authority: &Authority,
    derivation: Option<SecretDerivation<'_>>,
    now: Timestamp,
) -> Result<Secret, PkiError> {
    let mut secret = Secret::from_definition(name, definition)?;
    match (Making::of(name, &secret)?, derivation) {
        (Making::Symmetric(length), Some(derivation)) => {
            secret.set_value(derivation.derive(name, length).map_err(|error| error.for_secret(name))?);
        }
        (Making::Symmetric(length), None) => {
            let mut value = Zeroizing::new(vec![0; length]);
            aws_lc_rs::rand::fill(&mut value).map_err(|_| PkiError::Crypto("random source"))?;
            secret.set_value(value);
        }
        (Making::Certificate(kind), _) => {
            let (certificate, key) = Template::from_definition(definition)
                .and_then(|template| issue(&template, kind, secret.valid_for, authority, now))
                .map_err(|error| error.for_secret(name))?;
            secret.set_certificate(certificate, key);
        }
    }
    Ok(secret)
}

fn issue(
    template: &Template,
    kind: KeyKind,
    valid_for: u64,
    authority: &Authority,
    now: Timestamp,
) -> Result<(Vec<u8>, KeyPair), PkiError> {
    let not_after = template.not_after.unwrap_or_else(|| days_from(now, valid_for));
    // Before the key, which may take seconds.
    certificate::check(&template.fields, &template.subject, not_after)?;
    let key = KeyPair::generate(kind)?;
    let key_id = match &template.key_id {
        KeyId::Absent => None,
        KeyId::Derived => Some(certificate::derived_key_id(&key.public)?),
        KeyId::Given(given) => Some(given.clone()),
    };
    let order = Order {
        subject: template.subject.clone(),
        public_key: &key.public,
        key_id,
        not_before: now.as_second(),
        not_after,
        fields: &template.fields,
    };
    Ok((certificate::issue(order, &authority.marble_issuer()?)?, key))
}

/// Calendar days in UTC. The number wraps as Go's does: 2^64-1 days are minus one.
fn days_from(now: Timestamp, days: u64) -> i64 {
    now.as_second().saturating_add(days.cast_signed().saturating_mul(24 * 60 * 60))
}

/// Whether the template says when the certificate ends. A certificate as template always does.
fn has_not_after(definition: &SecretDefinition) -> bool {
    match &definition.cert {
        None => false,
        Some(CertTemplate::Fields(fields)) => fields.not_after.is_some(),
        Some(CertTemplate::Der(_)) => true,
    }
}
