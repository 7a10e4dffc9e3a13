//! Where metrics are read.

use serde_json::json;

use super::labels::labels;
use super::service::{self, port};
use super::{Custom, Installation, Object, metadata};
use crate::names;
use crate::values::ValuesError;

const SERVICE: &str = "coordinator-metrics";
const SERVICE_MONITOR: Custom =
    Custom { group: "monitoring.coreos.com", kind: "ServiceMonitor", plural: "servicemonitors" };

pub(super) fn add(installation: Installation<'_>, objects: &mut Vec<Object>) -> Result<(), ValuesError> {
    let metrics = &installation.settings.coordinator.metrics;
    if !metrics.enabled {
        return Ok(());
    }
    let own = installation.coordinator_labels("metrics", SERVICE);
    let port = port(Some("metrics"), metrics.port);
    let mut service = service::of(installation, SERVICE, own, installation.coordinator_selector(), port);
    // One that is not ready is of most interest.
    if let Some(spec) = &mut service.spec {
        spec.publish_not_ready_addresses = Some(true);
    }
    objects.push(Object::new(&service)?);
    if metrics.service_monitor.enabled {
        let mut all = metrics.service_monitor.labels.clone();
        all.extend(installation.coordinator_labels("service-monitor", names::COORDINATOR));
        let selector = labels([("app.kubernetes.io/component", "metrics"), ("app.kubernetes.io/part-of", "marblerun")]);
        objects.push(Object::custom(
            SERVICE_MONITOR,
            &metadata(installation, names::COORDINATOR, Some(all)),
            json!({
                "selector": {"matchLabels": selector},
                "endpoints": [{
                    "port": "metrics",
                    "path": "/metrics",
                    "interval": metrics.service_monitor.interval,
                }],
            }),
        )?);
    }
    Ok(())
}
