//! For tests, with the feature `testing`: nothing of it is in a program. Hardware that never was, so that its evidence can
//! be verified without any.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

pub mod amd;
pub mod paravisor;

#[cfg(test)]
use crate::{Identity, SnpIdentity, TdxIdentity};

/// A TDX VM.
#[cfg(test)]
pub(crate) fn tdx(change: impl FnOnce(&mut TdxIdentity)) -> Identity {
    let mut vm = TdxIdentity {
        mrtd: [0xa1; 48],
        rtmr: [[0xb0; 48], [0xb1; 48], [0xb2; 48], [0xb3; 48]],
        mr_seam: [0xc1; 48],
        mr_config_id: [0xd1; 48],
        mr_owner: [0xd2; 48],
        mr_owner_config: [0xd3; 48],
        attributes: [0, 0, 0, 0x10, 0, 0, 0, 0],
        xfam: [0xe7, 0, 6, 0, 0, 0, 0, 0],
    };
    change(&mut vm);
    Identity::Tdx(Box::new(vm))
}

/// An SEV-SNP VM.
#[cfg(test)]
pub(crate) fn snp(change: impl FnOnce(&mut SnpIdentity)) -> Identity {
    let mut vm = amd::Processor::new(crate::SnpProduct::Milan, 2, amd::Endorsement::Vcek).vm();
    change(&mut vm);
    Identity::Snp(Box::new(vm))
}
