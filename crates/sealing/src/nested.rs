//! Several sealers of which all are needed: one around the other, such as a token around the platform.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::derivation::{SECRET, expand};
use crate::params::{Reader, put_prefixed};
use crate::{KeySealer, NewSlot, SealError, SealMode, SlotKind};

const BACKEND: &str = "nested";
const VERSION: u8 = 1;

/// A slot that opens only with all of its parts.
///
/// The parameters are `version (1) || number of parts (1) || parameters of each, behind their length (u32)`; the secret
/// is HKDF-SHA256(ikm = secret of each part behind its length (u32), info = "marblerun nested slot").
#[derive(Debug)]
pub struct Nested {
    parts: Vec<Arc<dyn KeySealer>>,
    name: String,
}

impl Nested {
    /// All of these, in this order.
    #[must_use]
    pub fn new(parts: Vec<Arc<dyn KeySealer>>) -> Self {
        let names: Vec<_> = parts.iter().map(|part| part.name()).collect();
        let name = names.join("+");
        Self { parts, name }
    }

    fn slot<'a>(&self, parts: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<NewSlot, SealError> {
        let mut params = vec![VERSION, u8::try_from(self.parts.len()).unwrap_or(u8::MAX)];
        // Of a size that is not outgrown: growing would leave copies behind.
        let mut secrets = Zeroizing::new(Vec::with_capacity(self.parts.len() * 1024));
        for (of_part, secret) in parts {
            put_prefixed(&mut params, of_part);
            put_prefixed(&mut secrets, secret);
        }
        let mut secret = Zeroizing::new(vec![0; SECRET]);
        expand(BACKEND, &secrets, &[], &[b"marblerun nested slot"], &mut secret)?;
        Ok(NewSlot { params, secret })
    }
}

impl KeySealer for Nested {
    /// A slot that needs the host stands where those of the host stand.
    fn kind(&self) -> SlotKind {
        let kinds = || self.parts.iter().map(|part| part.kind());
        kinds().find(|kind| !kind.is_portable()).or_else(|| kinds().next()).unwrap_or(SlotKind::Plain)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn simulated(&self) -> bool {
        self.parts.iter().any(|part| part.simulated())
    }

    fn proves_its_maker(&self) -> bool {
        self.parts.iter().any(|part| part.proves_its_maker())
    }

    fn open_upstream(&self, sealed_key: &[u8]) -> Option<Result<Zeroizing<Vec<u8>>, SealError>> {
        self.parts.iter().find_map(|part| part.open_upstream(sealed_key))
    }

    fn caution(&self) -> Option<&'static str> {
        self.parts.iter().find_map(|part| part.caution())
    }

    fn host_id(&self) -> Result<[u8; 16], SealError> {
        let mut all = Vec::new();
        for part in &self.parts {
            all.extend_from_slice(&part.host_id()?);
        }
        let mut id = [0; 16];
        expand(BACKEND, &all, &[], &[b"marblerun nested host"], &mut id)?;
        Ok(id)
    }

    fn new_slot(&self, mode: SealMode) -> Result<NewSlot, SealError> {
        let made = self.parts.iter().map(|part| part.new_slot(mode)).collect::<Result<Vec<_>, _>>()?;
        self.slot(made.iter().map(|slot| (slot.params.as_slice(), slot.secret.as_slice())))
    }

    fn slot_secret(&self, params: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let mut reader = Reader::new(BACKEND, params, VERSION)?;
        if usize::from(reader.byte()?) != self.parts.len() {
            return Err(SealError::NotMine(format!("the slot has another number of parts than {}", self.name)));
        }
        let mut found = Vec::new();
        for part in &self.parts {
            let of_part = reader.prefixed()?;
            found.push((of_part, part.slot_secret(of_part)?));
        }
        reader.end()?;
        Ok(self.slot(found.iter().map(|(of_part, secret)| (*of_part, secret.as_slice())))?.secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HostKeyFile, Plain};

    #[test]
    fn it_opens_with_all_of_its_parts_and_with_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let part = |name: &str| -> Arc<dyn KeySealer> { Arc::new(HostKeyFile::new(&dir.path().join(name))) };
        let nested = Nested::new(vec![part("a"), part("b")]);
        let slot = nested.new_slot(SealMode::ProductKey).unwrap();
        assert_eq!(nested.slot_secret(&slot.params).unwrap(), slot.secret);
        assert_eq!(nested.name(), "host-key-file+host-key-file");
        let other = Nested::new(vec![part("a"), part("c")]);
        other.host_id().unwrap();
        assert!(matches!(other.slot_secret(&slot.params), Err(SealError::NotMine(_))));
        assert!(Nested::new(vec![part("a")]).slot_secret(&slot.params).is_err());
        assert_ne!(nested.host_id().unwrap(), other.host_id().unwrap());
        for length in 0..slot.params.len() {
            assert!(nested.slot_secret(&slot.params[..length]).is_err(), "{length} bytes");
        }
        assert!(nested.slot_secret(&[&slot.params[..], b"x"].concat()).is_err());
    }

    #[test]
    fn it_is_bound_to_the_host_if_one_of_its_parts_is() {
        let plain: Arc<dyn KeySealer> = Arc::new(Plain);
        let passphrase: Arc<dyn KeySealer> = Arc::new(crate::Passphrase::new("/none".as_ref()));
        assert_eq!(Nested::new(vec![passphrase.clone(), plain]).kind(), SlotKind::Plain);
        assert_eq!(Nested::new(vec![passphrase.clone(), passphrase]).kind(), SlotKind::Passphrase);
    }
}
