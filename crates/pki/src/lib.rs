//! Which certificate or generated secret follows from which key and definition? The Coordinator's
//! authority (root, intermediate, Marble root), Marble leaf certificates, and secrets of every type.
//! Pure but for randomness and CPU time; the clock is passed in.
#![forbid(unsafe_code)]

mod alt_name;
mod authority;
mod certificate;
mod csr;
mod derivation;
mod error;
mod extension;
mod key;
mod keypair;
mod leaf;
mod name;
pub mod pem;
mod secret;
mod template;
mod upload;
mod uuid;

pub use authority::{Authority, SubjectAltNames};
pub use certificate::public_key_of;
pub use csr::{CsrError, VerifiedCsr};
pub use derivation::SecretDerivation;
pub use error::PkiError;
pub use key::P384Key;
pub use leaf::{MarbleCertificateError, MarbleIdentity, MarbleLeaf, issue_marble_leaf, verify_marble_certificate};
pub use secret::{Secret, check_definition, generate_per_marble, generate_shared, reissue_shared};
pub use upload::{Upload, UploadError};
pub use uuid::{UuidError, parse_uuid};
