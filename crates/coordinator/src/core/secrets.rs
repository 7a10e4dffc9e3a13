//! Secrets that users read and write over the client API.

use std::collections::BTreeMap;
use std::sync::Arc;

use marblerun_api::bytes::Base64;
use marblerun_api::v2;
use marblerun_pki::{Secret, Upload as Value, UploadError, public_key_of};
use marblerun_state::{ActiveManifest, AuditEvent, Change, Draft, Permission, Phase, State};
use zeroize::Zeroizing;

use crate::core::answer::{PeerCertificate, SecretUpload};
use crate::core::audit;
use crate::core::dry_run::DryRunSecrets;
use crate::core::identity;
use crate::core::parameters::CompiledManifest;
use crate::core::sameness::same_manifest;
use crate::core::secret_plan::has_value;
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
    require_certificates(upload)?;
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
            let secret = Secret::from_upload(name, current, given(value)).map_err(|e| invalid(&e.to_string()))?;
            Ok((name.clone(), Arc::new(secret)))
        })
        .collect::<Result<_, Error>>()?;
    Ok(Upload { values, manifest: Arc::clone(manifest), user: user.name.clone() })
}

/// Tries the templates that may use what was uploaded. With what is stored, and samples of the rest.
pub(super) fn dry_run(
    state: &State,
    upload: &Upload,
    compiled: &CompiledManifest,
    now: jiff::Timestamp,
) -> Result<(), Error> {
    let real = |name: &str| {
        let generated = || state.secret(name).filter(|secret| secret.shared && !secret.user_defined);
        upload.values.get(name).or_else(generated).cloned()
    };
    let definitions = &upload.manifest.manifest.secrets;
    let secrets = DryRunSecrets::new(definitions, &real, state.authority(), now);
    compiled.dry_run_of(upload.values.keys().map(String::as_str), &secrets).map_err(|cause| {
        let text = format!("running manifest template dry run: {cause}");
        Error::new(ErrorKind::Refused, "template_dry_run_failed", text)
    })
}

/// Records an upload that was judged good, if it would be judged the same now.
pub(super) fn record(
    draft: &mut Draft,
    judged: &Upload,
    peer: Option<&PeerCertificate>,
    now: jiff::Timestamp,
) -> Result<(), Step> {
    let same_manifest = draft.state().manifest().is_some_and(|current| same_manifest(current, &judged.manifest));
    if !same_manifest || identity::user(draft.state(), peer)?.name != judged.user {
        return Err(Step::Stale);
    }
    let mut lines = Vec::with_capacity(judged.values.len());
    let mut entries = Vec::with_capacity(judged.values.len());
    let root_key = draft.state().authority().root_key.clone();
    for (name, secret) in &judged.values {
        let old = draft.state().secret(name).filter(|old| has_value(old)).cloned();
        if let Some(old) = old.as_ref().filter(|old| *old != secret) {
            draft.record(Change::PreviousSecret(name.clone(), Some(Arc::clone(old))))?;
        }
        let digest = |secret: &Arc<Secret>| audit::secret_digest(&root_key, name, secret);
        let entry = audit::entry(AuditEvent::SecretWritten, now, &audit::user(&judged.user), name);
        let entry = entry.before(old.as_ref().and_then(digest));
        entries.push(match digest(secret) {
            Some(after) => entry.after(after),
            None => entry,
        });
        draft.record(Change::Secret(name.clone(), Some(Arc::clone(secret))))?;
        // As for every other secret, the first value is its own previous one.
        if old.is_none() && !draft.state().previous_secret(name).is_some_and(|previous| has_value(previous)) {
            draft.record(Change::PreviousIsCurrent(name.clone()))?;
        }
        let kind = secret.kind.as_str();
        lines.push(line(Entry::SecretSet { user: &judged.user, secret: name, kind }, now));
    }
    draft.record(Change::Log(lines))?;
    audit::record(draft, entries)?;
    Ok(())
}

/// What is no certificate is a malformed request, whatever else is wrong with it.
fn require_certificates(upload: &SecretUpload) -> Result<(), Error> {
    let mut certificates = upload.values().filter_map(|value| value.cert.as_ref());
    if certificates.any(|certificate| public_key_of(&certificate.0).is_err()) {
        let text = UploadError::CertificateMalformed.to_string();
        return Err(Error::new(ErrorKind::BadRequest, "malformed_certificate", text));
    }
    Ok(())
}

fn given(value: &v2::UserSecret) -> Value {
    let bytes = |part: &Option<Base64>| part.as_ref().map(|bytes| Zeroizing::new(bytes.0.clone()));
    Value {
        certificate: value.cert.as_ref().map(|certificate| certificate.0.clone()),
        private: bytes(&value.private),
        key: bytes(&value.key),
    }
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
