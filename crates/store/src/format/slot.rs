//! Key slots: the data encryption key, wrapped under one slot secret each.
//!
//! The name of the key, the salt and the kind of the slot are authenticated with it, so that a slot cannot be
//! moved to another key or be passed off as one of another kind. The salt is fresh at every wrapping.

use marblerun_sealing::SlotKind;
use prost::Message;
use zeroize::Zeroizing;

use super::keys::{NONCE, Seal, TAG, fill_random, hkdf, sealing_key};
use super::limits::{at_most, exactly};
use super::{Dek, DekId, WriteError};

/// Nonce, wrapped key, tag.
pub(super) const WRAPPED: usize = NONCE + 32 + TAG;
/// Most bytes of the parameters of one slot.
pub(super) const MAX_PARAMS: usize = 64 << 10;
/// Most bytes of a name or label.
pub(super) const MAX_NAME: usize = 256;

const LABEL: &[u8] = b"marblerun slot v1";

/// One wrapped copy of the data encryption key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Number of the kind as stored; see [`Slot::kind`].
    pub kind: u32,
    /// Fresh at every wrapping.
    pub salt: [u8; 32],
    /// Nonce, ciphertext, tag.
    pub wrapped: [u8; WRAPPED],
    /// For people.
    pub label: String,
    /// What the backend needs to find the slot secret again; the epoch of its set for a recovery slot.
    pub params: Vec<u8>,
}

impl Slot {
    /// Wraps `dek` under `secret`, with a fresh salt.
    ///
    /// # Errors
    /// If the random source fails, or `params` or `label` is too long.
    pub fn wrap(
        kind: SlotKind,
        secret: &[u8],
        dek: &Dek,
        dek_id: DekId,
        label: &str,
        params: &[u8],
    ) -> Result<Self, WriteError> {
        WriteError::check("parameters of a key slot", params.len() as u64, MAX_PARAMS as u64)?;
        WriteError::check("label of a key slot", label.len() as u64, MAX_NAME as u64)?;
        let mut salt = [0; 32];
        fill_random(&mut salt)?;
        let key = sealing_key(slot_key(kind as u8, &salt, secret)?.as_ref())?;
        let wrapped = wrap_with(&key, kind as u8, &salt, dek, dek_id)?;
        Ok(Self { kind: kind as u32, salt, wrapped, label: label.to_owned(), params: params.to_vec() })
    }

    /// The kind, if this version knows it.
    #[must_use]
    pub fn kind(&self) -> Option<SlotKind> {
        SlotKind::from_number(self.kind)
    }

    /// Unwraps with a candidate secret. `None`: not the secret of this slot. O(1).
    #[must_use]
    pub fn unwrap(&self, secret: &[u8], dek_id: DekId) -> Option<Dek> {
        let kind = u8::try_from(self.kind).ok()?;
        let key = sealing_key(slot_key(kind, &self.salt, secret).ok()?.as_ref()).ok()?;
        let (nonce, sealed) = self.wrapped.split_first_chunk::<NONCE>()?;
        let mut sealed = Zeroizing::new(<[u8; 32 + TAG]>::try_from(sealed).ok()?);
        let aad = associated_data(kind, &self.salt, dek_id);
        let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key(*nonce);
        let plain = key.open_in_place(nonce, aws_lc_rs::aead::Aad::from(aad), sealed.as_mut()).ok()?;
        let mut dek = Zeroizing::new([0; 32]);
        dek.copy_from_slice(plain.get(..32)?);
        Some(Dek::from_bytes(dek))
    }
}

fn wrap_with(
    key: &impl Seal,
    kind: u8,
    salt: &[u8; 32],
    dek: &Dek,
    dek_id: DekId,
) -> Result<[u8; WRAPPED], WriteError> {
    let mut sealed = Zeroizing::new(*dek.expose());
    let (nonce, tag) = key.seal(&associated_data(kind, salt, dek_id), sealed.as_mut())?;
    let mut parts = nonce.iter().chain(sealed.iter()).chain(tag.iter());
    Ok(std::array::from_fn(|_| parts.next().copied().unwrap_or_default()))
}

fn slot_key(kind: u8, salt: &[u8; 32], secret: &[u8]) -> Result<Zeroizing<[u8; 32]>, WriteError> {
    hkdf(salt, secret, &[LABEL, &[kind]])
}

fn associated_data(kind: u8, salt: &[u8; 32], dek_id: DekId) -> Vec<u8> {
    [LABEL, &dek_id.0, salt, &[kind]].concat()
}

/// A slot as it stands in the header and in `sealed_key`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SlotMessage {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(bytes = "vec", tag = "2")]
    salt: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    wrapped: Vec<u8>,
    #[prost(string, tag = "4")]
    label: String,
    #[prost(bytes = "vec", tag = "5")]
    params: Vec<u8>,
}

impl From<&Slot> for SlotMessage {
    fn from(slot: &Slot) -> Self {
        Self {
            kind: slot.kind,
            salt: slot.salt.to_vec(),
            wrapped: slot.wrapped.to_vec(),
            label: slot.label.clone(),
            params: slot.params.clone(),
        }
    }
}

impl TryFrom<SlotMessage> for Slot {
    type Error = &'static str;

    fn try_from(message: SlotMessage) -> Result<Self, &'static str> {
        at_most(&message.label, MAX_NAME, "label of a key slot")?;
        if message.params.len() > MAX_PARAMS {
            return Err("parameters of a key slot");
        }
        Ok(Self {
            kind: message.kind,
            salt: exactly(&message.salt, "salt of a key slot")?,
            wrapped: exactly(&message.wrapped, "wrapped key of a key slot")?,
            label: message.label,
            params: message.params,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::vectors::{FixedNonce, counting};
    use super::*;

    fn vector() -> (Slot, [u8; 32], DekId) {
        let (salt, secret, dek_id) = (counting(0x60), counting::<32>(0x80), DekId(counting(0xa0)));
        let dek = Dek::from_bytes(Zeroizing::new(counting(0)));
        let key = FixedNonce::new(slot_key(1, &salt, &secret).unwrap().as_ref(), counting(0x50));
        let wrapped = wrap_with(&key, 1, &salt, &dek, dek_id).unwrap();
        (Slot { kind: 1, salt, wrapped, label: String::new(), params: Vec::new() }, secret, dek_id)
    }

    #[test]
    fn a_wrapped_key_is_that_of_the_vectors() {
        let (slot, secret, dek_id) = vector();
        assert_eq!(
            hex::encode(slot.wrapped),
            "505152535455565758595a5be48c42a2de59b128bb1cd8ee0b4b962034e19cd8cacb6c7e510ac85cd59d5390749dadc885f2b570679d14c6220f31a8"
        );
        assert_eq!(slot.unwrap(&secret, dek_id).unwrap().expose(), &counting::<32>(0));
    }

    #[test]
    fn a_slot_opens_only_with_its_secret_its_key_name_its_kind_and_its_salt() {
        let (slot, secret, dek_id) = vector();
        assert!(slot.unwrap(&counting::<32>(0x81), dek_id).is_none());
        assert!(slot.unwrap(&secret[..31], dek_id).is_none());
        assert!(slot.unwrap(&secret, DekId(counting(0xa1))).is_none());
        assert!(Slot { kind: 2, ..slot.clone() }.unwrap(&secret, dek_id).is_none());
        assert!(Slot { salt: counting(0x61), ..slot.clone() }.unwrap(&secret, dek_id).is_none());
        for i in 0..WRAPPED {
            let mut changed = slot.clone();
            changed.wrapped[i] ^= 1;
            assert!(changed.unwrap(&secret, dek_id).is_none(), "byte {i}");
        }
    }

    #[test]
    fn two_wrappings_share_neither_salt_nor_ciphertext() {
        let (dek, dek_id) = (Dek::generate().unwrap(), DekId::generate().unwrap());
        let wrap = || Slot::wrap(SlotKind::Recovery, &[7; 32], &dek, dek_id, "recovery", &[1; 16]).unwrap();
        let (first, second) = (wrap(), wrap());
        assert_ne!(first.salt, second.salt);
        assert_ne!(first.wrapped, second.wrapped);
        assert_eq!(first.unwrap(&[7; 32], dek_id).unwrap().expose(), dek.expose());
        assert_eq!(second.unwrap(&[7; 32], dek_id).unwrap().expose(), dek.expose());
    }

    #[test]
    fn secrets_of_old_imported_states_may_have_16_or_24_bytes() {
        let (dek, dek_id) = (Dek::generate().unwrap(), DekId::generate().unwrap());
        for length in [16, 24, 32] {
            let slot = Slot::wrap(SlotKind::Recovery, &vec![7; length], &dek, dek_id, "", &[]).unwrap();
            assert!(slot.unwrap(&vec![7; length], dek_id).is_some());
        }
    }

    #[test]
    fn parameters_and_labels_have_limits() {
        let (dek, dek_id) = (Dek::generate().unwrap(), DekId::generate().unwrap());
        let wrap = |label: &str, params: &[u8]| Slot::wrap(SlotKind::Tpm, &[1; 32], &dek, dek_id, label, params);
        assert!(wrap(&"x".repeat(MAX_NAME), &vec![0; MAX_PARAMS]).is_ok());
        assert!(matches!(wrap("", &vec![0; MAX_PARAMS + 1]), Err(WriteError::TooLarge { .. })));
        assert!(matches!(wrap(&"x".repeat(MAX_NAME + 1), &[]), Err(WriteError::TooLarge { .. })));
    }
}
