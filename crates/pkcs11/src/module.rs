//! Vendors' modules, loaded once each.
//!
//! A module knows one process, not one user of it: `C_Initialize` may be called once, and `C_Finalize` ends every
//! session. So a module stays loaded and initialised until the process ends.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};

use crate::Pkcs11Error;

static LOADED: Mutex<Vec<(PathBuf, Pkcs11)>> = Mutex::new(Vec::new());

/// Loads a module, or takes the one that is loaded.
pub(crate) fn load(path: &Path) -> Result<Pkcs11, Pkcs11Error> {
    let failed = |reason: String| Pkcs11Error::Module { path: path.to_path_buf(), reason };
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, module)) = loaded.iter().find(|(known, _)| known == path) {
        return Ok(module.clone());
    }
    let module = Pkcs11::new(path).map_err(|error| match error {
        Error::LibraryLoading(cause) => failed(cause.to_string()),
        Error::Pkcs11(code, _) => failed(crate::Code(code).to_string()),
        other => failed(format!("it is not a PKCS#11 module: {other}")),
    })?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // The same file by another name.
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(Error::Pkcs11(code, _)) => return Err(failed(crate::Code(code).to_string())),
        Err(other) => return Err(failed(other.to_string())),
    }
    loaded.push((path.to_path_buf(), module.clone()));
    Ok(module)
}
