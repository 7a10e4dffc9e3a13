//! What is looked up when somebody asks: phase, store, activations.

mod cluster;

use std::fmt;

use marblerun_collateral::Counts;
use marblerun_store::StoreMode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::core::Coordinator;

/// Modes of the store, as `marblerun_store_mode` names them.
const MODES: [&str; 6] = ["volatile", "durable", "recovery", "superseded", "diverged", "read_only"];

/// Collects from the Coordinator.
pub(super) struct Scraped {
    coordinator: Coordinator,
    simulation: bool,
}

impl Scraped {
    pub(super) fn new(coordinator: Coordinator, simulation: bool) -> Self {
        Self { coordinator, simulation }
    }
}

impl fmt::Debug for Scraped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scraped")
    }
}

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let state = i64::from(self.coordinator.status().0);
        gauge(&mut encoder, "coordinator_state", "State of the Coordinator.", state)?;
        self.activations(&mut encoder)?;
        self.store(&mut encoder)?;
        self.slots(&mut encoder)?;
        if let Some(counts) = self.coordinator.collateral_counts() {
            collateral(&mut encoder, counts)?;
        }
        if let Some(view) = self.coordinator.cluster_view() {
            cluster::encode(&mut encoder, &view, self.coordinator.observer().offline())?;
        }
        gauge(
            &mut encoder,
            "marblerun_simulation",
            "1 if no trusted execution environment protects this Coordinator.",
            i64::from(self.simulation),
        )
    }
}

impl Scraped {
    fn activations(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let activations = self.coordinator.observer().activations();
        let attempts = activations.iter().map(|(series, counts)| (series, counts.attempts));
        counters(encoder, "coordinator_marble_activations", "Number of Marble activation attempts.", attempts)?;
        let successes = activations.iter().map(|(series, counts)| (series, counts.successes));
        counters(
            encoder,
            "coordinator_marble_activations_success",
            "Number of successful Marble activations.",
            successes.filter(|(_, count)| *count > 0),
        )
    }

    /// No family where no slot was tried.
    fn slots(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let slots = self.coordinator.slot_health();
        if slots.is_empty() {
            return Ok(());
        }
        let mut family = encoder.encode_descriptor(
            "marblerun_seal_slot_opens",
            "Whether a key slot opened the sealed state when it was last tried: at the start, after a change, or on request.",
            None,
            MetricType::Gauge,
        )?;
        for slot in slots {
            let labels = [("slot", slot.label.as_str()), ("kind", slot.kind)];
            ConstGauge::new(i64::from(slot.opens.is_ok())).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn store(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let status = self.coordinator.store_status();
        let mode = match status.mode {
            StoreMode::Volatile => "volatile",
            StoreMode::Durable => "durable",
            StoreMode::Recovery { .. } => "recovery",
            StoreMode::Superseded => "superseded",
            StoreMode::Diverged { .. } => "diverged",
            StoreMode::ReadOnly { .. } => "read_only",
        };
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        gauge(encoder, "marblerun_store_sequence", "Number of the last durable state.", number(status.sequence))?;
        gauge(encoder, "marblerun_store_bytes", "Size of the sealed state.", number(status.file_bytes))?;
        for (name, help, count) in [
            ("marblerun_store_commits", "Transactions that changed the state.", status.counters.commits),
            ("marblerun_store_groups", "Groups these transactions were stored in.", status.counters.groups),
            ("marblerun_store_appended_bytes", "Bytes appended to the sealed state.", status.counters.bytes_appended),
            ("marblerun_store_compactions", "Times the sealed state was written anew.", status.counters.compactions),
            ("marblerun_store_sync_errors", "Failed writes and syncs.", status.counters.sync_errors),
        ] {
            ConstCounter::new(count).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        let mut family = encoder.encode_descriptor(
            "marblerun_store_mode",
            "How the state is kept: 1 for the mode in force, 0 for the others.",
            None,
            MetricType::Gauge,
        )?;
        for name in MODES {
            let labels = [("mode", name)];
            ConstGauge::new(i64::from(name == mode)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// They exist only where a service is asked for collateral.
fn collateral(encoder: &mut DescriptorEncoder<'_>, counts: Counts) -> Result<(), fmt::Error> {
    for (name, help, count) in [
        (
            "marblerun_collateral_hits",
            "Verifications that had their collateral at hand, not due for renewal.",
            counts.hit,
        ),
        (
            "marblerun_collateral_stale_hits",
            "Verifications with collateral that is still good and should have been renewed: the service is slow or down.",
            counts.stale,
        ),
        ("marblerun_collateral_fetches", "Collateral got from a service.", counts.fetched),
        ("marblerun_collateral_fetch_errors", "Collateral that was asked of a service and not got.", counts.failed),
    ] {
        ConstCounter::new(count).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
    }
    Ok(())
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> Result<(), fmt::Error> {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

/// Counters by Marble type and UUID. Upstream has no family before its first sample.
fn counters<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    samples: impl Iterator<Item = (&'a (String, String), u64)>,
) -> Result<(), fmt::Error> {
    let mut samples = samples.peekable();
    if samples.peek().is_none() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for ((marble_type, uuid), count) in samples {
        let labels = [("type", marble_type.as_str()), ("uuid", uuid.as_str())];
        ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
