//! Coordinator and injector: are they there, ready, and steady?

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use marblerun_install::names;
use marblerun_install::rollout::{Rollout, Trouble};

use super::super::cluster::Cluster;
use super::super::installation::Installation;
use super::super::waiting::{look_for_trouble, pods_of};
use super::finding::Finding;

/// Who keeps the installation up to date.
pub fn keeper(installation: &Installation) -> Option<Finding> {
    let described = installation.described()?;
    Some(match &installation.release {
        Some(release) => Finding::ok("installation", format!("kept by Helm, release {:?}", release.name)),
        None if described.is_ours => Finding::ok("installation", "kept by 'marblerun install'"),
        None => Finding::ok("installation", "kept by neither Helm nor 'marblerun install'"),
    })
}

pub async fn examine(cluster: &Cluster, installation: &Installation) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (check, name, deployment) in [
        ("coordinator", names::COORDINATOR, &installation.coordinator),
        ("injector", names::INJECTOR, &installation.injector),
    ] {
        let Some(deployment) = deployment else {
            findings.push(absent(check, name, &cluster.namespace));
            continue;
        };
        let seen = async {
            let troubles = look_for_trouble(cluster, deployment).await?;
            anyhow::Ok((troubles, pods_of(cluster, deployment).await?))
        };
        match seen.await {
            Ok((troubles, pods)) => findings.extend(judge(check, name, deployment, &troubles, &pods)),
            Err(error) => findings.push(Finding::unseen(check, &format!("{error:#}"))),
        }
    }
    if installation.described().is_some_and(|described| described.is_simulation) {
        findings.push(Finding::warn(
            "protection",
            "the Coordinator runs in simulation: nothing is protected",
            "for real secrets, uninstall and install without --simulation",
        ));
    }
    findings
}

fn absent(check: &'static str, name: &str, namespace: &str) -> Finding {
    let text = format!("deployment {name} is not in namespace {namespace}");
    if check == "injector" {
        // Some do without.
        return Finding::ok(check, format!("{text}: pods do not become Marbles by themselves"));
    }
    Finding::fail(check, text, "'marblerun install' makes it; --namespace names another namespace")
}

fn judge(check: &'static str, name: &str, deployment: &Deployment, troubles: &[Trouble], pods: &[Pod]) -> Vec<Finding> {
    let rollout = Rollout::of(deployment);
    let numbers = format!("{}/{} pods ready", rollout.available, rollout.wanted);
    let mut findings = Vec::new();
    if rollout.is_scaled_down() {
        let advice = format!("kubectl scale deployment/{name} --replicas 1");
        findings.push(Finding::fail(check, format!("deployment {name} is scaled to 0"), advice));
    } else if rollout.is_ready() {
        findings.push(Finding::ok(check, numbers.as_str()));
    } else if troubles.is_empty() {
        let advice = "'marblerun check' waits for it";
        findings.push(Finding::fail(check, format!("{numbers}; nothing is known to be in the way"), advice));
    }
    for trouble in troubles {
        findings.push(Finding::fail(check, format!("{numbers}; {}: {}", trouble.object, trouble.what), trouble.advice));
    }
    let restarts: i32 = pods.iter().flat_map(container_restarts).sum();
    if restarts > 0 && rollout.is_ready() {
        let text = format!("its containers were restarted {restarts} times");
        findings.push(Finding::warn(check, text, "kubectl logs --previous tells why the last one ended"));
    }
    findings
}

fn container_restarts(pod: &Pod) -> impl Iterator<Item = i32> + '_ {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|status| status.restart_count)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::finding::Level;
    use super::*;

    fn deployment(replicas: i32, available: i32) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"generation": 1},
            "spec": {"replicas": replicas, "selector": {}, "template": {}},
            "status": {"observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas, "availableReplicas": available},
        }))
        .unwrap()
    }

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap()
    }

    #[test]
    fn ready_is_ok_restarts_are_a_warning_and_all_else_is_a_failure() {
        let levels = |deployment: &Deployment, troubles: &[Trouble], pods: &[Pod]| {
            judge("coordinator", "n", deployment, troubles, pods).iter().map(|f| f.level).collect::<Vec<_>>()
        };
        assert_eq!(levels(&deployment(1, 1), &[], &[]), [Level::Ok]);
        let restarted = pod(
            json!({"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 4}]}),
        );
        assert_eq!(levels(&deployment(1, 1), &[], &[restarted]), [Level::Ok, Level::Warn]);
        assert_eq!(levels(&deployment(0, 0), &[], &[]), [Level::Fail]);
        assert_eq!(levels(&deployment(2, 1), &[], &[]), [Level::Fail]);
        let trouble = Trouble { object: "pod p".to_owned(), what: "w".to_owned(), advice: "a" };
        assert_eq!(levels(&deployment(2, 1), &[trouble], &[]), [Level::Fail]);
        assert_eq!(absent("injector", "n", "ns").level, Level::Ok);
        assert_eq!(absent("coordinator", "n", "ns").level, Level::Fail);
    }
}
