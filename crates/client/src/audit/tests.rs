//! Trails as a Coordinator writes them, and everything that can be done to them afterwards.

use std::sync::{Arc, LazyLock};

use marblerun_api::bytes::Base64;
use marblerun_pki::{Authority, SubjectAltNames};
use marblerun_state::{AuditEntry, AuditEvent, AuditKind, Change, Lineage, Phase, RootSecret, State};
use zeroize::Zeroizing;

use super::*;

static AUTHORITIES: LazyLock<[Arc<Authority>; 2]> = LazyLock::new(|| {
    [(); 2].map(|()| Arc::new(Authority::generate(&SubjectAltNames::default(), jiff::Timestamp::now()).unwrap()))
});

fn root() -> &'static [u8] {
    &AUTHORITIES[0].root_certificate
}

fn empty(authority: usize, deployment: u8) -> State {
    let lineage = Lineage { deployment_id: [deployment; 16], incarnation: 1, incarnation_id: [1; 16] };
    let secret = RootSecret(Zeroizing::new(vec![1; 32]));
    State::new(Phase::AcceptingManifest, lineage, Arc::clone(&AUTHORITIES[authority]), secret)
}

fn grow(state: &mut State, kind: AuditKind, by: u64, actor: &str) {
    let first = state.audit(kind).next_sequence();
    let entries = (first..first + by)
        .map(|sequence| AuditEntry { sequence, ..AuditEntry::new(AuditEvent::SecretWritten, 5, actor, "s") });
    state.apply(&Change::Audit(kind, entries.collect())).unwrap();
}

fn with(entries: u64) -> State {
    let mut state = empty(0, 7);
    grow(&mut state, AuditKind::Changes, entries, "alice");
    state
}

fn segment_of(state: &State, after: u64, kind: AuditKind) -> AuditSegment {
    let (start, lines) = state.audit(kind).lines(after);
    let head = state.sign_audit_head(1000).unwrap();
    AuditSegment {
        trail: if kind == AuditKind::Changes { AuditTrail::Changes } else { AuditTrail::Refusals },
        after: start.sequence,
        previous: hex::encode(start.hash),
        entries: lines.collect(),
        head: v3::AuditHead { statement: head.statement, signature: Base64(head.signature) },
    }
}

fn segment(state: &State, after: u64) -> AuditSegment {
    segment_of(state, after, AuditKind::Changes)
}

fn verified(segments: &[AuditSegment]) -> Result<(u64, u64), AuditError> {
    verify_audit(segments, root()).map(|proof| (proof.first, proof.last))
}

/// What becomes of a whole trail of eight entries.
fn after_tampering(tamper: impl FnOnce(&mut AuditSegment)) -> AuditError {
    let mut segment = segment(&with(8), 0);
    tamper(&mut segment);
    verified(&[segment]).unwrap_err()
}

#[test]
fn a_whole_trail_is_proved_up_to_its_signed_head() {
    let proof = verify_audit(&[segment(&with(8), 0)], root()).unwrap();
    assert_eq!((proof.first, proof.last, proof.trail), (1, 8, AuditTrail::Changes));
    assert_eq!(proof.root_fingerprint, hex::encode(digest(&SHA256, root())));
    assert_eq!(proof.deployment, "07".repeat(16));
    assert_eq!(proof.time, "1970-01-01T00:00:01.000Z");
    assert_eq!(verified(&[segment(&with(0), 0)]), Ok((1, 0)), "an empty one too");
    assert_eq!(verified(&[segment(&with(8), 8)]), Ok((9, 8)), "and a segment without entries");
    let mut state = with(8);
    grow(&mut state, AuditKind::Refusals, 3, "eve");
    assert_eq!(verified(&[segment_of(&state, 0, AuditKind::Refusals)]), Ok((1, 3)));
}

#[test]
fn segments_in_a_row_are_proved_together_also_if_they_overlap() {
    let mut state = with(5);
    let first = segment(&state, 0);
    grow(&mut state, AuditKind::Changes, 4, "bob");
    let (second, overlapping) = (segment(&state, 5), segment(&state, 3));
    assert_eq!(verified(&[first.clone(), second.clone()]), Ok((1, 9)));
    assert_eq!(verified(&[first.clone(), overlapping]), Ok((1, 9)));
    assert_eq!(verified(&[second.clone(), first.clone()]), Err(AuditError::OldHead { head: 5, newest: 9 }));
    grow(&mut state, AuditKind::Changes, 4, "bob");
    assert_eq!(verified(&[first, segment(&state, 7)]), Err(AuditError::Gap { after: 5, found: 8 }));
    assert_eq!(verified(&[]), Err(AuditError::Nothing));
}

#[test]
fn a_segment_that_was_exported_chains_to_one_made_after_it_was_dropped() {
    let mut state = empty(0, 7);
    grow(&mut state, AuditKind::Refusals, 900, "eve");
    let first = segment_of(&state, 0, AuditKind::Refusals);
    grow(&mut state, AuditKind::Refusals, 900, "eve");
    let second = segment_of(&state, 0, AuditKind::Refusals);
    assert_eq!(second.after, 800, "older ones are not kept");
    assert_eq!(verified(&[first, second]), Ok((1, 1800)));
}

#[test]
fn a_changed_entry_is_found_where_it_stands() {
    let error = after_tampering(|segment| segment.entries[3] = segment.entries[3].replace("alice", "mallory"));
    assert_eq!(error, AuditError::Unchained { sequence: 5 });
    let error = after_tampering(|segment| segment.entries[7] = segment.entries[7].replace("alice", "mallory"));
    assert_eq!(error, AuditError::NotTheHead { sequence: 8 });
    let error = after_tampering(|segment| segment.entries[3].push(' '));
    assert_eq!(error, AuditError::Unchained { sequence: 5 }, "every byte counts");
    let error = after_tampering(|segment| segment.entries[3].truncate(20));
    assert!(matches!(error, AuditError::Damaged { after: 3, .. }), "{error}");
    let error = after_tampering(|segment| segment.previous = "00".repeat(32));
    assert_eq!(error, AuditError::Unchained { sequence: 1 });
}

#[test]
fn a_dropped_entry_is_found_wherever_it_stood() {
    let dropped = |at: usize| after_tampering(|segment| drop(segment.entries.remove(at)));
    assert_eq!(dropped(0), AuditError::Gap { after: 0, found: 2 });
    assert_eq!(dropped(4), AuditError::Gap { after: 4, found: 6 });
    assert_eq!(dropped(7), AuditError::CutOff { last: 7, head: 8 });
    assert_eq!(dropped(4).to_string(), "entry 6 follows entry 4: entry 5 is missing");
    assert_eq!(after_tampering(|segment| segment.entries.clear()), AuditError::CutOff { last: 0, head: 8 });
    // Renumbering what follows does not help.
    let error = after_tampering(|segment| {
        segment.entries.remove(4);
        for (index, entry) in segment.entries.iter_mut().enumerate().skip(4) {
            *entry = entry.replace(&format!("\"sequence\":{}", index + 2), &format!("\"sequence\":{}", index + 1));
        }
    });
    assert_eq!(error, AuditError::Unchained { sequence: 5 });
}

#[test]
fn swapped_and_repeated_entries_are_found() {
    assert_eq!(after_tampering(|segment| segment.entries.swap(2, 5)), AuditError::Gap { after: 2, found: 6 });
    let error = after_tampering(|segment| {
        let again = segment.entries[2].clone();
        segment.entries.insert(3, again);
    });
    assert_eq!(error.to_string(), "entry 3 follows entry 3: they are out of order");
}

#[test]
fn a_rewritten_chain_does_not_end_at_the_signed_head() {
    let mut forged = empty(0, 7);
    grow(&mut forged, AuditKind::Changes, 8, "mallory");
    let error = after_tampering(|segment| segment.entries = self::segment(&forged, 0).entries);
    assert_eq!(error, AuditError::NotTheHead { sequence: 8 });
}

#[test]
fn an_old_head_does_not_vouch_for_what_came_later_or_was_cut_off() {
    let old = segment(&with(5), 0);
    let error = after_tampering(|segment| segment.head = old.head.clone());
    assert_eq!(error, AuditError::BeyondHead { last: 8, head: 5 });
    assert_eq!(error.to_string(), "the signed head is at entry 5: nobody vouches for entries 6 to 8 behind it");
    // A whole old trail is a true one of its time; beside a newer segment it is found.
    let new = segment(&with(8), 0);
    assert_eq!(verified(&[new, old]), Err(AuditError::OldHead { head: 5, newest: 8 }));
}

#[test]
fn a_head_is_good_for_its_root_and_its_words_alone() {
    let of_another = verify_audit(&[segment(&with(8), 0)], &AUTHORITIES[1].root_certificate).unwrap_err();
    let text = of_another.to_string();
    assert!(text.contains(&hex::encode(digest(&SHA256, root()))), "it says whose it is: {text}");
    for tamper in [
        (|head: &mut v3::AuditHead| head.statement = head.statement.replace("\"sequence\":8", "\"sequence\":9"))
            as fn(&mut v3::AuditHead),
        |head| head.statement = head.statement.replace("1970", "2030"),
        |head| head.statement.push(' '),
        |head| head.signature.0[20] ^= 1,
        |head| head.signature.0.clear(),
        |head| head.statement = "{}".to_owned(),
    ] {
        let error = after_tampering(|segment| tamper(&mut segment.head));
        assert!(matches!(error, AuditError::NotSigned { .. }), "{error}");
    }
    assert!(verify_audit(&[segment(&with(8), 0)], b"junk").is_err());
}

#[test]
fn two_ways_on_from_the_same_entry_are_found() {
    let (mut one, mut other) = (with(5), with(5));
    grow(&mut one, AuditKind::Changes, 2, "alice");
    grow(&mut other, AuditKind::Changes, 3, "mallory");
    let (one, other) = (segment(&one, 0), segment(&other, 3));
    assert_eq!(verified(&[one, other]), Err(AuditError::Forked { sequence: 6 }));
}

#[test]
fn segments_of_different_deployments_or_trails_do_not_mix() {
    let mut state = with(3);
    grow(&mut state, AuditKind::Refusals, 3, "eve");
    let refusals = segment_of(&state, 0, AuditKind::Refusals);
    assert_eq!(verified(&[segment(&state, 0), refusals]), Err(AuditError::Mixed));
    let mut other = empty(0, 8);
    grow(&mut other, AuditKind::Changes, 5, "alice");
    assert_eq!(verified(&[segment(&state, 0), segment(&other, 0)]), Err(AuditError::Mixed));
}

#[test]
fn a_segment_is_kept_in_a_file_and_comes_back() {
    let segment = segment(&with(8), 2);
    let text = segment.to_text();
    assert_eq!(text.lines().count(), 8);
    assert_eq!(AuditSegment::from_text(&text).unwrap(), segment);
    for cut in [0, 1, 40, text.len() / 2, text.len() - 2] {
        assert!(AuditSegment::from_text(&text[..cut]).is_err(), "cut at {cut}");
    }
    let newer = text.replacen("\"version\":1", "\"version\":2", 1);
    assert!(AuditSegment::from_text(&newer).unwrap_err().to_string().contains("newer program"));
    for junk in ["", "\n\n", "{}", "junk\njunk"] {
        assert!(matches!(AuditSegment::from_text(junk), Err(AuditError::NotASegment { .. })), "{junk:?}");
    }
}
