//! Packages: which enclaves are meant. Upstream checks only those that a Marble uses.

use std::collections::BTreeSet;

use super::limits::MAX_FINDINGS;
use super::{Report, Stage};
use crate::model::{Manifest, Package};
use crate::vm::{SnpPackage, TdxPackage};
use crate::{path, suggest};

/// TCB statuses as attestation reports them; lists in packages are compared with these to the letter.
pub(super) const TCB_STATUSES: [&str; 10] = [
    "UpToDate",
    "OutOfDate",
    "Revoked",
    "ConfigurationNeeded",
    "OutOfDateConfigurationNeeded",
    "SWHardeningNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "TDRelaunchAdvised",
    "TDRelaunchAdvisedConfigurationNeeded",
    "Unknown",
];

pub(super) fn check_presence(manifest: &Manifest, report: &mut Report) {
    if manifest.packages.is_empty() {
        report.error(Stage::Check, "no-packages", "Packages", "no allowed packages defined");
    }
    if manifest.marbles.is_empty() {
        report.error(Stage::Check, "no-marbles", "Marbles", "no allowed marbles defined");
    }
}

/// The identity of a package some Marble uses: pinned by UniqueID alone, or by SignerID, ProductID and
/// SecurityVersion together. Debug packages may leave it open.
pub(super) fn check_identity(name: &str, package: &Package, report: &mut Report) {
    let base = path::of(["Packages", name]);
    if package.tdx.is_some() || package.snp.is_some() {
        return check_vm(name, &base, package, report);
    }
    if package.unique_id.is_empty() {
        let parts = [
            ("no-signer-id", "SignerID", package.signer_id.is_empty()),
            ("no-product-id", "ProductID", package.product_id.is_none()),
            ("no-security-version", "SecurityVersion", package.security_version.is_none()),
        ];
        for (code, field, _) in parts.iter().filter(|(_, _, is_missing)| *is_missing && !package.debug) {
            let text = format!("package {name:?} has neither UniqueID nor {field}");
            report.error(Stage::Check, code, format!("{base}.{field}"), text);
        }
        if package.debug && parts.iter().any(|(_, _, is_missing)| *is_missing) {
            let text = "without UniqueID, or SignerID, ProductID and SecurityVersion, other enclaves are accepted too";
            report.warn("open-identity", base, format!("{text}; this is allowed because Debug is on"));
        }
        return;
    }
    let others = [
        ("SignerID", !package.signer_id.is_empty()),
        ("ProductID", package.product_id.is_some()),
        ("SecurityVersion", package.security_version.is_some()),
    ];
    let given: Vec<&str> = others.iter().filter(|(_, given)| *given).map(|(field, _)| *field).collect();
    if given.is_empty() {
        return;
    }
    let text = format!("package {name:?} has UniqueID together with {}", given.join(", "));
    if package.debug {
        report.warn("ambiguous-identity", base, format!("{text}; this is allowed because Debug is on"));
    } else {
        report.error(Stage::Check, "ambiguous-identity", format!("{base}.UniqueID"), text);
    }
}

/// The identity of a confidential VM. Nothing of it is left open, not even with Debug: upstream knows no such packages,
/// so nobody relies on that.
fn check_vm(name: &str, base: &str, package: &Package, report: &mut Report) {
    let mut families = Vec::new();
    let sgx = [&package.unique_id, &package.signer_id].iter().any(|id| !id.is_empty()) || package.product_id.is_some();
    for (family, given) in
        [("UniqueID, SignerID or ProductID", sgx), ("TDX", package.tdx.is_some()), ("SNP", package.snp.is_some())]
    {
        families.extend(given.then_some(family));
    }
    if families.len() > 1 {
        let text = format!("package {name:?} has {}: it must name one family of hardware", families.join(" and "));
        report.error(Stage::Check, "several-families", base, text);
    }
    let problems = [
        ("TDX", package.tdx.as_ref().and_then(TdxPackage::problem)),
        ("SNP", package.snp.as_ref().and_then(SnpPackage::problem)),
    ];
    for (family, problem) in problems {
        if let Some((field, problem)) = problem {
            let text = format!("package {name:?} has no usable {family}.{field}: {problem}");
            report.error(Stage::Check, "bad-vm-identity", format!("{base}.{family}.{field}"), text);
        }
    }
    if package.tdx.is_some() && package.security_version.is_some() {
        let text = format!("package {name:?} has TDX and SecurityVersion, but TDX VMs have no security version");
        report.error(Stage::Check, "no-tdx-security-version", format!("{base}.SecurityVersion"), text);
    }
    for (index, status) in package.accepted_tcb_statuses.iter().enumerate().take(MAX_FINDINGS) {
        if status == "Revoked" || status == "Unknown" || !TCB_STATUSES.contains(&status.as_str()) {
            let text = format!("package {name:?} accepts {status:?}, which no VM can be accepted with");
            report.error(Stage::Check, "bad-tcb-status", format!("{base}.AcceptedTCBStatuses[{index}]"), text);
        }
    }
}

/// What a package of a VM leaves open.
fn warn_vm(base: &str, package: &Package, report: &mut Report) {
    if let Some(tdx) = &package.tdx {
        for (field, value) in [("RTMR1", &tdx.rtmr1), ("RTMR2", &tdx.rtmr2)] {
            if value.is_empty() {
                let text = "MRTD is the firmware alone: without this register, any kernel or command line is accepted";
                report.warn("open-vm", format!("{base}.TDX.{field}"), text);
            }
        }
    }
    if let Some(text) = package.snp.as_ref().and_then(SnpPackage::open_boot) {
        report.warn("open-vm", format!("{base}.SNP.PCRs"), text);
    }
    if package.snp.is_some() && !(package.accepted_tcb_statuses.is_empty() && package.accepted_advisories.is_empty()) {
        let text = "SEV-SNP knows no TCB statuses and no Intel advisories: these lists have no effect; use SNP.MinTCB";
        report.warn("no-effect-on-snp", base, text);
    }
}

pub(super) fn warn(manifest: &Manifest, report: &mut Report) {
    let used: BTreeSet<&str> = manifest.marbles.values().map(|marble| marble.package.as_str()).collect();
    for (name, package) in &manifest.packages {
        let base = path::of(["Packages", name]);
        if !used.contains(name.as_str()) {
            let text = "no Marble uses this package; its identity is not checked";
            report.warn("unused-package", base.clone(), text);
        }
        if package.debug {
            let text = "debug enclaves are accepted, and only those: their memory is open to whoever runs them";
            report.warn("debug-package", format!("{base}.Debug"), text);
        }
        for (field, id) in [("UniqueID", &package.unique_id), ("SignerID", &package.signer_id)] {
            if !id.is_empty() && (id.len() != 64 || !id.bytes().all(|byte| byte.is_ascii_hexdigit())) {
                let text = "not 64 hex digits, so no enclave can match it";
                report.warn("bad-enclave-id", format!("{base}.{field}"), text);
            }
        }
        for (field, number) in [("ProductID", package.product_id), ("SecurityVersion", package.security_version)] {
            if package.snp.is_none() && number.is_some_and(|number| number > u64::from(u16::MAX)) {
                let text = "SGX enclaves have at most 65535 here, so none can match it";
                report.warn("number-beyond-sgx", format!("{base}.{field}"), text);
            }
        }
        warn_tcb(&base, package, report);
        warn_vm(&base, package, report);
    }
    if !manifest.infrastructures.is_empty() {
        let text = "infrastructures are stored but not enforced: they do not restrict where a Marble may run";
        report.warn("infrastructures-not-enforced", "Infrastructures", text);
    }
}

fn warn_tcb(base: &str, package: &Package, report: &mut Report) {
    for (index, status) in package.accepted_tcb_statuses.iter().enumerate().take(MAX_FINDINGS) {
        let path = format!("{base}.AcceptedTCBStatuses[{index}]");
        if status == "Revoked" {
            report.warn(
                "revoked-accepted",
                path,
                "this has no effect: platforms whose TCB is revoked are always refused",
            );
        } else if !TCB_STATUSES.contains(&status.as_str()) {
            let hint = suggest::closest(status, &TCB_STATUSES).map(|known| format!("; is {known} meant?"));
            let text = format!("no TCB has the status {status:?}{}", hint.unwrap_or_default());
            report.warn("unknown-tcb-status", path, text);
        }
    }
    for (index, advisory) in package.accepted_advisories.iter().enumerate().take(MAX_FINDINGS) {
        if !advisory.to_ascii_uppercase().starts_with("INTEL-SA-") {
            let path = format!("{base}.AcceptedAdvisories[{index}]");
            report.warn("unknown-advisory", path, format!("{advisory:?} is no advisory; they are named INTEL-SA-..."));
        }
    }
}
