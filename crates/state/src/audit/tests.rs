use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use marblerun_pki::{Authority, SubjectAltNames};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::*;
use crate::{Change, Draft, Lineage, Loader, Phase, RootSecret, State};

static STATE: LazyLock<State> = LazyLock::new(|| {
    let authority = Authority::generate(&SubjectAltNames::default(), Timestamp::UNIX_EPOCH).unwrap();
    let lineage = Lineage { deployment_id: [7; 16], incarnation: 3, incarnation_id: [8; 16] };
    State::new(Phase::AcceptingManifest, lineage, Arc::new(authority), RootSecret(Zeroizing::new(vec![4; 32])))
});

fn entry(sequence: u64) -> AuditEntry {
    AuditEntry { sequence, ..AuditEntry::new(AuditEvent::SecretWritten, 1_700_000_000_123, "alice", "token") }
}

fn with(kind: AuditKind, entries: impl IntoIterator<Item = AuditEntry>) -> State {
    let mut state = STATE.clone();
    for entry in entries {
        state.apply(&Change::Audit(kind, vec![entry])).unwrap();
    }
    state
}

fn lines(state: &State, kind: AuditKind, after: u64) -> Vec<String> {
    state.audit(kind).lines(after).1.collect()
}

fn reloaded(state: &State) -> State {
    let mut loader = Loader::new();
    state.to_changes().for_each(|change| loader.apply(&Change::decode(&change.encode()).unwrap()).unwrap());
    loader.finish().unwrap()
}

/// As an auditor does it, with nothing but the lines.
fn follow(mut previous: [u8; 32], lines: &[String]) -> [u8; 32] {
    for line in lines {
        assert!(line.ends_with(&format!(",\"previous\":\"{}\"}}", hex::encode(previous))), "{line}");
        previous = Sha256::digest(line.as_bytes()).into();
    }
    previous
}

#[test]
fn a_line_is_the_same_for_ever() {
    let state = with(
        AuditKind::Changes,
        [
            entry(1),
            AuditEntry {
                sequence: 2,
                ..AuditEntry::new(AuditEvent::UpdateFailed, 1_700_000_000_124, "a\"<é>", "manifest")
                    .before(Some("sha256:00".into()))
                    .after("sha256:01")
                    .reason("invalid_manifest")
            },
        ],
    );
    assert_eq!(
        lines(&state, AuditKind::Changes, 0),
        [
            r#"{"sequence":1,"time":"2023-11-14T22:13:20.123Z","event":"secret_written","actor":"alice","subject":"token","count":1,"previous":"40b670b135d9fd9359963ed3d8926cc2954f4c796503ed4bb27d66fbfae86489"}"#,
            r#"{"sequence":2,"time":"2023-11-14T22:13:20.124Z","event":"update_failed","actor":"a\"<é>","subject":"manifest","before":"sha256:00","after":"sha256:01","reason":"invalid_manifest","count":1,"previous":"8154d219eccb76f38e3d352111714725b324fd04f3c8ba701988a4a13ae46e9f"}"#,
        ]
    );
}

#[test]
fn the_first_entry_chains_to_the_name_of_the_deployment() {
    let text = "marblerun audit v1 changes 07070707070707070707070707070707";
    let origin: [u8; 32] = Sha256::digest(text).into();
    let state = with(AuditKind::Changes, (1..=5).map(entry));
    assert_eq!(follow(origin, &lines(&state, AuditKind::Changes, 0)), state.audit(AuditKind::Changes).head().hash);
    assert_ne!(AuditKind::Refusals.origin(&[7; 16]), origin, "and to that of the trail");
}

#[test]
fn what_does_not_follow_is_refused_and_changes_nothing() {
    let state = with(AuditKind::Changes, [entry(1)]);
    let before = state.audit(AuditKind::Changes).head();
    let mut draft = Draft::new(&Arc::new(state));
    let too_long = AuditEntry { actor: "x".repeat(MAX_AUDIT_TEXT + 1), ..entry(2) };
    for entries in [
        vec![entry(1)],
        vec![entry(3)],
        vec![entry(2), entry(4)],
        vec![entry(2), too_long],
        vec![AuditEntry { time_ms: u64::MAX, ..entry(2) }],
    ] {
        assert!(draft.record(Change::Audit(AuditKind::Changes, entries)).is_err());
    }
    let base = AuditBase { sequence: 9, hash: [0; 32] };
    assert!(draft.record(Change::AuditBase(AuditKind::Changes, base)).is_err(), "a trail never begins anew");
    assert_eq!(draft.state().audit(AuditKind::Changes).head(), before);
    assert!(draft.changes().is_empty());
}

#[test]
fn names_of_any_length_fit_and_are_seen_to_be_cut() {
    let long = "é".repeat(MAX_AUDIT_TEXT);
    let entry =
        AuditEntry::new(AuditEvent::Backup, 0, &long, &long).before(Some(long.clone())).after(&long).reason(&long);
    for text in [&entry.actor, &entry.subject, entry.before.as_ref().unwrap(), entry.after.as_ref().unwrap()] {
        assert!(text.len() <= MAX_AUDIT_TEXT && text.ends_with("é..."), "{text}");
    }
    with(AuditKind::Changes, [AuditEntry { sequence: 1, ..entry }]);
}

#[test]
fn of_too_many_refusals_the_newest_are_kept_and_chain_to_what_was_exported_before() {
    let early = with(AuditKind::Refusals, (1..=600).map(entry));
    let exported = lines(&early, AuditKind::Refusals, 0);
    let mut state = early.clone();
    state.apply(&Change::Audit(AuditKind::Refusals, (601..=1500).map(entry).collect())).unwrap();
    let trail = state.audit(AuditKind::Refusals);
    assert_eq!((trail.len(), trail.base().sequence, trail.head().sequence), (1000, 500, 1500));
    let hash = follow(AuditKind::Refusals.origin(&[7; 16]), &exported);
    let (start, rest) = trail.lines(600);
    assert_eq!((start.sequence, start.hash), (600, hash));
    assert_eq!(follow(hash, &rest.collect::<Vec<_>>()), trail.head().hash);
    // What was dropped is skipped, and the answer says from where on it goes.
    assert_eq!(trail.lines(3).0, trail.base());
    assert_eq!(follow(trail.base().hash, &lines(&state, AuditKind::Refusals, 3)), trail.head().hash);
    assert_eq!(lines(&state, AuditKind::Refusals, 1500).len(), 0);
    assert_eq!(trail.lines(u64::MAX).0, trail.head());

    let sizes: Vec<usize> = state.to_changes().map(|change| change.encode().len()).collect();
    assert!(sizes.len() > 5 && sizes.iter().all(|size| *size < 100_000), "in small changes: {sizes:?}");
    let read = reloaded(&state);
    let same = read.audit(AuditKind::Refusals);
    assert_eq!((same.base(), same.head(), same.len()), (trail.base(), trail.head(), trail.len()));
}

#[test]
fn refusals_never_touch_what_happened() {
    let mut state = with(AuditKind::Changes, [entry(1), entry(2)]);
    let before = lines(&state, AuditKind::Changes, 0);
    state.apply(&Change::Audit(AuditKind::Refusals, (1..=3000).map(entry).collect())).unwrap();
    assert_eq!(lines(&state, AuditKind::Changes, 0), before);
}

#[test]
fn a_long_trail_keeps_its_newest_hundred_thousand() {
    let mut state = STATE.clone();
    state.apply(&Change::Audit(AuditKind::Changes, (1..=100_000).map(entry).collect())).unwrap();
    assert_eq!(state.audit(AuditKind::Changes).base().sequence, 0);
    state.apply(&Change::Audit(AuditKind::Changes, vec![entry(100_001)])).unwrap();
    let trail = state.audit(AuditKind::Changes);
    assert_eq!((trail.len(), trail.base().sequence), (100_000, 1));
}

#[test]
fn the_head_is_signed_by_the_root_key_for_this_purpose_alone() {
    use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1, UnparsedPublicKey};

    let state = with(AuditKind::Changes, [entry(1)]);
    let head = state.sign_audit_head(1_700_000_000_000).unwrap();
    let value: serde_json::Value = serde_json::from_str(&head.statement).unwrap();
    assert_eq!(value["deployment"], "07".repeat(16));
    assert_eq!(value["incarnation"], 3);
    assert_eq!(value["changes"]["sequence"], 1);
    assert_eq!(value["changes"]["head"], hex::encode(state.audit(AuditKind::Changes).head().hash));
    assert_eq!(value["refusals"]["sequence"], 0);
    let spki = state.authority().root_key.spki_der();
    let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, &spki);
    key.verify(&[AUDIT_HEAD_DOMAIN, head.statement.as_bytes()].concat(), &head.signature).unwrap();
    assert!(key.verify(head.statement.as_bytes(), &head.signature).is_err());
}

proptest! {
    #[test]
    fn a_trail_is_the_same_however_it_was_cut_into_changes_and_snapshots(
        cuts in proptest::collection::vec((1usize..40, any::<bool>()), 1..12),
    ) {
        let (mut whole, mut parts, mut next) = (STATE.clone(), STATE.clone(), 1);
        for (length, reload) in cuts {
            let entries: Vec<AuditEntry> = (next..).take(length).map(entry).collect();
            next += length as u64;
            for entry in &entries {
                whole.apply(&Change::Audit(AuditKind::Changes, vec![entry.clone()])).unwrap();
            }
            parts.apply(&Change::Audit(AuditKind::Changes, entries)).unwrap();
            if reload {
                parts = reloaded(&parts);
            }
        }
        prop_assert_eq!(lines(&whole, AuditKind::Changes, 0), lines(&parts, AuditKind::Changes, 0));
        prop_assert_eq!(whole.audit(AuditKind::Changes).head(), parts.audit(AuditKind::Changes).head());
    }

    #[test]
    fn every_text_has_a_line_that_is_one_line_of_json(actor in "\\PC{0,300}|[\u{0}-\u{20}]{0,20}", subject in ".{0,300}") {
        let entry = AuditEntry::new(AuditEvent::Refused, 0, &actor, &subject);
        let line = entry.line(&[0; 32]);
        prop_assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(value["actor"].as_str().unwrap(), &entry.actor);
        prop_assert_eq!(value["subject"].as_str().unwrap(), &entry.subject);
    }
}
