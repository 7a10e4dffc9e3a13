//! The AdmissionReview on the wire, in both versions the API server may ask in. Upstream's texts and order of
//! fields; each review is answered in the version it came in, for the API server takes no other.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::decision::Decision;
use super::pod::InvalidPod;

const V1: &str = "admission.k8s.io/v1";
const V1BETA1: &str = "admission.k8s.io/v1beta1";
const KIND: &str = "AdmissionReview";

/// A review that cannot be answered, because it does not ask about a pod.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// It is none.
    #[error("invalid admission review: {0}")]
    NotAReview(String),
    /// It asks nothing.
    #[error("empty admission request")]
    NoRequest,
    /// It asks about something else.
    #[error("invalid pod: {0}")]
    NotAPod(String),
}

impl From<InvalidPod> for ReviewError {
    fn from(invalid: InvalidPod) -> Self {
        Self::NotAPod(invalid.to_string())
    }
}

/// A question of the API server about a pod.
#[derive(Debug)]
pub(super) struct Review {
    version: &'static str,
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) pod: Value,
}

#[derive(Deserialize)]
struct Received {
    #[serde(rename = "apiVersion")]
    api_version: Option<String>,
    kind: Option<String>,
    request: Option<ReceivedRequest>,
}

#[derive(Deserialize)]
struct ReceivedRequest {
    uid: Option<String>,
    namespace: Option<String>,
    operation: Option<String>,
    object: Option<Value>,
}

impl Review {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ReviewError> {
        let not_a_review = |error: String| ReviewError::NotAReview(error);
        let received: Received = serde_json::from_slice(body).map_err(|error| not_a_review(error.to_string()))?;
        let version = match received.api_version.as_deref() {
            // As upstream, which does not look at it.
            None | Some("" | V1) => V1,
            Some(V1BETA1) => V1BETA1,
            Some(other) => return Err(not_a_review(format!("apiVersion {other:?} is neither {V1} nor {V1BETA1}"))),
        };
        if let Some(kind) = received.kind
            && !matches!(&*kind, "" | KIND)
        {
            return Err(not_a_review(format!("kind {kind:?} is not {KIND}")));
        }
        let request = received.request.ok_or(ReviewError::NoRequest)?;
        let pod = request.object.ok_or_else(|| {
            let operation = request.operation.as_deref().unwrap_or("unknown");
            ReviewError::NotAPod(format!(
                "request.object is missing (operation {operation}); the webhook is to be registered for CREATE of pods alone"
            ))
        })?;
        if let Some(kind) = pod.get("kind").filter(|kind| !kind.is_null())
            && kind != "Pod"
        {
            return Err(ReviewError::NotAPod(format!("its kind is {kind}")));
        }
        let namespace = request.namespace.filter(|namespace| !namespace.is_empty());
        Ok(Self {
            version,
            uid: request.uid.unwrap_or_default(),
            namespace: namespace.unwrap_or_else(|| "default".to_owned()),
            pod,
        })
    }

    pub(super) fn answer(&self, decision: &Decision) -> Result<String, serde_json::Error> {
        let (allowed, status, message) = match decision {
            Decision::Denied(refusal) => (false, "Failure", refusal.to_string()),
            Decision::Injected { marble_type, .. } => {
                (true, "Success", format!("Mutation request for pod of marble type [{marble_type}] successful"))
            }
        };
        let mut response = Response {
            uid: &self.uid,
            allowed,
            status: Status { metadata: Empty {}, status, message },
            patch: None,
            patch_type: None,
            warnings: &[],
        };
        if let Decision::Injected { patch, warnings, .. } = decision {
            // The API server refuses a type of patch without a patch.
            if !patch.0.is_empty() {
                response.patch = Some(BASE64_STANDARD.encode(serde_json::to_vec(patch)?));
                response.patch_type = Some("JSONPatch");
            }
            response.warnings = warnings;
        }
        serde_json::to_string(&Answer { kind: KIND, api_version: self.version, response })
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    kind: &'static str,
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
}

#[derive(Serialize)]
struct Status {
    metadata: Empty,
    status: &'static str,
    message: String,
}

#[derive(Serialize)]
struct Empty {}
