//! Secrets that users read and write over the client API.

use std::collections::BTreeMap;
use std::sync::Arc;

use der::{Decode, Encode};
use marblerun_api::bytes::Base64;
use marblerun_api::v2;
use marblerun_manifest::model::SecretKind;
use marblerun_pki::Secret;
use marblerun_state::{ActiveManifest, Change, Draft, Permission, Phase, State};
use x509_cert::Certificate;
use zeroize::Zeroizing;

use crate::core::answer::{PeerCertificate, SecretUpload};
use crate::core::identity;
use crate::core::transaction::Step;
use crate::core::update_log::{Entry, line};
use crate::error::{Error, ErrorKind};

/// Gives out secrets. All or nothing: a name the user may not read, or that is none, refuses all.
pub(super) fn read(
    state: &State,
    peer: Option<&PeerCertificate>,
    names: &[String],
) -> Result<BTreeMap<String, v2::Secret>, Error> {
    let user = identity::user(state, peer)?;
    let bad = |text| Error::new(ErrorKind::BadRequest, "bad_query", text);
    if names.is_empty() {
        return Err(bad("invalid query: endpoint requires at least one query parameter"));
    }
    if names.iter().any(String::is_empty) {
        return Err(bad("malformed query string: empty query parameter"));
    }
    require_running(state)?;
    if !user.is_allowed(Permission::ReadSecret, names.iter().map(String::as_str)) {
        return Err(forbidden(format!(
            "user {} is not allowed to read one or more secrets of: [{}]",
            user.name,
            names.join(" ")
        )));
    }
    names
        .iter()
        .map(|name| {
            let secret = state.secret(name).ok_or_else(|| {
                Error::new(
                    ErrorKind::Refused,
                    "unknown_secret",
                    format!("loading secret {name} from store: requested value not set"),
                )
            })?;
            Ok((name.clone(), to_wire(secret)))
        })
        .collect()
}

fn to_wire(secret: &Secret) -> v2::Secret {
    let bytes = |value: &Option<Zeroizing<Vec<u8>>>| value.as_ref().map(|bytes| Base64(bytes.to_vec()));
    v2::Secret {
        r#type: secret.kind.as_str().to_owned(),
        size: secret.size,
        shared: secret.shared,
        user_defined: secret.user_defined,
        cert: secret.certificate.clone().map(Base64),
        valid_for: secret.valid_for,
        private: bytes(&secret.private),
        public: bytes(&secret.public),
    }
}

/// An upload that was found good for one manifest.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) values: BTreeMap<String, Arc<Secret>>,
    pub(super) manifest: Arc<ActiveManifest>,
    user: String,
}

/// Judges an upload. Permissions come before everything that would tell which secrets there are.
pub(super) fn judge(state: &State, peer: Option<&PeerCertificate>, upload: &SecretUpload) -> Result<Upload, Error> {
    let user = identity::user(state, peer)?;
    let certificates = parse_certificates(upload)?;
    require_running(state)?;
    let Some(manifest) = state.manifest() else { return Err(Error::wrong_state()) };
    if upload.is_empty() {
        return Err(invalid("no new secrets defined"));
    }
    for name in upload.keys() {
        if !user.is_allowed(Permission::WriteSecret, std::iter::once(name.as_str())) {
            return Err(forbidden(format!("user {} is not allowed to update secret: {name}", user.name)));
        }
    }
    let values = upload
        .iter()
        .map(|(name, value)| {
            let current = state.secret(name).ok_or_else(|| {
                invalid("secret manifest specifies a secret which the original manifest does not contain")
            })?;
            let secret = with_value(name, current, value, certificates.get(name.as_str()))?;
            Ok((name.clone(), Arc::new(secret)))
        })
        .collect::<Result<_, Error>>()?;
    Ok(Upload { values, manifest: Arc::clone(manifest), user: user.name.clone() })
}

/// Records an upload that was judged good, if it would be judged the same now.
pub(super) fn record(
    draft: &mut Draft,
    judged: &Upload,
    peer: Option<&PeerCertificate>,
    now: jiff::Timestamp,
) -> Result<(), Step> {
    let same_manifest = draft.state().manifest().is_some_and(|current| Arc::ptr_eq(current, &judged.manifest));
    if !same_manifest || identity::user(draft.state(), peer)?.name != judged.user {
        return Err(Step::Stale);
    }
    let mut lines = Vec::with_capacity(judged.values.len());
    for (name, secret) in &judged.values {
        draft.record(Change::Secret(name.clone(), Some(Arc::clone(secret))))?;
        let kind = secret.kind.as_str();
        lines.push(line(Entry::SecretSet { user: &judged.user, secret: name, kind }, now));
    }
    draft.record(Change::Log(lines))?;
    Ok(())
}

/// The SubjectPublicKeyInfo of every certificate in an upload, by secret.
fn parse_certificates(upload: &SecretUpload) -> Result<BTreeMap<&str, Vec<u8>>, Error> {
    upload
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.cert.as_ref()?)))
        .map(|(name, certificate)| {
            let public_key = Certificate::from_der(&certificate.0)
                .and_then(|parsed| parsed.tbs_certificate().subject_public_key_info().to_der())
                .map_err(|_| {
                    Error::new(ErrorKind::BadRequest, "malformed_certificate", "x509: malformed certificate")
                })?;
            Ok((name, public_key))
        })
        .collect()
}

/// The secret with the uploaded value in place of its own.
fn with_value(
    name: &str,
    current: &Secret,
    value: &v2::UserSecret,
    public_key: Option<&Vec<u8>>,
) -> Result<Secret, Error> {
    if !current.user_defined {
        return Err(invalid(&format!("secret {name} is not writeable")));
    }
    let kind = current.kind.as_str();
    let definition = Secret { certificate: None, private: None, public: None, ..current.clone() };
    if current.kind.is_certificate() {
        if value.key.is_some() {
            return Err(invalid(&format!(
                "secret {name} is set to be of type {kind} but specified values for a symmetric-key"
            )));
        }
        let (Some(certificate), Some(public_key)) = (&value.cert, public_key) else {
            return Err(invalid("x509: unsupported public key type: <nil>"));
        };
        return Ok(Secret {
            certificate: Some(certificate.0.clone()),
            private: value.private.as_ref().map(|key| Zeroizing::new(key.0.clone())),
            public: Some(Zeroizing::new(public_key.clone())),
            ..definition
        });
    }
    if value.cert.is_some() || value.private.is_some() {
        return Err(invalid(&format!(
            "secret {name} is set to be of type {kind} but specified values for a certificate"
        )));
    }
    let key = value.key.as_ref().map(|key| Zeroizing::new(key.0.clone()));
    if current.kind == SecretKind::SymmetricKey {
        let length = key.as_ref().map_or(0, |key| key.len() as u64);
        if current.size == 0 || !current.size.is_multiple_of(8) {
            return Err(invalid(&format!("invalid secret size: {name}")));
        }
        if length != current.size / 8 {
            return Err(invalid(&format!("declared size and actual size don't match: {name}")));
        }
    }
    Ok(Secret { private: key.clone(), public: key, ..definition })
}

fn require_running(state: &State) -> Result<(), Error> {
    if state.phase() == Phase::AcceptingMarbles { Ok(()) } else { Err(Error::wrong_state()) }
}

fn forbidden(text: String) -> Error {
    Error::new(ErrorKind::Refused, "not_allowed", text)
}

fn invalid(text: &str) -> Error {
    Error::new(ErrorKind::Refused, "invalid_secret", format!("parsing new secrets: {text}"))
}
