//! An enclave and a policy for it, for the tests of both questions.

use super::Policy;
use crate::{EnclaveClaims, Identity, ReportData, SgxIdentity, TcbStatus};

/// What evidence is bound to.
pub(super) const BINDING: ReportData = ReportData([5; 64]);

/// The identity of a good one.
pub(super) const SGX: SgxIdentity =
    SgxIdentity { unique_id: [0xab; 32], signer_id: [0xcd; 32], product_id: 3, security_version: 7 };

/// One with another identity.
pub(super) fn sgx(change: impl FnOnce(&mut SgxIdentity)) -> EnclaveClaims {
    let mut identity = SGX;
    change(&mut identity);
    EnclaveClaims { identity: Identity::Sgx(identity), ..enclave() }
}

/// A good one.
pub(super) fn enclave() -> EnclaveClaims {
    EnclaveClaims {
        identity: Identity::Sgx(SGX),
        debug: false,
        report_data: BINDING,
        tcb_status: TcbStatus::UpToDate,
        advisories: Some(Vec::new()),
    }
}

/// A policy that takes it.
pub(super) fn signer() -> Policy {
    Policy { signer_id: "CD".repeat(32), product_id: Some(3), security_version: Some(7), ..Policy::default() }
}

pub(super) fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}
