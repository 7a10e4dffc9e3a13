//! Public parameters of a slot, as stored:
//! `version 1 || seal mode || host id (16) || PCR mask (4, LE) || PCR values (32 each) ||
//! u16 LE length || public area || u16 LE length || private area`.
//!
//! Whoever writes `sealed_key` writes them, so they decide nothing: what they name is checked against the
//! configuration, the TPM and its registers before a key is used. The values are there to say *which* register changed.

use marblerun_sealing::{SealError, SealMode};
use tss_esapi::attributes::{ObjectAttributes, ObjectAttributesBuilder};
use tss_esapi::structures::{Private, Public};
use tss_esapi::traits::UnMarshall as _;

use crate::pcrs::{BootState, PcrSet};

const VERSION: u8 = 1;
/// More than a sealed object's areas have.
const AREA_LIMIT: usize = 1024;

/// A slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    /// Seal mode it was made for.
    pub mode: SealMode,
    /// The TPM's public name.
    pub host_id: [u8; 16],
    /// What it is bound to.
    pub boot: BootState,
    /// `TPMT_PUBLIC` of the sealed object.
    pub public: Vec<u8>,
    /// `TPM2B_PRIVATE` of it, without the length.
    pub private: Vec<u8>,
}

impl Params {
    /// The bytes to store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, self.mode as u8];
        bytes.extend(self.host_id);
        bytes.extend(self.boot.set().mask().to_le_bytes());
        bytes.extend(self.boot.values().concat());
        for area in [&self.public, &self.private] {
            // Areas are below `AREA_LIMIT`, whoever made them.
            bytes.extend(u16::try_from(area.len()).unwrap_or(u16::MAX).to_le_bytes());
            bytes.extend(area);
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
        let mode = [SealMode::ProductKey, SealMode::UniqueKey].into_iter().find(|known| *known as u8 == *mode);
        let mode = mode.ok_or_else(|| malformed("unknown seal mode"))?;
        let (host_id, rest) = rest.split_first_chunk::<16>().ok_or_else(short)?;
        let (mask, mut rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let set = PcrSet::from_mask(u32::from_le_bytes(*mask)).ok_or_else(|| malformed("no or unknown PCRs"))?;
        let mut values = Vec::with_capacity(set.len());
        for _ in set.numbers() {
            let (value, after) = rest.split_first_chunk::<32>().ok_or_else(short)?;
            values.push(*value);
            rest = after;
        }
        let (public, rest) = area(rest)?;
        let (private, rest) = area(rest)?;
        if !rest.is_empty() {
            return Err(malformed("bytes follow"));
        }
        let boot = BootState::new(set, values).ok_or_else(short)?;
        Ok(Self { mode, host_id: *host_id, boot, public, private })
    }

    /// The object to load. It must be one that [`crate::TpmSealer`] makes: bound to this TPM, to its parent and to
    /// the policy of [`Params::boot`], with no password that would open it too.
    ///
    /// # Errors
    /// [`SealError::Malformed`].
    pub fn object(&self) -> Result<(Private, Public), SealError> {
        let public = Public::unmarshall(&self.public).map_err(|_| malformed("no public area"))?;
        let private = Private::try_from(self.private.as_slice()).map_err(|_| malformed("no private area"))?;
        if !matches!(public, Public::KeyedHash { .. }) {
            return Err(malformed("the object holds no data"));
        }
        if public.object_attributes() != attributes().map_err(|_| malformed("no attributes"))? {
            return Err(malformed("the object has attributes of another use"));
        }
        if public.auth_policy().as_ref() as &[u8] != self.boot.policy() {
            return Err(malformed("the object has another policy than the PCR values named"));
        }
        Ok((private, public))
    }
}

/// Attributes of a sealed object: it never leaves this TPM and this parent, and only the policy opens it. Guessing is no
/// way to open it, so it takes no part in the lockout against guessing.
pub(crate) fn attributes() -> Result<ObjectAttributes, tss_esapi::Error> {
    ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_admin_with_policy(true)
        .with_no_da(true)
        .build()
}

fn area(bytes: &[u8]) -> Result<(Vec<u8>, &[u8]), SealError> {
    let short = || malformed("they are cut short");
    let (length, rest) = bytes.split_first_chunk::<2>().ok_or_else(short)?;
    let length = usize::from(u16::from_le_bytes(*length));
    if length > AREA_LIMIT {
        return Err(malformed("an area is too long"));
    }
    let (area, rest) = rest.split_at_checked(length).ok_or_else(short)?;
    Ok((area.to_vec(), rest))
}

fn malformed(what: &str) -> SealError {
    SealError::Malformed(format!("of a TPM slot: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Params {
        Params {
            mode: SealMode::UniqueKey,
            host_id: [1; 16],
            boot: BootState::new(PcrSet::BOOT_CHAIN, vec![[2; 32]; 4]).unwrap(),
            public: vec![3; 46],
            private: vec![4; 150],
        }
    }

    #[test]
    fn every_truncation_and_what_follows_is_malformed() {
        let bytes = sample().encode();
        for length in 0..bytes.len() {
            assert!(matches!(Params::decode(&bytes[..length]), Err(SealError::Malformed(_))), "{length}");
        }
        assert!(Params::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn objects_that_a_sealer_does_not_make_are_malformed() {
        let error = sample().object().unwrap_err().to_string();
        assert!(error.contains("no public area"), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(mask in 1_u32..1 << 24, unique: bool, public in prop::collection::vec(any::<u8>(), 0..100)) {
            let set = PcrSet::from_mask(mask).unwrap();
            let mode = if unique { SealMode::UniqueKey } else { SealMode::ProductKey };
            let values = (0..set.len()).map(|n| [n as u8; 32]).collect();
            let params = Params { mode, boot: BootState::new(set, values).unwrap(), public, ..sample() };
            prop_assert_eq!(Params::decode(&params.encode()).unwrap(), params);
        }

        #[test]
        fn any_bytes_are_read_or_refused_and_read_bytes_are_written_alike(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(params) = Params::decode(&bytes) {
                prop_assert_eq!(params.encode(), bytes);
            }
        }
    }
}
