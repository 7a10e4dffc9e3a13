//! Public parameters of a slot, as stored: `version 1 || seal mode || salt (32) || host || key name || key version`, each
//! of the last three as u8 length and text. They name the key; addresses and credentials come from the configuration.

use marblerun_sealing::SealError;
use marblerun_sealing::derivation::SECRET;

use crate::KeyName;

const VERSION: u8 = 1;

/// A slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    /// Seal mode it was made for.
    pub mode: u8,
    /// Salt of the derivation.
    pub salt: [u8; SECRET],
    /// Host of the vault.
    pub vault: String,
    /// Name of the key.
    pub key_name: KeyName,
    /// Its version.
    pub key_version: KeyName,
}

impl Params {
    /// The bytes to store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, self.mode];
        bytes.extend(self.salt);
        for text in [self.vault.as_str(), self.key_name.as_str(), self.key_version.as_str()] {
            // Hosts of the configuration have at most 253 letters, names 127.
            bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            bytes.extend(text.as_bytes());
        }
        bytes
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// [`SealError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SealError> {
        let short = || malformed("they are cut short");
        let ([version, mode], rest) = bytes.split_first_chunk::<2>().ok_or_else(short)?;
        if *version != VERSION {
            return Err(malformed(&format!("unknown version {version}")));
        }
        let (salt, rest) = rest.split_first_chunk::<SECRET>().ok_or_else(short)?;
        let (vault, rest) = text(rest)?;
        let (key_name, rest) = text(rest)?;
        let (key_version, rest) = text(rest)?;
        if !rest.is_empty() {
            return Err(malformed("bytes follow"));
        }
        Ok(Self {
            mode: *mode,
            salt: *salt,
            vault: vault.to_owned(),
            key_name: KeyName::parse(key_name).map_err(|reason| malformed(&reason))?,
            key_version: KeyName::parse(key_version).map_err(|reason| malformed(&reason))?,
        })
    }
}

fn text(bytes: &[u8]) -> Result<(&str, &[u8]), SealError> {
    let short = || malformed("they are cut short");
    let (length, rest) = bytes.split_first().ok_or_else(short)?;
    let (text, rest) = rest.split_at_checked(usize::from(*length)).ok_or_else(short)?;
    Ok((str::from_utf8(text).map_err(|_| malformed("a name is no text"))?, rest))
}

fn malformed(what: &str) -> SealError {
    SealError::Malformed(format!("of an Azure HSM slot: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Params {
        Params {
            mode: 1,
            salt: [7; 32],
            vault: "myhsm.managedhsm.azure.net".to_owned(),
            key_name: KeyName::parse("marblerun").unwrap(),
            key_version: KeyName::parse("0123456789abcdef").unwrap(),
        }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_shorter_or_longer() {
        let bytes = sample().encode();
        assert_eq!(Params::decode(&bytes).unwrap(), sample());
        for length in 0..bytes.len() {
            assert!(Params::decode(&bytes[..length]).is_err(), "{length}");
        }
        assert!(Params::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_and_read_bytes_are_written_alike(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(params) = Params::decode(&bytes) {
                prop_assert_eq!(params.encode(), bytes);
            }
        }
    }
}
