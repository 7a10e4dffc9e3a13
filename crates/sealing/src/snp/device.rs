//! `/dev/sev-guest`, as the sealer asks it. Nothing is decided here.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use marblerun_tee_device::{derived_key, report_at};
use zeroize::Zeroizing;

use super::{GuestDevice, GuestFacts, KeyRequest};

/// Where Linux puts the device.
pub const PATH: &str = "/dev/sev-guest";

/// The guest device of Linux.
#[derive(Debug, Clone)]
pub struct SevGuest {
    path: PathBuf,
}

impl SevGuest {
    /// A device file, usually [`PATH`]. It is opened at every use.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf() }
    }

    fn open(&self) -> io::Result<File> {
        File::options().read(true).write(true).open(&self.path)
    }
}

impl GuestDevice for SevGuest {
    fn derived_key(&self, wanted: &KeyRequest) -> io::Result<Zeroizing<[u8; 32]>> {
        derived_key(&self.open()?, wanted)
    }

    fn facts(&self, vmpl: u32) -> io::Result<GuestFacts> {
        let report = report_at(&self.open()?, &[0; 64], vmpl)?;
        GuestFacts::of_report(&report).ok_or_else(|| io::Error::other("the firmware's report is malformed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_guest_device_is_an_error() {
        let wanted = KeyRequest { fields: 1, vmpl: 0, guest_svn: 0 };
        let error = SevGuest::new("/dev/null".as_ref()).derived_key(&wanted).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(25), "{error}");
        let error = SevGuest::new("/dev/no-such-device".as_ref()).facts(0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
