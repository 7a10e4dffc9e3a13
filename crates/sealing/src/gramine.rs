//! The seal keys of an SGX enclave, as the library OS Gramine hands them out.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::derivation::{SECRET, expand, random};
use crate::params::Reader;
use crate::{KeySealer, NewSlot, SealError, SealMode, SlotKind};

const BACKEND: &str = "platform";
const VERSION: u8 = 1;

/// Seal keys of the enclave: of its signer and product ([`SealMode::ProductKey`]), or of exactly this one.
///
/// The parameters are `version (1) || seal mode (1) || key id (16) || salt (32)`; the secret is
/// HKDF-SHA256(salt, key, info = "marblerun seal" || policy), where the policy is `mrsigner` or `mrenclave`. Gramine
/// gives one key for each policy, bound to the security versions of CPU and enclave as they are now, so an update of
/// either changes it.
#[derive(Debug, Clone)]
pub struct GramineKeys {
    keys: PathBuf,
}

impl GramineKeys {
    /// Keys below the root directory (`/`, but for tests).
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { keys: root.join("dev/attestation/keys") }
    }

    /// Whether there are any.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.path(SealMode::ProductKey).exists()
    }

    fn path(&self, mode: SealMode) -> PathBuf {
        self.keys.join(format!("_sgx_{}", policy(mode)))
    }

    fn read(&self, mode: SealMode) -> Result<Zeroizing<[u8; 16]>, SealError> {
        let path = self.path(mode);
        let unavailable = |reason: String| SealError::Unavailable {
            backend: BACKEND,
            reason: format!("reading {}: {reason}", path.display()),
        };
        // One byte more than there should be, to notice a longer one.
        let mut bytes = Zeroizing::new([0; 17]);
        let mut length = 0;
        let mut file = fs::File::open(&path).map_err(|error| unavailable(error.to_string()))?;
        while let Some(room @ [_, ..]) = bytes.get_mut(length..) {
            match file.read(room).map_err(|error| unavailable(error.to_string()))? {
                0 => break,
                read => length += read,
            }
        }
        let mut key = Zeroizing::new([0; 16]);
        match bytes.split_first_chunk::<16>() {
            Some((found, _)) if length == 16 => key.copy_from_slice(found),
            _ => return Err(unavailable("a seal key has 16 bytes".to_owned())),
        }
        // What no CPU gives: a key that was never set.
        if bool::from(key.ct_eq(&[0; 16])) {
            return Err(unavailable("it is all zeros".to_owned()));
        }
        Ok(key)
    }
}

fn policy(mode: SealMode) -> &'static str {
    match mode {
        SealMode::ProductKey => "mrsigner",
        // With `Disabled` nothing is stored but what Coordinators share, which then is this version's alone.
        SealMode::UniqueKey | SealMode::Disabled => "mrenclave",
    }
}

fn key_id(key: &[u8; 16], mode: SealMode) -> Result<[u8; 16], SealError> {
    let mut id = [0; 16];
    expand(BACKEND, key, &[], &[b"marblerun seal id", policy(mode).as_bytes()], &mut id)?;
    Ok(id)
}

fn secret(key: &[u8; 16], mode: SealMode, salt: &[u8; SECRET]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let mut secret = Zeroizing::new(vec![0; SECRET]);
    expand(BACKEND, key, salt, &[b"marblerun seal", policy(mode).as_bytes()], &mut secret)?;
    Ok(secret)
}

impl KeySealer for GramineKeys {
    fn kind(&self) -> SlotKind {
        SlotKind::Platform
    }

    fn name(&self) -> &str {
        BACKEND
    }

    fn caution(&self) -> Option<&'static str> {
        Some(
            "the state is sealed to the seal key of this enclave alone, which changes with the microcode of the CPU and \
             the security version of the enclave: have recovery keys in the manifest, or a second key slot",
        )
    }

    fn host_id(&self) -> Result<[u8; 16], SealError> {
        key_id(&*self.read(SealMode::ProductKey)?, SealMode::ProductKey)
    }

    fn new_slot(&self, mode: SealMode) -> Result<NewSlot, SealError> {
        let (key, salt) = (self.read(mode)?, random(BACKEND)?);
        let params = [&[VERSION, mode as u8][..], &key_id(&key, mode)?, salt.as_slice()].concat();
        Ok(NewSlot { params, secret: secret(&key, mode, &salt)? })
    }

    fn slot_secret(&self, params: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let mut reader = Reader::new(BACKEND, params, VERSION)?;
        let mode = match reader.byte()? {
            0 => SealMode::ProductKey,
            1 => SealMode::UniqueKey,
            2 => SealMode::Disabled,
            other => return Err(reader.malformed(&format!("there is no seal mode {other}"))),
        };
        let (id, salt) = (reader.array::<16>()?, reader.array()?);
        reader.end()?;
        let key = self.read(mode)?;
        if !bool::from(id.ct_eq(&key_id(&key, mode)?)) {
            return Err(SealError::NotMine(format!(
                "the enclave's seal key ({}) is another one than at sealing: another CPU, another enclave, or newer \
                 microcode or security version",
                policy(mode)
            )));
        }
        secret(&key, mode, &salt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_keys(signer: &[u8], enclave: &[u8]) -> (tempfile::TempDir, GramineKeys) {
        let root = tempfile::tempdir().unwrap();
        let keys = root.path().join("dev/attestation/keys");
        fs::create_dir_all(&keys).unwrap();
        fs::write(keys.join("_sgx_mrsigner"), signer).unwrap();
        fs::write(keys.join("_sgx_mrenclave"), enclave).unwrap();
        let sealer = GramineKeys::new(root.path());
        (root, sealer)
    }

    #[test]
    fn the_mode_chooses_the_key_and_another_key_opens_nothing() {
        let (_root, sealer) = with_keys(&[1; 16], &[2; 16]);
        assert!(sealer.is_present() && sealer.proves_its_maker() && sealer.caution().is_some());
        let slots = [SealMode::ProductKey, SealMode::UniqueKey].map(|mode| sealer.new_slot(mode).unwrap());
        for slot in &slots {
            assert_eq!(sealer.slot_secret(&slot.params).unwrap(), slot.secret);
        }
        // A new version of the program: same signer, other enclave.
        let (_root, newer) = with_keys(&[1; 16], &[3; 16]);
        assert_eq!(newer.slot_secret(&slots[0].params).unwrap(), slots[0].secret);
        assert!(matches!(newer.slot_secret(&slots[1].params), Err(SealError::NotMine(_))));
        assert_eq!(newer.host_id().unwrap(), sealer.host_id().unwrap());
        // New microcode.
        let (_root, updated) = with_keys(&[4; 16], &[3; 16]);
        let error = updated.slot_secret(&slots[0].params).unwrap_err();
        assert!(matches!(&error, SealError::NotMine(why) if why.contains("microcode")), "{error}");
    }

    #[test]
    fn the_derivation_is_that_of_the_format() {
        let (_root, sealer) = with_keys(&[1; 16], &[2; 16]);
        let params = [&[1, 0][..], &key_id(&[1; 16], SealMode::ProductKey).unwrap(), &[5; 32]].concat();
        let secret = sealer.slot_secret(&params).unwrap();
        let mut expected = [0; 32];
        expand("test", &[1; 16], &[5; 32], &[b"marblerun sealmrsigner"], &mut expected).unwrap();
        assert_eq!(*secret, expected);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bytes in [&[1; 15][..], &[1; 17], &[0; 16], &[]] {
            let (_root, sealer) = with_keys(bytes, bytes);
            assert!(matches!(sealer.new_slot(SealMode::ProductKey), Err(SealError::Unavailable { .. })), "{bytes:?}");
        }
        let nowhere = tempfile::tempdir().unwrap();
        assert!(!GramineKeys::new(nowhere.path()).is_present());
        let (_root, sealer) = with_keys(&[1; 16], &[2; 16]);
        for params in [&[][..], &[1], &[1, 3], &[2, 0], &[1; 51]] {
            assert!(matches!(sealer.slot_secret(params), Err(SealError::Malformed(_))), "{params:?}");
        }
    }
}
