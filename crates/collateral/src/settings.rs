//! Where collateral comes from: what the operator says, else what the machine is configured for, else the vendors.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use marblerun_attestation::CollateralSource;

use crate::{Files, Qcnl, Service};

/// Intel's own service.
const INTEL: &str = "https://api.trustedservices.intel.com/sgx/certification/v4/";
/// AMD's own service.
const AMD: &str = "https://kdsintf.amd.com";

/// A place with collateral, by what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A service that speaks like Intel's.
    Url(String),
    /// A file, or a folder of files.
    Path(PathBuf),
}

impl FromStr for Place {
    type Err = std::convert::Infallible;

    /// What begins with `http://` or `https://` is a service.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_url = ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme));
        Ok(if is_url { Self::Url(text.to_owned()) } else { Self::Path(PathBuf::from(text)) })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

/// A source; and where it asks a service, that service again, which tells what became of requests.
pub type CountedSource = (Arc<dyn CollateralSource>, Option<Arc<Service>>);

/// Where to look, and what to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where Intel's collateral is.
    pub intel: Place,
    /// Whether a service's certificate must be one that this machine trusts.
    pub secure: bool,
    /// AMD's key service, or a mirror of it.
    pub amd: String,
    /// Folder that keeps what was got over restarts.
    pub cache: Option<PathBuf>,
}

/// What cannot be made use of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The machine's configuration.
    #[error("{}: {reason}", path.display())]
    Qcnl {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file or folder of collateral.
    #[error("collateral in {}: {reason}", path.display())]
    Files {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The machine gives no thread, or no TLS.
    #[error("cannot ask for collateral: {0}")]
    Client(String),
}

impl Settings {
    /// What the operator names counts; else the machine's configuration at `qcnl`, if there is one; else Intel. Without a
    /// name, AMD is asked itself.
    ///
    /// # Errors
    /// If the machine's configuration is there and cannot be read.
    pub fn resolve(intel: Option<Place>, amd: Option<String>, qcnl: &Path) -> Result<Self, SettingsError> {
        let amd = amd.unwrap_or_else(|| AMD.to_owned());
        let with = |intel, secure| Self { intel, secure, amd: amd.clone(), cache: None };
        if let Some(named) = intel {
            return Ok(with(named, true));
        }
        let refuse = |reason: String| SettingsError::Qcnl { path: qcnl.to_owned(), reason };
        match std::fs::read_to_string(qcnl) {
            Ok(text) => {
                let found = Qcnl::parse(&text).map_err(|error| refuse(error.to_string()))?;
                Ok(with(Place::Url(found.url), found.secure))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(with(Place::Url(INTEL.to_owned()), true)),
            Err(error) => Err(refuse(error.to_string())),
        }
    }

    /// Opens the source. Nothing is asked for yet; files are looked at.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn open(&self) -> Result<Arc<dyn CollateralSource>, SettingsError> {
        Ok(self.open_counted()?.0)
    }

    /// As [`Settings::open`], with what counts requests.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn open_counted(&self) -> Result<CountedSource, SettingsError> {
        Ok(match &self.intel {
            Place::Path(path) => (Arc::new(Files::open(path)?), None),
            Place::Url(_) => {
                let service = Arc::new(Service::start(self)?);
                (Arc::clone(&service) as Arc<dyn CollateralSource>, Some(service))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_counts_before_the_machine_and_the_machine_before_intel() {
        let dir = tempfile::tempdir().unwrap();
        let qcnl = dir.path().join("qcnl.conf");
        let resolve = |named: Option<&str>| Settings::resolve(named.map(|named| named.parse().unwrap()), None, &qcnl);
        assert_eq!(resolve(None).unwrap().intel, Place::Url(INTEL.to_owned()));
        std::fs::write(&qcnl, r#"{"pccs_url": "https://pccs/sgx/certification/v4/", "use_secure_cert": false}"#)
            .unwrap();
        let machine = resolve(None).unwrap();
        assert_eq!((machine.intel, machine.secure), (Place::Url("https://pccs/sgx/certification/v4/".into()), false));
        assert_eq!(resolve(Some("/a/folder")).unwrap().intel, Place::Path("/a/folder".into()));
        let named = resolve(Some("https://other/")).unwrap();
        assert_eq!((named.intel, named.secure, named.amd.as_str()), (Place::Url("https://other/".into()), true, AMD));
        std::fs::write(&qcnl, "{}").unwrap();
        assert!(resolve(None).unwrap_err().to_string().ends_with("qcnl.conf: it names no pccs_url"));
    }
}
