//! Who reaches the Coordinator, and what protects it from being evicted.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use marblerun_install::names;

use super::super::cluster::{Cluster, plain};
use super::super::installation::Installation;
use super::finding::Finding;

pub async fn examine(cluster: &Cluster, installation: &Installation) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in [names::CLIENT_SERVICE, names::MESH_SERVICE] {
        findings.push(match endpoints(cluster, service).await {
            Ok(ready) => judge_service("services", service, ready),
            Err(error) => Finding::unseen("services", &plain(error).to_string()),
        });
    }
    let described = installation.described();
    let is_distributed = described.as_ref().is_some_and(|described| described.is_distributed);
    match cluster.here::<NetworkPolicy>().get_metadata_opt(names::COORDINATOR).await {
        Ok(Some(_)) => {
            findings.push(Finding::ok("network", "a NetworkPolicy limits who may connect to the Coordinator"))
        }
        Ok(None) => findings.push(no_policy(is_distributed)),
        Err(error) => findings.push(Finding::unseen("network", &plain(error).to_string())),
    }
    if described.is_some_and(|described| described.is_distributed && described.replicas > 1) {
        match cluster.here::<PodDisruptionBudget>().get_metadata_opt(names::COORDINATOR).await {
            Ok(Some(_)) => findings.push(Finding::ok("evictions", "a PodDisruptionBudget limits evictions")),
            Ok(None) => findings.push(Finding::warn(
                "evictions",
                "nothing limits how many Coordinators are evicted at once",
                "set coordinator.podDisruptionBudget.enabled",
            )),
            Err(error) => findings.push(Finding::unseen("evictions", &plain(error).to_string())),
        }
    }
    findings
}

fn no_policy(is_distributed: bool) -> Finding {
    let advice = "set coordinator.networkPolicy.enabled";
    if is_distributed {
        let text = "no NetworkPolicy keeps strangers from the port at which Coordinators talk to each other";
        return Finding::warn("network", text, advice);
    }
    Finding::warn("network", "no NetworkPolicy limits who may connect to the Coordinator", advice)
}

/// Ready endpoints of a Service; `None` if the Service has no slice at all.
pub async fn endpoints(cluster: &Cluster, service: &str) -> kube::Result<Option<usize>> {
    let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
    let slices = cluster.here::<EndpointSlice>().list(&of_service).await?.items;
    if slices.is_empty() {
        return Ok(None);
    }
    // Unknown counts as ready, as the API says.
    let is_ready = |ready: Option<bool>| ready.unwrap_or(true);
    let endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter());
    Ok(Some(
        endpoints.filter(|e| is_ready(e.conditions.as_ref().and_then(|c| c.ready))).map(|e| e.addresses.len()).sum(),
    ))
}

/// A Service with nobody behind it answers nobody.
pub fn judge_service(check: &'static str, service: &str, ready: Option<usize>) -> Finding {
    match ready {
        Some(0) | None => {
            let advice = "its pods are not ready, or its selector does not fit them";
            Finding::fail(check, format!("nobody answers at service {service}"), advice)
        }
        Some(1) => Finding::ok(check, format!("1 pod answers at service {service}")),
        Some(more) => Finding::ok(check, format!("{more} pods answer at service {service}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_service_with_nobody_behind_it_fails() {
        for (ready, level) in [(None, Level::Fail), (Some(0), Level::Fail), (Some(1), Level::Ok), (Some(3), Level::Ok)]
        {
            assert_eq!(judge_service("services", "s", ready).level, level);
        }
        assert_eq!(no_policy(true).level, Level::Warn);
    }
}
