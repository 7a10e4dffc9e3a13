//! API v3, which only our Coordinators have: a Coordinator without it is told as [`ClientError::NoV3`].

use http::StatusCode;
use marblerun_api::v3;
use serde_json::Value;

use crate::{Client, ClientError};

/// The calls of API v3.
#[derive(Debug, Clone, Copy)]
pub struct V3<'c>(&'c Client);

impl Client {
    /// What only our Coordinators can tell.
    ///
    /// ```no_run
    /// # async fn example(client: marblerun_client::Client) -> Result<(), marblerun_client::ClientError> {
    /// use marblerun_client::ClientError;
    ///
    /// match client.v3().status().await {
    ///     Ok(status) => println!("state {} is {:?}", status.store.sequence, status.store.mode),
    ///     Err(ClientError::NoV3 { .. }) => println!("{}", client.status().await?.message),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn v3(&self) -> V3<'_> {
        V3(self)
    }
}

impl V3<'_> {
    /// Whether the process answers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn health(&self) -> Result<v3::Health, ClientError> {
        self.0.rest.v3("/api/v3/healthz", None, None).await
    }

    /// Whether requests should be sent to this Coordinator. That it is not ready is an answer, and no error.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn readiness(&self) -> Result<v3::Readiness, ClientError> {
        self.0.rest.v3("/api/v3/readyz", None, Some(StatusCode::SERVICE_UNAVAILABLE)).await
    }

    /// What the Coordinator is, what it can do, and how its state is kept.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<v3::Status, ClientError> {
        self.0.rest.v3("/api/v3/status", None, None).await
    }

    /// What would be said about a manifest if it was set. Nothing is changed.
    ///
    /// # Errors
    /// [`ClientError`]; not for findings, which are the answer.
    pub async fn check_manifest(&self, raw: &[u8]) -> Result<v3::ManifestCheck, ClientError> {
        self.0.rest.v3("/api/v3/manifest/check", Some(raw.to_vec()), None).await
    }

    /// Whether a sealed state waits for its key holders, why, and how far they have come.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn recovery(&self) -> Result<v3::Recovery, ClientError> {
        self.0.rest.v3("/api/v3/recovery", None, None).await
    }

    /// The packages in force: their security versions may be above the manifest's.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn packages(&self) -> Result<v3::Packages, ClientError> {
        self.0.rest.v3("/api/v3/packages", None, None).await
    }

    /// The description of API v3.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn openapi(&self) -> Result<Value, ClientError> {
        self.0.rest.v3("/api/v3/openapi.json", None, None).await
    }
}
