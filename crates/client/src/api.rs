//! The calls of the client API: v2, falling back to v1 where a Coordinator answers 405.

use std::collections::BTreeMap;
use std::time::Duration;

use marblerun_api::bytes::Base64;
use marblerun_api::{v1, v2};
use serde::Serialize;
use serde_json::Value;

use crate::rest::{Data, Rest};
use crate::{ClientError, Endpoint, Identity, Trust};

/// A client of one Coordinator. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) rest: Rest,
}

/// Collects what a [`Client`] needs.
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    endpoint: Endpoint,
    trust: Option<Trust>,
    identity: Option<Identity>,
    timeout: Duration,
}

impl ClientBuilder {
    /// Whom to believe. Must be said.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// Client certificate of a user or Marble.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Time limit of each call (default 60 s).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The client. Does not connect yet.
    ///
    /// # Errors
    /// [`ClientError::Trust`] if no trust was chosen, [`ClientError::Identity`] if the certificate does not fit its key.
    pub fn build(self) -> Result<Client, ClientError> {
        let trust = self.trust.ok_or_else(|| ClientError::Trust("it was not said whom to trust".to_owned()))?;
        let rest = Rest::new(self.endpoint, &trust, self.identity.as_ref(), self.timeout)?;
        Ok(Client { rest })
    }
}

/// Result of an update or acknowledgement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateResult {
    /// Acknowledgements still needed.
    pub missing_acknowledgments: i64,
    /// Users who have not acknowledged. From a v1 Coordinator their names are not known: `User0`, `User1`, ..
    pub missing_users: Vec<String>,
    /// New recovery secrets, if any were made: party to RSA-OAEP ciphertext.
    pub recovery_secrets: BTreeMap<String, Base64>,
}

fn json<T: Serialize>(value: &T) -> Result<Option<Vec<u8>>, ClientError> {
    serde_json::to_vec(value).map(Some).map_err(|e| ClientError::protocol("request", e))
}

fn not_v2(result: &Result<Data, ClientError>) -> bool {
    matches!(result, Err(error) if error.code() == Some(405))
}

impl Client {
    /// Starts building a client.
    #[must_use]
    pub fn builder(endpoint: Endpoint) -> ClientBuilder {
        ClientBuilder { endpoint, trust: None, identity: None, timeout: Duration::from_secs(60) }
    }

    /// State of the Coordinator.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<v2::Status, ClientError> {
        let result = self.rest.get("/api/v2/status", &[]).await;
        if not_v2(&result) {
            let old: v1::Status =
                self.rest.get("/status", &[]).await?.object("status", &["StatusCode", "StatusMessage"])?;
            return Ok(v2::Status { code: old.status_code, message: old.status_message });
        }
        result?.object("status", &["code", "message"])
    }

    /// The manifest in force. Its SHA-256 is checked against the fingerprint that came with it.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Trust`] if manifest and fingerprint do not fit.
    pub async fn manifest(&self) -> Result<v2::Manifest, ClientError> {
        let result = self.rest.get("/api/v2/manifest", &[]).await;
        let manifest = if not_v2(&result) {
            let names = ["ManifestSignatureRootECDSA", "ManifestSignature", "Manifest"];
            let old: v1::Manifest = self.rest.get("/manifest", &[]).await?.object("manifest", &names)?;
            v2::Manifest {
                manifest_signature_root_ecdsa: old.manifest_signature_root_ecdsa.unwrap_or_default(),
                manifest_fingerprint: old.manifest_signature,
                manifest: old.manifest.unwrap_or_default(),
            }
        } else {
            result?.object("manifest", &["manifestSignatureRootECDSA", "manifestFingerprint", "manifest"])?
        };
        let computed = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &manifest.manifest.0);
        if !manifest.manifest_fingerprint.is_empty()
            && !manifest.manifest_fingerprint.eq_ignore_ascii_case(&hex::encode(computed))
        {
            return Err(ClientError::Trust(
                "the Coordinator's manifest does not have the fingerprint it states".to_owned(),
            ));
        }
        Ok(manifest)
    }

    /// Sets the first manifest. Answers the recovery secrets.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_manifest(&self, raw: &[u8]) -> Result<BTreeMap<String, Base64>, ClientError> {
        let body = json(&v2::ManifestRequest { manifest: raw.into() })?;
        let mut result = self.rest.post("/api/v2/manifest", body).await;
        if not_v2(&result) {
            result = self.rest.post("/manifest", Some(raw.to_vec())).await;
        }
        match result? {
            Data::Nothing => Ok(BTreeMap::new()),
            data => Ok(data.object::<v2::ManifestSet>("recovery secrets", &["RecoverySecrets"])?.recovery_secrets),
        }
    }

    /// The update log, one JSON object a line.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn update_log(&self) -> Result<Vec<String>, ClientError> {
        let result = self.rest.get("/api/v2/update", &[]).await;
        if not_v2(&result) {
            return match self.rest.get("/update", &[]).await? {
                Data::Json(Value::String(text)) => Ok(text.trim().split('\n').map(str::to_owned).collect()),
                _ => Err(ClientError::protocol("update log", "the answer is not text")),
            };
        }
        Ok(result?.object::<v2::UpdateLog>("update log", &["updateLog"])?.update_log)
    }

    /// Submits a package update or a full update.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn apply_update(&self, raw: &[u8]) -> Result<UpdateResult, ClientError> {
        let body = json(&v2::ManifestRequest { manifest: raw.into() })?;
        let mut result = self.rest.post("/api/v2/update", body).await;
        if not_v2(&result) {
            result = self.rest.post("/update", Some(raw.to_vec())).await;
        }
        match result? {
            // Coordinators before 1.8 answer nothing: the update is in force.
            Data::Nothing => Ok(UpdateResult::default()),
            data => update_result(data),
        }
    }

    /// The pending update.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn pending_update(&self) -> Result<v2::PendingUpdate, ClientError> {
        let mut result = self.rest.get("/api/v2/update-manifest", &[]).await;
        if not_v2(&result) {
            result = self.rest.get("/update-manifest", &[]).await;
        }
        result?.object("pending update", &["manifest", "message", "missingUsers"])
    }

    /// Acknowledges the pending update; `raw` must be its exact bytes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn acknowledge_update(&self, raw: &[u8]) -> Result<UpdateResult, ClientError> {
        let body = json(&v2::ManifestRequest { manifest: raw.into() })?;
        let result = self.rest.post("/api/v2/update-manifest", body).await;
        if !not_v2(&result) {
            return update_result(result?);
        }
        let what = "acknowledgement";
        let Data::Json(Value::String(text)) = self.rest.post("/update-manifest", Some(raw.to_vec())).await? else {
            return Err(ClientError::protocol(what, "the answer is not text"));
        };
        let first = text.split(' ').next().unwrap_or_default();
        if first == "All" {
            return Ok(UpdateResult::default());
        }
        let missing: i64 = first.parse().map_err(|_| ClientError::protocol(what, &text))?;
        Ok(UpdateResult {
            missing_acknowledgments: missing,
            missing_users: (0..missing).map(|index| format!("User{index}")).collect(),
            recovery_secrets: BTreeMap::new(),
        })
    }

    /// Cancels the pending update.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cancel_update(&self) -> Result<(), ClientError> {
        let mut result = self.rest.post("/api/v2/update-cancel", None).await;
        if not_v2(&result) {
            result = self.rest.post("/update-cancel", None).await;
        }
        result.map(|_| ())
    }

    /// Reads secrets. Needs an identity with `ReadSecret`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn secrets(&self, names: &[String]) -> Result<BTreeMap<String, v2::Secret>, ClientError> {
        let query: Vec<(&str, &str)> = names.iter().map(|name| ("s", name.as_str())).collect();
        let result = self.rest.get("/api/v2/secrets", &query).await;
        if not_v2(&result) {
            return self.rest.get("/secrets", &query).await?.object("secrets", &[]);
        }
        Ok(result?.object::<v2::Secrets>("secrets", &["secrets"])?.secrets)
    }

    /// Uploads user-defined secrets. Needs an identity with `WriteSecret`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_secrets(&self, secrets: BTreeMap<String, v2::UserSecret>) -> Result<(), ClientError> {
        let mut result =
            self.rest.post("/api/v2/secrets", json(&v2::SecretsSetRequest { secrets: secrets.clone() })?).await;
        if not_v2(&result) {
            result = self.rest.post("/secrets", json(&secrets)?).await;
        }
        result.map(|_| ())
    }

    /// Uploads one recovery secret with the signature over the plain secret.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn recover(&self, secret: &[u8], signature: &[u8]) -> Result<v2::Recover, ClientError> {
        let body =
            json(&v2::RecoverRequest { recovery_secret: secret.into(), recovery_secret_signature: signature.into() })?;
        self.rest.post("/api/v2/recover", body).await?.object("recovery", &["remaining", "message"])
    }

    /// The Coordinator's ephemeral RSA key (SPKI DER) for recovery secrets.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn recovery_public_key(&self) -> Result<Vec<u8>, ClientError> {
        let answer: v2::RecoveryPublicKey = self
            .rest
            .get("/api/v2/recover/public-key", &[])
            .await?
            .object("recovery public key", &["algorithm", "ephemeralPublicKey"])?;
        Ok(answer.ephemeral_public_key.0)
    }

    /// Has a quote verified and signed by the Coordinator.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sign_quote(&self, quote: &[u8]) -> Result<v2::SignQuote, ClientError> {
        let body = json(&v2::SignQuoteRequest { sgx_quote: quote.into() })?;
        self.rest
            .post("/api/v2/sign-quote", body)
            .await?
            .object("signed quote", &["tcbStatus", "verificationSignature"])
    }

    /// Raises a monotonic counter; answers the value before. Needs a Marble's identity.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_monotonic_counter(&self, name: &str, value: u64) -> Result<u64, ClientError> {
        let body = json(&v2::MonotonicCounterRequest { name: name.to_owned(), value })?;
        let answer: v2::MonotonicCounter =
            self.rest.post("/api/v2/monotonic-counter", body).await?.object("monotonic counter", &["value"])?;
        Ok(answer.value)
    }
}

fn update_result(data: Data) -> Result<UpdateResult, ClientError> {
    let answer: v2::UpdateApplied =
        data.object("update", &["missingAcknowledgments", "missingUsers", "recoverySecrets"])?;
    Ok(UpdateResult {
        missing_acknowledgments: answer.missing_acknowledgments,
        missing_users: answer.missing_users.unwrap_or_default(),
        recovery_secrets: answer.recovery_secrets.unwrap_or_default(),
    })
}
