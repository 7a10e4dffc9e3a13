//! What begins another life of a deployment is told in its audit trail, in the very state that goes on: a recovery,
//! an older state that was accepted, an import. Nothing else in the store knows of the trail.

use marblerun_state::{AuditEntry, AuditEvent, AuditKind, Change, Lineage, MAX_AUDIT_TEXT, State};

use crate::format::random_name;

/// Who decides where no user or key holder was asked.
const ITSELF: &str = "coordinator";
/// What was accepted or brought back.
const STATE: &str = "sealed_data";

/// The next life, after a recovery by these parties.
pub(crate) fn recovered(state: State, parties: &[String], now_ms: u64) -> Result<State, String> {
    next(state, by_parties(parties, now_ms))
}

/// The next life, of a state that this host did not vouch for, or that lost its end.
pub(crate) fn accepted(state: State, reason: &str, now_ms: u64) -> Result<State, String> {
    next(state, vec![AuditEntry::new(AuditEvent::RestoreAccepted, now_ms, ITSELF, STATE).reason(reason)])
}

/// The next life, of a state that somebody let replace a newer one.
pub(crate) fn accepted_by(state: State, by: &str, reason: &str, now_ms: u64) -> Result<State, String> {
    next(state, vec![AuditEntry::new(AuditEvent::RestoreAccepted, now_ms, by, STATE).reason(reason)])
}

/// Tells what somebody decided, in the life that goes on.
pub(crate) fn tell(state: &mut State, event: AuditEvent, by: &str, reason: &str, now_ms: u64) -> Result<(), String> {
    append(state, vec![decided(event, by, reason, now_ms)])
}

/// What somebody decided about the state.
pub(crate) fn decided(event: AuditEvent, by: &str, reason: &str, now_ms: u64) -> AuditEntry {
    AuditEntry::new(event, now_ms, by, STATE).reason(reason)
}

/// Tells which key slots were made at a start.
pub(crate) fn slots_made(mut state: State, names: &[String], now_ms: u64) -> Result<State, String> {
    let entry = |name: &String| AuditEntry::new(AuditEvent::SlotAdded, now_ms, ITSELF, name);
    if !names.is_empty() {
        append(&mut state, names.iter().map(entry).collect())?;
    }
    Ok(state)
}

/// What the coordinator itself did to a key slot.
pub(crate) fn of_slot(event: AuditEvent, name: &str, now_ms: u64) -> AuditEntry {
    AuditEntry::new(event, now_ms, ITSELF, name)
}

/// The first life under our format.
pub(crate) fn imported(mut state: State, now_ms: u64) -> Result<State, String> {
    let entry = AuditEntry::new(AuditEvent::Imported, now_ms, ITSELF, STATE);
    let entry = match state.manifest() {
        Some(manifest) => entry.after(format!("sha256:{}", hex::encode(manifest.fingerprint))),
        None => entry,
    };
    append(&mut state, vec![entry])?;
    Ok(state)
}

/// As [`imported`], by a recovery with these parties.
pub(crate) fn imported_by(mut state: State, parties: &[String], now_ms: u64) -> Result<State, String> {
    let after = incarnation(state.lineage());
    let entries = by_parties(parties, now_ms).into_iter().map(|entry| entry.after(&after)).collect();
    append(&mut state, entries)?;
    Ok(state)
}

fn next(mut state: State, entries: Vec<AuditEntry>) -> Result<State, String> {
    let lineage = *state.lineage();
    let next = Lineage { incarnation: lineage.incarnation + 1, incarnation_id: random_name()?, ..lineage };
    state.apply(&Change::Lineage(next)).map_err(|error| error.to_string())?;
    let (before, after) = (incarnation(&lineage), incarnation(&next));
    let entries = entries.into_iter().map(|entry| entry.before(Some(before.clone())).after(&after)).collect();
    append(&mut state, entries)?;
    Ok(state)
}

fn incarnation(lineage: &Lineage) -> String {
    format!("incarnation:{}", lineage.incarnation)
}

/// A party as an actor. A name that would read like several is quoted.
fn party(name: &str) -> String {
    match name.contains([',', '"']) {
        true => format!("party:{name:?}"),
        false => format!("party:{name}"),
    }
}

/// As many entries as it takes to name all parties.
fn by_parties(parties: &[String], now_ms: u64) -> Vec<AuditEntry> {
    let mut actors: Vec<String> = Vec::new();
    for party in parties.iter().map(|name| party(name)) {
        match actors.last_mut() {
            Some(last) if last.len() + 1 + party.len() <= MAX_AUDIT_TEXT => {
                last.push(',');
                last.push_str(&party);
            }
            _ => actors.push(party),
        }
    }
    if actors.is_empty() {
        actors.push("anyone".to_owned());
    }
    actors.iter().map(|actor| AuditEntry::new(AuditEvent::Recovery, now_ms, actor, STATE)).collect()
}

/// Puts entries at the end of the trail.
pub(crate) fn append(state: &mut State, entries: Vec<AuditEntry>) -> Result<(), String> {
    let first = state.audit(AuditKind::Changes).next_sequence();
    let entries = (first..).zip(entries).map(|(sequence, entry)| AuditEntry { sequence, ..entry }).collect();
    state.apply(&Change::Audit(AuditKind::Changes, entries)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_party_of_a_recovery_is_named_however_many_there_are() {
        let parties: Vec<String> = (0..60).map(|n| format!("party-with-a-long-name-{n}")).collect();
        let entries = by_parties(&parties, 0);
        assert!(entries.len() > 1);
        let named: Vec<&str> = entries.iter().flat_map(|entry| entry.actor.split(',')).collect();
        assert_eq!(named.len(), 60);
        assert!(named.iter().zip(&parties).all(|(actor, party)| *actor == format!("party:{party}")));
        assert_eq!(by_parties(&[], 0)[0].actor, "anyone");
        assert_eq!(by_parties(&["a,party:b".to_owned()], 0)[0].actor, r#"party:"a,party:b""#);
    }
}
