//! The RSA key that a key holder may encrypt a secret to. It lives in memory, for one recovery.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use tokio::sync::{OnceCell, Semaphore};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};

/// Decryptions at a time: strangers can ask for them, and each takes milliseconds of a core.
const PARALLEL_DECRYPTIONS: usize = 2;

/// Made when first needed, or ahead of that. Clones share it.
#[derive(Clone)]
pub(super) struct EphemeralKey {
    current: Arc<Mutex<Arc<Slot>>>,
    decryptions: Arc<Semaphore>,
}

#[derive(Default)]
struct Slot {
    key: OnceCell<Key>,
    /// Whether anybody asked for the public key; until then nothing can have been encrypted to it.
    announced: AtomicBool,
}

struct Key {
    private: OaepPrivateDecryptingKey,
    public: Vec<u8>,
}

impl Default for EphemeralKey {
    fn default() -> Self {
        Self { current: Arc::default(), decryptions: Arc::new(Semaphore::new(PARALLEL_DECRYPTIONS)) }
    }
}

impl EphemeralKey {
    /// Starts making the key.
    pub(super) fn prepare(&self) {
        let slot = self.slot();
        tokio::spawn(async move {
            if let Err(error) = slot.ready().await {
                tracing::warn!(%error, "no ephemeral recovery key yet; it is made when asked for");
            }
        });
    }

    /// The public key, SubjectPublicKeyInfo DER.
    pub(super) async fn announce(&self) -> Result<Vec<u8>, Error> {
        let slot = self.slot();
        let public = slot.ready().await?.public.clone();
        slot.announced.store(true, Ordering::Release);
        Ok(public)
    }

    /// Decrypts what was encrypted to it. Errors are upstream's texts.
    pub(super) async fn decrypt(&self, ciphertext: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, String> {
        let slot = self.slot();
        if !slot.announced.load(Ordering::Acquire) {
            return Err("ephemeral secret key not set".to_owned());
        }
        let failed = || "crypto/rsa: decryption error".to_owned();
        let permit = Arc::clone(&self.decryptions).acquire_owned().await.map_err(|_| failed())?;
        let decryption = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let key = &slot.key.get()?.private;
            let mut plain = Zeroizing::new(vec![0; key.min_output_size()]);
            let length = key.decrypt(&OAEP_SHA256_MGF1SHA256, &ciphertext, &mut plain, None).ok()?.len();
            plain.truncate(length);
            Some(plain)
        });
        decryption.await.ok().flatten().ok_or_else(failed)
    }

    /// The key has served: the next recovery gets another.
    pub(super) fn forget(&self) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }

    fn slot(&self) -> Arc<Slot> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Slot {
    async fn ready(&self) -> Result<&Key, Error> {
        self.key
            .get_or_try_init(|| async {
                let made = tokio::task::spawn_blocking(generate).await.ok().flatten();
                made.ok_or_else(|| {
                    Error::new(ErrorKind::Internal, "no_ephemeral_key", "generating the ephemeral recovery key failed")
                })
            })
            .await
    }
}

/// RSA-4096: takes the better part of a second.
fn generate() -> Option<Key> {
    let private = PrivateDecryptingKey::generate(KeySize::Rsa4096).ok()?;
    let public = AsDer::<PublicKeyX509Der<'_>>::as_der(&private.public_key()).ok()?.as_ref().to_vec();
    Some(Key { private: OaepPrivateDecryptingKey::new(private).ok()?, public })
}
