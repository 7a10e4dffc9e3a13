//! Confidential VMs for tests.

use crate::{Identity, SnpIdentity, SnpProduct, SnpTcbVersion, TdxIdentity};

/// A TDX VM.
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
pub(crate) fn snp(change: impl FnOnce(&mut SnpIdentity)) -> Identity {
    let tcb = SnpTcbVersion { bootloader: 3, tee: 0, snp: 8, microcode: 115, fmc: None };
    let mut vm = SnpIdentity {
        measurement: [0xa1; 48],
        id_key_digest: [0xb1; 48],
        author_key_digest: [0xc1; 48],
        family_id: [0xd1; 16],
        image_id: [0xe1; 16],
        guest_svn: 4,
        host_data: [0xf1; 32],
        policy: 0x30000,
        vmpl: 0,
        tcb,
        committed_tcb: tcb,
        chip_id: [9; 64],
        product: SnpProduct::Milan,
    };
    change(&mut vm);
    Identity::Snp(Box::new(vm))
}
