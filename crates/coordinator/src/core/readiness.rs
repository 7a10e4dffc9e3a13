//! Whether requests should be sent to this instance.

use std::time::{Duration, Instant};

use marblerun_state::Phase;
use marblerun_store::StoreMode;
use marblerun_store::cluster::ClusterView;

use crate::core::Coordinator;

/// How old the last validation of a shared state may be where there is no grace for activations.
const LEAST_GRACE: Duration = Duration::from_secs(120);

impl Coordinator {
    /// Why no requests should be sent here; nothing if they should.
    #[must_use]
    pub fn unreadiness(&self) -> Vec<String> {
        let mode = self.store_status().mode;
        match self.cluster_view() {
            None => alone(&mode),
            Some(view) => shared(&mode, self.snapshot().phase(), &view, self.offline_grace(), Instant::now()),
        }
    }
}

/// One instance with its own state. Recovery mode is ready: recovery secrets must get through. So is a store that cannot
/// write: reads and most activations still work, and there is nobody else to take them.
fn alone(mode: &StoreMode) -> Vec<String> {
    match mode {
        StoreMode::Superseded => {
            vec!["another file was put in place of the state; restart the Coordinator to load it".to_owned()]
        }
        StoreMode::Diverged { reason } => vec![reason.clone()],
        StoreMode::Volatile | StoreMode::Durable | StoreMode::Recovery { .. } | StoreMode::ReadOnly { .. } => {
            Vec::new()
        }
    }
}

/// One of several. While another one serves, requests had better go there.
fn shared(mode: &StoreMode, phase: Phase, view: &ClusterView, grace: Duration, now: Instant) -> Vec<String> {
    if let Some(divergence) = &view.diverged {
        return vec![divergence.reason.clone()];
    }
    match (mode, phase) {
        (StoreMode::Diverged { reason }, _) => vec![reason.clone()],
        (StoreMode::Recovery { code: "newer_format" | "unreachable", message }, _) => vec![message.clone()],
        (_, Phase::Recovery) if view.has_serving_peer() => {
            vec!["the state cannot be opened here, and another Coordinator serves it".to_owned()]
        }
        (_, Phase::Recovery) => Vec::new(),
        (_, Phase::AcceptingManifest | Phase::AcceptingMarbles) => {
            let limit = if grace.is_zero() { LEAST_GRACE } else { grace };
            match view.validated.map(|validated| now.saturating_duration_since(validated)) {
                Some(age) if age < limit => Vec::new(),
                Some(age) => vec![format!(
                    "{} has not answered for {} s: what is served here may be out of date",
                    view.place,
                    age.as_secs()
                )],
                None => vec![format!("{} has not answered yet", view.place)],
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sample::{diverged_view, greeted, view};

    #[test]
    fn a_coordinator_of_its_own_is_ready_unless_it_serves_something_else_than_what_is_stored() {
        let reason = || "r".to_owned();
        assert!(alone(&StoreMode::Durable).is_empty() && alone(&StoreMode::Volatile).is_empty());
        assert!(alone(&StoreMode::ReadOnly { reason: reason() }).is_empty());
        assert!(alone(&StoreMode::Recovery { code: "missing", message: reason() }).is_empty());
        assert!(!alone(&StoreMode::Superseded).is_empty());
        assert!(!alone(&StoreMode::Diverged { reason: reason() }).is_empty());
    }

    #[test]
    fn one_of_several_is_ready_as_long_as_nobody_else_does_it_better() {
        let now = Instant::now() + Duration::from_secs(10_000);
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let ago = |n: u64| now.checked_sub(minutes(n));
        let recovery = StoreMode::Recovery { code: "no_key", message: "m".to_owned() };
        let newer = StoreMode::Recovery { code: "newer_format", message: "m".to_owned() };
        let (running, waiting) = (Phase::AcceptingMarbles, Phase::AcceptingManifest);
        let peers = [Vec::new(), vec![greeted(false)], vec![greeted(true)]];
        for (mode, phase, validated, grace, serving_peer, ready) in [
            (&StoreMode::Durable, running, ago(0), minutes(5), 0, true),
            (&StoreMode::Durable, waiting, ago(0), minutes(5), 0, true),
            (&StoreMode::Durable, running, ago(0), minutes(5), 2, true),
            (&StoreMode::Durable, running, ago(4), minutes(5), 0, true),
            (&StoreMode::Durable, running, ago(5), minutes(5), 0, false),
            (&StoreMode::Durable, waiting, ago(6), minutes(5), 0, false),
            (&StoreMode::Durable, running, ago(1), minutes(0), 0, true),
            (&StoreMode::Durable, running, ago(2), minutes(0), 0, false),
            (&StoreMode::Durable, running, None, minutes(5), 0, false),
            (&StoreMode::ReadOnly { reason: "r".to_owned() }, running, ago(1), minutes(5), 0, true),
            (&recovery, Phase::Recovery, None, minutes(5), 0, true),
            (&recovery, Phase::Recovery, None, minutes(5), 1, true),
            (&recovery, Phase::Recovery, ago(0), minutes(5), 2, false),
            (&newer, Phase::Recovery, ago(0), minutes(5), 0, false),
            (&StoreMode::Diverged { reason: "r".to_owned() }, running, ago(0), minutes(5), 0, false),
        ] {
            let view = ClusterView { validated, peers: peers[serving_peer].clone(), ..view() };
            let reasons = shared(mode, phase, &view, grace, now);
            assert_eq!(reasons.is_empty(), ready, "{mode:?} {phase:?} {grace:?} {serving_peer}: {reasons:?}");
        }
    }

    #[test]
    fn who_has_diverged_says_why_it_is_not_ready() {
        let diverged = diverged_view();
        let reasons = shared(&StoreMode::Durable, Phase::AcceptingMarbles, &diverged, LEAST_GRACE, Instant::now());
        assert_eq!(reasons, ["an older state lies there"]);
    }
}
