//! The calls of the client API: v2, falling back to v1 where a Coordinator answers 405.

use std::collections::BTreeMap;
use std::time::Duration;

use marblerun_api::bytes::Base64;
use marblerun_api::{v1, v2};
use serde::Serialize;
use serde_json::Value;

use crate::error::is_405;
use crate::rest::{Data, Rest};
use crate::{ClientError, Endpoint, Identity, MarbleCredentials, Trust, signed};

/// Most users that a v1 Coordinator may miss. It answers a number, which is not believed further.
const MAX_MISSING_USERS: i64 = 10_000;

/// A client of one Coordinator. Cheap to clone.
///
/// Calls of API v2 fall back to v1 where a Coordinator answers 405, as upstream's library does; those that v1 never had
/// (recovery, signed quotes, counters) do not. What only our Coordinators have is behind [`Client::v3`].
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) rest: Rest,
    /// The pinned root, with which signatures are verified.
    root: Option<Vec<u8>>,
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

    /// Speak as a Marble, to the Coordinator that activated it.
    #[must_use]
    pub fn marble(self, credentials: MarbleCredentials) -> Self {
        self.trust(credentials.trust).identity(credentials.identity)
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
        let root = match trust {
            Trust::Pinned(root) => Some(root),
            Trust::Anyone => None,
        };
        Ok(Client { rest, root })
    }
}

/// A manifest that somebody expects to be in force.
#[derive(Debug, Clone, Copy)]
pub enum ExpectedManifest<'a> {
    /// The bytes that were set.
    Raw(&'a [u8]),
    /// SHA-256 of those bytes.
    Fingerprint([u8; 32]),
}

impl ExpectedManifest<'_> {
    /// SHA-256 of it.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        match self {
            Self::Raw(raw) => signed::sha256(raw),
            Self::Fingerprint(fingerprint) => *fingerprint,
        }
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
        if is_405(&result) {
            let old: v1::Status = self.rest.get("/status", &[]).await?.object("status")?;
            return Ok(v2::Status { code: old.status_code, message: old.status_message });
        }
        result?.object("status")
    }

    /// The manifest in force, byte for byte. Its SHA-256 is checked against the fingerprint that came with it, and its
    /// signature with the pinned root (v1 Coordinators before 1.0 send none).
    ///
    /// A v1 Coordinator without a manifest answers an empty one; later ones refuse.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Trust`] if manifest, fingerprint and signature do not fit together.
    pub async fn manifest(&self) -> Result<v2::Manifest, ClientError> {
        let result = self.rest.get("/api/v2/manifest", &[]).await;
        let is_v1 = is_405(&result);
        let manifest = if is_v1 {
            let old: v1::Manifest = self.rest.get("/manifest", &[]).await?.object("manifest")?;
            v2::Manifest {
                manifest_signature_root_ecdsa: old.manifest_signature_root_ecdsa.unwrap_or_default(),
                manifest_fingerprint: old.manifest_signature,
                manifest: old.manifest.unwrap_or_default(),
            }
        } else {
            result?.object("manifest")?
        };
        let Base64(raw) = &manifest.manifest;
        let fingerprint = &manifest.manifest_fingerprint;
        if is_v1 && raw.is_empty() && fingerprint.is_empty() {
            return Ok(manifest);
        }
        if !fingerprint.eq_ignore_ascii_case(&hex::encode(signed::sha256(raw))) {
            let text = "the Coordinator's manifest does not have the fingerprint it states";
            return Err(ClientError::Trust(text.to_owned()));
        }
        let Base64(signature) = &manifest.manifest_signature_root_ecdsa;
        match &self.root {
            Some(root) if !(is_v1 && signature.is_empty()) => signed::check_manifest(root, raw, signature)?,
            _ => {}
        }
        Ok(manifest)
    }

    /// Makes sure that the manifest in force is the expected one, and answers it.
    ///
    /// # Errors
    /// [`ClientError::OtherManifest`], or what [`Client::manifest`] fails with.
    pub async fn verify_manifest(&self, expected: ExpectedManifest<'_>) -> Result<v2::Manifest, ClientError> {
        let manifest = self.manifest().await?;
        let expected = hex::encode(expected.fingerprint());
        if manifest.manifest_fingerprint.eq_ignore_ascii_case(&expected) {
            return Ok(manifest);
        }
        Err(ClientError::OtherManifest { expected, got: manifest.manifest_fingerprint })
    }

    /// Sets the first manifest. Answers the recovery secrets.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_manifest(&self, raw: &[u8]) -> Result<BTreeMap<String, Base64>, ClientError> {
        let body = json(&v2::ManifestRequest { manifest: raw.into() })?;
        let mut result = self.rest.post("/api/v2/manifest", body).await;
        if is_405(&result) {
            result = self.rest.post("/manifest", Some(raw.to_vec())).await;
        }
        match result? {
            Data::Nothing => Ok(BTreeMap::new()),
            data => Ok(data.object::<v2::ManifestSet>("recovery secrets")?.recovery_secrets),
        }
    }

    /// The update log, one JSON object a line.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn update_log(&self) -> Result<Vec<String>, ClientError> {
        let result = self.rest.get("/api/v2/update", &[]).await;
        if is_405(&result) {
            return match self.rest.get("/update", &[]).await? {
                Data::Json(Value::String(text)) => {
                    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
                }
                Data::Nothing => Ok(Vec::new()),
                Data::Json(_) => Err(ClientError::protocol("update log", "the answer is not text")),
            };
        }
        Ok(result?.object::<v2::UpdateLog>("update log")?.update_log)
    }

    /// Submits a package update or a full update.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn apply_update(&self, raw: &[u8]) -> Result<UpdateResult, ClientError> {
        let body = json(&v2::ManifestRequest { manifest: raw.into() })?;
        let mut result = self.rest.post("/api/v2/update", body).await;
        if is_405(&result) {
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
        if is_405(&result) {
            result = self.rest.get("/update-manifest", &[]).await;
        }
        result?.object("pending update")
    }

    /// Acknowledges the pending update; `raw` must be its exact bytes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn acknowledge_update(&self, raw: &[u8]) -> Result<UpdateResult, ClientError> {
        let body = json(&v2::ManifestRequest { manifest: raw.into() })?;
        let result = self.rest.post("/api/v2/update-manifest", body).await;
        if !is_405(&result) {
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
        let missing = first.parse().ok().filter(|missing| (0..=MAX_MISSING_USERS).contains(missing));
        let missing = missing.ok_or_else(|| ClientError::protocol(what, &text))?;
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
        if is_405(&result) {
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
        if is_405(&result) {
            return self.rest.get("/secrets", &query).await?.object("secrets");
        }
        Ok(result?.object::<v2::Secrets>("secrets")?.secrets)
    }

    /// Uploads user-defined secrets. Needs an identity with `WriteSecret`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_secrets(&self, secrets: BTreeMap<String, v2::UserSecret>) -> Result<(), ClientError> {
        let mut result =
            self.rest.post("/api/v2/secrets", json(&v2::SecretsSetRequest { secrets: secrets.clone() })?).await;
        if is_405(&result) {
            result = self.rest.post("/secrets", json(&secrets)?).await;
        }
        result.map(|_| ())
    }

    /// Uploads one recovery secret with the signature over the plain secret. The secret is the plain one, or encrypted with
    /// [`encrypt_recovery_secret`](crate::encrypt_recovery_secret).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn recover(&self, secret: &[u8], signature: &[u8]) -> Result<v2::Recover, ClientError> {
        self.upload_recovery_secret("/api/v2/recover", secret, signature).await
    }

    /// As [`Client::recover`], also where another Coordinator of the deployment runs and could give this one the key of the
    /// state.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn recover_forced(&self, secret: &[u8], signature: &[u8]) -> Result<v2::Recover, ClientError> {
        self.upload_recovery_secret("/api/v2/recover?force=true", secret, signature).await
    }

    async fn upload_recovery_secret(
        &self,
        path: &str,
        secret: &[u8],
        signature: &[u8],
    ) -> Result<v2::Recover, ClientError> {
        let body =
            json(&v2::RecoverRequest { recovery_secret: secret.into(), recovery_secret_signature: signature.into() })?;
        self.rest.post(path, body).await?.object("recovery")
    }

    /// The Coordinator's ephemeral RSA key (SPKI DER) for recovery secrets.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn recovery_public_key(&self) -> Result<Vec<u8>, ClientError> {
        let answer: v2::RecoveryPublicKey =
            self.rest.get("/api/v2/recover/public-key", &[]).await?.object("recovery public key")?;
        Ok(answer.ephemeral_public_key.0)
    }

    /// Has an SGX quote verified and signed by the Coordinator. The signature is checked with the pinned root; whoever gets
    /// the statement checks it with [`verify_signed_quote`](crate::verify_signed_quote). Needs the manifest's feature
    /// `SignQuoteEndpoint`.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Trust`] if the root did not sign the statement.
    pub async fn sign_quote(&self, quote: &[u8]) -> Result<v2::SignQuote, ClientError> {
        let body = json(&v2::SignQuoteRequest { sgx_quote: quote.into() })?;
        let statement: v2::SignQuote = self.rest.post("/api/v2/sign-quote", body).await?.object("signed quote")?;
        if let Some(root) = &self.root {
            signed::verify_signed_quote(root, quote, &statement)?;
        }
        Ok(statement)
    }

    /// Raises a monotonic counter of this Marble; answers the value before. A value that is not greater changes nothing, so
    /// 0 reads the counter. Needs a Marble's identity ([`MarbleCredentials`]) and the manifest's feature
    /// `MonotonicCounter`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_monotonic_counter(&self, name: &str, value: u64) -> Result<u64, ClientError> {
        let body = json(&v2::MonotonicCounterRequest { name: name.to_owned(), value })?;
        let answer: v2::MonotonicCounter =
            self.rest.post("/api/v2/monotonic-counter", body).await?.object("monotonic counter")?;
        Ok(answer.value)
    }
}

fn update_result(data: Data) -> Result<UpdateResult, ClientError> {
    let answer: v2::UpdateApplied = data.object("update")?;
    Ok(UpdateResult {
        missing_acknowledgments: answer.missing_acknowledgments,
        missing_users: answer.missing_users.unwrap_or_default(),
        recovery_secrets: answer.recovery_secrets.unwrap_or_default(),
    })
}
