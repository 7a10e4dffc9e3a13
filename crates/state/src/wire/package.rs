//! Packages and their stored form.
//!
//! A package of a confidential VM names no SGX enclave. Where the stored form is read by a program that knows no VMs, that
//! must not become a package that any enclave fits: [`NO_ENCLAVE`] stands where the enclave would be.

use marblerun_manifest::model;
use marblerun_manifest::vm;

use super::{Package, Snp, SnpTcb, Tdx};
use crate::ChangeError;

/// In place of a UniqueID: not hexadecimal, so no enclave has it.
pub(crate) const NO_ENCLAVE: &str = "no SGX enclave";

/// The UniqueID to write.
pub(crate) fn stored_unique_id(package: &model::Package) -> &str {
    if package.tdx.is_some() || package.snp.is_some() { NO_ENCLAVE } else { &package.unique_id }
}

impl From<&model::Package> for Package {
    fn from(package: &model::Package) -> Self {
        let unique_id = stored_unique_id(package).to_owned();
        let package = package.clone();
        Self {
            debug: package.debug,
            unique_id,
            signer_id: package.signer_id,
            product_id: package.product_id,
            security_version: package.security_version,
            accepted_tcb_statuses: package.accepted_tcb_statuses,
            accepted_advisories: package.accepted_advisories,
            tcb_statuses_given: package.tcb_statuses_given,
            advisories_given: package.advisories_given,
            tdx: package.tdx.map(|vm| Box::new(Tdx::from(vm))),
            snp: package.snp.map(|vm| Box::new(Snp::from(vm))),
        }
    }
}

impl TryFrom<Package> for model::Package {
    type Error = ChangeError;

    fn try_from(package: Package) -> Result<Self, ChangeError> {
        let is_vm = package.tdx.is_some() || package.snp.is_some();
        Ok(Self {
            debug: package.debug,
            unique_id: if is_vm { String::new() } else { package.unique_id },
            signer_id: package.signer_id,
            product_id: package.product_id,
            security_version: package.security_version,
            accepted_tcb_statuses: package.accepted_tcb_statuses,
            accepted_advisories: package.accepted_advisories,
            tdx: package.tdx.map(|vm| (*vm).into()),
            snp: package.snp.map(|vm| (*vm).try_into()).transpose()?,
            tcb_statuses_given: package.tcb_statuses_given,
            advisories_given: package.advisories_given,
        })
    }
}

impl From<vm::TdxPackage> for Tdx {
    fn from(tdx: vm::TdxPackage) -> Self {
        Self {
            mrtd: tdx.mrtd,
            rtmr0: tdx.rtmr0,
            rtmr1: tdx.rtmr1,
            rtmr2: tdx.rtmr2,
            rtmr3: tdx.rtmr3,
            mr_seam: tdx.mr_seam,
            mr_config_id: tdx.mr_config_id,
            mr_owner: tdx.mr_owner,
            mr_owner_config: tdx.mr_owner_config,
            attributes: tdx.attributes,
            xfam: tdx.xfam,
        }
    }
}

impl From<Tdx> for vm::TdxPackage {
    fn from(tdx: Tdx) -> Self {
        Self {
            mrtd: tdx.mrtd,
            rtmr0: tdx.rtmr0,
            rtmr1: tdx.rtmr1,
            rtmr2: tdx.rtmr2,
            rtmr3: tdx.rtmr3,
            mr_seam: tdx.mr_seam,
            mr_config_id: tdx.mr_config_id,
            mr_owner: tdx.mr_owner,
            mr_owner_config: tdx.mr_owner_config,
            attributes: tdx.attributes,
            xfam: tdx.xfam,
        }
    }
}

impl From<vm::SnpPackage> for Snp {
    fn from(snp: vm::SnpPackage) -> Self {
        Self {
            measurement: snp.measurement,
            id_key_digest: snp.id_key_digest,
            author_key_digest: snp.author_key_digest,
            family_id: snp.family_id,
            image_id: snp.image_id,
            host_data: snp.host_data,
            policy: snp.policy,
            vmpl: snp.vmpl,
            min_tcb: snp.min_tcb.map(|tcb| SnpTcb {
                bootloader: tcb.bootloader.map(u32::from),
                tee: tcb.tee.map(u32::from),
                snp: tcb.snp.map(u32::from),
                microcode: tcb.microcode.map(u32::from),
                fmc: tcb.fmc.map(u32::from),
            }),
            products: snp.products,
            pcrs: snp.pcrs,
        }
    }
}

impl TryFrom<Snp> for vm::SnpPackage {
    type Error = ChangeError;

    fn try_from(snp: Snp) -> Result<Self, ChangeError> {
        let version = |number: Option<u32>| {
            let narrow = number.map(u16::try_from).transpose();
            narrow.map_err(|_| ChangeError("a package asks for a version of firmware that cannot be".to_owned()))
        };
        let tcb = |tcb: SnpTcb| {
            Ok::<_, ChangeError>(vm::SnpTcb {
                bootloader: version(tcb.bootloader)?,
                tee: version(tcb.tee)?,
                snp: version(tcb.snp)?,
                microcode: version(tcb.microcode)?,
                fmc: version(tcb.fmc)?,
            })
        };
        Ok(Self {
            measurement: snp.measurement,
            id_key_digest: snp.id_key_digest,
            author_key_digest: snp.author_key_digest,
            family_id: snp.family_id,
            image_id: snp.image_id,
            host_data: snp.host_data,
            policy: snp.policy,
            vmpl: snp.vmpl,
            min_tcb: snp.min_tcb.map(tcb).transpose()?,
            products: snp.products,
            pcrs: snp.pcrs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_is_read_back_and_never_stored_as_an_enclave_that_anything_fits() {
        let tdx = vm::TdxPackage { mrtd: "aa".to_owned(), xfam: "bb".to_owned(), ..vm::TdxPackage::default() };
        let min_tcb = Some(vm::SnpTcb { snp: Some(8), fmc: Some(1), ..vm::SnpTcb::default() });
        let pcrs = [("4".to_owned(), "dd".to_owned())].into();
        let snp =
            vm::SnpPackage { measurement: "cc".to_owned(), min_tcb, vmpl: Some(0), pcrs, ..vm::SnpPackage::default() };
        for package in [
            model::Package { tdx: Some(tdx), ..model::Package::default() },
            model::Package { snp: Some(snp), security_version: Some(3), ..model::Package::default() },
        ] {
            let stored = Package::from(&package);
            assert_eq!(stored.unique_id, NO_ENCLAVE);
            assert_eq!(model::Package::try_from(stored).unwrap(), package);
        }
    }
}
