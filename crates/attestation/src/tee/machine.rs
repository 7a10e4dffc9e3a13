//! What a machine has, as far as a process can see. Looked at once: who can make devices come and go must not change
//! what protects a running process.

use std::path::{Path, PathBuf};

use crate::issue::{Files as _, Root, provider};

/// Where Gramine shows its evidence.
const GRAMINE: &str = "/dev/attestation/quote";
/// Where Occlum does.
const OCCLUM: &str = "/dev/sgx";
/// What tells VMs of Azure, and the TPM of one.
const ASSET_TAG: &str = "/sys/class/dmi/id/chassis_asset_tag";
const AZURE: &str = "7783-7084-3265-9085-8269-3286-77";
const TPMS: [&str; 2] = ["/dev/tpmrm0", "/dev/tpm0"];
/// Where kernels since Linux 6.7 do.
const TSM: &str = "/sys/kernel/config/tsm/report";

/// A library operating system that runs a program within an enclave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LibOs {
    /// Gramine.
    Gramine,
    /// Occlum.
    Occlum,
}

impl std::fmt::Display for LibOs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gramine => "Gramine",
            Self::Occlum => "Occlum",
        })
    }
}

/// What the kernel, or a library operating system in its place, calls itself (uname).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kernel {
    /// As `uname -s`.
    pub name: String,
    /// As `uname -r`.
    pub release: String,
    /// As `uname -v`.
    pub version: String,
    /// As `uname -m`.
    pub machine: String,
}

impl Kernel {
    /// The one that runs this process.
    #[must_use]
    pub fn running() -> Self {
        let uname = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        Self {
            name: text(uname.sysname()),
            release: text(uname.release()),
            version: text(uname.version()),
            machine: text(uname.machine()),
        }
    }

    /// The library operating system that calls itself so. Within an enclave the host has no say in it.
    #[must_use]
    pub fn libos(&self) -> Option<LibOs> {
        let parts = [&self.name, &self.release, &self.version, &self.machine].map(String::as_str);
        match parts {
            ["Occlum", ..] => Some(LibOs::Occlum),
            ["Linux", "3.10.0", "1", "x86_64"] => Some(LibOs::Gramine),
            _ => None,
        }
    }
}

/// What of a machine matters here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Devices {
    /// Below which all of it is: `/`, but in tests.
    pub root: PathBuf,
    /// A device file of SGX, if there is one.
    pub sgx: Option<PathBuf>,
    /// A library operating system, if this process runs in one.
    pub libos: Option<LibOs>,
    /// A device file or the kernel's interface of a TDX guest, if there is one.
    pub tdx: Option<PathBuf>,
    /// A device file or the kernel's interface of an SEV-SNP guest, if there is one.
    pub snp: Option<PathBuf>,
    /// Why there may be one that was not seen.
    pub unclear: Option<String>,
}

impl Devices {
    /// Those of this machine.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self::probe(Path::new("/"), &Kernel::running())
    }

    /// Looks for them below a root directory.
    #[must_use]
    pub fn probe(root: &Path, kernel: &Kernel) -> Self {
        let mut devices = Self { root: root.to_owned(), libos: kernel.libos(), ..Self::default() };
        // In a library operating system only its own files count.
        let sgx: &[&str] = match devices.libos {
            Some(LibOs::Gramine) => &[GRAMINE],
            Some(LibOs::Occlum) => &[OCCLUM],
            None => &[GRAMINE, "/dev/sgx_enclave", "/dev/sgx/enclave", "/dev/sgx", "/dev/isgx"],
        };
        devices.sgx = devices.first(sgx);
        if let Some(libos) = devices.libos {
            let needed = devices.sgx.is_none();
            devices.unclear = needed.then(|| no_evidence_in(libos));
            return devices;
        }
        if devices.sgx.as_deref() == Some(Path::new(GRAMINE)) {
            // Whatever it calls itself, nothing else has this file.
            devices.libos = Some(LibOs::Gramine);
        }
        devices.tdx = devices.first(&["/dev/tdx_guest", "/dev/tdx-guest"]);
        devices.snp = devices.first(&["/dev/sev-guest"]);
        if devices.tdx.is_none() && devices.snp.is_none() {
            devices.ask_kernel();
        }
        if devices.tdx.is_none() && devices.snp.is_none() && devices.unclear.is_none() {
            devices.unclear = devices.paravisor();
        }
        devices
    }

    /// A file of the machine, below the root.
    pub(crate) fn below_root(&self, name: &str) -> PathBuf {
        self.root.join(name.trim_start_matches('/'))
    }

    fn first(&self, names: &[&str]) -> Option<PathBuf> {
        names.iter().find(|name| self.below_root(name).exists()).map(PathBuf::from)
    }

    /// A paravisor keeps the processor's interface to itself, so no file tells that there is one.
    fn paravisor(&self) -> Option<String> {
        let tag = std::fs::read_to_string(self.below_root(ASSET_TAG)).ok()?;
        let tpm = self.first(&TPMS).filter(|_| tag.trim() == AZURE)?;
        Some(format!(
            "this is a VM of Azure with a TPM ({}), and nothing tells whether it is a confidential one: if it is, with \
             SEV-SNP, choose snp-vtpm",
            tpm.display()
        ))
    }

    /// Containers see the kernel's interface more often than device files.
    fn ask_kernel(&mut self) {
        let files = Root(self.root.clone());
        if !files.is_folder(TSM) {
            return;
        }
        match provider(&files).as_ref().map(Option::as_deref) {
            Ok(None) => {}
            Ok(Some("tdx_guest")) => self.tdx = Some(TSM.into()),
            Ok(Some("sev_guest")) => self.snp = Some(TSM.into()),
            Ok(Some(other)) => {
                self.unclear = Some(format!("{TSM} belongs to {other:?}, which this build does not know"))
            }
            Err(reason) => self.unclear = Some(reason.clone()),
        }
    }
}

fn no_evidence_in(libos: LibOs) -> String {
    match libos {
        LibOs::Gramine => format!(
            "this process runs in Gramine, which shows no {GRAMINE}: it was started without SGX (gramine-direct), or its \
             manifest lacks sgx.remote_attestation = \"dcap\""
        ),
        LibOs::Occlum => format!("this process runs in Occlum, which shows no {OCCLUM}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SelectError, Tee, TeeChoice, select};

    fn kernel(parts: [&str; 4]) -> Kernel {
        let [name, release, version, machine] = parts.map(str::to_owned);
        Kernel { name, release, version, machine }
    }

    const GRAMINE_KERNEL: [&str; 4] = ["Linux", "3.10.0", "1", "x86_64"];
    const OCCLUM_KERNEL: [&str; 4] = ["Occlum", "0.1", "0.1", "x86-64"];

    fn probe(parts: [&str; 4], names: &[&str]) -> Devices {
        let root = tempfile::tempdir().unwrap();
        for name in names {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        Devices::probe(root.path(), &kernel(parts))
    }

    #[test]
    fn a_library_operating_system_is_known_by_what_it_calls_itself() {
        assert_eq!(kernel(GRAMINE_KERNEL).libos(), Some(LibOs::Gramine));
        assert_eq!(kernel(OCCLUM_KERNEL).libos(), Some(LibOs::Occlum));
        for other in [
            ["Linux", "3.10.0-1160.el7.x86_64", "#1 SMP", "x86_64"],
            ["Linux", "3.10.0", "1", "aarch64"],
            ["Linux", "6.7.0", "1", "x86_64"],
        ] {
            assert_eq!(kernel(other).libos(), None, "{other:?}");
        }
        assert_eq!(Kernel::running().name, "Linux");
    }

    #[test]
    fn an_enclave_without_evidence_never_becomes_simulation_by_itself() {
        for (parts, hidden, part) in [
            (GRAMINE_KERNEL, &["dev/sgx_enclave", "dev/attestation/keys/default"][..], "gramine-direct"),
            (OCCLUM_KERNEL, &["dev/sgx_enclave"], "Occlum"),
        ] {
            let devices = probe(parts, hidden);
            let Err(SelectError::Unclear(reason)) = select(TeeChoice::Auto, &devices) else { panic!("{devices:?}") };
            assert!(reason.contains(part), "{reason}");
            assert_eq!(select(TeeChoice::Fixed(Tee::Simulation), &devices), Ok(Tee::Simulation));
        }
    }

    #[test]
    fn in_an_enclave_only_its_own_files_count() {
        let gramine = probe(GRAMINE_KERNEL, &["dev/attestation/quote", "dev/sev-guest", "dev/tdx_guest"]);
        assert_eq!(select(TeeChoice::Auto, &gramine), Ok(Tee::Sgx));
        assert_eq!((gramine.libos, gramine.sgx), (Some(LibOs::Gramine), Some(GRAMINE.into())));
        let occlum = probe(OCCLUM_KERNEL, &["dev/sgx", "dev/sev-guest"]);
        assert_eq!((occlum.libos, occlum.sgx, occlum.snp), (Some(LibOs::Occlum), Some(OCCLUM.into()), None));
        let renamed = probe(["Linux", "6.7.0", "#1", "x86_64"], &["dev/attestation/quote"]);
        assert_eq!(renamed.libos, Some(LibOs::Gramine));
    }

    #[test]
    fn an_interface_that_cannot_be_asked_is_unclear_unless_a_device_tells() {
        // On a disk the folder has no file `provider`.
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("sys/kernel/config/tsm/report");
        std::fs::create_dir_all(&folder).unwrap();
        let devices = Devices::probe(root.path(), &Kernel::default());
        assert!(devices.unclear.as_deref().unwrap().contains("/provider: No such file"), "{devices:?}");
        assert!(matches!(select(TeeChoice::Auto, &devices), Err(SelectError::Unclear(_))));
        std::fs::create_dir_all(root.path().join("dev")).unwrap();
        std::fs::write(root.path().join("dev/tdx_guest"), b"").unwrap();
        let devices = Devices::probe(root.path(), &Kernel::default());
        assert_eq!((select(TeeChoice::Auto, &devices), devices.unclear), (Ok(Tee::Tdx), None));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    }
}
