//! Making evidence: one issuer for each way in which hardware is asked. Kernels and library operating systems show it as
//! pseudo files or devices; all of them are reached through [`Files`] below one root, so that tests can play them.
//!
//! What an issuer answers was looked at before: it is whole, without padding, and over the report data that was asked
//! for. Pseudo files are shared by everybody who may open them, so this is checked and not assumed.

mod certificate_table;
mod files;
mod gramine;
mod occlum;
mod quote;
mod snp;
mod tdx;
#[cfg(test)]
pub(crate) mod testing;
mod tsm;

use std::path::Path;
use std::sync::Arc;

pub(crate) use files::{Files, Root};
pub(crate) use gramine::Gramine;
pub(crate) use occlum::Occlum;
pub(crate) use snp::Snp;
pub(crate) use tdx::Tdx;
pub(crate) use tsm::{Provider, Tsm, provider};

use crate::{Devices, IssueError, Issuer, LibOs, Tee};

/// Opens the issuer of hardware, below the root where it was found. `None` for simulation, which has no hardware.
///
/// # Errors
/// If there is no way to ask the hardware here. Nothing was issued yet.
pub(crate) fn open(tee: Tee, devices: &Devices) -> Result<Option<Arc<dyn Issuer>>, IssueError> {
    let files: Arc<dyn Files> = Arc::new(Root(devices.root.clone()));
    let refuse = |reason: &str| IssueError { tee, reason: reason.to_owned() };
    let issuer: Arc<dyn Issuer> = match tee {
        Tee::Simulation => return Ok(None),
        Tee::Sgx => match devices.libos {
            Some(LibOs::Gramine) => Arc::new(Gramine::new(files)),
            Some(LibOs::Occlum) => Arc::new(Occlum::of_device(devices.below_root(occlum::DEVICE))),
            None => {
                return Err(refuse(
                    "this machine has SGX, but this process does not run in an enclave. Start it in Gramine or Occlum",
                ));
            }
        },
        Tee::SnpVtpm => {
            return Err(refuse("this program cannot speak to TPMs; it needs to be built with the feature `tpm`"));
        }
        Tee::Tdx => {
            let tsm = Tsm::new(files, Provider::Tdx);
            if !tsm.is_there() {
                return Err(refuse(&format!(
                    "there is no {}. The device file alone gives a report that only this machine can check; a quote needs \
                     Linux 6.7 or later with configfs mounted (mount -t configfs none /sys/kernel/config)",
                    tsm::FOLDER
                )));
            }
            Arc::new(Tdx::new(tsm))
        }
        Tee::Snp => {
            // The kernel's newer interface serves all guests; the older one needs no root where the device is given away.
            let tsm = Tsm::new(Arc::clone(&files), Provider::Snp);
            let device = devices.below_root(snp::DEVICE);
            match (tsm.is_usable(), device.exists()) {
                (false, true) => Arc::new(Snp::of_device(device)),
                (_, false) if !tsm.is_there() => {
                    return Err(refuse(&format!("there is neither {} nor {}", tsm::FOLDER, snp::DEVICE)));
                }
                _ => Arc::new(Snp::of_tsm(tsm)),
            }
        }
    };
    Ok(Some(issuer))
}

/// The text of an I/O error, with what it was about.
fn about(path: &str, doing: &str, error: &std::io::Error) -> String {
    format!("{doing} {}: {error}", Path::new(path).display())
}

#[cfg(test)]
mod tests;
