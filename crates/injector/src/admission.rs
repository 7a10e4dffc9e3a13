//! The decision: which pods become Marbles, and what is added to them. No I/O, no clock, no global.
//!
//! Whoever may create pods chooses every byte here, so nothing of a pod is trusted to have a form, and a fault
//! that one of them finds refuses that pod and nothing else.

mod additions;
mod decision;
pub(crate) mod dns;
mod environment;
mod labels;
mod pod;
mod review;
mod rules;
mod sgx;
mod uuid_volume;
mod warnings;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use decision::{Decision, Refusal, decide};
pub use pod::InvalidPod;
pub use review::ReviewError;
pub use rules::Rules;
pub use sgx::{ALIBABA, AZURE, INTEL, NotAResource, SgxResource};

use review::Review;

/// The answer to a review, and what the log says of it.
#[derive(Debug)]
pub struct Answer {
    /// AdmissionReview, JSON.
    pub body: String,
    /// UID of the request.
    pub uid: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod, or what its name will begin with.
    pub pod: String,
    /// What was decided.
    pub decision: Decision,
}

/// Answers a review.
///
/// # Errors
/// [`ReviewError`] if it is no review of a pod.
pub fn answer(body: &[u8], rules: &Rules) -> Result<Answer, ReviewError> {
    let review = Review::parse(body)?;
    let decision = contain(&review.uid, || decide(&review.pod, &review.namespace, &review.uid, rules))?;
    let body = review.answer(&decision).map_err(|error| ReviewError::NotAReview(error.to_string()))?;
    let metadata = review.pod.get("metadata");
    let name = |key| metadata.and_then(|metadata| metadata.get(key)).and_then(serde_json::Value::as_str);
    let pod = name("name").or_else(|| name("generateName")).unwrap_or_default().to_owned();
    Ok(Answer { body, uid: review.uid, namespace: review.namespace, pod, decision })
}

/// A fault is a refusal: an answer with an error would let the pod through where the webhook is registered
/// with `failurePolicy: Ignore`.
fn contain(uid: &str, decide: impl FnOnce() -> Result<Decision, InvalidPod>) -> Result<Decision, InvalidPod> {
    catch_unwind(AssertUnwindSafe(decide))
        .unwrap_or_else(|_| Ok(Decision::Denied(Refusal::Fault { uid: uid.to_owned() })))
}

#[cfg(test)]
mod tests;
