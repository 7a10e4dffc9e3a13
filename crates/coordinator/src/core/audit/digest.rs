//! Digests of secrets for the trail. Everybody who reads the trail sees them, and a password can be guessed from a bare
//! hash; so they are keyed, with a key that only the Coordinator has. The name of the secret is part of it: equal
//! values of two secrets do not look equal.

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use marblerun_pki::{P384Key, Secret};

/// What the key is derived for.
const PURPOSE: &[u8] = b"marblerun audit v1 secret digest";

/// `hmac-sha256:..` of a secret's value; `None` while it has none. The root key lives as long as the deployment, so
/// digests of all its times can be compared.
pub(in crate::core) fn secret_digest(root_key: &P384Key, name: &str, secret: &Secret) -> Option<String> {
    let private = secret.private.as_ref().map(|value| value.as_slice());
    let public = secret.public.as_ref().map(|value| value.as_slice());
    let parts = [secret.certificate.as_deref(), private, public];
    if parts.iter().all(Option::is_none) {
        return None;
    }
    // HKDF-SHA256 (RFC 5869) expands to one block for any purpose.
    let prk = Salt::new(HKDF_SHA256, &[]).extract(root_key.scalar().as_slice());
    let purpose = [PURPOSE];
    let key = hmac::Key::from(prk.expand(&purpose, HMAC_SHA256).ok()?);
    let mut context = hmac::Context::with_key(&key);
    let parts = [Some(name.as_bytes()), Some(secret.kind.as_str().as_bytes())].into_iter().chain(parts);
    for part in parts {
        // Framed, so that no two values run into the same bytes.
        match part {
            Some(part) => {
                context.update(&(part.len() as u64 + 1).to_be_bytes());
                context.update(part);
            }
            None => context.update(&0u64.to_be_bytes()),
        }
    }
    Some(format!("hmac-sha256:{}", hex::encode(context.sign())))
}

#[cfg(test)]
mod tests {
    use marblerun_manifest::model::SecretKind;
    use zeroize::Zeroizing;

    use super::*;

    fn secret(value: Option<&str>) -> Secret {
        let value = value.map(|value| Zeroizing::new(value.as_bytes().to_vec()));
        Secret {
            kind: SecretKind::Plain,
            size: 0,
            shared: true,
            user_defined: true,
            valid_for: 0,
            certificate: None,
            private: value.clone(),
            public: value,
        }
    }

    #[test]
    fn equal_values_of_one_secret_are_seen_to_be_equal_and_nothing_else() {
        let (key, other_key) = (P384Key::generate().unwrap(), P384Key::generate().unwrap());
        let digest = |key: &P384Key, name: &str, value| secret_digest(key, name, &secret(Some(value))).unwrap();
        let first = digest(&key, "pin", "1234");
        assert!(first.starts_with("hmac-sha256:") && first.len() == 12 + 64, "{first}");
        assert_eq!(first, digest(&key, "pin", "1234"));
        assert_ne!(first, digest(&key, "pin", "1235"));
        assert_ne!(first, digest(&key, "door", "1234"), "equal values of two secrets do not look equal");
        assert_ne!(first, digest(&other_key, "pin", "1234"), "who does not have the key cannot guess");
        assert_eq!(secret_digest(&key, "pin", &secret(None)), None);
        assert!(secret_digest(&key, "pin", &secret(Some(""))).is_some(), "empty is a value");
    }
}
