//! What an answer means. Pure: from status and body to the words that the store understands.
//!
//! Only what an API server says of the very object that was asked for counts as certain. A 404 of a proxy, a 200 that is
//! no object, a 5xx, silence: everything else is "perhaps".

use http::StatusCode;
use marblerun_store::cluster::{PlaceError, WriteFailure};
use serde::Deserialize;

use crate::exchange::{Answer, NoAnswer};

/// What was asked for, as a Role names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) verb: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a str,
}

impl std::fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {} in namespace {}", self.verb, self.resource, self.name, self.namespace)
    }
}

/// A Kubernetes `Status`, as far as it matters.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    kind: String,
    message: String,
    reason: String,
    details: Details,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    name: String,
    kind: String,
    causes: Vec<Cause>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cause {
    reason: String,
    message: String,
}

impl Status {
    fn of(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok().filter(|status: &Self| status.kind == "Status")
    }

    fn names(&self, asked: Asked<'_>) -> bool {
        self.reason == "NotFound" && self.details.kind == asked.resource && self.details.name == asked.name
    }

    fn lacks_namespace(&self, asked: Asked<'_>) -> bool {
        self.reason == "NotFound" && self.details.kind == "namespaces" && self.details.name == asked.namespace
    }

    fn is_ending(&self) -> bool {
        self.details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
    }

    /// The values, or the object as the database takes it.
    fn is_too_large(&self) -> bool {
        let causes = &self.details.causes;
        causes.iter().any(|cause| cause.reason == "FieldValueTooLong" || cause.message.starts_with("Too long"))
            || self.message.contains("etcdserver: request is too large")
    }
}

/// How an answer reads to people. Foreign text is cut short and loses what could steer a terminal.
fn told(answer: &Answer) -> String {
    let text = Status::of(&answer.body).map_or_else(
        || String::from_utf8_lossy(answer.body.get(..400).unwrap_or(&answer.body)).into_owned(),
        |status| status.message,
    );
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
    format!("{}: {}", answer.status.as_u16(), text.trim())
}

/// A read that was answered by what was asked for: `Ok(Some)`, or that it is not there: `Ok(None)`.
pub(crate) fn of_read(asked: Asked<'_>, answer: Result<Answer, NoAnswer>) -> Result<Option<Answer>, PlaceError> {
    let answer = answer.map_err(|none| PlaceError::Unreachable(silence(asked, &none)))?;
    match answer.status {
        StatusCode::OK => Ok(Some(answer)),
        StatusCode::NOT_FOUND if Status::of(&answer.body).is_some_and(|status| status.names(asked)) => Ok(None),
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Err(PlaceError::Forbidden(denial(asked, &answer))),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Err(unreachable(asked, &answer)),
        status if status.is_server_error() => Err(unreachable(asked, &answer)),
        _ => Err(PlaceError::Malformed(format!("{asked}: {}", told(&answer)))),
    }
}

/// A write that was acknowledged; what it made of the object is still to be compared.
pub(crate) fn of_write(asked: Asked<'_>, answer: Result<Answer, NoAnswer>) -> Result<Answer, WriteFailure> {
    let answer = answer.map_err(|none| WriteFailure::InDoubt {
        reason: silence(asked, &none),
        conflict: false,
        retry_after: if let NoAnswer::HeldOff(wait) = none { Some(wait) } else { None },
    })?;
    let told = || format!("{asked}: {}", told(&answer));
    let status = Status::of(&answer.body);
    let says = |what: fn(&Status, Asked<'_>) -> bool| status.as_ref().is_some_and(|status| what(status, asked));
    match answer.status {
        StatusCode::OK | StatusCode::CREATED => Ok(answer),
        StatusCode::NOT_FOUND if says(Status::names) => Err(WriteFailure::Missing),
        StatusCode::NOT_FOUND if says(Status::lacks_namespace) => Err(WriteFailure::Refused(format!(
            "namespace {} does not exist; create it, or set EDG_K8S_NAMESPACE to the one that does",
            asked.namespace
        ))),
        StatusCode::FORBIDDEN if says(|status, _| status.is_ending()) => Err(WriteFailure::Refused(format!(
            "namespace {} is being deleted, so nothing can be written there",
            asked.namespace
        ))),
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Err(WriteFailure::Forbidden(denial(asked, &answer))),
        StatusCode::PAYLOAD_TOO_LARGE => Err(WriteFailure::TooLarge(told())),
        _ if says(|status, _| status.is_too_large()) => Err(WriteFailure::TooLarge(told())),
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST if status.is_some() => {
            Err(WriteFailure::Refused(told()))
        }
        code => Err(WriteFailure::InDoubt {
            reason: told(),
            conflict: code == StatusCode::CONFLICT,
            retry_after: answer.retry_after,
        }),
    }
}

/// The same failure for what lies beside the object: there a doubt is answered by trying again.
pub(crate) fn beside(asked: Asked<'_>, failure: WriteFailure) -> PlaceError {
    match failure {
        WriteFailure::InDoubt { reason, .. } => PlaceError::Unreachable(reason),
        WriteFailure::Missing => PlaceError::Unreachable(format!("{asked}: it was deleted at this moment")),
        WriteFailure::Forbidden(why) => PlaceError::Forbidden(why),
        WriteFailure::TooLarge(why) | WriteFailure::Refused(why) => PlaceError::Refused(why),
    }
}

/// An acknowledgement that is not one of what was sent.
pub(crate) fn not_as_sent(asked: Asked<'_>, what: &str) -> WriteFailure {
    WriteFailure::InDoubt {
        reason: format!(
            "{asked}: the answer is not what was sent ({what}); an admission webhook or a proxy may change it"
        ),
        conflict: false,
        retry_after: None,
    }
}

fn unreachable(asked: Asked<'_>, answer: &Answer) -> PlaceError {
    PlaceError::Unreachable(format!("{asked}: {}", told(answer)))
}

fn silence(asked: Asked<'_>, none: &NoAnswer) -> String {
    match none {
        NoAnswer::Lost(why) => format!("{asked}: no answer from the API server: {why}"),
        NoAnswer::HeldOff(wait) => {
            format!("{asked}: the API server asked not to be asked again for {} ms", wait.as_millis())
        }
    }
}

fn denial(asked: Asked<'_>, answer: &Answer) -> String {
    if answer.status == StatusCode::UNAUTHORIZED {
        return format!(
            "{asked}: the API server does not accept this account's token (401): it may have expired, or the account was deleted"
        );
    }
    let Asked { verb, resource, name, namespace } = asked;
    format!(
        "this account may not {verb} {resource} {name} in namespace {namespace}: its Role there lacks the verb {verb} ({})",
        told(answer)
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ASKED: Asked<'_> = Asked { verb: "update", resource: "secrets", name: "marblerun-state", namespace: "ns" };

    fn answer(status: u16, body: &str) -> Result<Answer, NoAnswer> {
        let status = StatusCode::from_u16(status).unwrap();
        Ok(Answer { status, retry_after: Some(Duration::from_secs(7)), date: None, body: body.as_bytes().to_vec() })
    }

    fn status(code: u16, reason: &str, details: &str) -> Result<Answer, NoAnswer> {
        answer(
            code,
            &format!(r#"{{"kind":"Status","message":"said","reason":"{reason}","details":{details},"code":{code}}}"#),
        )
    }

    const THIS: &str = r#"{"kind":"secrets","name":"marblerun-state"}"#;

    #[test]
    fn only_the_api_server_says_that_it_is_not_there() {
        assert!(matches!(of_read(ASKED, status(404, "NotFound", THIS)), Ok(None)));
        let others =
            [answer(404, "<html>"), answer(404, ""), status(404, "NotFound", r#"{"kind":"secrets","name":"x"}"#)];
        for other in others {
            assert!(matches!(of_read(ASKED, other), Err(PlaceError::Malformed(_))));
        }
        assert!(matches!(of_write(ASKED, status(404, "NotFound", THIS)), Err(WriteFailure::Missing)));
        assert!(matches!(of_write(ASKED, answer(404, "<html>")), Err(WriteFailure::InDoubt { conflict: false, .. })));
        let no_namespace = of_write(ASKED, status(404, "NotFound", r#"{"kind":"namespaces","name":"ns"}"#));
        assert!(matches!(no_namespace, Err(WriteFailure::Refused(why)) if why.contains("EDG_K8S_NAMESPACE")));
    }

    #[test]
    fn what_may_be_better_next_time_is_unreachable_or_in_doubt() {
        for code in [408, 429, 500, 502, 503, 504, 599] {
            assert!(matches!(of_read(ASKED, answer(code, "x")), Err(PlaceError::Unreachable(_))), "{code}");
        }
        for code in [100, 202, 204, 301, 405, 408, 410, 429, 500, 502, 503, 504, 599] {
            let failure = of_write(ASKED, status(code, "", "{}")).unwrap_err();
            let wait = Some(Duration::from_secs(7));
            assert!(
                matches!(&failure, WriteFailure::InDoubt { conflict: false, retry_after, .. } if *retry_after == wait),
                "{code}: {failure:?}"
            );
        }
        for code in [204, 301, 400, 405, 410, 422] {
            assert!(matches!(of_read(ASKED, answer(code, "x")), Err(PlaceError::Malformed(_))), "{code}");
        }
    }

    #[test]
    fn a_conflict_is_a_doubt_too() {
        let conflict = of_write(ASKED, status(409, "Conflict", THIS));
        assert!(matches!(conflict, Err(WriteFailure::InDoubt { conflict: true, .. })));
    }

    #[test]
    fn too_large_is_told_from_refused() {
        let large =
            r#"{"causes":[{"reason":"FieldValueTooLong","message":"Too long: may not be more than 1048576 bytes"}]}"#;
        let immutable = r#"{"causes":[{"reason":"FieldValueForbidden","message":"Forbidden: field is immutable"}]}"#;
        assert!(matches!(of_write(ASKED, status(422, "Invalid", large)), Err(WriteFailure::TooLarge(_))));
        assert!(matches!(of_write(ASKED, answer(413, "")), Err(WriteFailure::TooLarge(_))));
        let etcd = r#"{"kind":"Status","message":"etcdserver: request is too large","code":500}"#;
        assert!(matches!(of_write(ASKED, answer(500, etcd)), Err(WriteFailure::TooLarge(_))));
        assert!(matches!(of_write(ASKED, status(422, "Invalid", immutable)), Err(WriteFailure::Refused(_))));
        assert!(matches!(of_write(ASKED, status(400, "BadRequest", "{}")), Err(WriteFailure::Refused(_))));
        assert!(matches!(of_write(ASKED, answer(422, "proxy")), Err(WriteFailure::InDoubt { .. })));
    }

    #[test]
    fn a_denial_names_verb_and_object() {
        let Err(PlaceError::Forbidden(why)) = of_read(ASKED, status(403, "Forbidden", "{}")) else { panic!() };
        assert!(why.contains("may not update secrets marblerun-state in namespace ns"), "{why}");
        assert!(matches!(of_write(ASKED, status(403, "Forbidden", "{}")), Err(WriteFailure::Forbidden(_))));
        let Err(WriteFailure::Forbidden(why)) = of_write(ASKED, answer(401, "")) else { panic!() };
        assert!(why.contains("token"), "{why}");
        let ending = r#"{"causes":[{"reason":"NamespaceTerminating"}]}"#;
        let refused = of_write(ASKED, status(403, "Forbidden", ending));
        assert!(matches!(refused, Err(WriteFailure::Refused(why)) if why.contains("being deleted")));
    }

    #[test]
    fn strangers_texts_are_short_and_steer_no_terminal() {
        let Err(PlaceError::Malformed(why)) = of_read(ASKED, answer(418, &"\u{1b}[2J\n".repeat(1000))) else {
            panic!()
        };
        assert!(!why.contains('\u{1b}') && !why.contains('\n') && why.len() < 600, "{why}");
    }

    #[test]
    fn without_an_answer_nothing_is_certain() {
        let lost = || Err(NoAnswer::Lost("reset".to_owned()));
        assert!(matches!(of_read(ASKED, lost()), Err(PlaceError::Unreachable(_))));
        assert!(matches!(of_write(ASKED, lost()), Err(WriteFailure::InDoubt { conflict: false, .. })));
        let wait = Duration::from_secs(2);
        let held = of_write(ASKED, Err(NoAnswer::HeldOff(wait)));
        assert!(matches!(held, Err(WriteFailure::InDoubt { retry_after: Some(told), .. }) if told == wait));
    }
}
