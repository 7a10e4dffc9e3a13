//! Software sealers for simulation: an unprotected slot, and a key file that plays the host.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::derivation::{SECRET, expand, random};
use crate::{KeySealer, NewSlot, SealError, SealMode, SlotKind};

/// The slot secret is stored in the clear, as the parameters. Simulation only.
#[derive(Debug, Default, Clone, Copy)]
pub struct Plain;

impl KeySealer for Plain {
    fn kind(&self) -> SlotKind {
        SlotKind::Plain
    }

    fn name(&self) -> &str {
        "plain"
    }

    fn simulated(&self) -> bool {
        true
    }

    fn host_id(&self) -> Result<[u8; 16], SealError> {
        Ok([0; 16])
    }

    fn new_slot(&self, _mode: SealMode) -> Result<NewSlot, SealError> {
        let secret = random("plain")?;
        Ok(NewSlot { params: secret.to_vec(), secret: Zeroizing::new(secret.to_vec()) })
    }

    fn slot_secret(&self, params: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        match params.len() {
            SECRET => Ok(Zeroizing::new(params.to_vec())),
            other => Err(SealError::Malformed(format!("a plain slot has {SECRET} bytes, not {other}"))),
        }
    }
}

/// A file that plays the host's seal key (`MARBLERUN_SIMULATION_HOST_KEY`). Made if absent.
///
/// The file holds 64 hexadecimal digits and a line end. A slot's parameters are
/// `version (1) || seal mode (1) || key id (16) || salt (32)`; its secret is
/// HKDF-SHA256(salt, host key, info = "marblerun simulated host slot" || first 18 bytes of the parameters).
#[derive(Debug, Clone)]
pub struct HostKeyFile {
    path: PathBuf,
}

/// Parameters of a slot, as stored.
struct Params {
    version: u8,
    mode: u8,
    key_id: [u8; 16],
    salt: [u8; SECRET],
}

impl Params {
    const VERSION: u8 = 1;
    const LENGTH: usize = 2 + 16 + SECRET;

    fn encode(&self) -> Vec<u8> {
        [&[self.version, self.mode][..], &self.key_id, &self.salt].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Self, SealError> {
        let malformed =
            || SealError::Malformed(format!("a host key slot has {} bytes, not {}", Self::LENGTH, bytes.len()));
        let ([version, mode], rest) = bytes.split_first_chunk::<2>().ok_or_else(malformed)?;
        let (key_id, rest) = rest.split_first_chunk::<16>().ok_or_else(malformed)?;
        let salt = rest.try_into().map_err(|_| malformed())?;
        if *version != Self::VERSION {
            return Err(SealError::Malformed(format!("host key slot of unknown version {version}")));
        }
        Ok(Self { version: *version, mode: *mode, key_id: *key_id, salt })
    }
}

impl HostKeyFile {
    /// A sealer over that file. The file is read at every use, so that losing the "host" is noticed.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf() }
    }

    fn unavailable(&self, what: &str, reason: &dyn std::fmt::Display) -> SealError {
        let path = self.path.display();
        SealError::Unavailable { backend: "host-key-file", reason: format!("{what} {path}: {reason}") }
    }

    fn read(&self) -> Result<Zeroizing<[u8; SECRET]>, SealError> {
        /// More than the digits and the white space around them.
        const LIMIT: usize = 128;
        let file = fs::File::open(&self.path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                SealError::NotMine(format!("the simulated host key {} does not exist", self.path.display()))
            }
            _ => self.unavailable("reading", &error),
        })?;
        let mut text = Zeroizing::new(String::with_capacity(LIMIT));
        file.take(LIMIT as u64).read_to_string(&mut text).map_err(|error| self.unavailable("reading", &error))?;
        let mut key = Zeroizing::new([0; SECRET]);
        match hex::decode_to_slice(text.trim(), key.as_mut_slice()) {
            Ok(()) => Ok(key),
            Err(_) => {
                Err(self.unavailable("reading", &format_args!("it does not hold {} hexadecimal digits", 2 * SECRET)))
            }
        }
    }

    /// Makes the file. A file that appears at the same moment is left alone, and read.
    fn read_or_create(&self) -> Result<Zeroizing<[u8; SECRET]>, SealError> {
        match self.read() {
            Err(SealError::NotMine(_)) => {}
            other => return other,
        }
        let key = random("host-key-file")?;
        let mut text = Zeroizing::new([b'\n'; 2 * SECRET + 1]);
        text.split_last_mut()
            .map_or(Ok(()), |(_, digits)| hex::encode_to_slice(key.as_slice(), digits))
            .map_err(|error| self.unavailable("writing", &error))?;
        // Written beside it and linked into place: whoever finds the file finds it whole.
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(|error| self.unavailable("making the directory of", &error))?;
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(format!(".{}.new", hex::encode(*random("host-key-file")?)));
        let written = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(text.as_slice()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::hard_link(&temporary, &self.path))
            .and_then(|()| fs::File::open(parent)?.sync_all());
        let removed = fs::remove_file(&temporary);
        match written {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => other.and(removed).map_err(|error| self.unavailable("writing", &error))?,
        }
        self.read()
    }
}

impl KeySealer for HostKeyFile {
    fn kind(&self) -> SlotKind {
        SlotKind::Platform
    }

    fn name(&self) -> &str {
        "host-key-file"
    }

    fn simulated(&self) -> bool {
        true
    }

    fn host_id(&self) -> Result<[u8; 16], SealError> {
        key_id(&*self.read_or_create()?)
    }

    fn new_slot(&self, mode: SealMode) -> Result<NewSlot, SealError> {
        let host_key = self.read_or_create()?;
        let params = Params {
            version: Params::VERSION,
            mode: mode as u8,
            key_id: key_id(&host_key)?,
            salt: *random("host-key-file")?,
        };
        Ok(NewSlot { params: params.encode(), secret: derive(&host_key, &params)? })
    }

    fn slot_secret(&self, params: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let params = Params::decode(params)?;
        let host_key = self.read()?;
        if !bool::from(params.key_id.ct_eq(&key_id(&host_key)?)) {
            return Err(SealError::NotMine(format!("it was sealed with another key than {}", self.path.display())));
        }
        derive(&host_key, &params)
    }
}

/// Public name of a host key.
fn key_id(host_key: &[u8; SECRET]) -> Result<[u8; 16], SealError> {
    let mut id = [0; 16];
    expand("host-key-file", host_key, &[], &[b"marblerun simulated host key id"], &mut id)?;
    Ok(id)
}

fn derive(host_key: &[u8; SECRET], params: &Params) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let mut secret = Zeroizing::new(vec![0; SECRET]);
    let info: [&[u8]; 3] = [b"marblerun simulated host slot", &[params.version, params.mode], &params.key_id];
    expand("host-key-file", host_key, &params.salt, &info, &mut secret)?;
    Ok(secret)
}

#[cfg(test)]
mod tests;
