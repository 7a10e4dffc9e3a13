//! A monotonic counter in the TPM's memory (an NV index of type counter).
//!
//! Nobody can put it back, not even the owner: an index that is removed and defined again begins above every value any
//! counter of this TPM ever had. Only who has the counter's key counts or reads it as the Coordinator does; the key is 32
//! random bytes that belong into the sealed state. The owner of the TPM can read it (`tpm2_nvread`), and can remove it,
//! which is noticed: [`CounterError::Missing`], or another value than the witness names. A policy against removal would
//! need the platform hierarchy, which firmware closes before an operating system runs.
//!
//! Memory of TPMs wears out, typically after some hundred thousand writes, and some answer `TPM_RC_NV_RATE` to more than
//! a few in a row. So count at events (a start, a change of manifest or users, a clean stop), never for each write.

use marblerun_sealing::{CounterDevice, CounterError, MonotonicCounter};
use tss_esapi::Error;
use tss_esapi::attributes::{NvIndexAttributes, NvIndexAttributesBuilder};
use tss_esapi::constants::NvIndexType;
use tss_esapi::constants::response_code::Tss2ResponseCodeKind as Code;
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::{NvAuth, Provision};
use tss_esapi::structures::{Auth, NvPublic};
use zeroize::Zeroizing;

use crate::device::{BACKEND, Device, Encrypt, Failure, Stop, doing, patiently};
use crate::pcrs::sha256;
use crate::{Config, ConfigError};

/// Index of the counter if none is configured, in the range that the owner gives away.
pub const COUNTER_INDEX: u32 = 0x0180_4d52;
/// The range of indices that an owner gives away.
const OWNER_INDICES: std::ops::RangeInclusive<u32> = 0x0180_0000..=0x01bf_ffff;

/// Counters of one TPM at one index: at a time there is one there, and other keys do not open it.
#[derive(Debug, Clone)]
pub struct TpmCounters {
    config: Config,
    index: u32,
}

impl TpmCounters {
    /// Those of that TPM at that index. Nothing is asked of the TPM yet.
    ///
    /// # Errors
    /// If the index is outside 0x01800000 to 0x01bfffff.
    pub fn new(config: Config, index: u32) -> Result<Self, ConfigError> {
        match TpmCounter::new(config.clone(), index, Zeroizing::default()) {
            Ok(_) => Ok(Self { config, index }),
            Err(
                CounterError::Unavailable { reason, .. }
                | CounterError::Missing(reason)
                | CounterError::Foreign(reason),
            ) => Err(ConfigError { variable: Config::COUNTER, reason }),
        }
    }
}

impl CounterDevice for TpmCounters {
    fn name(&self) -> &'static str {
        BACKEND
    }

    fn counter(&self, key: Zeroizing<[u8; 32]>) -> Result<Box<dyn MonotonicCounter>, CounterError> {
        Ok(Box::new(TpmCounter::new(self.config.clone(), self.index, key)?))
    }
}

/// A counter of a TPM.
pub struct TpmCounter {
    config: Config,
    index: NvIndexTpmHandle,
    key: Zeroizing<[u8; 32]>,
}

/// What [`TpmCounter::define`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defined {
    /// There was none; this is its first value.
    New(u64),
    /// It was there; this is its value.
    Already(u64),
}

impl std::fmt::Debug for TpmCounter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TpmCounter").field("index", &self.index).field("config", &self.config).finish_non_exhaustive()
    }
}

impl TpmCounter {
    /// A counter at an index, with its key. Nothing is asked of the TPM yet.
    ///
    /// # Errors
    /// [`CounterError::Unavailable`] if the index is outside 0x01800000 to 0x01bfffff.
    pub fn new(config: Config, index: u32, key: Zeroizing<[u8; 32]>) -> Result<Self, CounterError> {
        let outside = || CounterError::Unavailable {
            backend: BACKEND,
            reason: format!("{index:#x} is no index of a counter; take one from 0x1800000 to 0x1bfffff"),
        };
        let handle = OWNER_INDICES.contains(&index).then(|| NvIndexTpmHandle::new(index)).ok_or_else(outside)?;
        Ok(Self { config, index: handle.map_err(|_| outside())?, key })
    }

    /// Makes the counter if there is none.
    ///
    /// # Errors
    /// [`CounterError::Foreign`] if the index is something else, or has another key.
    pub fn define(&self) -> Result<Defined, CounterError> {
        let made = match patiently(|| self.find(&mut self.open()?).map(drop)) {
            Ok(()) => false,
            Err(CounterError::Missing(_)) => patiently(|| self.make())?,
            Err(other) => return Err(other),
        };
        if made {
            // A counter has no value before its first increment.
            patiently(|| self.count())?;
        }
        let value = patiently(|| self.value())?;
        Ok(if made { Defined::New(value) } else { Defined::Already(value) })
    }

    /// `false` if another process was faster.
    fn make(&self) -> Result<bool, Stop<CounterError>> {
        let mut device = self.open()?;
        let public = NvPublic::builder()
            .with_nv_index(self.index)
            .with_index_name_algorithm(HashingAlgorithm::Sha256)
            .with_index_attributes(attributes().map_err(doing("describing the counter"))?)
            .with_data_area_size(8)
            .build()
            .map_err(doing("describing the counter"))?;
        let key = self.auth()?;
        let defined =
            device.authorised(Encrypt::Command, |context| context.nv_define_space(Provision::Owner, Some(key), public));
        match defined.map_err(doing("defining the counter")) {
            Ok(_) => Ok(true),
            Err(failure) if failure.code() == Some(Code::NvDefined) => Ok(false),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Removes the counter from the TPM, as its owner. A later one begins above it.
    ///
    /// # Errors
    /// [`CounterError::Missing`], [`CounterError::Unavailable`].
    pub fn remove(&self) -> Result<(), CounterError> {
        patiently(|| {
            let mut device = self.open()?;
            let handle = self.find(&mut device)?;
            let removed =
                device.authorised(Encrypt::Nothing, |context| context.nv_undefine_space(Provision::Owner, handle));
            Ok(removed.map_err(doing("removing the counter"))?)
        })
    }

    fn open(&self) -> Result<Device, Stop<CounterError>> {
        Ok(Device::open(&self.config)?)
    }

    fn auth(&self) -> Result<Auth, Failure> {
        Auth::try_from(self.key.as_slice()).map_err(doing("taking the counter's key"))
    }

    /// The index, if it is a counter as made here.
    fn find(&self, device: &mut Device) -> Result<NvIndexHandle, Stop<CounterError>> {
        let found = device
            .context
            .execute_without_session(|context| context.tr_from_tpm_public(TpmHandle::NvIndex(self.index)))
            .map_err(doing("looking for the counter"));
        let handle = match found {
            Err(failure) if failure.code() == Some(Code::Handle) => return Err(Stop::For(self.missing())),
            other => NvIndexHandle::from(other?),
        };
        // In a session: the answer is the TPM's own.
        let (public, _) = device
            .authorised(Encrypt::Answer, |context| context.nv_read_public(handle))
            .map_err(doing("looking for the counter"))?;
        let wanted = attributes().map_err(doing("describing the counter"))?;
        let is = NvIndexAttributesBuilder::with_attributes(public.attributes()).with_written(false).build();
        if is != Ok(wanted) || public.data_size() != 8 || !public.authorization_policy().is_empty() {
            return Err(Stop::For(CounterError::Foreign(format!(
                "index {:#x} of the TPM is used for something else; configure another index",
                u32::from(self.index)
            ))));
        }
        let key = self.auth()?;
        device.context.tr_set_auth(handle.into(), key).map_err(doing("taking the counter's key"))?;
        Ok(handle)
    }

    fn missing(&self) -> CounterError {
        CounterError::Missing(format!(
            "the TPM has no index {:#x}: it was removed, or the TPM was cleared or exchanged",
            u32::from(self.index)
        ))
    }

    fn value(&self) -> Result<u64, Stop<CounterError>> {
        let mut device = self.open()?;
        let handle = self.find(&mut device)?;
        let read = device.authorised(Encrypt::Answer, |context| context.nv_read(NvAuth::NvIndex(handle), handle, 8, 0));
        let bytes = read.map_err(doing("reading the counter")).map_err(|failure| self.not_authorised(failure))?;
        let value = bytes.value().try_into().map(u64::from_be_bytes);
        let length = || CounterError::Foreign("its value has another length than eight bytes".to_owned());
        value.map_err(|_| Stop::For(length()))
    }

    fn count(&self) -> Result<(), Stop<CounterError>> {
        let mut device = self.open()?;
        let handle = self.find(&mut device)?;
        let counted =
            device.authorised(Encrypt::Nothing, |context| context.nv_increment(NvAuth::NvIndex(handle), handle));
        counted.map_err(doing("incrementing the counter")).map_err(|failure| self.not_authorised(failure))
    }

    fn not_authorised(&self, failure: Failure) -> Stop<CounterError> {
        match failure.code() {
            Some(Code::AuthFail | Code::BadAuth) => Stop::For(CounterError::Foreign(format!(
                "index {:#x} of the TPM has another key: it belongs to another state, or was removed and defined again",
                u32::from(self.index)
            ))),
            _ => failure.into(),
        }
    }
}

impl MonotonicCounter for TpmCounter {
    fn name(&self) -> &'static str {
        BACKEND
    }

    fn ensure(&self) -> Result<u64, CounterError> {
        self.define().map(|(Defined::New(value) | Defined::Already(value))| value)
    }

    fn id(&self) -> Result<[u8; 16], CounterError> {
        patiently(|| {
            let mut device = self.open()?;
            self.find(&mut device)?;
            let index = u32::from(self.index).to_le_bytes();
            let hash = sha256(&[b"marblerun tpm counter", &device.host_id(), &index]);
            Ok(hash.first_chunk().copied().unwrap_or_default())
        })
    }

    fn read(&self) -> Result<u64, CounterError> {
        patiently(|| self.value())
    }

    fn increment(&self) -> Result<u64, CounterError> {
        // Apart: what was counted is not counted again because the reading after it must wait.
        patiently(|| self.count())?;
        patiently(|| self.value())
    }
}

fn attributes() -> Result<NvIndexAttributes, Error> {
    NvIndexAttributesBuilder::new()
        .with_nv_index_type(NvIndexType::Counter)
        .with_auth_read(true)
        .with_auth_write(true)
        .with_owner_read(true)
        .with_no_da(true)
        .build()
}
