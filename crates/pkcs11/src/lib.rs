//! How is a key used that never leaves its PKCS#11 token?
//!
//! A [`Config`] names the vendor's module and the token; [`Token::open`] logs in and keeps a bounded pool of
//! sessions; a [`Selector`] finds a key or certificate by id and label. What is found does one thing each:
//! [`TlsKey`] proves a client's identity in TLS handshakes, [`RsaKey`] decrypts and signs recovery secrets,
//! [`SecretKey`] wraps short secrets such as a seal key, and [`TokenSealer`] seals a state with one.
//!
//! ```no_run
//! use std::sync::Arc;
//! use marblerun_pkcs11::{Config, PinSources, Selector, TlsKey, Token};
//!
//! # fn example() -> Result<(), marblerun_pkcs11::Pkcs11Error> {
//! let config = Config::read("token.json".as_ref())?;
//! let token = Token::open(&config, PinSources::default())?;
//! let alice = Selector::from_arguments(None, Some(b"alice"))?;
//! let certificate = token.certificate(&alice)?;
//! let key: Arc<dyn rustls::sign::SigningKey> = Arc::new(TlsKey::from(token.private_key(&alice)?));
//! # Ok(())
//! # }
//! ```
//!
//! The module is foreign code of the vendor, loaded into this process: its path must be trusted like a program.
//! All of its unsafe interface is behind the `cryptoki` crate. Calls block while the token works.
#![forbid(unsafe_code)]

mod config;
mod encoding;
mod error;
mod lookup;
mod module;
mod oaep;
mod pin;
mod private_key;
mod recovery;
mod sealer;
mod secret_key;
mod selector;
mod sessions;
mod tls;
mod token;

pub use config::{Config, TokenChoice};
pub use error::{Code, Pkcs11Error};
pub use pin::{PIN_VARIABLE, PinSources};
pub use private_key::{KeyKind, PrivateKey};
pub use recovery::RsaKey;
pub use sealer::TokenSealer;
pub use secret_key::SecretKey;
pub use selector::Selector;
pub use tls::TlsKey;
pub use token::{Token, TokenFacts};
