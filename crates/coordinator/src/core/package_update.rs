//! Package updates: one user raises security versions. The authority below the root is new afterwards, so
//! that Marbles of the old version are no longer trusted by new ones; shared certificates are issued anew
//! under it and keep their date of expiry.

use std::sync::Arc;

use jiff::Timestamp;
use marblerun_manifest::model::Package;
use marblerun_pki::{Authority, PkiError, Secret, reissue_shared};
use marblerun_state::{AuditEvent, Change, Draft, Permission, State, User};

use crate::core::answer::UpdateAnswer;
use crate::core::audit;
use crate::core::candidate::Candidate;
use crate::core::generation::make_all;
use crate::core::transaction::{Step, record_all};
use crate::core::update::{Basis, is_unmoved};
use crate::core::update_log::{Entry, line};
use crate::core::update_notices::package_notices;
use crate::error::{Error, ErrorKind};

/// New versions and all that follows from them.
pub(super) struct Prepared {
    basis: Basis,
    packages: Vec<(String, Arc<Package>, u64)>,
    authority: Arc<Authority>,
    certificates: Vec<(String, Arc<Secret>)>,
    now: Timestamp,
}

/// The first half.
pub(super) fn prepare(state: &State, user: &User, candidate: &Candidate, now: Timestamp) -> Result<Prepared, Error> {
    let basis = Basis::of(state)?;
    let packages = raised(state, user, candidate)?;
    for notice in package_notices(state, &candidate.manifest) {
        tracing::warn!(user = user.name, "package update: {notice}");
    }
    let authority = Arc::new(basis.authority.rotate_intermediate(now).map_err(|error| {
        Error::new(ErrorKind::Internal, "certificates_not_made", format!("updating certificates: {error}"))
    })?);
    let certificates = reissued(state, &authority, now)?;
    Ok(Prepared { basis, packages, authority, certificates, now })
}

/// The second half.
pub(super) fn commit(draft: &mut Draft, prepared: &Prepared, user: &str) -> Result<UpdateAnswer, Step> {
    if !is_unmoved(draft.state(), &prepared.basis) {
        return Err(Step::Stale);
    }
    draft.record(Change::Authority(Arc::clone(&prepared.authority)))?;
    let mut lines = Vec::with_capacity(prepared.packages.len());
    let mut entries = Vec::with_capacity(prepared.packages.len());
    for (name, package, version) in &prepared.packages {
        let before = draft.state().package(name).and_then(|package| package.security_version);
        let entry = audit::entry(AuditEvent::PackageUpdate, prepared.now, &audit::user(user), name);
        entries.push(entry.before(before.map(|version| version.to_string())).after(version.to_string()));
        draft.record(Change::Package(name.clone(), Some(Arc::clone(package))))?;
        lines.push(line(Entry::SecurityVersion { user, package: name, version: *version }, prepared.now));
    }
    record_all(
        draft,
        prepared.certificates.iter().map(|(name, secret)| Change::Secret(name.clone(), Some(Arc::clone(secret)))),
    )?;
    draft.record(Change::Log(lines))?;
    audit::record(draft, entries)?;
    Ok(UpdateAnswer::default())
}

/// The packages with their new versions. Equal to the version in force is allowed, lower is not.
fn raised(state: &State, user: &User, candidate: &Candidate) -> Result<Vec<(String, Arc<Package>, u64)>, Error> {
    let packages = &candidate.manifest.packages;
    if !user.is_allowed(Permission::UpdateSecurityVersion, packages.keys().map(String::as_str)) {
        let names: Vec<&str> = packages.keys().map(String::as_str).collect();
        return Err(Error::new(
            ErrorKind::Refused,
            "not_allowed",
            format!("user {} is not allowed to update one or more packages of [{}]", user.name, names.join(" ")),
        ));
    }
    let refuse =
        |text: &str| Error::new(ErrorKind::Refused, "invalid_update", format!("checking update manifest: {text}"));
    if packages.is_empty() {
        return Err(refuse("no packages defined"));
    }
    packages
        .iter()
        .map(|(name, update)| {
            let current = state.package(name).ok_or_else(|| {
                Error::new(
                    ErrorKind::Refused,
                    "unknown_package",
                    format!("loading current package {name:?} from store: requested value not set"),
                )
            })?;
            if update.debug
                || !update.unique_id.is_empty()
                || !update.signer_id.is_empty()
                || update.product_id.is_some()
                || update.tdx.is_some()
                || update.snp.is_some()
            {
                return Err(refuse("update manifest contains unupdatable values"));
            }
            if current.tdx.is_some() {
                return Err(refuse(&format!("package {name:?} is of a TDX VM, which has no SecurityVersion")));
            }
            let version = update
                .security_version
                .ok_or_else(|| refuse("update manifest does not specify a SecurityVersion to update"))?;
            if current.security_version.is_some_and(|current| version < current) {
                return Err(refuse("update manifest tries to downgrade SecurityVersion of the original manifest"));
            }
            let package = Package { security_version: Some(version), ..Package::clone(current) };
            Ok((name.clone(), Arc::new(package), version))
        })
        .collect()
}

/// Shared certificates that were generated, under the new authority, to the date they had.
fn reissued(state: &State, authority: &Authority, now: Timestamp) -> Result<Vec<(String, Arc<Secret>)>, Error> {
    let secrets: Vec<(&str, &Arc<Secret>)> = state
        .secrets()
        .filter(|(_, secret)| secret.shared && !secret.user_defined && secret.kind.is_certificate())
        .collect();
    make_all(&secrets, |(name, secret)| {
        Ok(((*name).to_owned(), Arc::new(reissue_shared(name, secret, authority, now)?)))
    })
    .map_err(|error: PkiError| {
        Error::new(ErrorKind::Internal, "certificates_not_made", format!("updating secrets: {error}"))
    })
}
