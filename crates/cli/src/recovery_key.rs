//! The private key of a recovery party, from a file or on a PKCS#11 token.
//!
//! Which flags go together and the words of it are upstream's, as in [`crate::identity`].

use anyhow::{Context as _, Result, anyhow};
use marblerun_pkcs11::{Pkcs11Error, RsaKey};
use marblerun_recovery::rsa_keys::{PartyKey, PrivateKey, PublicKey, RsaError};
use zeroize::Zeroizing;

use crate::args::{RecoveryKey, TokenKey};
use crate::identity::FlagError;
use crate::{private_key, token};

const HINT: &str = "the secret is signed with the party's recovery key: give --key FILE; or, for a PKCS#11 token, \
                    --pkcs11-config FILE with --pkcs11-key-id or --pkcs11-key-label. For a key that is not on this \
                    machine see 'marblerun recover-with-signature'.";

/// The key, which is needed.
pub fn required(flags: &RecoveryKey) -> Result<Box<dyn PartyKey>> {
    optional(flags)?.ok_or_else(|| FlagError::one_required("pkcs11-key-id pkcs11-key-label key", HINT).into())
}

/// The key, if there is one.
pub fn optional(flags: &RecoveryKey) -> Result<Option<Box<dyn PartyKey>>> {
    let Some(path) = &flags.key else { return on_token(&flags.token) };
    if flags.token.pkcs11_config.is_some() {
        return Err(FlagError::one_allowed("pkcs11-config key", "key pkcs11-config", HINT).into());
    }
    let key =
        PrivateKey::from_pem(&private_key::read(path)?).map_err(|e| anyhow!("reading {}: {e}", path.display()))?;
    Ok(Some(Box::new(key)))
}

/// The key on a token, if the flags name one.
pub fn on_token(flags: &TokenKey) -> Result<Option<Box<dyn PartyKey>>> {
    let names_key = flags.pkcs11_key_id.is_some() || flags.pkcs11_key_label.is_some();
    let config = match (&flags.pkcs11_config, names_key) {
        (None, false) => return Ok(None),
        (None, true) => {
            let message = r#"an id or label of a key on a token requires setting "--pkcs11-config""#;
            return Err(FlagError::new(message, HINT).into());
        }
        (Some(_), false) => return Err(FlagError::one_required("pkcs11-key-id pkcs11-key-label key", HINT).into()),
        (Some(config), true) => config,
    };
    let selector = token::selector(flags.pkcs11_key_id.as_deref(), flags.pkcs11_key_label.as_deref())
        .context("--pkcs11-key-id, --pkcs11-key-label")?;
    let key = RsaKey::try_from(token::open(config)?.private_key(&selector)?)?;
    let public = PublicKey::from_spki_der(key.public_key()).map_err(|e| anyhow!("the key on the token: {e}"))?;
    Ok(Some(Box::new(OnToken { key, public })))
}

struct OnToken {
    key: RsaKey,
    public: PublicKey,
}

impl PartyKey for OnToken {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn decrypt(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, RsaError> {
        self.key.decrypt(ciphertext).map_err(|error| match error {
            Pkcs11Error::Decryption => RsaError::Decryption,
            other => RsaError::Device(other.to_string()),
        })
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, RsaError> {
        self.key.sign(message).map_err(|error| RsaError::Device(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        key: RecoveryKey,
    }

    fn refusal(flags: &str) -> String {
        let flags = Flags::parse_from(std::iter::once("x").chain(flags.split_whitespace()));
        required(&flags.key).err().unwrap().to_string()
    }

    #[test]
    fn the_first_rule_that_flags_break_is_told_in_upstreams_words() {
        let one = "at least one of the flags in the group [pkcs11-key-id pkcs11-key-label key] is required";
        assert_eq!(refusal(""), one);
        assert_eq!(refusal("--pkcs11-config p"), one);
        assert_eq!(
            refusal("--key k --pkcs11-config p --pkcs11-key-id 1"),
            "if any flags in the group [pkcs11-config key] are set none of the others can be; [key pkcs11-config] were all set"
        );
        assert!(refusal("--pkcs11-key-id 1").contains("--pkcs11-config"));
    }
}
