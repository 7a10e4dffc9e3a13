//! A Marble as a client: what its premain was given tells whom to trust and who it is.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::{ClientError, Identity, Trust};

const CHAIN: &str = "MARBLE_PREDEFINED_MARBLE_CERTIFICATE_CHAIN";
const KEY: &str = "MARBLE_PREDEFINED_PRIVATE_KEY";
const ROOT: &str = "MARBLE_PREDEFINED_COORDINATOR_ROOT_CA";

/// Who an activated Marble is, and the root of the Coordinator that activated it.
#[derive(Debug, Clone)]
pub struct MarbleCredentials {
    /// Certificate and key that the Coordinator gave this Marble.
    pub identity: Identity,
    /// Its Coordinator, by the root certificate.
    pub trust: Trust,
}

impl MarbleCredentials {
    /// Takes them from this process's environment, where the premain puts them.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), marblerun_client::ClientError> {
    /// use marblerun_client::{Client, Endpoint, MarbleCredentials};
    ///
    /// let endpoint = Endpoint::parse("coordinator-client-api.marblerun:4433")?;
    /// let client = Client::builder(endpoint).marble(MarbleCredentials::from_env()?).build()?;
    /// let before = client.set_monotonic_counter("orders", 42).await?;
    /// assert!(before <= 42, "somebody restored an older state of this Marble");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Identity`] naming the variable that is missing or unreadable.
    pub fn from_env() -> Result<Self, ClientError> {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    /// Takes them from variables of any source.
    ///
    /// # Errors
    /// As [`MarbleCredentials::from_env`].
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Self, ClientError> {
        let pem = |name: &str| {
            var(name).ok_or_else(|| {
                ClientError::Identity(format!("{name} is not set: only a Marble that was activated has it"))
            })
        };
        let bad = |name: &str, reason: String| ClientError::Identity(format!("{name}: {reason}"));
        let identity = Identity::from_pem(pem(CHAIN)?.as_bytes(), pem(KEY)?.as_bytes())
            .map_err(|e| bad(&format!("{CHAIN} and {KEY}"), e.to_string()))?;
        let root = CertificateDer::from_pem_slice(pem(ROOT)?.as_bytes()).map_err(|e| bad(ROOT, e.to_string()))?;
        Ok(Self { identity, trust: Trust::Pinned(root.to_vec()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> String {
        std::fs::read_to_string(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn a_marble_finds_its_credentials_and_is_told_which_is_missing() {
        let vars = [(CHAIN, fixture("user_v1.crt")), (KEY, fixture("user_v1.key")), (ROOT, fixture("golden_root.pem"))];
        let without = |missing: &'static str| {
            let vars = vars.clone();
            MarbleCredentials::from_vars(move |name| {
                vars.iter().find(|(known, _)| *known == name && name != missing).map(|(_, pem)| pem.clone())
            })
        };
        let credentials = without("").unwrap();
        assert!(matches!(credentials.trust, Trust::Pinned(root) if root.len() > 300));
        for missing in [CHAIN, KEY, ROOT] {
            let text = without(missing).unwrap_err().to_string();
            assert!(text.starts_with(missing), "{text}");
        }
    }
}
