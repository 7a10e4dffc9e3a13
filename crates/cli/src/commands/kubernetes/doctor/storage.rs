//! Will the state still be there tomorrow?

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Secret};
use kube::api::ListParams;
use marblerun_install::names;

use super::super::cluster::{Cluster, is_forbidden, plain};
use super::super::installation::{Described, Installation};
use super::finding::Finding;

/// What the API server takes as the data of a Secret.
const LIMIT: usize = 1 << 20;
/// From this many percent on it is time to act.
const NEAR_THE_LIMIT: usize = 70;

pub async fn examine(cluster: &Cluster, installation: &Installation) -> Vec<Finding> {
    let Some(described) = installation.described() else { return Vec::new() };
    if described.has_state_in_secret {
        in_secret(cluster, &described).await
    } else {
        on_volume(cluster, &described).await
    }
}

async fn in_secret(cluster: &Cluster, described: &Described) -> Vec<Finding> {
    let mut findings = Vec::new();
    let name = &described.state_secret;
    match cluster.here::<Secret>().get_opt(name).await {
        Ok(secret) => {
            let parts = cluster.here::<Secret>().list_metadata(&ListParams::default()).await;
            let prefix = format!("{name}-archive-");
            let is_archive = |name: Option<&String>| name.is_some_and(|name| name.starts_with(&prefix));
            let archives =
                parts.map(|list| list.items.iter().filter(|item| is_archive(item.metadata.name.as_ref())).count());
            findings.push(judge_secret(name, secret.as_ref()));
            if let Ok(count @ 1..) = archives {
                findings.push(Finding::ok("state", format!("{count} earlier states are archived beside it")));
            }
        }
        Err(error) => findings.push(Finding::unseen("state", &plain(error).to_string())),
    }
    match cluster.here::<ConfigMap>().get_opt(&described.kek_config_map).await {
        Ok(map) => findings.push(judge_keys(&described.kek_config_map, map.as_ref(), described.replicas)),
        Err(error) => findings.push(Finding::unseen("keys", &plain(error).to_string())),
    }
    findings
}

fn judge_secret(name: &str, secret: Option<&Secret>) -> Finding {
    let Some(secret) = secret else {
        return Finding::warn(
            "state",
            format!("there is no Secret {name} yet"),
            "the first Coordinator that starts makes it; if there was one, restore it from a backup before that",
        );
    };
    let bytes: usize = secret.data.iter().flatten().map(|(_, value)| value.0.len()).sum();
    let percent = bytes * 100 / LIMIT;
    let text = format!("Secret {name} has {bytes} bytes, {percent} % of what it can have");
    if percent >= NEAR_THE_LIMIT {
        let advice = "remove secrets that are not used, or allow more Secrets with coordinator.stateParts.enabled";
        return Finding::warn("state", text, advice);
    }
    Finding::ok("state", text)
}

fn judge_keys(name: &str, map: Option<&ConfigMap>, replicas: i32) -> Finding {
    let entries = map.map_or(0, |map| map.binary_data.as_ref().map_or(0, std::collections::BTreeMap::len));
    let text = format!("ConfigMap {name} has the sealed keys of {entries} hosts");
    if entries == 0 {
        return Finding::warn(
            "keys",
            text,
            "without them the next start of all Coordinators needs a recovery; a running Coordinator writes its own",
        );
    }
    if entries == 1 && replicas > 1 {
        let advice = "if this host is lost while no other Coordinator runs, a recovery is needed";
        return Finding::warn("keys", text, advice);
    }
    Finding::ok("keys", text)
}

async fn on_volume(cluster: &Cluster, described: &Described) -> Vec<Finding> {
    let name = described.claim.as_deref().unwrap_or(names::VOLUME_CLAIM);
    let claim = match cluster.here::<PersistentVolumeClaim>().get_opt(name).await {
        Ok(claim) => claim,
        Err(error) => return vec![Finding::unseen("state", &plain(error).to_string())],
    };
    let mut findings = vec![judge_claim(name, claim.as_ref())];
    let volume = claim.and_then(|claim| claim.spec).and_then(|spec| spec.volume_name);
    if let Some(volume) = volume.filter(|volume| !volume.is_empty()) {
        match cluster.everywhere::<PersistentVolume>().get_opt(&volume).await {
            Ok(found) => findings.extend(found.as_ref().and_then(|found| judge_volume(&volume, found))),
            // Whoever may use a namespace alone sees no volumes.
            Err(error) if is_forbidden(&error) => {}
            Err(error) => findings.push(Finding::unseen("state", &plain(error).to_string())),
        }
    }
    findings
}

fn judge_claim(name: &str, claim: Option<&PersistentVolumeClaim>) -> Finding {
    let Some(claim) = claim else {
        let advice = "'marblerun install' makes it; to keep an earlier state, restore the volume first";
        return Finding::fail("state", format!("the volume claim {name} is missing"), advice);
    };
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    let spec = claim.spec.clone().unwrap_or_default();
    let class = spec.storage_class_name.filter(|class| !class.is_empty());
    let class_told = class.clone().unwrap_or_else(|| "none".to_owned());
    let modes = spec.access_modes.unwrap_or_default().join(", ");
    let text = format!("volume claim {name} is {phase} (storage class {class_told}, {modes})");
    match (phase, class) {
        ("Bound", _) => Finding::ok("state", text),
        ("Lost", _) => Finding::fail("state", text, "its volume is gone: delete the claim, install, restore a backup"),
        (_, None) => {
            let advice = "the cluster has no default storage class: name one with --set coordinator.storageClass=NAME";
            Finding::fail("state", text, advice)
        }
        _ => {
            let advice = format!("some classes bind only when the pod is scheduled; else: kubectl describe pvc {name}");
            Finding::warn("state", text, advice)
        }
    }
}

fn judge_volume(name: &str, volume: &PersistentVolume) -> Option<Finding> {
    let policy = volume.spec.as_ref()?.persistent_volume_reclaim_policy.clone()?;
    (policy == "Delete").then(|| {
        Finding::warn(
            "state",
            format!("volume {name} is deleted when its claim is deleted (reclaim policy Delete)"),
            format!(
                "keep backups, or: kubectl patch pv {name} -p '{{\"spec\":{{\"persistentVolumeReclaimPolicy\":\"Retain\"}}}}'"
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_secret_is_told_to_be_full_before_it_is() {
        use k8s_openapi::ByteString;
        let secret = |bytes: usize| Secret {
            data: Some([("sealed_data".to_owned(), ByteString(vec![0; bytes]))].into()),
            ..Secret::default()
        };
        assert_eq!(judge_secret("s", Some(&secret(9_000))).level, Level::Ok);
        assert_eq!(judge_secret("s", Some(&secret(750_000))).level, Level::Warn);
        assert_eq!(judge_secret("s", None).level, Level::Warn);
    }

    #[test]
    fn keys_of_one_host_are_few_for_several_coordinators() {
        let map = |entries: usize| -> ConfigMap {
            let data: Value = (0..entries).map(|n| (n.to_string(), json!("AA=="))).collect();
            serde_json::from_value(json!({"metadata": {}, "binaryData": data})).unwrap()
        };
        assert_eq!(judge_keys("m", None, 1).level, Level::Warn);
        assert_eq!(judge_keys("m", Some(&map(1)), 1).level, Level::Ok);
        assert_eq!(judge_keys("m", Some(&map(1)), 3).level, Level::Warn);
        assert_eq!(judge_keys("m", Some(&map(2)), 3).level, Level::Ok);
    }

    #[test]
    fn a_claim_without_a_volume_says_why() {
        let claim = |phase: &str, class: Value| -> PersistentVolumeClaim {
            let spec = json!({"storageClassName": class, "accessModes": ["ReadWriteOnce"]});
            serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": {"phase": phase}})).unwrap()
        };
        assert_eq!(judge_claim("c", None).level, Level::Fail);
        assert_eq!(judge_claim("c", Some(&claim("Bound", json!("fast")))).level, Level::Ok);
        assert_eq!(judge_claim("c", Some(&claim("Pending", json!("fast")))).level, Level::Warn);
        assert_eq!(judge_claim("c", Some(&claim("Pending", Value::Null))).level, Level::Fail);
        assert_eq!(judge_claim("c", Some(&claim("Lost", json!("fast")))).level, Level::Fail);
        let volume = |policy: &str| -> PersistentVolume {
            serde_json::from_value(json!({"metadata": {}, "spec": {"persistentVolumeReclaimPolicy": policy}})).unwrap()
        };
        assert!(judge_volume("v", &volume("Delete")).is_some() && judge_volume("v", &volume("Retain")).is_none());
    }
}
