//! Slots whose secrets follow from the released key.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{self, SHA256};
use marblerun_sealing::derivation::{random, slot_secret};
use marblerun_sealing::{KeySealer, NewSlot, SealError, SealMode, SlotKind, upstream_hsm};
use zeroize::Zeroizing;

use crate::params::Params;
use crate::service::{Attest, Released, release};
use crate::{Config, KeyName, ReleaseError};

const BACKEND: &str = "azure-managed-hsm";

/// Seals with a key that an Azure Managed HSM releases to attested programs.
pub struct AzureHsm {
    config: Config,
    attest: Attest,
    kept: Arc<Mutex<Vec<Kept>>>,
}

/// A released key in memory.
struct Kept {
    version: KeyName,
    /// It is the newest, as far as is known: what was asked for without a version.
    newest: bool,
    key: Zeroizing<Vec<u8>>,
    until: Instant,
}

impl fmt::Debug for AzureHsm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureHsm").field("config", &self.config).finish_non_exhaustive()
    }
}

impl AzureHsm {
    /// A sealer over the configured vault. Nothing is asked of it yet.
    #[must_use]
    pub fn new(config: Config, attest: Attest) -> Self {
        Self { config, attest, kept: Arc::default() }
    }

    /// Forgets released keys, and overwrites them.
    pub fn forget(&self) {
        lock(&self.kept).clear();
    }

    /// What is inside an envelope of the original (`HSM_SEALED`), opened with the configured version of the key. The
    /// envelope names none: after a rotation of the key the old version must be configured.
    ///
    /// # Errors
    /// [`SealError::Malformed`] if it is no envelope; [`SealError::NotMine`] if the key does not open it;
    /// [`SealError::Unavailable`].
    pub fn open_upstream(&self, sealed_key: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        if !upstream_hsm::is_envelope(sealed_key) {
            return Err(SealError::Malformed(upstream_hsm::EnvelopeError::NotAnEnvelope.to_string()));
        }
        let released = self.key(self.config.key_version.as_ref())?;
        upstream_hsm::open(&released.key, sealed_key).map_err(|error| match error {
            upstream_hsm::EnvelopeError::WrongKey | upstream_hsm::EnvelopeError::KeyLength(_) => {
                SealError::NotMine(format!("{error} (version {} was released)", released.version.as_str()))
            }
            other => SealError::Malformed(other.to_string()),
        })
    }

    /// An envelope of the original around a sealed key, for export.
    ///
    /// # Errors
    /// [`SealError::Unavailable`].
    pub fn seal_upstream(&self, sealed_key: &[u8]) -> Result<Vec<u8>, SealError> {
        let released = self.key(self.config.key_version.as_ref())?;
        upstream_hsm::seal(&released.key, sealed_key).map_err(|error| unavailable(error.to_string()))
    }

    /// The key of a version, or the newest: kept, or released anew.
    fn key(&self, version: Option<&KeyName>) -> Result<Released, SealError> {
        // Held over the release: those who wait want the same key.
        let mut kept = lock(&self.kept);
        let now = Instant::now();
        kept.retain(|kept| kept.until > now);
        let found = kept.iter().find(|kept| version.map_or(kept.newest, |version| kept.version == *version));
        if let Some(found) = found {
            return Ok(Released { version: found.version.clone(), key: found.key.clone() });
        }
        let released = self.release(version).map_err(refused)?;
        kept.push(Kept {
            version: released.version.clone(),
            newest: version.is_none(),
            key: released.key.clone(),
            until: now + self.config.keep,
        });
        drop(kept);
        forget_after(self.config.keep, Arc::downgrade(&self.kept));
        Ok(released)
    }

    /// Runs the requests on a thread of their own: the caller may be inside a runtime, or have none.
    fn release(&self, version: Option<&KeyName>) -> Result<Released, ReleaseError> {
        let failed = |reason: String| ReleaseError::NoAnswer { service: "this program", reason };
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| failed(format!("starting a runtime: {error}")))?;
            runtime.block_on(release(&self.config, &self.attest, version))
        };
        std::thread::scope(|scope| {
            scope.spawn(run).join().unwrap_or_else(|_| Err(failed("asking for the key panicked".to_owned())))
        })
    }
}

impl KeySealer for AzureHsm {
    fn kind(&self) -> SlotKind {
        SlotKind::Kms
    }

    fn open_upstream(&self, sealed_key: &[u8]) -> Option<Result<Zeroizing<Vec<u8>>, SealError>> {
        Some(Self::open_upstream(self, sealed_key))
    }

    /// The vault releases the key to attested programs alone; its release policy says to which.
    fn proves_its_maker(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        BACKEND
    }

    /// Name of the key in its vault: wherever it is released, slots of it open.
    fn host_id(&self) -> Result<[u8; 16], SealError> {
        let mut context = digest::Context::new(&SHA256);
        context.update(b"marblerun azure managed hsm");
        for part in [self.config.vault.host(), self.config.key_name.as_str()] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        Ok(context.finish().as_ref().first_chunk().copied().unwrap_or_default())
    }

    fn new_slot(&self, mode: SealMode) -> Result<NewSlot, SealError> {
        let released = self.key(self.config.key_version.as_ref())?;
        let params = Params {
            mode: mode as u8,
            salt: *random(BACKEND)?,
            vault: self.config.vault.host().to_owned(),
            key_name: self.config.key_name.clone(),
            key_version: released.version.clone(),
        };
        Ok(NewSlot { secret: derive(&released.key, &params)?, params: params.encode() })
    }

    fn slot_secret(&self, params: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let params = Params::decode(params)?;
        let (vault, name) = (self.config.vault.host(), self.config.key_name.as_str());
        if !params.vault.eq_ignore_ascii_case(vault) || !params.key_name.as_str().eq_ignore_ascii_case(name) {
            return Err(SealError::NotMine(format!(
                "it was sealed with the key {} of the vault {}, and {name} of {vault} is configured",
                params.key_name.as_str(),
                params.vault.escape_debug()
            )));
        }
        derive(&self.key(Some(&params.key_version))?.key, &params)
    }
}

/// Bound to everything in the parameters but the salt, which is the salt.
fn derive(key: &[u8], params: &Params) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let head = Params { salt: [0; 32], ..params.clone() }.encode();
    slot_secret(BACKEND, key, &params.salt, &[b"marblerun azure managed hsm slot", &head])
}

/// Overwrites what nobody asks for any more.
fn forget_after(time: Duration, kept: Weak<Mutex<Vec<Kept>>>) {
    let sweep = move || {
        std::thread::sleep(time);
        if let Some(kept) = kept.upgrade() {
            let now = Instant::now();
            lock(&kept).retain(|kept| kept.until > now);
        }
    };
    // Without a thread the next use sweeps.
    let _ = std::thread::Builder::new().name("azure-hsm-forget".to_owned()).spawn(sweep);
}

fn lock(kept: &Mutex<Vec<Kept>>) -> std::sync::MutexGuard<'_, Vec<Kept>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a release that failed says about a slot. A version that the vault does not have is not mine; that it does not
/// release it to this program may be the policy or the network, and both can be mended.
fn refused(error: ReleaseError) -> SealError {
    match &error {
        ReleaseError::Refused { reason, .. } if reason.starts_with("404") => {
            SealError::NotMine(format!("{error}. Was the vault, the key, or this version of it removed?"))
        }
        ReleaseError::Refused { reason, .. } if reason.starts_with("403") => unavailable(format!(
            "{error}. Check that the application has the role to release the key, and that the key's release policy \
             accepts this program's identity"
        )),
        _ => unavailable(error.to_string()),
    }
}

fn unavailable(reason: String) -> SealError {
    SealError::Unavailable { backend: BACKEND, reason }
}
