//! Kinds of failure, for scripts: with `--exit-code` each has an exit code of its own.

use marblerun_client::{ClientError, EraConfigError, NoAnswer};
use marblerun_install::values::ValuesError;
use marblerun_kubernetes::config::ConfigError;
use serde::Serialize;

use crate::identity::FlagError;

/// A kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// None of the others.
    Other,
    /// The Coordinator is not who it should be, or could not prove it.
    Trust,
    /// There was no answer.
    Unreachable,
    /// The user may not do this.
    Denied,
    /// The Coordinator is in another state than this needs.
    Conflict,
    /// The command line is wrong.
    Usage,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Other, Self::Trust, Self::Unreachable, Self::Denied, Self::Conflict, Self::Usage];

    /// The exit code with `--exit-code`.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Trust => 10,
            Self::Unreachable => 11,
            Self::Denied => 12,
            Self::Conflict => 13,
            Self::Usage => 64,
        }
    }

    /// What it means, for the reference.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Other => "anything else",
            Self::Trust => "the Coordinator or API server could not prove who it is, or is not the one expected",
            Self::Unreachable => "no answer",
            Self::Denied => "the user may not do this",
            Self::Conflict => "the Coordinator or the cluster is in another state than this needs",
            Self::Usage => "the command line is wrong",
        }
    }

    /// The kind of an error of any command.
    pub fn of(error: &anyhow::Error) -> Self {
        for cause in error.chain() {
            if let Some(failure) = cause.downcast_ref::<Failure>() {
                return failure.kind;
            }
            if cause.is::<FlagError>() {
                return Self::Usage;
            }
            if let Some(EraConfigError::InsecureSkipVerify | EraConfigError::NoIdentity) = cause.downcast_ref() {
                return Self::Trust;
            }
            if let Some(client) = cause.downcast_ref::<ClientError>() {
                return Self::of_client(client);
            }
            if let Some(cluster) = cause.downcast_ref::<ClusterFailure>() {
                return cluster.kind();
            }
            if cause.is::<ConfigError>() || cause.is::<ValuesError>() {
                return Self::Usage;
            }
        }
        Self::Other
    }

    fn of_client(error: &ClientError) -> Self {
        match error {
            ClientError::Address { .. } => Self::Usage,
            ClientError::Transport { why: NoAnswer::Untrusted | NoAnswer::WrongName, .. }
            | ClientError::Attestation(_)
            | ClientError::Trust(_) => Self::Trust,
            ClientError::Transport { why: NoAnswer::Unreachable | NoAnswer::Silent | NoAnswer::Other, .. } => {
                Self::Unreachable
            }
            // Empty: there is none.
            ClientError::OtherManifest { got, .. } if got.is_empty() => Self::Conflict,
            ClientError::OtherManifest { .. } => Self::Trust,
            ClientError::Problem { problem, .. } => Self::of_refusal(problem.status, &problem.detail),
            ClientError::Unauthorized { .. } => Self::Denied,
            ClientError::Refused(refusal) => Self::of_refusal(refusal.code, &refusal.message),
            ClientError::NoV3 { .. }
            | ClientError::Protocol { .. }
            | ClientError::Recovery(_)
            | ClientError::Identity(_) => Self::Other,
        }
    }

    /// v1 and v2 answer most refusals with 500; their texts are part of the protocol.
    fn of_refusal(code: u16, message: &str) -> Self {
        const CONFLICTS: [&str; 6] = [
            "server is not in expected state",
            "requested value not set",
            "update already in progress",
            "no update in progress",
            "does not match the pending manifest",
            "cannot be set again",
        ];
        match code {
            401 | 403 => Self::Denied,
            409 => Self::Conflict,
            _ if message.contains("is not allowed to") => Self::Denied,
            _ if CONFLICTS.iter().any(|text| message.contains(text)) => Self::Conflict,
            _ => Self::Other,
        }
    }
}

/// A failure of a known kind that was found on this side.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    kind: Kind,
    text: String,
}

impl Failure {
    /// The command line is wrong.
    pub fn usage(text: impl Into<String>) -> anyhow::Error {
        Self { kind: Kind::Usage, text: text.into() }.into()
    }

    /// The Coordinator is not who it should be.
    pub fn trust(text: impl Into<String>) -> anyhow::Error {
        Self { kind: Kind::Trust, text: text.into() }.into()
    }

    /// The Coordinator is in another state than this needs.
    pub fn conflict(text: impl Into<String>) -> anyhow::Error {
        Self { kind: Kind::Conflict, text: text.into() }.into()
    }
}

/// What the API server of a cluster said, or that it said nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterFailure {
    /// No answer.
    #[error("the API server of the cluster does not answer: {0}")]
    Unreachable(String),
    /// An answer from somebody else.
    #[error("the API server is not the one that the kubeconfig trusts: {0}")]
    Untrusted(String),
    /// The kubeconfig's credentials cannot be had.
    #[error("the credentials of the kubeconfig cannot be used: {0}")]
    Credentials(String),
    /// The user is unknown, or may not do that.
    #[error("the cluster does not allow this: {0}")]
    Denied(String),
    /// The object is in another state.
    #[error("the API server refuses: {0}")]
    Conflict(String),
    /// Any other refusal.
    #[error("the API server refuses: {0}")]
    Refused(String),
}

impl ClusterFailure {
    /// Of an answer.
    pub fn of_status(status: &kube::core::Status) -> Self {
        let text = if status.message.is_empty() { status.reason.clone() } else { status.message.clone() };
        match status.code {
            401 | 403 => Self::Denied(text),
            409 => Self::Conflict(text),
            _ => Self::Refused(text),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Unreachable(_) => Kind::Unreachable,
            Self::Untrusted(_) => Kind::Trust,
            Self::Credentials(_) | Self::Denied(_) => Kind::Denied,
            Self::Conflict(_) => Kind::Conflict,
            Self::Refused(_) => Kind::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use marblerun_client::AttestError;

    use super::*;

    #[test]
    fn refusals_of_the_old_api_versions_are_told_apart_by_their_texts() {
        for (code, message, kind) in [
            (500, "user bob is not allowed to update one or more packages of [frontend]", Kind::Denied),
            (500, "server is not in expected state", Kind::Conflict),
            (404, "no update in progress", Kind::Conflict),
            (500, "checking manifest: no allowed packages defined", Kind::Other),
            (403, "", Kind::Denied),
            (409, "", Kind::Conflict),
            (502, "", Kind::Other),
        ] {
            assert_eq!(Kind::of_refusal(code, message), kind, "{code} {message}");
        }
    }

    #[test]
    fn no_answer_is_told_from_an_answer_of_somebody_else_and_from_one_without_proof() {
        let unanswered = |why| ClientError::Transport {
            method: "GET",
            url: "https://localhost:4433/api/v2/status".to_owned(),
            reason: "no answer".to_owned(),
            why,
        };
        for (error, kind) in [
            (unanswered(NoAnswer::Unreachable), Kind::Unreachable),
            (unanswered(NoAnswer::Silent), Kind::Unreachable),
            (unanswered(NoAnswer::Other), Kind::Unreachable),
            (unanswered(NoAnswer::Untrusted), Kind::Trust),
            (unanswered(NoAnswer::WrongName), Kind::Trust),
            (AttestError::NoEvidence.into(), Kind::Trust),
            (ClientError::OtherManifest { expected: "ab".to_owned(), got: "cd".to_owned() }, Kind::Trust),
            (ClientError::OtherManifest { expected: "ab".to_owned(), got: String::new() }, Kind::Conflict),
        ] {
            let text = error.to_string();
            assert_eq!(Kind::of(&anyhow::Error::new(error).context("x")), kind, "{text}");
        }
    }

    #[test]
    fn flags_that_do_not_go_together_are_a_wrong_command_line_and_a_policy_that_trusts_anybody_is_no_trust() {
        let flags = FlagError::one_required("cert key", "give one");
        assert_eq!(Kind::of(&anyhow::Error::new(flags).context("x")), Kind::Usage);
        assert_eq!(Kind::of(&anyhow::Error::new(EraConfigError::NoIdentity).context("reading era.json")), Kind::Trust);
    }

    #[test]
    fn the_kind_is_found_below_any_context() {
        let error = Failure::trust("x").context("y").context("z");
        assert_eq!(Kind::of(&error), Kind::Trust);
        assert_eq!(Kind::of(&anyhow::anyhow!("x")), Kind::Other);
    }

    #[test]
    fn no_two_kinds_share_an_exit_code_or_that_of_a_status() {
        let codes: std::collections::BTreeSet<u8> = Kind::ALL.iter().map(|kind| kind.exit_code()).collect();
        assert_eq!(codes.len(), Kind::ALL.len());
        assert!(![0, 2, 3, 4, 5].iter().any(|code| codes.contains(code)));
    }
}
