//! Is a Deployment ready, and if not, why? Read from the objects alone.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use serde::Serialize;

/// How far a Deployment has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Pods that are wanted.
    pub wanted: i32,
    /// Pods that there are, of any age.
    pub existing: i32,
    /// Pods of the newest template.
    pub updated: i32,
    /// Pods that have been ready for long enough.
    pub available: i32,
    /// Whether the numbers are about the newest specification.
    pub is_current: bool,
}

impl Rollout {
    /// What a Deployment says.
    pub fn of(deployment: &Deployment) -> Self {
        let status = deployment.status.clone().unwrap_or_default();
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let observed = status.observed_generation.unwrap_or_default();
        Self {
            wanted,
            existing: status.replicas.unwrap_or_default(),
            updated: status.updated_replicas.unwrap_or_default(),
            available: status.available_replicas.unwrap_or_default(),
            is_current: observed >= deployment.metadata.generation.unwrap_or_default(),
        }
    }

    /// Whether nobody wants a pod of it.
    pub fn is_scaled_down(self) -> bool {
        self.wanted == 0
    }

    /// Whether all pods that are wanted serve, those of the newest template and no others.
    pub fn is_ready(self) -> bool {
        self.is_current
            && self.wanted > 0
            && self.updated >= self.wanted
            && self.available >= self.wanted
            && self.existing == self.wanted
    }
}

/// Why a pod does not get ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// Which pod or Deployment.
    pub object: String,
    /// What Kubernetes says.
    pub what: String,
    /// What to do.
    pub advice: &'static str,
}

/// What keeps the pods of a Deployment from being ready, as far as it is known.
pub fn troubles(deployment: &Deployment, pods: &[Pod], events: &[Event]) -> Vec<Trouble> {
    let mut found: Vec<Trouble> = pods.iter().filter_map(|pod| of_pod(pod, events)).collect();
    if found.is_empty() {
        found.extend(of_deployment(deployment, events));
    }
    found
}

fn of_pod(pod: &Pod, events: &[Event]) -> Option<Trouble> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let status = pod.status.clone().unwrap_or_default();
    // It is on its way out.
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let conditions = status.conditions.unwrap_or_default();
    let trouble = |what: String, advice| Some(Trouble { object: format!("pod {name}"), what, advice });
    if let Some(unscheduled) = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False") {
        let why = unscheduled.message.clone().or_else(|| unscheduled.reason.clone()).unwrap_or_default();
        return trouble(format!("no node takes it: {why}"), advice_unscheduled(&why));
    }
    if conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
        return None;
    }
    let containers = [status.init_container_statuses, status.container_statuses];
    if let Some((what, advice)) = containers.iter().flatten().flatten().find_map(of_container) {
        return trouble(what, advice);
    }
    let (reason, message) = last_warning(events, &name)?;
    trouble(format!("{reason}: {message}"), advice_event(&reason))
}

fn of_container(status: &ContainerStatus) -> Option<(String, &'static str)> {
    let state = status.state.as_ref();
    let ended = state
        .and_then(|state| state.terminated.as_ref())
        .or_else(|| status.last_state.as_ref().and_then(|state| state.terminated.as_ref()));
    let how_it_ended = ended.map(|ended| {
        let reason = ended.reason.as_deref().unwrap_or("ended");
        let message = ended.message.as_deref().map(|message| format!(": {}", message.trim())).unwrap_or_default();
        format!("{reason}, exit code {}{message}", ended.exit_code)
    });
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let name = &status.name;
    if let Some(waiting) = waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let message = waiting.message.as_deref().unwrap_or_default();
        return match reason {
            // The ordinary way.
            "" | "ContainerCreating" | "PodInitializing" => None,
            "CrashLoopBackOff" => {
                let last = how_it_ended.unwrap_or_else(|| message.to_owned());
                Some((
                    format!("container {name} ends again and again, {} times so far ({last})", status.restart_count),
                    LOGS,
                ))
            }
            _ => Some((format!("container {name}: {reason}: {message}"), advice_waiting(reason))),
        };
    }
    if status.restart_count > 0 && !status.ready {
        let last = how_it_ended.unwrap_or_default();
        return Some((format!("container {name} was restarted {} times ({last})", status.restart_count), LOGS));
    }
    None
}

/// A Deployment that gets no pods at all.
fn of_deployment(deployment: &Deployment, events: &[Event]) -> Option<Trouble> {
    let name = deployment.metadata.name.clone().unwrap_or_default();
    let conditions = deployment.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let trouble = |what, advice| Some(Trouble { object: format!("deployment {name}"), what, advice });
    for condition in &conditions {
        let message = || condition.message.clone().unwrap_or_default();
        match (condition.type_.as_str(), condition.status.as_str()) {
            ("ReplicaFailure", "True") => {
                return trouble(format!("its pods are refused: {}", message()), ADMISSION);
            }
            ("Progressing", "False") => return trouble(message(), DESCRIBE),
            _ => {}
        }
    }
    let (reason, message) = last_warning(events, &name)?;
    trouble(format!("{reason}: {message}"), advice_event(&reason))
}

/// The newest warning about an object, or about one that it made.
fn last_warning(events: &[Event], name: &str) -> Option<(String, String)> {
    let made_by = format!("{name}-");
    let about = |event: &&Event| {
        let object = event.involved_object.name.as_deref().unwrap_or_default();
        event.type_.as_deref() == Some("Warning") && (object == name || object.starts_with(&made_by))
    };
    let newest = events.iter().filter(about).max_by_key(|event| {
        let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref().map(|time| time.0));
        series
            .or_else(|| event.last_timestamp.as_ref().map(|time| time.0))
            .or_else(|| event.event_time.as_ref().map(|time| time.0))
    })?;
    Some((newest.reason.clone().unwrap_or_default(), newest.message.clone().unwrap_or_default()))
}

const LOGS: &str = "its log says why: kubectl logs --previous POD";
const DESCRIBE: &str = "kubectl describe tells more";
const ADMISSION: &str = "a policy, quota or webhook of the cluster refuses the pods; see its message";
const IMAGE: &str = "check --repository and the image's tag; a private registry needs global.pullSecret";
const DEVICES: &str = "'marblerun precheck' tells which nodes have SGX; --resource-key names another device plugin, --simulation needs none";
const VOLUME: &str = "check the PersistentVolumeClaim: kubectl describe pvc coordinator-pv-claim; coordinator.storageClass names a storage class";
const TAINTS: &str = "add tolerations or change nodeSelector with --values";

fn advice_unscheduled(message: &str) -> &'static str {
    let of = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if of(&["sgx", "Insufficient kubernetes.azure.com", "Insufficient alibabacloud.com"]) {
        DEVICES
    } else if of(&["PersistentVolumeClaim", "volume"]) {
        VOLUME
    } else if of(&["taint", "affinity", "selector"]) {
        TAINTS
    } else if of(&["Insufficient"]) {
        "the nodes are full; see coordinator.resources"
    } else {
        DESCRIBE
    }
}

fn advice_waiting(reason: &str) -> &'static str {
    match reason {
        "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull" | "RegistryUnavailable" => IMAGE,
        "CreateContainerConfigError" => "a Secret or ConfigMap that it names is missing",
        _ => DESCRIBE,
    }
}

fn advice_event(reason: &str) -> &'static str {
    match reason {
        "FailedMount" | "FailedAttachVolume" => "the volume, or a Secret or ConfigMap that it names, is missing",
        "FailedCreate" => ADMISSION,
        "Failed" | "BackOff" => IMAGE,
        "Unhealthy" => "it runs, but its probe fails: its log says why (kubectl logs POD)",
        _ => DESCRIBE,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rollout(generation: i64, replicas: Value, status: Value) -> Rollout {
        let deployment = json!({"metadata": {"generation": generation}, "spec": {"replicas": replicas, "selector": {}, "template": {}}, "status": status});
        Rollout::of(&serde_json::from_value(deployment).unwrap())
    }

    #[test]
    fn a_deployment_is_ready_when_all_that_is_wanted_serves_and_nothing_else_is_left() {
        let status = |observed: i64, replicas: i32, updated: i32, available: i32| json!({"observedGeneration": observed, "replicas": replicas, "updatedReplicas": updated, "availableReplicas": available});
        for (generation, wanted, status, ready) in [
            (1, json!(1), status(1, 1, 1, 1), true),
            (1, json!(null), status(1, 1, 1, 1), true),
            (2, json!(1), status(1, 1, 1, 1), false),
            (1, json!(3), status(1, 3, 3, 2), false),
            (1, json!(3), status(1, 4, 3, 4), false),
            (2, json!(3), status(2, 3, 1, 3), false),
            (1, json!(0), status(1, 0, 0, 0), false),
            (1, json!(1), json!({}), false),
        ] {
            assert_eq!(rollout(generation, wanted, status.clone()).is_ready(), ready, "{status}");
        }
        assert!(rollout(1, json!(0), json!({})).is_scaled_down());
    }

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
    }

    fn deployment(status: Value) -> Deployment {
        serde_json::from_value(
            json!({"metadata": {"name": "d"}, "spec": {"selector": {}, "template": {}}, "status": status}),
        )
        .unwrap()
    }

    fn event(object: &str, reason: &str, message: &str, time: &str) -> Event {
        serde_json::from_value(json!({
            "metadata": {}, "type": "Warning", "reason": reason, "message": message, "lastTimestamp": time,
            "involvedObject": {"name": object},
        }))
        .unwrap()
    }

    fn one(pods: &[Pod], events: &[Event]) -> Trouble {
        let mut found = troubles(&deployment(json!({})), pods, events);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn a_pod_that_no_node_takes_says_what_the_scheduler_said() {
        let unscheduled = |message: &str| {
            pod(
                json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]}),
            )
        };
        let trouble = one(&[unscheduled("0/3 nodes are available: 3 Insufficient sgx.intel.com/epc.")], &[]);
        assert!(trouble.what.contains("3 Insufficient sgx.intel.com/epc"), "{trouble:?}");
        assert_eq!(trouble.advice, DEVICES);
        let trouble = one(&[unscheduled("pod has unbound immediate PersistentVolumeClaims")], &[]);
        assert_eq!(trouble.advice, VOLUME);
    }

    #[test]
    fn a_container_that_waits_or_crashes_says_so_and_one_that_is_being_made_does_not() {
        let waiting = |reason: &str| {
            pod(
                json!({"containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 7,
                "state": {"waiting": {"reason": reason, "message": "no such image"}},
                "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}}}]}),
            )
        };
        let trouble = one(&[waiting("ImagePullBackOff")], &[]);
        assert_eq!((trouble.what.as_str(), trouble.advice), ("container c: ImagePullBackOff: no such image", IMAGE));
        let trouble = one(&[waiting("CrashLoopBackOff")], &[]);
        assert!(trouble.what.contains("7 times so far (Error, exit code 3)"), "{trouble:?}");
        assert!(troubles(&deployment(json!({})), &[waiting("ContainerCreating")], &[]).is_empty());
    }

    #[test]
    fn the_newest_warning_counts_and_a_deployment_without_pods_speaks_for_itself() {
        let events = [
            event("p", "FailedMount", "new", "2027-01-02T00:00:00Z"),
            event("p", "FailedMount", "old", "2027-01-01T00:00:00Z"),
            event("other", "Failed", "else", "2027-01-03T00:00:00Z"),
        ];
        assert_eq!(one(&[pod(json!({}))], &events).what, "FailedMount: new");
        let refused = deployment(
            json!({"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "forbidden: quota"}]}),
        );
        assert_eq!(troubles(&refused, &[], &[]).remove(0).what, "its pods are refused: forbidden: quota");
        let of_replica_set = [event("d-5f6b7", "FailedCreate", "violates PodSecurity", "2027-01-01T00:00:00Z")];
        assert_eq!(one(&[], &of_replica_set).what, "FailedCreate: violates PodSecurity");
    }
}
