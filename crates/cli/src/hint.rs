//! What to do next, where an error itself cannot know: it tells what a library or a Coordinator said.

use std::path::{Path, PathBuf};

use marblerun_client::{AttestError, ClientError, NoAnswer, Refusal};

use crate::failure::ClusterFailure;
use crate::identity::FlagError;

/// What the Coordinator says where a request does not fit its state.
const WRONG_STATE: [&str; 2] = ["server is not in expected state", "requested value not set"];

/// The next step after that error, if there is one to name. `cache_of`: the certificate cache for an address.
pub fn hint(error: &anyhow::Error, cache_of: impl Fn(&str) -> Option<PathBuf>) -> Option<String> {
    if let Some(flags) = error.chain().find_map(|cause| cause.downcast_ref::<FlagError>()) {
        return Some(flags.hint.to_owned());
    }
    if let Some(cluster) = error.chain().find_map(|cause| cause.downcast_ref::<ClusterFailure>()) {
        return of_cluster(cluster).map(str::to_owned);
    }
    match error.chain().find_map(|cause| cause.downcast_ref::<ClientError>())? {
        ClientError::Transport { why: NoAnswer::Untrusted, url, .. } => {
            Some(after_another_root(cache_of(address_of(url)).as_deref()))
        }
        ClientError::Transport { why, method, .. } => after_no_answer(*why, method).map(str::to_owned),
        ClientError::Unauthorized { .. } => {
            Some("certificate and key (--cert, --key, or those on a token) must be a user's whom the manifest in force names.".to_owned())
        }
        ClientError::Attestation(error) if matches!(**error, AttestError::Evidence(_)) => Some(
            "--insecure skips the verification of evidence; that is for test deployments only.".to_owned(),
        ),
        ClientError::Refused(refusal) if WRONG_STATE.iter().any(|text| refusal.message.contains(text)) => {
            Some(after_wrong_state(refusal).to_owned())
        }
        _ => None,
    }
}

fn of_cluster(failure: &ClusterFailure) -> Option<&'static str> {
    match failure {
        ClusterFailure::Unreachable(_) => {
            Some("is this the right cluster? 'kubectl config current-context' tells; --kube-context chooses another.")
        }
        ClusterFailure::Untrusted(_) => Some("the kubeconfig is of another cluster, or older than the cluster's CA."),
        ClusterFailure::Credentials(_) | ClusterFailure::Denied(_) => {
            Some("'marblerun doctor' tells which rights are needed and missing.")
        }
        ClusterFailure::Conflict(_) | ClusterFailure::Refused(_) => None,
    }
}

/// HOST:PORT of a URL.
fn address_of(url: &str) -> &str {
    let address = url.strip_prefix("https://").unwrap_or(url);
    address.split_once('/').map_or(address, |(address, _)| address)
}

fn after_another_root(cache: Option<&Path>) -> String {
    let cache = cache.map(|path| format!(" ({})", path.display())).unwrap_or_default();
    format!(
        "the Coordinator's certificate is not the cached root{cache}. It may be another deployment, or be in recovery \
         mode (then it has a temporary root): 'marblerun status' tells. If the change is right, \
         'marblerun manifest verify' verifies it and renews the cache."
    )
}

fn after_no_answer(why: NoAnswer, method: &str) -> Option<&'static str> {
    match why {
        NoAnswer::Silent | NoAnswer::Other if method == "POST" => Some(
            "if the connection broke after it was made, it is not known whether the Coordinator did what was asked: \
             'marblerun status' and 'marblerun manifest log' tell. --timeout sets how many seconds to wait for an answer.",
        ),
        NoAnswer::Unreachable => Some(
            "is the Coordinator running, and is this the address of its client API (EDG_COORDINATOR_CLIENT_ADDR, \
             port 4433 by default)?",
        ),
        NoAnswer::Silent => Some("--timeout sets how many seconds to wait for an answer."),
        NoAnswer::WrongName => Some(
            "connect to a name or address that the certificate has. EDG_COORDINATOR_DNS_NAMES of the Coordinator \
             sets them, when a deployment is made.",
        ),
        NoAnswer::Untrusted | NoAnswer::Other => None,
    }
}

fn after_wrong_state(refusal: &Refusal) -> &'static str {
    if refusal.url.contains("/recover") {
        "the Coordinator is not in recovery mode, so there is nothing to recover; 'marblerun status' tells its state."
    } else if refusal.method == "POST" && refusal.url.ends_with("/manifest") {
        "a manifest is in force already, and can be set only once. 'marblerun manifest verify' compares it with yours."
    } else {
        "this needs a manifest in force. 'marblerun status -i ADDRESS' tells whether the Coordinator waits for one, \
         or for its recovery."
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(method: &'static str, path: &str, message: &str) -> anyhow::Error {
        let error = ClientError::Refused(Box::new(Refusal {
            method,
            url: format!("https://localhost:4433{path}"),
            code: 500,
            reason: "Internal Server Error".to_owned(),
            status: "error".to_owned(),
            message: message.to_owned(),
            data: String::new(),
        }));
        anyhow::Error::new(error).context("what was tried")
    }

    #[test]
    fn a_request_that_does_not_fit_the_state_is_told_which_state_it_needs() {
        for (method, path, message, expected) in [
            ("POST", "/api/v2/manifest", "server is not in expected state", "in force already"),
            ("GET", "/api/v2/manifest", "requested value not set", "needs a manifest in force"),
            ("GET", "/api/v2/secrets?s=a", "server is not in expected state", "needs a manifest in force"),
            ("POST", "/api/v2/recover", "server is not in expected state", "nothing to recover"),
            (
                "POST",
                "/api/v2/recover",
                "failed to decrypt recovery secret: server is not in expected state",
                "nothing to recover",
            ),
            ("GET", "/api/v2/recover/public-key", "server is not in expected state", "nothing to recover"),
        ] {
            let hint = hint(&refused(method, path, message), |_| None).unwrap();
            assert!(hint.contains(expected), "{method} {path}: {hint}");
        }
        assert_eq!(hint(&refused("POST", "/api/v2/manifest", "checking manifest: no packages"), |_| None), None);
    }

    fn unanswered(method: &'static str, why: NoAnswer) -> anyhow::Error {
        let url = "https://localhost:4433/api/v2/update".to_owned();
        ClientError::Transport { method, url, reason: "no answer".to_owned(), why }.into()
    }

    #[test]
    fn after_a_change_without_an_answer_it_is_said_that_it_may_have_been_made() {
        for (method, why, is_uncertain) in [
            ("POST", NoAnswer::Silent, true),
            ("POST", NoAnswer::Other, true),
            ("POST", NoAnswer::Unreachable, false),
            ("GET", NoAnswer::Silent, false),
        ] {
            let hint = hint(&unanswered(method, why), |_| None).unwrap();
            assert_eq!(hint.contains("not known whether"), is_uncertain, "{method} {why:?}: {hint}");
        }
    }

    #[test]
    fn the_cache_that_is_told_is_the_one_for_the_address_that_was_asked() {
        let error = unanswered("GET", NoAnswer::Untrusted);
        let hint = hint(&error, |address| Some(PathBuf::from(format!("/cache/{address}")))).unwrap();
        assert!(hint.contains("(/cache/localhost:4433)"), "{hint}");
    }
}
