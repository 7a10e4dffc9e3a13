//! The RSA key that a key holder may encrypt a secret to. It lives in memory, for one recovery. Where several Coordinators
//! recover together, what is encrypted to the key of one is decrypted by any.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
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
    /// Those of other instances, by their sessions.
    others: Arc<Mutex<BTreeMap<[u8; 16], Arc<Key>>>>,
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
    /// The same, as it is told to other instances.
    pkcs8: Zeroizing<Vec<u8>>,
    public: Vec<u8>,
}

impl Default for EphemeralKey {
    fn default() -> Self {
        let decryptions = Arc::new(Semaphore::new(PARALLEL_DECRYPTIONS));
        Self { current: Arc::default(), others: Arc::default(), decryptions }
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
        let others: Vec<Arc<Key>> = self.others().values().cloned().collect();
        if !slot.announced.load(Ordering::Acquire) && others.is_empty() {
            return Err("ephemeral secret key not set".to_owned());
        }
        let failed = || "crypto/rsa: decryption error".to_owned();
        let permit = Arc::clone(&self.decryptions).acquire_owned().await.map_err(|_| failed())?;
        let decryption = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let own = slot.key.get().filter(|_| slot.announced.load(Ordering::Acquire));
            own.into_iter().chain(others.iter().map(Arc::as_ref)).find_map(|key| key.decrypt(&ciphertext))
        });
        decryption.await.ok().flatten().ok_or_else(failed)
    }

    /// The private key as other instances need it, PKCS#8 DER, once it is made.
    pub(super) fn private_key(&self) -> Option<Zeroizing<Vec<u8>>> {
        self.slot().key.get().map(|key| key.pkcs8.clone())
    }

    /// Takes another instance's key.
    pub(super) async fn adopt(&self, session: [u8; 16], pkcs8: Zeroizing<Vec<u8>>) {
        if pkcs8.is_empty() || self.slot().key.get().is_some_and(|own| own.pkcs8 == pkcs8) {
            return;
        }
        match tokio::task::spawn_blocking(move || Key::from_pkcs8(pkcs8)).await.ok().flatten() {
            Some(key) => {
                self.others().insert(session, Arc::new(key));
            }
            None => tracing::warn!("the ephemeral recovery key of another Coordinator cannot be read"),
        }
    }

    /// Forgets the keys of other sessions than these.
    pub(super) fn retain(&self, sessions: &[[u8; 16]]) {
        self.others().retain(|session, _| sessions.contains(session));
    }

    /// The public key of another session.
    pub(super) fn public_of(&self, session: [u8; 16]) -> Option<Vec<u8>> {
        self.others().get(&session).map(|key| key.public.clone())
    }

    /// The key has served: the next recovery gets another.
    pub(super) fn forget(&self) {
        self.others().clear();
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }

    fn others(&self) -> MutexGuard<'_, BTreeMap<[u8; 16], Arc<Key>>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
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
    Key::new(PrivateDecryptingKey::generate(KeySize::Rsa4096).ok()?)
}

impl Key {
    fn new(private: PrivateDecryptingKey) -> Option<Self> {
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(&private.public_key()).ok()?.as_ref().to_vec();
        let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&private).ok()?;
        let pkcs8 = Zeroizing::new(pkcs8.as_ref().to_vec());
        Some(Self { private: OaepPrivateDecryptingKey::new(private).ok()?, pkcs8, public })
    }

    fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Option<Self> {
        Self::new(PrivateDecryptingKey::from_pkcs8(&pkcs8).ok()?)
    }

    fn decrypt(&self, ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut plain = Zeroizing::new(vec![0; self.private.min_output_size()]);
        let length = self.private.decrypt(&OAEP_SHA256_MGF1SHA256, ciphertext, &mut plain, None).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rsa::{OaepPublicEncryptingKey, PublicEncryptingKey};

    use super::*;

    fn encrypted(public: &[u8], secret: &[u8]) -> Zeroizing<Vec<u8>> {
        let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(public).unwrap()).unwrap();
        let mut out = vec![0; key.ciphertext_size()];
        Zeroizing::new(key.encrypt(&OAEP_SHA256_MGF1SHA256, secret, &mut out, None).unwrap().to_vec())
    }

    #[tokio::test]
    async fn what_is_encrypted_to_one_key_is_decrypted_by_whoever_was_told_of_it() {
        let (one, other) = (EphemeralKey::default(), EphemeralKey::default());
        let public = one.announce().await.unwrap();
        assert_eq!(other.decrypt(encrypted(&public, b"secret")).await.unwrap_err(), "ephemeral secret key not set");
        other.adopt([1; 16], one.private_key().unwrap()).await;
        assert_eq!(other.public_of([1; 16]), Some(public.clone()));
        assert_eq!(**other.decrypt(encrypted(&public, b"secret")).await.unwrap(), b"secret"[..]);
        other.retain(&[[2; 16]]);
        assert_eq!(other.decrypt(encrypted(&public, b"secret")).await.unwrap_err(), "ephemeral secret key not set");
    }
}
