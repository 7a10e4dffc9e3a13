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

    /// Raises security versions of packages, or proposes another manifest. As [`Client::apply_update`], with from when on
    /// the update is in force at the Coordinators that share the state.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn apply_update(&self, raw: &[u8]) -> Result<v3::Update, ClientError> {
        self.0.rest.v3("/api/v3/update", Some(raw.to_vec()), None).await
    }

    /// Acknowledges the pending update; `raw` must be its exact bytes. As [`Client::acknowledge_update`], likewise.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn acknowledge_update(&self, raw: &[u8]) -> Result<v3::Update, ClientError> {
        self.0.rest.v3("/api/v3/update/acknowledge", Some(raw.to_vec()), None).await
    }

    /// What the Coordinator knows of the state that it shares with others.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Problem`] with code `state_not_shared` if it shares none.
    pub async fn cluster(&self) -> Result<v3::Cluster, ClientError> {
        self.0.rest.v3("/api/v3/cluster", None, None).await
    }

    /// Has the state that lies in the shared place replace the one that this Coordinator serves. Needs an identity with
    /// `UpdateManifest` in the latter.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn accept_restore(&self) -> Result<v3::Decided, ClientError> {
        self.0.rest.v3("/api/v3/restore/accept", Some(Vec::new()), None).await
    }

    /// Has the state that this Coordinator serves written back over the one that lies in the shared place. Needs an
    /// identity with `UpdateManifest` in the former.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn reject_restore(&self) -> Result<v3::Decided, ClientError> {
        self.0.rest.v3("/api/v3/restore/reject", Some(Vec::new()), None).await
    }

    /// Has another key encryption key made. With `revoke` the old ones go at once, and the data encryption key with them.
    /// Needs an identity with `UpdateManifest`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rotate_kek(&self, revoke: bool) -> Result<v3::Decided, ClientError> {
        let body = serde_json::to_vec(&v3::KekRotation { revoke }).map_err(|e| ClientError::protocol("request", e))?;
        self.0.rest.v3("/api/v3/kek/rotate", Some(body), None).await
    }

    /// The key slots of the sealed state. This and all that is about them needs an identity with `UpdateManifest`.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Problem`] with code `no_key_slots` if there are none.
    pub async fn seal_slots(&self) -> Result<v3::SealSlots, ClientError> {
        self.0.rest.v3("/api/v3/seal/slots", None, None).await
    }

    /// Tries the key slot of that label, or all. That one does not open is an answer, and no error.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn test_seal_slots(&self, slot: Option<&str>) -> Result<v3::SealSlots, ClientError> {
        let test = v3::SealSlotTest { slot: slot.map(str::to_owned) };
        self.0.rest.v3("/api/v3/seal/slots/test", Some(body(&test)?), None).await
    }

    /// Has a configured sealing backend make a key slot.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn add_seal_slot(&self, backend: &str) -> Result<v3::SealSlots, ClientError> {
        let addition = v3::SealSlotAddition { backend: backend.to_owned() };
        self.0.rest.v3("/api/v3/seal/slots", Some(body(&addition)?), None).await
    }

    /// Removes a key slot and replaces the key. `force`: also if other slots are lost with it, or none is left.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_seal_slot(&self, slot: &str, force: bool) -> Result<v3::SealSlots, ClientError> {
        let query = [("slot", slot), ("force", if force { "true" } else { "false" })];
        self.0.rest.v3_delete("/api/v3/seal/slots", &query).await
    }

    /// Replaces the key and all key slots. `slot`: one that must be among the new ones; `force`: also if others are lost.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rotate_seal_slots(&self, slot: Option<&str>, force: bool) -> Result<v3::SealSlots, ClientError> {
        let rotation = v3::SealSlotRotation { slot: slot.map(str::to_owned), force };
        self.0.rest.v3("/api/v3/seal/slots/rotate", Some(body(&rotation)?), None).await
    }

    /// The description of API v3.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn openapi(&self) -> Result<Value, ClientError> {
        self.0.rest.v3("/api/v3/openapi.json", None, None).await
    }
}

fn body(value: &impl serde::Serialize) -> Result<Vec<u8>, ClientError> {
    serde_json::to_vec(value).map_err(|e| ClientError::protocol("request", e))
}
