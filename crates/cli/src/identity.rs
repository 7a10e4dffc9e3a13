//! Who a user is to the Coordinator: a certificate and key, in files or on a PKCS#11 token.
//!
//! Which flags go together, in which order that is checked, and the words of it are upstream's; scripts read them.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use marblerun_client::Identity;
use marblerun_pkcs11::{Selector, TlsKey};
use rustls_pki_types::CertificateDer;

use crate::args::ClientCert;
use crate::{files, private_key, token};

/// Flags that do not go together, with what would.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct FlagError {
    message: String,
    /// What to give instead.
    pub hint: &'static str,
}

impl FlagError {
    /// Flags of the group `names` of which one is needed.
    pub fn one_required(names: &str, hint: &'static str) -> Self {
        Self { message: format!("at least one of the flags in the group [{names}] is required"), hint }
    }

    /// The flags of the group `names`, which need each other; `missing` is.
    pub fn all_required(names: &str, missing: &str, hint: &'static str) -> Self {
        let message = format!("if any flags in the group [{names}] are set they must all be set; missing [{missing}]");
        Self { message, hint }
    }

    /// The flags of the group `names`, which exclude each other; `given` (sorted) were given.
    pub fn one_allowed(names: &str, given: &str, hint: &'static str) -> Self {
        let message =
            format!("if any flags in the group [{names}] are set none of the others can be; [{given}] were all set");
        Self { message, hint }
    }

    /// Any other.
    pub fn new(message: &str, hint: &'static str) -> Self {
        Self { message: message.to_owned(), hint }
    }
}

const HINT: &str = "this needs a user's certificate and key: give both --cert FILE and --key FILE; or, for a PKCS#11 \
                    token, --pkcs11-config FILE with --pkcs11-key-id or --pkcs11-key-label for the key, and \
                    --pkcs11-cert-id or --pkcs11-cert-label for the certificate.";

/// Where a user's certificate and key are. Nothing has been read yet.
#[derive(Debug)]
pub enum Credentials {
    /// PEM files.
    Files {
        /// Certificate, leaf first.
        cert: PathBuf,
        /// Private key.
        key: PathBuf,
    },
    /// On a token.
    Token {
        /// Names the module and the token.
        config: PathBuf,
        /// Private key.
        key: Selector,
        /// Certificate.
        cert: Selector,
    },
}

impl Credentials {
    /// From the flags, if they go together.
    pub fn of(flags: &ClientCert) -> Result<Self> {
        let has_key = flags.pkcs11_key_id.is_some() || flags.pkcs11_key_label.is_some();
        let has_cert = flags.pkcs11_cert_id.is_some() || flags.pkcs11_cert_label.is_some();
        match (&flags.cert, &flags.key, &flags.pkcs11_config) {
            (Some(_), None, _) => Err(FlagError::all_required("key cert", "key", HINT).into()),
            (None, Some(_), _) => Err(FlagError::all_required("key cert", "cert", HINT).into()),
            (Some(_), Some(_), Some(_)) => {
                Err(FlagError::one_allowed("pkcs11-config cert", "cert pkcs11-config", HINT).into())
            }
            (Some(cert), Some(key), None) => Ok(Self::Files { cert: cert.clone(), key: key.clone() }),
            (None, None, _) if !has_cert => {
                Err(FlagError::one_required("pkcs11-cert-id pkcs11-cert-label cert", HINT).into())
            }
            (None, None, None) => Err(FlagError::one_required("pkcs11-config cert", HINT).into()),
            (None, None, Some(_)) if !has_key => {
                Err(FlagError::one_required("pkcs11-key-id pkcs11-key-label cert", HINT).into())
            }
            (None, None, Some(config)) => Ok(Self::Token {
                config: config.clone(),
                key: token::selector(flags.pkcs11_key_id.as_deref(), flags.pkcs11_key_label.as_deref())
                    .context("--pkcs11-key-id, --pkcs11-key-label")?,
                cert: token::selector(flags.pkcs11_cert_id.as_deref(), flags.pkcs11_cert_label.as_deref())
                    .context("--pkcs11-cert-id, --pkcs11-cert-label")?,
            }),
        }
    }

    /// Reads the files, or logs into the token.
    pub fn load(&self) -> Result<Identity> {
        match self {
            Self::Files { cert, key } => Identity::from_pem(&files::read(cert)?, private_key::read(key)?.as_bytes())
                .with_context(|| format!("reading {} and {}", cert.display(), key.display())),
            Self::Token { config, key, cert } => {
                let token = token::open(config)?;
                let chain = vec![CertificateDer::from(token.certificate(cert)?)];
                let key = TlsKey::from(token.private_key(key)?);
                Ok(Identity::from_signing_key(chain, Arc::new(key))?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        client: ClientCert,
    }

    fn of(flags: &str) -> Result<Credentials, String> {
        let flags = Flags::parse_from(std::iter::once("x").chain(flags.split_whitespace()));
        Credentials::of(&flags.client).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_rule_that_flags_break_is_told_in_upstreams_words() {
        for (flags, message) in [
            ("", "at least one of the flags in the group [pkcs11-cert-id pkcs11-cert-label cert] is required"),
            ("--cert c", "if any flags in the group [key cert] are set they must all be set; missing [key]"),
            ("--key k", "if any flags in the group [key cert] are set they must all be set; missing [cert]"),
            (
                "--key k --pkcs11-config p --pkcs11-cert-id 1",
                "if any flags in the group [key cert] are set they must all be set; missing [cert]",
            ),
            (
                "--pkcs11-config p --pkcs11-key-id 1",
                "at least one of the flags in the group [pkcs11-cert-id pkcs11-cert-label cert] is required",
            ),
            (
                "--pkcs11-key-id 1 --pkcs11-cert-label 1",
                "at least one of the flags in the group [pkcs11-config cert] is required",
            ),
            (
                "--pkcs11-config p --pkcs11-cert-id 1",
                "at least one of the flags in the group [pkcs11-key-id pkcs11-key-label cert] is required",
            ),
            (
                "--cert c --key k --pkcs11-config p",
                "if any flags in the group [pkcs11-config cert] are set none of the others can be; \
                 [cert pkcs11-config] were all set",
            ),
        ] {
            assert_eq!(of(flags).unwrap_err(), message, "{flags}");
        }
    }

    #[test]
    fn ids_and_labels_beside_files_are_ignored() {
        let both = of("--cert c --key k --pkcs11-key-id 1 --pkcs11-cert-label l").unwrap();
        assert!(matches!(both, Credentials::Files { .. }));
    }

    #[test]
    fn a_token_takes_ids_and_labels_for_key_and_certificate() {
        let flags = "--pkcs11-config p --pkcs11-key-id k1 --pkcs11-key-label l --pkcs11-cert-label c";
        let Credentials::Token { config, key, cert } = of(flags).unwrap() else { panic!() };
        assert_eq!(config, std::path::Path::new("p"));
        assert_eq!((key.id.unwrap(), key.label.unwrap()), (b"k1".to_vec(), b"l".to_vec()));
        assert_eq!((cert.id, cert.label.unwrap()), (None, b"c".to_vec()));
    }
}
