//! Sealing with a token: a random slot secret, wrapped by an AES-256 key that never leaves it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use marblerun_sealing::{KeySealer, NewSlot, SealError, SealMode, SlotKind};
use zeroize::Zeroizing;

use crate::{Config, PinSources, Pkcs11Error, SecretKey, Selector, Token};

const BACKEND: &str = "pkcs11";
const VERSION: u8 = 1;
const SECRET: usize = 32;
const CONTEXT: &[u8] = b"marblerun pkcs11 slot v1";

/// An AES key on a token as a source of slot secrets. The token is opened at each use, so it may come and go.
///
/// The parameters are `version (1) || seal mode (1) || CKA_ID behind its length (u16) || CKA_LABEL likewise || wrapped
/// secret`: nonce (12), ciphertext (32) and tag (16) of AES-GCM, authenticated with "marblerun pkcs11 slot v1" and all that
/// stands before. So a slot opens with the key that made it, also after another one was configured.
pub struct TokenSealer {
    config: PathBuf,
    key: Selector,
    pin: Option<OsString>,
    /// What the token said to the PIN. It is not tried again: few wrong ones lock a token for good.
    refused: Mutex<Option<String>>,
}

impl std::fmt::Debug for TokenSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSealer").field("config", &self.config).field("key", &self.key).finish_non_exhaustive()
    }
}

impl TokenSealer {
    /// Seals with that key of the token that the configuration file names. `pin`: value of [`crate::PIN_VARIABLE`].
    #[must_use]
    pub fn new(config: &Path, key: Selector, pin: Option<OsString>) -> Self {
        Self { config: config.to_path_buf(), key, pin, refused: Mutex::default() }
    }

    fn token(&self) -> Result<Token, SealError> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = &*refused {
            return Err(unavailable(format!(
                "{why}. The PIN is not tried again before a restart, since few wrong ones lock a token"
            )));
        }
        let pins = PinSources { environment: self.pin.clone(), prompt: None };
        Config::read(&self.config).and_then(|config| Token::open(&config, pins)).map_err(|error| {
            if matches!(error, Pkcs11Error::Login { .. }) {
                *refused = Some(error.to_string());
            }
            unavailable(error)
        })
    }

    fn key(&self, selector: &Selector) -> Result<SecretKey, SealError> {
        self.token()?.secret_key(selector).map_err(|error| match error {
            Pkcs11Error::NoKey { .. } => SealError::NotMine(format!(
                "{error}. A new one is made by `pkcs11-tool --keygen --key-type AES:32 --sensitive`, with --id or --label"
            )),
            other => unavailable(other),
        })
    }
}

impl KeySealer for TokenSealer {
    fn kind(&self) -> SlotKind {
        SlotKind::Pkcs11
    }

    fn name(&self) -> &str {
        BACKEND
    }

    fn host_id(&self) -> Result<[u8; 16], SealError> {
        let token = self.token()?;
        let facts = token.facts();
        let of = [
            facts.manufacturer.as_bytes(),
            &[0],
            facts.serial.as_bytes(),
            &[0],
            &head(&self.key, SealMode::ProductKey)?,
        ];
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &of.concat());
        let mut id = [0; 16];
        id.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
        Ok(id)
    }

    fn new_slot(&self, mode: SealMode) -> Result<NewSlot, SealError> {
        let key = self.key(&self.key)?;
        if !key.is_confined().map_err(unavailable)? {
            return Err(unavailable(
                "the key must be an AES-256 key with CKA_SENSITIVE, and without CKA_EXTRACTABLE: another one can be taken \
                 from the token",
            ));
        }
        let mut secret = Zeroizing::new(vec![0; SECRET]);
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| unavailable("the random source failed"))?;
        let head = head(&self.key, mode)?;
        let wrapped = key.wrap(&secret, &[CONTEXT, &head].concat()).map_err(unavailable)?;
        Ok(NewSlot { params: [head, wrapped].concat(), secret })
    }

    fn slot_secret(&self, params: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (selector, head, wrapped) = split(params)?;
        let secret = self.key(&selector)?.unwrap(wrapped, &[CONTEXT, head].concat()).map_err(|error| match error {
            Pkcs11Error::Decryption => {
                SealError::NotMine("the key on the token is another one of the same name".to_owned())
            }
            // What a token says to a wrong tag differs from one to another.
            other => unavailable(other),
        })?;
        match secret.len() {
            SECRET => Ok(secret),
            other => Err(malformed(&format!("the secret has {other} bytes"))),
        }
    }
}

/// What stands before the wrapped secret.
fn head(key: &Selector, mode: SealMode) -> Result<Vec<u8>, SealError> {
    let mut head = vec![VERSION, mode as u8];
    for name in [&key.id, &key.label] {
        let name = name.as_deref().unwrap_or_default();
        let length = u16::try_from(name.len()).map_err(|_| malformed("a name of the key is too long"))?;
        head.extend_from_slice(&length.to_le_bytes());
        head.extend_from_slice(name);
    }
    Ok(head)
}

/// The key that is named, the bytes that are authenticated, the wrapped secret.
fn split(params: &[u8]) -> Result<(Selector, &[u8], &[u8]), SealError> {
    let cut = || malformed("they are cut short");
    let ([version, _mode], mut rest) = params.split_first_chunk::<2>().ok_or_else(cut)?;
    if *version != VERSION {
        return Err(malformed(&format!("they are of unknown version {version}")));
    }
    let mut name = || -> Result<Option<Vec<u8>>, SealError> {
        let (length, after) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
        let (name, after) = after.split_at_checked(u16::from_le_bytes(*length).into()).ok_or_else(cut)?;
        rest = after;
        Ok((!name.is_empty()).then(|| name.to_vec()))
    };
    let selector = Selector { id: name()?, label: name()?, ..Selector::default() };
    if selector.id.is_none() && selector.label.is_none() {
        return Err(malformed("they name no key"));
    }
    let (head, wrapped) = params.split_at_checked(params.len() - rest.len()).ok_or_else(cut)?;
    Ok((selector, head, wrapped))
}

fn unavailable(reason: impl ToString) -> SealError {
    SealError::Unavailable { backend: BACKEND, reason: reason.to_string() }
}

fn malformed(what: &str) -> SealError {
    SealError::Malformed(format!("those of a {BACKEND} slot: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_name_the_key_and_are_read_back() {
        for (id, label) in
            [(Some(b"k1".to_vec()), None), (None, Some(b"seal".to_vec())), (Some(vec![0]), Some(vec![1]))]
        {
            let selector = Selector { id, label, ..Selector::default() };
            let start = head(&selector, SealMode::UniqueKey).unwrap();
            let params = [&start[..], &[7; 60]].concat();
            assert_eq!(split(&params).unwrap(), (selector, &start[..], &[7; 60][..]));
            for length in 0..start.len() {
                assert!(split(&params[..length]).is_err(), "{length} bytes");
            }
        }
        assert!(split(&[1, 0, 0, 0, 0, 0]).is_err(), "no key is named");
        assert!(split(&[2, 0, 1, 0, 7, 0, 0]).is_err(), "of another version");
    }

    #[test]
    fn a_configuration_that_is_not_there_is_told_at_each_use() {
        let sealer = TokenSealer::new(Path::new("/no/such.json"), Selector::default(), None);
        let error = sealer.new_slot(SealMode::ProductKey).err().unwrap().to_string();
        assert!(error.contains("could not open config file: /no/such.json"), "{error}");
    }

    proptest! {
        #[test]
        fn no_parameters_make_it_panic(params in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = split(&params);
        }
    }
}
