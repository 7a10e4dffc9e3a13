//! Which certificate or generated secret follows from which key and definition? The Coordinator's
//! authority (root, intermediate, Marble root), Marble leaf certificates, and secrets of every type.
//! Pure but for randomness and CPU time; the clock is passed in.
#![forbid(unsafe_code)]

mod authority;
mod key;
mod leaf;
mod secret;

pub use authority::{Authority, SubjectAltNames};
pub use key::P384Key;
pub use leaf::{CsrError, MarbleLeaf, VerifiedCsr, issue_marble_leaf};
pub use secret::{PkiError, Secret, SecretDerivation, generate_per_marble, generate_shared};
