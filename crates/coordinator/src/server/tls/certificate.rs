//! The certificate a listener presents, looked up at every handshake: it changes with the state (recovery,
//! a new manifest, an update), and the next connection must see that without a restart.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use marblerun_pki::Authority;
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::core::same_authority;

/// Which certificate of the authority a listener presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Identity {
    /// The root itself, as a leaf: what clients of the client API pin.
    Root,
    /// The Marble root: what Marbles see on the mesh.
    MarbleRoot,
}

/// Tells the authority in force.
pub(in crate::server) type AuthoritySource = Arc<dyn Fn() -> Arc<Authority> + Send + Sync>;

/// Presents one certificate of the authority in force, whatever name the client asks for.
pub(super) struct CurrentCertificate {
    authority: AuthoritySource,
    identity: Identity,
    /// Reading the private key is dearer than the rest of the lookup, so it is done once for each authority.
    cached: ArcSwapOption<Cached>,
}

struct Cached {
    authority: Arc<Authority>,
    key: Arc<CertifiedKey>,
}

impl CurrentCertificate {
    pub(super) fn new(authority: AuthoritySource, identity: Identity) -> Self {
        Self { authority, identity, cached: ArcSwapOption::empty() }
    }

    fn certified_key(&self) -> Option<Arc<CertifiedKey>> {
        let authority = (self.authority)();
        if let Some(cached) = self.cached.load().as_ref()
            && same_authority(&cached.authority, &authority)
        {
            return Some(cached.key.clone());
        }
        let key = Arc::new(certified_key(&authority, self.identity)?);
        self.cached.store(Some(Arc::new(Cached { authority, key: key.clone() })));
        Some(key)
    }
}

fn certified_key(authority: &Authority, identity: Identity) -> Option<CertifiedKey> {
    let (certificate, key) = match identity {
        Identity::Root => (&authority.root_certificate, &authority.root_key),
        Identity::MarbleRoot => (&authority.marble_root_certificate, &authority.intermediate_key),
    };
    let pkcs8 = key.to_pkcs8_der();
    match any_ecdsa_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.as_slice()))) {
        Ok(signer) => Some(CertifiedKey::new(vec![CertificateDer::from(certificate.clone())], signer)),
        Err(error) => {
            tracing::error!(%error, ?identity, "the certificate's private key cannot be used for TLS");
            None
        }
    }
}

impl fmt::Debug for CurrentCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentCertificate").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certified_key()
    }
}
