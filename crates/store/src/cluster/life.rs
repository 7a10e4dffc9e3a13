//! Another life of a deployment, told in the state that goes on: in its lineage, its list of lives, its audit trail.

use marblerun_state::{AuditEvent, Cause, Change, Incarnation, State};

use super::backend::NextLife;
use crate::lives;

/// Begins the life that a restore opens.
pub(super) fn begin(state: &mut State, cause: Cause, life: &NextLife, now_ms: u64) -> Result<(), String> {
    let next = match life.confirmed_by.as_str() {
        "" => lives::accepted(state.clone(), &life.reason, now_ms)?,
        by => lives::accepted_by(state.clone(), by, &life.reason, now_ms)?,
    };
    *state = next;
    note(state, cause, &life.confirmed_by, life.cut_off)
}

/// Begins the life that a recovery by these parties opens.
pub(super) fn recovered(state: State, parties: &[String], now_ms: u64) -> Result<State, String> {
    let mut state = lives::recovered(state, parties, now_ms)?;
    let mut by = parties.join(",");
    if by.len() > 256 {
        by = format!("{} parties", parties.len());
    }
    note(&mut state, Cause::Recovery, &by, None)?;
    Ok(state)
}

/// Puts the present life into the list.
pub(super) fn note(
    state: &mut State,
    cause: Cause,
    confirmed_by: &str,
    cut_off: Option<(u64, [u8; 32])>,
) -> Result<(), String> {
    let lineage = *state.lineage();
    let mut lives = state.incarnations().to_vec();
    lives.push(Incarnation {
        number: lineage.incarnation,
        id: lineage.incarnation_id,
        cause,
        confirmed_by: confirmed_by.to_owned(),
        cut_off,
    });
    let excess = lives.len().saturating_sub(Change::MAX_INCARNATIONS);
    lives.drain(..excess);
    state.apply(&Change::Incarnations(lives)).map_err(|error| error.to_string())
}

/// Tells an operator's decision.
pub(super) fn tell(state: &mut State, event: AuditEvent, by: &str, reason: &str, now_ms: u64) -> Result<(), String> {
    lives::tell(state, event, by, reason, now_ms)
}
