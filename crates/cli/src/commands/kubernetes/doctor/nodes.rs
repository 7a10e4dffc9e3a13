//! Are there nodes that can take a Coordinator?

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use marblerun_install::devices::{lacking, survey, why_not_on};

use super::super::cluster::{Cluster, plain};
use super::super::installation::Installation;
use super::finding::Finding;

pub async fn examine(cluster: &Cluster, installation: &Installation) -> Vec<Finding> {
    match cluster.everywhere::<Node>().list(&ListParams::default()).await {
        Ok(nodes) => vec![match &installation.coordinator {
            Some(coordinator) => judge(&nodes.items, coordinator),
            None => tell(&nodes.items),
        }],
        Err(error) => vec![Finding::unseen("nodes", &plain(error).to_string())],
    }
}

/// Without an installation there is only something to tell.
fn tell(nodes: &[Node]) -> Finding {
    let devices = survey(nodes);
    let count =
        |is_it: fn(&marblerun_install::devices::NodeDevices) -> bool| devices.iter().filter(|d| is_it(d)).count();
    let (sgx, tdx, snp) = (count(|d| d.sgx.is_some()), count(|d| d.tdx), count(|d| d.snp));
    let text = format!("{} nodes: {sgx} with SGX, {tdx} with TDX, {snp} with SEV-SNP", nodes.len());
    if sgx + tdx + snp > 0 {
        Finding::ok("nodes", text)
    } else {
        Finding::warn("nodes", text, "'marblerun precheck' tells what to do; without them only --simulation runs")
    }
}

/// What the Coordinator asks for, against what each node has.
fn judge(nodes: &[Node], coordinator: &Deployment) -> Finding {
    let pod = coordinator.spec.as_ref().and_then(|spec| spec.template.spec.clone()).unwrap_or_default();
    let tolerations = pod.tolerations.unwrap_or_default();
    let selector = pod.node_selector.unwrap_or_default();
    let resources = pod.containers.into_iter().next().and_then(|container| container.resources).unwrap_or_default();
    let why_not = |node: &Node| {
        why_not_on(node, &tolerations, &selector).or_else(|| {
            let lacking = lacking(node, &resources);
            (!lacking.is_empty()).then(|| format!("it lacks {}", lacking.join(", ")))
        })
    };
    let verdicts: Vec<(String, Option<String>)> =
        nodes.iter().map(|node| (node.metadata.name.clone().unwrap_or_default(), why_not(node))).collect();
    let fit = verdicts.iter().filter(|(_, why_not)| why_not.is_none()).count();
    let wanted = coordinator.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let text = format!("{fit} of {} nodes can take a Coordinator", nodes.len());
    if fit == 0 {
        let told = verdicts.iter().take(5).filter_map(|(name, why)| Some(format!("{name}: {}", why.as_ref()?)));
        let told = told.collect::<Vec<_>>().join("; ");
        return Finding::fail(
            "nodes",
            if told.is_empty() { text } else { format!("{text} ({told})") },
            "see 'marblerun precheck'; --resource-key names another device plugin, tolerations and nodeSelector are values",
        );
    }
    if usize::try_from(wanted).is_ok_and(|wanted| wanted > fit) {
        let advice = "the loss of one node ends several Coordinators; add nodes, or reduce --replicas";
        return Finding::warn("nodes", format!("{text}, and {wanted} Coordinators are wanted"), advice);
    }
    Finding::ok("nodes", text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::finding::Level;
    use super::*;

    fn node(name: &str, capacity: Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": name}, "status": {"capacity": capacity}})).unwrap()
    }

    fn coordinator(replicas: i32) -> Deployment {
        serde_json::from_value(
            json!({"metadata": {}, "spec": {"replicas": replicas, "selector": {}, "template": {"spec": {
                "containers": [{"name": "c", "resources": {"limits": {"sgx.intel.com/epc": "10Mi", "cpu": "1"}}}],
            }}}}),
        )
        .unwrap()
    }

    #[test]
    fn a_coordinator_needs_a_node_with_its_devices() {
        let (with, without) = (node("a", json!({"sgx.intel.com/epc": "1Gi"})), node("b", json!({})));
        let finding = judge(std::slice::from_ref(&without), &coordinator(1));
        assert_eq!(finding.level, Level::Fail);
        assert!(finding.text.contains("b: it lacks sgx.intel.com/epc"), "{}", finding.text);
        assert_eq!(judge(&[with.clone(), without.clone()], &coordinator(1)).level, Level::Ok);
        assert_eq!(judge(&[with, without], &coordinator(3)).level, Level::Warn);
        assert_eq!(judge(&[], &coordinator(1)).level, Level::Fail);
    }
}
