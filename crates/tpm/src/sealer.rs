//! The sealer: a slot's secret is 32 random bytes in a sealed object of the TPM.

use marblerun_sealing::derivation::{SECRET, random};
use marblerun_sealing::{KeySealer, NewSlot, SealError, SealMode, SlotKind};
use tss_esapi::Error;
use tss_esapi::constants::response_code::Tss2ResponseCodeKind as Code;
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::structures::{Digest, KeyedHashScheme, Public, PublicBuilder, PublicKeyedHashParameters, SensitiveData};
use tss_esapi::traits::Marshall as _;
use zeroize::Zeroizing;

use crate::Config;
use crate::device::{BACKEND, Device, Encrypt, Failure, READING_PCRS, Stop, doing, patiently};
use crate::params::{Params, attributes};
use crate::pcrs::{BootState, PcrSet};

/// Seals to one TPM in one boot state.
#[derive(Debug, Clone)]
pub struct TpmSealer {
    config: Config,
}

impl TpmSealer {
    /// A sealer over the TPM that the configuration names. It is connected to at every use.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// What the registers of a seal mode hold now: for status, and to see what a slot would be bound to.
    ///
    /// # Errors
    /// [`SealError::Unavailable`]; [`SealError::NotMine`] if another TPM than the pinned one answers.
    pub fn boot_state(&self, mode: SealMode) -> Result<BootState, SealError> {
        patiently(|| {
            let mut device = Device::open(&self.config)?;
            Ok(device.boot_state(self.pcrs(mode)).map_err(doing(READING_PCRS))?)
        })
    }

    fn pcrs(&self, mode: SealMode) -> PcrSet {
        match mode {
            SealMode::UniqueKey => self.config.unique_pcrs,
            SealMode::ProductKey | SealMode::Disabled => self.config.product_pcrs,
        }
    }

    fn seal(&self, mode: SealMode, secret: &[u8]) -> Result<Params, Stop<SealError>> {
        let mut device = Device::open(&self.config)?;
        let boot = device.boot_state(self.pcrs(mode)).map_err(doing(READING_PCRS))?;
        let parent = device.bound_storage_key(&boot).map_err(doing("deriving the storage key of this boot state"))?;
        let template = template(&boot.policy()).map_err(doing("describing the sealed object"))?;
        let data = SensitiveData::try_from(secret).map_err(doing("taking the secret"))?;
        let created = device
            .in_boot_state(&boot, Encrypt::Both, |context| {
                context.create(parent, template, None, Some(data), None, None)
            })
            .map_err(doing("sealing"))?;
        Ok(Params {
            mode,
            host_id: device.host_id(),
            boot,
            public: created.out_public.marshall().map_err(doing("encoding the sealed object"))?,
            private: created.out_private.value().to_vec(),
        })
    }

    fn unseal(&self, params: &Params) -> Result<Zeroizing<Vec<u8>>, Stop<SealError>> {
        let not_mine = |reason: String| Err(Stop::For(SealError::NotMine(reason)));
        let (private, public) = params.object().map_err(Stop::For)?;
        let wanted = self.pcrs(params.mode);
        if !params.boot.set().includes(wanted) {
            return not_mine(format!(
                "it is bound to PCRs {}, and the configuration demands {wanted}",
                params.boot.set()
            ));
        }
        let mut device = Device::open(&self.config)?;
        if device.host_id() != params.host_id {
            return not_mine(format!(
                "it was sealed by the TPM {}, and this is {}: another host, or the TPM was cleared",
                hex::encode(params.host_id),
                hex::encode(device.host_id())
            ));
        }
        let boot = &params.boot;
        let now = device.boot_state(boot.set()).map_err(doing(READING_PCRS))?;
        if let Some(changed) = boot.changed(&now) {
            return not_mine(format!(
                "the boot state of this host changed since sealing: PCR {changed} of {} (SHA-256) has another value. If \
                 firmware, boot loader or kernel were updated on purpose, recover once; the key is then sealed to the \
                 new state",
                now.set()
            ));
        }
        let parent = device.bound_storage_key(boot).map_err(doing("deriving the storage key of this boot state"))?;
        let loaded = device.in_boot_state(boot, Encrypt::Both, |context| context.load(parent, private, public));
        let object = loaded.map_err(doing("loading the sealed object")).map_err(refused)?;
        let unsealed = device.in_boot_state(boot, Encrypt::Answer, |context| context.unseal(object.into()));
        let secret = unsealed.map_err(doing("unsealing")).map_err(refused)?;
        match secret.value().len() {
            SECRET => Ok(Zeroizing::new(secret.value().to_vec())),
            other => {
                Err(Stop::For(SealError::Malformed(format!("of a TPM slot: it holds {other} bytes, not {SECRET}"))))
            }
        }
    }
}

impl KeySealer for TpmSealer {
    fn kind(&self) -> SlotKind {
        SlotKind::Tpm
    }

    /// Who was in another boot state can neither make nor load an object under the policy of this one (0185).
    fn proves_its_maker(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        BACKEND
    }

    fn host_id(&self) -> Result<[u8; 16], SealError> {
        patiently(|| Ok(Device::open(&self.config)?.host_id()))
    }

    fn new_slot(&self, mode: SealMode) -> Result<NewSlot, SealError> {
        let secret = Zeroizing::new(random(BACKEND)?.to_vec());
        let params = patiently(|| self.seal(mode, &secret))?;
        Ok(NewSlot { params: params.encode(), secret })
    }

    fn slot_secret(&self, params: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let params = Params::decode(params)?;
        patiently(|| self.unseal(&params))
    }
}

/// What a refusal of the TPM says about a slot.
fn refused(failure: Failure) -> Stop<SealError> {
    match failure.code() {
        Some(Code::PolicyFail | Code::PcrChanged | Code::Value) => Stop::For(SealError::NotMine(format!(
            "the boot state of this host changed just now ({})",
            failure.explain()
        ))),
        Some(Code::Integrity | Code::Size | Code::Sensitive | Code::Binding | Code::Insufficient | Code::Type) => {
            Stop::For(SealError::NotMine(format!(
                "the slot is damaged, or was not made by this TPM in this boot state ({})",
                failure.explain()
            )))
        }
        _ => failure.into(),
    }
}

fn template(policy: &[u8; 32]) -> Result<Public, Error> {
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes()?)
        .with_auth_policy(Digest::try_from(policy.as_slice())?)
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(Digest::default())
        .build()
}

#[cfg(test)]
mod tests {
    use marblerun_testkit::SoftTpm;
    use tss_esapi::interface_types::session_handles::AuthSession;

    use super::*;

    /// Anybody can derive the key that is bound to a boot state. In another state nobody can make a child of it: not
    /// without a password, for it takes none; not with the policy; not with the policy of the other state.
    #[test]
    fn a_key_of_one_boot_state_makes_nothing_in_another() {
        let tpm = SoftTpm::start().unwrap();
        let good = BootState::new(PcrSet::SECURE_BOOT, vec![[0; 32]]).unwrap();
        tpm.extend_pcr(7).unwrap();
        let mut device = Device::open(&Config::new(tpm.tcti().parse().unwrap())).unwrap();
        let evil = device.boot_state(PcrSet::SECURE_BOOT).unwrap();
        let parent = device.bound_storage_key(&good).unwrap();
        let create = |context: &mut tss_esapi::Context| {
            let data = SensitiveData::try_from(&[7; SECRET][..])?;
            context.create(parent, template(&good.policy())?, None, Some(data), None, None).map(drop)
        };
        let code = |result: Result<(), Error>| {
            let error = result.unwrap_err();
            Failure { doing: "sealing", error }.code()
        };
        let with_password = device.context.execute_with_session(Some(AuthSession::Password), create);
        assert_eq!(code(with_password), Some(Code::AuthUnavailable));
        assert_eq!(code(device.in_boot_state(&good, Encrypt::Both, create)), Some(Code::Value));
        assert_eq!(code(device.in_boot_state(&evil, Encrypt::Both, create)), Some(Code::PolicyFail));
    }
}
