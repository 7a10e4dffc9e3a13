//! Collateral that somebody else keeps up to date: one JSON file, or a folder of them, as a mounted ConfigMap is. Files
//! are read anew when they are needed, so that an update of the folder counts at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use marblerun_attestation::{
    CollateralError, CollateralSource, IntelCollateral, IntelPlatform, SnpProduct, VcekRequest,
};

use crate::SettingsError;

/// Larger files are not collateral.
const MAX_FILE: u64 = 4 << 20;
/// No more files of a folder are looked at.
const MAX_FILES: usize = 1000;

/// A file or a folder. In a folder, `*.json` is Intel's collateral of a platform, `*.der` the certificate of a processor's
/// key (VCEK), and `milan.crl`, `genoa.crl`, `turin.crl` are AMD's revocation lists (DER).
#[derive(Debug, Clone)]
pub struct Files {
    path: PathBuf,
}

impl Files {
    /// Makes sure that it is there.
    ///
    /// # Errors
    /// If it is not, or is one file that is no collateral.
    pub fn open(path: &Path) -> Result<Self, SettingsError> {
        let refuse = |reason: String| SettingsError::Files { path: path.to_owned(), reason };
        let metadata = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?;
        let files = Self { path: path.to_owned() };
        if metadata.is_file() {
            let bytes = read(path).map_err(&refuse)?;
            IntelCollateral::from_json(&bytes).map_err(|error| refuse(error.to_string()))?;
        }
        Ok(files)
    }

    /// The files that may be meant.
    fn candidates(&self, extension: &str) -> Vec<PathBuf> {
        if self.path.is_file() {
            return vec![self.path.clone()];
        }
        let Ok(entries) = std::fs::read_dir(&self.path) else { return Vec::new() };
        let mut found: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|found| found == extension) && path.is_file())
            .take(MAX_FILES)
            .collect();
        found.sort();
        found
    }
}

impl CollateralSource for Files {
    fn intel(&self, platform: &IntelPlatform, now: u64) -> Result<Arc<IntelCollateral>, CollateralError> {
        let mut known = Vec::new();
        let mut best: Option<IntelCollateral> = None;
        for path in self.candidates("json") {
            let collateral = match read(&path) {
                Ok(bytes) => IntelCollateral::from_json(&bytes),
                Err(error) => Err(CollateralError(error)),
            };
            let collateral = match collateral {
                Ok(collateral) => collateral,
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a file of collateral cannot be read");
                    continue;
                }
            };
            let Some((tee, fmspc)) = collateral.subject() else { continue };
            if (tee, fmspc) != (platform.tee, platform.fmspc) {
                known.push(format!("{tee} FMSPC {}", hex::encode(fmspc)));
                continue;
            }
            // Of several the one that is good for longest; which authority its lists are of is seen when it is used.
            let good_until = |collateral: &IntelCollateral| {
                collateral.window().filter(|window| window.from <= now).map(|window| window.until)
            };
            if best.as_ref().is_none_or(|best| good_until(best) < good_until(&collateral)) {
                best = Some(collateral);
            }
        }
        best.map(Arc::new).ok_or_else(|| {
            let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
            CollateralError(format!("{} has none of {platform}, but {known}", self.path.display()))
        })
    }

    fn vcek(&self, request: &VcekRequest, _now: u64) -> Result<Arc<[u8]>, CollateralError> {
        let files = self.candidates("der");
        let found = files.iter().filter_map(|path| read(path).ok()).find(|der| request.is_answered_by(der));
        found
            .map(Into::into)
            .ok_or_else(|| CollateralError(format!("{} has no certificate (*.der) of {request}", self.path.display())))
    }

    fn amd_crl(&self, product: SnpProduct, _now: u64) -> Result<Option<Arc<[u8]>>, CollateralError> {
        let path = self.path.join(format!("{}.crl", product.as_str().to_lowercase()));
        if !path.is_file() {
            return Ok(None);
        }
        read(&path).map(|bytes| Some(bytes.into())).map_err(CollateralError)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let fail = |error: std::io::Error| format!("reading {}: {error}", path.display());
    if std::fs::metadata(path).map_err(fail)?.len() > MAX_FILE {
        return Err(format!("{} has more than {MAX_FILE} bytes", path.display()));
    }
    std::fs::read(path).map_err(fail)
}

#[cfg(test)]
mod tests {
    use marblerun_attestation::{PckCa, Tee};

    use super::*;

    const SYNTHETIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../attestation/tests/fixtures/quotes/synthetic");
    const NOW: u64 = 1_767_225_600;

    fn platform(last: u8) -> IntelPlatform {
        IntelPlatform { tee: Tee::Sgx, fmspc: [0, 0xa0, 0xb0, 0xc0, 0xd0, last], ca: PckCa::Processor }
    }

    #[test]
    fn of_a_folder_the_file_of_the_platform_that_is_good_for_longest_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["collateral_expired_tcbinfo.json", "collateral.json", "collateral_other_fmspc.json"] {
            std::fs::copy(Path::new(SYNTHETIC).join(name), dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("notes.json"), "not collateral").unwrap();
        let files = Files::open(dir.path()).unwrap();
        let found = files.intel(&platform(0xe0), NOW).unwrap();
        assert!(found.window().unwrap().until > NOW);
        let error = files.intel(&platform(0xff), NOW).unwrap_err().to_string();
        assert!(
            error.contains("has none of Intel SGX FMSPC 00a0b0c0d0ff (processor CA), but Intel SGX FMSPC"),
            "{error}"
        );
        assert_eq!(files.amd_crl(SnpProduct::Milan, NOW), Ok(None));
        std::fs::write(dir.path().join("milan.crl"), "list").unwrap();
        assert_eq!(files.amd_crl(SnpProduct::Milan, NOW).unwrap().unwrap()[..], *b"list");
    }

    #[test]
    fn what_is_not_there_or_no_collateral_is_told_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        assert!(Files::open(&missing).unwrap_err().to_string().contains("missing"));
        let wrong = dir.path().join("wrong.json");
        std::fs::write(&wrong, "{}").unwrap();
        assert!(Files::open(&wrong).unwrap_err().to_string().contains("no collateral in JSON"));
    }
}
