//! Lines of the update log: one JSON object each, with upstream's keys in upstream's order. Auditors
//! compare these byte for byte, so they are written here and nowhere else. Times are UTC.

use jiff::Timestamp;
use serde::Serialize;

/// What happened.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry<'a> {
    /// The first manifest, or one set over a state that could not be opened.
    ManifestSet,
    /// A user uploaded a value.
    SecretSet { user: &'a str, secret: &'a str, kind: &'a str },
    /// A package update.
    SecurityVersion { user: &'a str, package: &'a str, version: u64 },
    /// A full update that waits for others.
    UpdateInitiated(Progress<'a>),
    /// A full update that waits for nobody.
    UpdateInitiatedAlone { user: &'a str, fingerprint: &'a str },
    /// Somebody acknowledged.
    UpdateAcknowledged(Progress<'a>),
    /// The new manifest is in force.
    UpdateApplied { fingerprint: &'a str },
    /// Somebody cancelled.
    UpdateCancelled { user: &'a str, fingerprint: &'a str },
    /// The last acknowledgement came, but the update could not be applied.
    UpdateFailed { fingerprint: &'a str },
}

/// How far a full update is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress<'a> {
    /// Who did this step.
    pub user: &'a str,
    /// Acknowledgements still needed.
    pub missing: i64,
    /// Who has not acknowledged.
    pub missing_users: &'a [String],
    /// Of the new manifest.
    pub fingerprint: &'a str,
}

/// All keys of all lines, in the order in which they are written.
#[derive(Default, Serialize)]
struct Line<'a> {
    time: String,
    update: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<&'a str>,
    #[serde(rename = "new version", skip_serializing_if = "Option::is_none")]
    new_version: Option<u64>,
    #[serde(rename = "missingAcknowledgments", skip_serializing_if = "Option::is_none")]
    missing: Option<i64>,
    #[serde(rename = "missingUsers", skip_serializing_if = "Option::is_none")]
    missing_users: Option<&'a [String]>,
    #[serde(rename = "manifestFingerprint", skip_serializing_if = "Option::is_none")]
    fingerprint: Option<&'a str>,
}

/// The line for an entry, without a line end.
pub(super) fn line(entry: Entry<'_>, now: Timestamp) -> String {
    let empty = Line { time: now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(), ..Line::default() };
    let with_progress = |update, progress: Progress<'_>| -> String {
        to_json(&Line {
            update,
            user: Some(progress.user),
            missing: Some(progress.missing),
            missing_users: Some(progress.missing_users),
            fingerprint: Some(progress.fingerprint),
            time: empty.time.clone(),
            ..Line::default()
        })
    };
    match entry {
        Entry::ManifestSet => to_json(&Line { update: "Initial manifest set", ..empty }),
        Entry::SecretSet { user, secret, kind } => {
            to_json(&Line { update: "Secret set", user: Some(user), secret: Some(secret), kind: Some(kind), ..empty })
        }
        Entry::SecurityVersion { user, package, version } => to_json(&Line {
            update: "SecurityVersion increased",
            user: Some(user),
            package: Some(package),
            new_version: Some(version),
            ..empty
        }),
        Entry::UpdateInitiated(progress) => with_progress(
            "Complete Manifest update initiated by user. Waiting for acknowledgments to apply the update",
            progress,
        ),
        Entry::UpdateInitiatedAlone { user, fingerprint } => to_json(&Line {
            update: "Complete Manifest update initiated by user. No further acknowledgements required",
            user: Some(user),
            fingerprint: Some(fingerprint),
            ..empty
        }),
        Entry::UpdateAcknowledged(progress) => with_progress("Complete Manifest update acknowledged by user", progress),
        Entry::UpdateApplied { fingerprint } => {
            to_json(&Line { update: "Complete Manifest updated", fingerprint: Some(fingerprint), ..empty })
        }
        Entry::UpdateCancelled { user, fingerprint } => to_json(&Line {
            update: "Complete Manifest update cancelled by user",
            user: Some(user),
            fingerprint: Some(fingerprint),
            ..empty
        }),
        Entry::UpdateFailed { fingerprint } => to_json(&Line {
            update: "Complete Manifest update cancelled due to error during apply",
            fingerprint: Some(fingerprint),
            ..empty
        }),
    }
}

/// As upstream's log encoder, which is not Go's: `<`, `>`, `&` and line separators stand as they are, and of the
/// control characters only line end, return and tab have a short form.
fn to_json(line: &Line<'_>) -> String {
    // Strings, numbers and lists of strings always serialise.
    let json = serde_json::to_string(line).unwrap_or_default();
    let mut text = String::with_capacity(json.len());
    let mut characters = json.chars();
    while let Some(character) = characters.next() {
        text.push(character);
        // What follows a backslash belongs to it, another backslash too.
        match (character, characters.clone().next()) {
            ('\\', Some('b')) => text.push_str("u0008"),
            ('\\', Some('f')) => text.push_str("u000c"),
            ('\\', Some(other)) => text.push(other),
            _ => continue,
        }
        characters.next();
    }
    text
}

/// For Go's own encoder: escapes what Go escapes and serde_json does not. Outside of strings JSON has none of these characters.
pub(super) fn go_escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        "2026-11-20T23:54:54.333999Z".parse().unwrap()
    }

    #[test]
    fn every_line_is_what_auditors_know_byte_for_byte() {
        let missing = ["admin3".to_owned()];
        let progress = Progress { user: "admin", missing: 1, missing_users: &missing, fingerprint: "e4de" };
        for (entry, expected) in [
            (Entry::ManifestSet, r#""update":"Initial manifest set"}"#),
            (
                Entry::SecretSet { user: "admin", secret: "sym", kind: "symmetric-key" },
                r#""update":"Secret set","user":"admin","secret":"sym","type":"symmetric-key"}"#,
            ),
            (
                Entry::SecurityVersion { user: "admin", package: "frontend", version: 5 },
                r#""update":"SecurityVersion increased","user":"admin","package":"frontend","new version":5}"#,
            ),
            (
                Entry::UpdateInitiated(progress),
                r#""update":"Complete Manifest update initiated by user. Waiting for acknowledgments to apply the update","user":"admin","missingAcknowledgments":1,"missingUsers":["admin3"],"manifestFingerprint":"e4de"}"#,
            ),
            (
                Entry::UpdateInitiatedAlone { user: "admin", fingerprint: "e4de" },
                r#""update":"Complete Manifest update initiated by user. No further acknowledgements required","user":"admin","manifestFingerprint":"e4de"}"#,
            ),
            (
                Entry::UpdateAcknowledged(Progress { missing: 0, missing_users: &[], ..progress }),
                r#""update":"Complete Manifest update acknowledged by user","user":"admin","missingAcknowledgments":0,"missingUsers":[],"manifestFingerprint":"e4de"}"#,
            ),
            (
                Entry::UpdateApplied { fingerprint: "e4de" },
                r#""update":"Complete Manifest updated","manifestFingerprint":"e4de"}"#,
            ),
            (
                Entry::UpdateCancelled { user: "admin", fingerprint: "e4de" },
                r#""update":"Complete Manifest update cancelled by user","user":"admin","manifestFingerprint":"e4de"}"#,
            ),
            (
                Entry::UpdateFailed { fingerprint: "e4de" },
                r#""update":"Complete Manifest update cancelled due to error during apply","manifestFingerprint":"e4de"}"#,
            ),
        ] {
            assert_eq!(line(entry, at()), format!(r#"{{"time":"2026-11-20T23:54:54.333Z",{expected}"#));
        }
    }

    /// A line of a state that upstream wrote; only its time is ours.
    #[test]
    fn a_strange_name_stands_as_upstream_writes_it() {
        let line = line(Entry::SecretSet { user: "admin2", secret: "we:ird<&>\u{e9} ", kind: "plain" }, at());
        assert_eq!(
            line,
            "{\"time\":\"2026-11-20T23:54:54.333Z\",\"update\":\"Secret set\",\"user\":\"admin2\",\"secret\":\"we:ird<&>\u{e9} \",\"type\":\"plain\"}"
        );
    }

    #[test]
    fn every_name_is_one_line_that_reads_back() {
        for name in ["\u{8}\u{c}\n\r\t\"\\", "\\b\\f", "\\\\b", "\0\u{1f}\u{7f}", "a\\u0008"] {
            let line = line(Entry::SecretSet { user: name, secret: "", kind: "plain" }, at());
            assert!(!line.contains('\n'), "{line}");
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["user"], name, "{line}");
        }
        let line = line(Entry::SecretSet { user: "\u{8}\u{c}\t\u{1}", secret: "", kind: "plain" }, at());
        assert!(line.contains(r#""user":"\u0008\u000c\t\u0001""#), "{line}");
    }
}
