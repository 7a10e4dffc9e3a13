//! Metrics of a state that several Coordinators share. They exist only where there is one.

use std::fmt;
use std::time::Instant;

use marblerun_api::v3;
use marblerun_store::cluster::ClusterView;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::gauge;
use crate::core::OfflineCounts;
use crate::server::api::answer_of;

/// How an address of a peer may answer, with the names of the client API.
const ANSWERS: [(v3::PeerAnswer, &str); 7] = [
    (v3::PeerAnswer::Serving, "serving"),
    (v3::PeerAnswer::Recovering, "recovering"),
    (v3::PeerAnswer::Waiting, "waiting"),
    (v3::PeerAnswer::Myself, "myself"),
    (v3::PeerAnswer::Nobody, "nobody"),
    (v3::PeerAnswer::Silent, "silent"),
    (v3::PeerAnswer::Rejected, "rejected"),
];

pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    view: &ClusterView,
    offline: OfflineCounts,
) -> Result<(), fmt::Error> {
    let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    for (name, help, value) in [
        ("marblerun_cluster_object_bytes", "Size of the shared object.", number(view.bytes)),
        ("marblerun_cluster_object_limit_bytes", "Most bytes the shared object may have.", number(view.limit)),
        (
            "marblerun_cluster_part_bytes",
            "Size of the snapshot in parts beside the shared object; 0 while all of it lies there.",
            number(view.part_bytes),
        ),
        ("marblerun_cluster_in_doubt", "1 while it is not known whether a write has landed.", i64::from(view.in_doubt)),
        (
            "marblerun_cluster_diverged",
            "1 if what lies in the shared place does not go on from what is served here.",
            i64::from(view.diverged.is_some()),
        ),
        ("marblerun_cluster_missing", "1 if the shared object was deleted.", i64::from(view.missing)),
        (
            "marblerun_cluster_entry_sealed",
            "1 if the key encryption key is kept for this host.",
            i64::from(view.entry_sealed),
        ),
    ] {
        gauge(encoder, name, help, value)?;
    }
    // Absent until there was one: an age of nothing would look like a good one.
    if let Some(validated) = view.validated {
        let age = Instant::now().saturating_duration_since(validated).as_secs_f64();
        let help = "How long ago the state served here was proved to be the newest.";
        let name = "marblerun_cluster_validation_age_seconds";
        ConstGauge::new(age).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
    }
    for (name, help, count) in [
        (
            "marblerun_cluster_conflicts",
            "Conflicts with other writers, resolved without a client noticing.",
            view.conflicts,
        ),
        ("marblerun_cluster_doubts", "Writes whose outcome had to be looked up.", view.doubts),
        (
            "marblerun_offline_activations",
            "Activations while the shared state could not be validated.",
            offline.activations,
        ),
        (
            "marblerun_offline_signed_quotes",
            "Quotes signed while the shared state could not be validated.",
            offline.signed_quotes,
        ),
    ] {
        ConstCounter::new(count).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
    }
    let help = "Addresses of other Coordinators, by how they answered.";
    let mut family = encoder.encode_descriptor("marblerun_cluster_peers", help, None, MetricType::Gauge)?;
    for (answer, name) in ANSWERS {
        let count = view.peers.iter().filter(|peer| answer_of(&peer.answer) == answer).count();
        ConstGauge::new(number(count)).encode(family.encode_family(&[("answer", name)])?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use marblerun_store::cluster::{ClusterView, PeerAnswer};
    use prometheus_client::collector::Collector;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::core::sample;

    #[derive(Debug)]
    struct Collected(ClusterView);

    impl Collector for Collected {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            encode(&mut encoder, &self.0, OfflineCounts { activations: 4, signed_quotes: 0 })
        }
    }

    fn scraped(view: ClusterView) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Collected(view)));
        super::super::super::exposition::text(&registry).unwrap()
    }

    #[test]
    fn a_shared_state_can_be_watched() {
        let peers = vec![sample::greeted(true), sample::greeted(true), sample::peer(PeerAnswer::Nobody)];
        let text = scraped(ClusterView { peers, ..sample::diverged_view() });
        for line in [
            "marblerun_cluster_object_bytes 9000",
            "marblerun_cluster_object_limit_bytes 1048576",
            "marblerun_cluster_diverged 1",
            "marblerun_cluster_missing 0",
            "marblerun_cluster_entry_sealed 1",
            "marblerun_cluster_conflicts_total 3",
            "marblerun_cluster_doubts_total 1",
            "marblerun_offline_activations_total 4",
            "marblerun_cluster_peers{answer=\"serving\"} 2",
            "marblerun_cluster_peers{answer=\"nobody\"} 1",
            "marblerun_cluster_peers{answer=\"silent\"} 0",
        ] {
            assert!(text.lines().any(|given| given == line), "{line}:\n{text}");
        }
        assert!(text.contains("\nmarblerun_cluster_validation_age_seconds "), "{text}");
    }

    #[test]
    fn who_never_validated_shows_no_age() {
        let text = scraped(ClusterView { validated: None, ..sample::view() });
        assert!(!text.contains("validation_age"), "{text}");
    }
}
