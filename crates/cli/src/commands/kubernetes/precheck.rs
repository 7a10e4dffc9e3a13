//! `marblerun precheck`: what the nodes can protect with.

use anyhow::Result;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use marblerun_install::devices::{NodeDevices, choose, survey};
use serde_json::json;

use super::cluster::{Cluster, Told as _};
use crate::args::ClusterArgs;
use crate::output::Output;

/// Tells it. Exit code 0 either way: it is no failure of the cluster to be without.
pub async fn run(output: &Output<'_>, args: &ClusterArgs) -> Result<()> {
    // The namespace plays no part.
    let cluster = Cluster::find(String::new(), args).await?;
    let nodes = cluster.everywhere::<Node>().list(&ListParams::default()).await.told("reading the nodes")?;
    let devices = survey(&nodes.items);
    let plugin = choose(&devices);
    let value = json!({
        "nodes": devices,
        "sgx": count(&devices, |node| node.sgx.is_some()),
        "tdx": count(&devices, |node| node.tdx),
        "snp": count(&devices, |node| node.snp),
        "resourceKey": plugin.map(|plugin| plugin.resource_key()),
    });
    output.result(&value, || tell(&devices))
}

fn count(devices: &[NodeDevices], is_it: impl Fn(&NodeDevices) -> bool) -> usize {
    devices.iter().filter(|node| is_it(node)).count()
}

fn tell(devices: &[NodeDevices]) -> String {
    let nodes = |number: usize| format!("{number} node{}", if number == 1 { "" } else { "s" });
    let sgx = count(devices, |node| node.sgx.is_some());
    let mut lines = Vec::new();
    if sgx > 0 {
        lines.push(format!("Cluster supports SGX on {}", nodes(sgx)));
        lines.push("To install MarbleRun run [marblerun install]".to_owned());
        if let Some(plugin) = choose(devices) {
            lines.push(format!("Device plugin: {}", plugin.resource_key()));
        }
    } else {
        lines.push("Cluster does not support SGX, you may still run MarbleRun in simulation mode".to_owned());
        lines.push("To install MarbleRun in simulation mode run [marblerun install --simulation]".to_owned());
        lines.push(
            "If the nodes have SGX hardware, install an SGX device plugin: only what it offers is seen here."
                .to_owned(),
        );
        lines.push("A plugin with a resource of its own is named with [marblerun install --resource-key]".to_owned());
    }
    for (name, tee, number) in
        [("Intel TDX", "tdx", count(devices, |node| node.tdx)), ("AMD SEV-SNP", "snp", count(devices, |node| node.snp))]
    {
        if number > 0 {
            lines.push(format!(
                "Cluster supports {name} on {}: [marblerun install --set coordinator.tee={tee}], with the \
                 coordinator.runtimeClassName of confidential pods where nodes are not confidential machines themselves",
                nodes(number)
            ));
        }
    }
    for node in devices.iter().filter(|node| node.sgx.is_some() || node.tdx || node.snp) {
        if let Some(why) = &node.unavailable {
            lines.push(format!("Node {} takes no pods at present: {why}", node.node));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use marblerun_install::devices::Plugin;

    use super::*;

    fn node(sgx: Option<Plugin>, snp: bool, unavailable: Option<&str>) -> NodeDevices {
        NodeDevices { node: "n".to_owned(), sgx, tdx: false, snp, unavailable: unavailable.map(str::to_owned) }
    }

    #[test]
    fn scripts_find_the_lines_they_know() {
        assert!(
            tell(&[node(Some(Plugin::Intel), false, None)])
                .starts_with("Cluster supports SGX on 1 node\nTo install MarbleRun run [marblerun install]\n")
        );
        let two = [node(Some(Plugin::Azure), false, None), node(Some(Plugin::Azure), false, Some("cordoned"))];
        let told = tell(&two);
        assert!(told.starts_with("Cluster supports SGX on 2 nodes\n"), "{told}");
        assert!(told.ends_with("Node n takes no pods at present: cordoned"), "{told}");
        let none = tell(&[node(None, false, None)]);
        assert!(none.starts_with("Cluster does not support SGX, you may still run MarbleRun in simulation mode\n"));
        assert_eq!(none.lines().count(), 4);
        assert!(
            tell(&[node(None, true, None)])
                .contains("AMD SEV-SNP on 1 node: [marblerun install --set coordinator.tee=snp]")
        );
    }
}
