//! The key that the SEV-SNP firmware derives for this guest: AMD's chip mixes a secret of its own with what it
//! measured, and gives the result to the guest that asks.
//!
//! What is mixed in decides who gets the key. `UniqueKey`: launch policy and launch measurement, so exactly this image
//! in exactly this configuration. `ProductKey`: the same, unless [`ProductKey::IdBlock`] is chosen: then policy,
//! image id, family id and security version of the ID block, which survive an update of the image. But whoever
//! launches guests chooses the ID block and the key that signs it, and **the signing key is not mixed in**: the host
//! can launch another guest with the same ids and get the same key. So that is never the default.
//!
//! The firmware's key is never used itself: a slot's secret is HKDF-SHA256 of it with a salt of the slot.

mod device;

use std::io;

use aws_lc_rs::digest;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::derivation::{SECRET, expand, random, slot_secret};
use crate::{KeySealer, NewSlot, SealError, SealMode, SlotKind};

pub use device::{PATH, SevGuest};
/// What is asked of the firmware. The root is always the key of the chip (VCEK).
pub use marblerun_tee_device::KeyFields as KeyRequest;

const BACKEND: &str = "sev-snp";

/// Bits of the field selection in MSG_KEY_REQ.
const POLICY: u64 = 1;
const IMAGE_ID: u64 = 1 << 1;
const FAMILY_ID: u64 = 1 << 2;
const MEASUREMENT: u64 = 1 << 3;
const GUEST_SVN: u64 = 1 << 4;

/// What the firmware says of this guest, from an attestation report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFacts {
    /// Security version of the ID block.
    pub guest_svn: u32,
    /// Launch policy.
    pub policy: u64,
    /// Family id of the ID block.
    pub family_id: [u8; 16],
    /// Image id of the ID block.
    pub image_id: [u8; 16],
    /// Launch measurement.
    pub measurement: [u8; 48],
    /// Name of the chip; zeros if the host hides it.
    pub chip_id: [u8; 64],
}

impl GuestFacts {
    /// Reads a report (SEV-SNP firmware ABI, table ATTESTATION_REPORT; 1184 bytes, more may follow). `None` if it is too short.
    #[must_use]
    pub fn of_report(report: &[u8]) -> Option<Self> {
        fn at<const N: usize>(report: &[u8], offset: usize) -> Option<[u8; N]> {
            report.get(offset..)?.first_chunk::<N>().copied()
        }
        report.get(..1184)?;
        Some(Self {
            guest_svn: u32::from_le_bytes(at(report, 0x04)?),
            policy: u64::from_le_bytes(at(report, 0x08)?),
            family_id: at(report, 0x10)?,
            image_id: at(report, 0x20)?,
            measurement: at(report, 0x90)?,
            chip_id: at(report, 0x1a0)?,
        })
    }
}

/// The firmware, or what plays it in tests.
pub trait GuestDevice: Send + Sync + std::fmt::Debug {
    /// Asks for a derived key.
    ///
    /// # Errors
    /// Of the device or the firmware.
    fn derived_key(&self, request: &KeyRequest) -> io::Result<Zeroizing<[u8; 32]>>;

    /// Asks who this guest is.
    ///
    /// # Errors
    /// Of the device or the firmware.
    fn facts(&self, vmpl: u32) -> io::Result<GuestFacts>;
}

/// What `ProductKey` binds to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProductKey {
    /// Policy and measurement, as `UniqueKey`. An update of the image needs another slot or a recovery.
    #[default]
    Measurement,
    /// Policy, image id, family id and security version. Trusts whoever launches guests on this host.
    IdBlock,
}

impl ProductKey {
    /// As it is named in configuration: `measurement`, or `id-block`. `None` if unknown.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "measurement" => Self::Measurement,
            "id-block" => Self::IdBlock,
            _ => return None,
        })
    }
}

/// The sealer.
#[derive(Debug)]
pub struct SnpDerivedKey<D> {
    device: D,
    product_key: ProductKey,
    vmpl: u32,
}

/// Parameters of a slot, as stored:
/// `version 1 || seal mode || fields (8, LE) || vmpl (4) || guest SVN (4) || host id (16) || measurement (48) || key check (16) || salt (32)`.
/// All but the salt are bound into the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Params {
    mode: u8,
    request: KeyRequest,
    host_id: [u8; 16],
    measurement: [u8; 48],
    check: [u8; 16],
    salt: [u8; SECRET],
}

impl Params {
    const VERSION: u8 = 1;
    const LENGTH: usize = 2 + 16 + 16 + 48 + 16 + SECRET;

    /// What stands before the check.
    fn head(&self) -> Vec<u8> {
        let request = &self.request;
        let mut bytes = vec![Self::VERSION, self.mode];
        bytes.extend(request.fields.to_le_bytes());
        bytes.extend(request.vmpl.to_le_bytes());
        bytes.extend(request.guest_svn.to_le_bytes());
        bytes.extend(self.host_id);
        bytes.extend(self.measurement);
        bytes
    }

    fn encode(&self) -> Vec<u8> {
        [&self.head()[..], &self.check, &self.salt].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Self, SealError> {
        let malformed =
            || SealError::Malformed(format!("a SEV-SNP slot has {} bytes, not {}", Self::LENGTH, bytes.len()));
        let ([version, mode], rest) = bytes.split_first_chunk::<2>().ok_or_else(malformed)?;
        if *version != Self::VERSION {
            return Err(SealError::Malformed(format!("SEV-SNP slot of unknown version {version}")));
        }
        let (fields, rest) = rest.split_first_chunk::<8>().ok_or_else(malformed)?;
        let (vmpl, rest) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
        let (guest_svn, rest) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
        let (host_id, rest) = rest.split_first_chunk::<16>().ok_or_else(malformed)?;
        let (measurement, rest) = rest.split_first_chunk::<48>().ok_or_else(malformed)?;
        let (check, rest) = rest.split_first_chunk::<16>().ok_or_else(malformed)?;
        Ok(Self {
            mode: *mode,
            request: KeyRequest {
                fields: u64::from_le_bytes(*fields),
                vmpl: u32::from_le_bytes(*vmpl),
                guest_svn: u32::from_le_bytes(*guest_svn),
            },
            host_id: *host_id,
            measurement: *measurement,
            check: *check,
            salt: rest.try_into().map_err(|_| malformed())?,
        })
    }
}

impl<D: GuestDevice> SnpDerivedKey<D> {
    /// A sealer over the guest device.
    pub fn new(device: D, product_key: ProductKey, vmpl: u32) -> Self {
        Self { device, product_key, vmpl }
    }

    fn facts(&self) -> Result<GuestFacts, SealError> {
        self.device.facts(self.vmpl).map_err(|error| unavailable("asking who this guest is", &error))
    }

    /// What is mixed in for a mode. One function for making and opening: parameters never choose it.
    fn fields(&self, mode: SealMode) -> u64 {
        match (mode, self.product_key) {
            (SealMode::ProductKey, ProductKey::IdBlock) => POLICY | IMAGE_ID | FAMILY_ID | GUEST_SVN,
            _ => POLICY | MEASUREMENT,
        }
    }

    fn key(&self, request: &KeyRequest) -> Result<Zeroizing<[u8; 32]>, SealError> {
        self.device.derived_key(request).map_err(|error| unavailable("deriving a key", &error))
    }
}

impl<D: GuestDevice> KeySealer for SnpDerivedKey<D> {
    fn kind(&self) -> SlotKind {
        SlotKind::Platform
    }

    fn name(&self) -> &'static str {
        BACKEND
    }

    fn host_id(&self) -> Result<[u8; 16], SealError> {
        Ok(host_id(&self.facts()?))
    }

    fn new_slot(&self, mode: SealMode) -> Result<NewSlot, SealError> {
        let facts = self.facts()?;
        let fields = self.fields(mode);
        if fields & IMAGE_ID != 0 && facts.image_id == [0; 16] && facts.family_id == [0; 16] {
            return Err(SealError::Unavailable {
                backend: BACKEND,
                reason: "this guest was launched without an ID block, so its image and family id are zero and every \
                         such guest on the host would get the same key; launch it with an ID block, or bind \
                         ProductKey to the measurement"
                    .to_owned(),
            });
        }
        let guest_svn = if fields & GUEST_SVN == 0 { 0 } else { facts.guest_svn };
        let mut params = Params {
            mode: mode as u8,
            request: KeyRequest { fields, vmpl: self.vmpl, guest_svn },
            host_id: host_id(&facts),
            measurement: facts.measurement,
            check: [0; 16],
            salt: *random(BACKEND)?,
        };
        let key = self.key(&params.request)?;
        params.check = check(&key, &params)?;
        Ok(NewSlot { params: params.encode(), secret: secret(&key, &params)? })
    }

    fn slot_secret(&self, params: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let params = Params::decode(params)?;
        let mode = match params.mode {
            mode if mode == SealMode::ProductKey as u8 => SealMode::ProductKey,
            mode if mode == SealMode::UniqueKey as u8 => SealMode::UniqueKey,
            other => return Err(SealError::Malformed(format!("a SEV-SNP slot of seal mode {other}"))),
        };
        if params.request.fields != self.fields(mode) {
            return Err(SealError::NotMine(format!(
                "the slot is bound to other properties of the guest ({:#x}) than this configuration takes ({:#x})",
                params.request.fields,
                self.fields(mode)
            )));
        }
        if params.request.vmpl != self.vmpl {
            return Err(SealError::NotMine(format!(
                "the slot was sealed at privilege level (VMPL) {}, and {} is configured",
                params.request.vmpl, self.vmpl
            )));
        }
        let facts = self.facts()?;
        if params.request.guest_svn > facts.guest_svn {
            return Err(SealError::NotMine(format!(
                "it was sealed by security version (SVN) {}, and this guest is an older one, {}",
                params.request.guest_svn, facts.guest_svn
            )));
        }
        let key = self.key(&params.request)?;
        if bool::from(check(&key, &params)?.ct_eq(&params.check)) {
            return secret(&key, &params);
        }
        let measured = params.request.fields & MEASUREMENT != 0;
        Err(SealError::NotMine(if params.host_id != host_id(&facts) {
            "it was sealed on another processor".to_owned()
        } else if measured && params.measurement != facts.measurement {
            format!(
                "this guest's launch measurement is {}, and it was sealed by {}: the image, firmware or number of \
                 processors changed",
                hex::encode(facts.measurement),
                hex::encode(params.measurement)
            )
        } else {
            "the processor derives another key than at sealing: the guest's launch policy or ids changed, or the \
             processor's firmware was updated"
                .to_owned()
        }))
    }
}

/// Public name of the processor. Zeros if the host hides it.
fn host_id(facts: &GuestFacts) -> [u8; 16] {
    if facts.chip_id == [0; 64] {
        return [0; 16];
    }
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"marblerun sev-snp host");
    context.update(&facts.chip_id);
    context.finish().as_ref().first_chunk().copied().unwrap_or_default()
}

fn check(key: &[u8; 32], params: &Params) -> Result<[u8; 16], SealError> {
    let mut check = [0; 16];
    expand(BACKEND, key, &params.salt, &[b"marblerun sev-snp slot check", &params.head()], &mut check)?;
    Ok(check)
}

fn secret(key: &[u8; 32], params: &Params) -> Result<Zeroizing<Vec<u8>>, SealError> {
    slot_secret(BACKEND, key, &params.salt, &[b"marblerun sev-snp slot", &params.head()])
}

fn unavailable(doing: &str, error: &io::Error) -> SealError {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => ". Is this a SEV-SNP guest, with the kernel module sev-guest?",
        io::ErrorKind::PermissionDenied => ". The process needs read and write access to the device",
        _ => "",
    };
    SealError::Unavailable { backend: BACKEND, reason: format!("{doing}: {error}{advice}") }
}

#[cfg(test)]
mod tests;
