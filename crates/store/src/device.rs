//! A device that seals as the test says: it can be taken away, and be replaced by another one.

use std::sync::{Arc, Mutex};

use marblerun_sealing::{KeySealer, NewSlot, SealError, SealMode, SlotKind, upstream_hsm};
use zeroize::Zeroizing;

/// A device. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    kind: SlotKind,
    name: &'static str,
    /// Which one is plugged in, if one is.
    plugged: Arc<Mutex<Option<u8>>>,
}

impl Device {
    pub(crate) fn new(kind: SlotKind, name: &'static str) -> Self {
        Self { kind, name, plugged: Arc::new(Mutex::new(Some(1))) }
    }

    pub(crate) fn token() -> Self {
        Self::new(SlotKind::Pkcs11, "token")
    }

    pub(crate) fn chip() -> Self {
        Self::new(SlotKind::Tpm, "chip")
    }

    pub(crate) fn plug(&self, which: Option<u8>) {
        *self.plugged.lock().unwrap() = which;
    }

    pub(crate) fn sealer(&self) -> Arc<dyn KeySealer> {
        Arc::new(self.clone())
    }

    fn which(&self) -> Result<u8, SealError> {
        let gone = SealError::Unavailable { backend: self.name, reason: "it is not plugged in".to_owned() };
        self.plugged.lock().unwrap().ok_or(gone)
    }
}

impl KeySealer for Device {
    fn kind(&self) -> SlotKind {
        self.kind
    }

    fn name(&self) -> &str {
        self.name
    }

    fn open_upstream(&self, sealed_key: &[u8]) -> Option<Result<Zeroizing<Vec<u8>>, SealError>> {
        // The key that the fake HSM of the fixtures releases.
        let key: Vec<u8> = [0x00, 0xff].repeat(16);
        let open = || upstream_hsm::open(&key, sealed_key).map_err(|error| SealError::NotMine(error.to_string()));
        (self.kind == SlotKind::Kms).then(|| self.which().and_then(|_| open()))
    }

    fn host_id(&self) -> Result<[u8; 16], SealError> {
        Ok([self.which()?; 16])
    }

    fn new_slot(&self, _mode: SealMode) -> Result<NewSlot, SealError> {
        let mut salt = [0; 31];
        aws_lc_rs::rand::fill(&mut salt).unwrap();
        let params = [&[self.which()?][..], &salt].concat();
        Ok(NewSlot { secret: self.slot_secret(&params)?, params })
    }

    fn slot_secret(&self, params: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        match params.first() {
            Some(which) if *which == self.which()? => {
                Ok(Zeroizing::new(params.iter().map(|byte| byte ^ 0x5a).collect()))
            }
            _ => Err(SealError::NotMine("it was sealed by another device".to_owned())),
        }
    }
}
