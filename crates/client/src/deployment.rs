//! The whole check in one call: the right Coordinator, with the right manifest.

use crate::{AttestOptions, Attested, ClientError, Endpoint, ExpectedManifest, attest};

/// Attests a Coordinator and makes sure that it runs the expected manifest. What is answered is to be pinned: its root
/// is what Marbles' certificates lead to.
///
/// ```no_run
/// # async fn example(era: marblerun_client::EraConfig) -> Result<(), Box<dyn std::error::Error>> {
/// use marblerun_client::{AttestOptions, Endpoint, ExpectedManifest, verify_deployment};
///
/// let endpoint = Endpoint::parse("coordinator.example.com:4433")?;
/// let manifest = std::fs::read("manifest.json")?;
/// let options = AttestOptions::expecting(&era);
/// let attested = verify_deployment(&endpoint, &options, ExpectedManifest::Raw(&manifest)).await?;
/// std::fs::write("marblerun-root.pem", attested.root_pem()?)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`attest`]; [`ClientError::OtherManifest`] if another manifest is in force.
pub async fn verify_deployment(
    endpoint: &Endpoint,
    options: &AttestOptions,
    expected: ExpectedManifest<'_>,
) -> Result<Attested, ClientError> {
    let attested = attest(endpoint, options).await?;
    let client = attested.client(endpoint.clone()).timeout(options.timeout).build()?;
    client.verify_manifest(expected).await?;
    Ok(attested)
}
