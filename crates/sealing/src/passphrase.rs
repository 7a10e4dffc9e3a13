//! A passphrase in a file, stretched by scrypt, as `age` does with its passphrases.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::derivation::{SECRET, random};
use crate::params::Reader;
use crate::{KeySealer, NewSlot, SealError, SealMode, SlotKind};

const BACKEND: &str = "passphrase";
const VERSION: u8 = 1;
/// 128 MiB and some tenths of a second for each guess.
const LOG_N: u8 = 17;
/// What the format allows: the parameters are read before anything is authenticated.
const MAX_LOG_N: u8 = 18;
const R: u32 = 8;
const P: u32 = 1;
/// Whoever has a backup can guess as long as he likes.
const MIN_LENGTH: usize = 16;
const MAX_LENGTH: usize = 4096;

/// A file that holds a passphrase.
///
/// The parameters are `version (1) || seal mode (1) || log2 N (1) || salt (32)`; the secret is
/// scrypt(passphrase, salt, N, r = 8, p = 1), 32 bytes. One line end behind the passphrase does not count.
#[derive(Debug, Clone)]
pub struct Passphrase {
    path: PathBuf,
}

impl Passphrase {
    /// A sealer over that file. It is read at every use, so that it may be on a volume that comes and goes.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf() }
    }

    fn unavailable(&self, reason: impl std::fmt::Display) -> SealError {
        SealError::Unavailable { backend: BACKEND, reason: format!("{}: {reason}", self.path.display()) }
    }

    fn read(&self) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let file = fs::File::open(&self.path).map_err(|error| self.unavailable(error))?;
        // Never grows: that would leave copies behind.
        let mut text = Zeroizing::new(Vec::with_capacity(MAX_LENGTH + 3));
        file.take(MAX_LENGTH as u64 + 2).read_to_end(&mut text).map_err(|error| self.unavailable(error))?;
        if text.last() == Some(&b'\n') {
            text.pop();
            if text.last() == Some(&b'\r') {
                text.pop();
            }
        }
        if !(MIN_LENGTH..=MAX_LENGTH).contains(&text.len()) {
            return Err(self.unavailable(format_args!(
                "it holds {} bytes, and a passphrase has {MIN_LENGTH} to {MAX_LENGTH}; make one with `openssl rand -base64 32`",
                text.len()
            )));
        }
        Ok(text)
    }

    fn derive(&self, log_n: u8, salt: &[u8; SECRET]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let passphrase = self.read()?;
        let params = scrypt::Params::new(log_n, R, P).map_err(|error| self.unavailable(error))?;
        let mut secret = Zeroizing::new(vec![0; SECRET]);
        scrypt::scrypt(&passphrase, salt, &params, &mut secret).map_err(|error| self.unavailable(error))?;
        Ok(secret)
    }
}

impl KeySealer for Passphrase {
    fn kind(&self) -> SlotKind {
        SlotKind::Passphrase
    }

    fn name(&self) -> &str {
        BACKEND
    }

    fn caution(&self) -> Option<&'static str> {
        Some(
            "the state is sealed with a passphrase alone: who has a copy of the state can guess it for as long as he likes",
        )
    }

    fn host_id(&self) -> Result<[u8; 16], SealError> {
        Ok([0; 16])
    }

    fn new_slot(&self, mode: SealMode) -> Result<NewSlot, SealError> {
        let salt = random(BACKEND)?;
        let secret = self.derive(LOG_N, &salt)?;
        Ok(NewSlot { params: [&[VERSION, mode as u8, LOG_N], salt.as_slice()].concat(), secret })
    }

    fn slot_secret(&self, params: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let mut reader = Reader::new(BACKEND, params, VERSION)?;
        let (_mode, log_n, salt) = (reader.byte()?, reader.byte()?, reader.array()?);
        if !(1..=MAX_LOG_N).contains(&log_n) {
            return Err(reader.malformed(&format!("their work factor is 2^{log_n}, at most 2^{MAX_LOG_N} is done")));
        }
        reader.end()?;
        self.derive(log_n, &salt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cheap parameters: what is tried here does not depend on the work.
    fn params(log_n: u8) -> Vec<u8> {
        [&[VERSION, 0, log_n][..], &[7; SECRET]].concat()
    }

    #[test]
    fn the_same_passphrase_gives_the_same_secret_and_another_one_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        let sealer = Passphrase::new(&path);
        fs::write(&path, "correct horse battery staple").unwrap();
        let slot = sealer.new_slot(SealMode::ProductKey).unwrap();
        assert_eq!(slot.params[2], LOG_N);
        assert_eq!(sealer.slot_secret(&slot.params).unwrap(), slot.secret);
        let first = sealer.slot_secret(&params(2)).unwrap();
        for same in ["correct horse battery staple\n", "correct horse battery staple\r\n"] {
            fs::write(&path, same).unwrap();
            assert_eq!(sealer.slot_secret(&params(2)).unwrap(), first);
        }
        for other in ["correct horse battery staple ", "correct horse battery staple\n\n"] {
            fs::write(&path, other).unwrap();
            assert_ne!(sealer.slot_secret(&params(2)).unwrap(), first);
        }
    }

    #[test]
    fn what_is_no_passphrase_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        let sealer = Passphrase::new(&path);
        let told = || sealer.slot_secret(&params(2)).unwrap_err().to_string();
        assert!(told().contains("No such file"), "{}", told());
        for text in ["", "short\n", &"x".repeat(MAX_LENGTH + 1)] {
            fs::write(&path, text).unwrap();
            assert!(told().contains("openssl rand"), "{}", told());
        }
    }

    #[test]
    fn parameters_that_would_take_all_memory_are_refused_before_any_is_taken() {
        let sealer = Passphrase::new(Path::new("/none"));
        for bytes in [params(MAX_LOG_N + 1), params(0), params(255), vec![], vec![2], params(2)[..34].to_vec()] {
            assert!(matches!(sealer.slot_secret(&bytes), Err(SealError::Malformed(_))), "{bytes:?}");
        }
    }
}
