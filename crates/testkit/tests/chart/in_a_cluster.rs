//! A real API server takes what the chart makes, and Helm installs it there.

use marblerun_testkit::kube::{ControlPlane, Namespace, Role};
use serde_json::{Value, json};

use crate::helm::{Case, Helm, Objects, chart, fixtures};

/// The kinds of cert-manager and of the Prometheus operator, as far as the API server must know them.
fn foreign_kinds(plane: &ControlPlane) {
    let kind = |group: &str, version: &str, kind: &str, plural: &str| {
        let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("{plural}.{group}") },
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase() },
                "versions": [{
                    "name": version, "served": true, "storage": true, "schema": { "openAPIV3Schema": schema },
                }],
            },
        })
    };
    let kinds = [
        kind("cert-manager.io", "v1", "Issuer", "issuers"),
        kind("cert-manager.io", "v1", "Certificate", "certificates"),
        kind("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
    ];
    for kind in kinds {
        plane.kubectl_with_input(["apply", "--server-side", "-f", "-"], &kind.to_string()).unwrap().ok().unwrap();
    }
    let wait = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=120s"];
    plane.kubectl(wait).unwrap().ok().unwrap();
}

/// `helm` with the chart and the images named.
fn helm(namespace: &Namespace, verb: &[&str], args: &[&str]) -> Helm {
    let helm = Helm::in_cluster(&namespace.control_plane().kubeconfig()).args(verb).args(["marblerun"]);
    let helm = helm.args([chart()]).args(["--namespace", namespace.name()]);
    helm.args(["--values"]).args([fixtures().join("common.yaml")]).args(args)
}

fn get(namespace: &Namespace, args: &[&str]) -> Value {
    let answer = namespace.kubectl([&["get", "--output=json"], args].concat()).unwrap().ok().unwrap();
    serde_json::from_str(&answer).unwrap()
}

#[test]
fn an_api_server_takes_every_field_of_every_case() {
    let plane = ControlPlane::shared().unwrap();
    foreign_kinds(&plane);
    let namespace = plane.namespace().unwrap();
    let objects: String = Case::all().iter().map(|case| case.render(namespace.name())).collect();
    let apply = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
    let taken = namespace.kubectl_with_input(apply, &objects).unwrap();
    assert!(taken.is_ok(), "{}", taken.stderr);
    let count = Objects::parse(&objects).0.len();
    assert!(count > 150, "{count}");
    assert_eq!(taken.stdout.matches("(server dry run)").count(), count, "{}", taken.stdout);
}

#[test]
fn pods_are_admitted_where_only_restricted_ones_are() {
    let plane = ControlPlane::shared().unwrap();
    let namespace = plane.namespace().unwrap();
    let enforce = "pod-security.kubernetes.io/enforce=restricted";
    plane.kubectl(["label", "namespace", namespace.name(), enforce]).unwrap().ok().unwrap();
    let runtime = json!({
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": { "name": "kata-qemu-tdx" },
        "handler": "kata-qemu-tdx",
    });
    plane.kubectl_with_input(["apply", "-f", "-"], &runtime.to_string()).unwrap().ok().unwrap();
    let pod = |name: &str, deployment: &Value| {
        let template = &deployment["spec"]["template"];
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "labels": template["metadata"]["labels"] },
            "spec": template["spec"],
        })
    };
    let create = |pods: &[Value]| {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": pods }).to_string();
        namespace.kubectl_with_input(["create", "--dry-run=server", "-f", "-"], &list).unwrap()
    };
    let (mut pods, mut of_nodes) = (Vec::new(), Vec::new());
    for case in Case::all() {
        let objects = Objects::parse(&case.render(namespace.name()));
        let deployments = objects.0.iter().filter(|object| object["kind"] == "Deployment");
        let of_case = |deployment: &Value| {
            pod(&format!("{}-{}", case.name, deployment["metadata"]["name"].as_str().unwrap()), deployment)
        };
        let (more, plain): (Vec<Value>, Vec<Value>) =
            deployments.map(of_case).partition(|pod| pod.to_string().contains("hostPath"));
        pods.extend(plain);
        of_nodes.extend(more);
    }
    let admitted = create(&pods);
    assert!(admitted.is_ok(), "{}", admitted.stderr);
    assert_eq!(admitted.stdout.matches("created (server dry run)").count(), pods.len(), "{}", admitted.stdout);

    // What needs parts of the node is not such a pod, and is told so.
    assert_eq!(of_nodes.len(), 1);
    let refused = create(&of_nodes);
    assert!(refused.stderr.contains("violates PodSecurity"), "{}", refused.stderr);

    let loose = Objects::of(&["coordinator.podSecurityContext=null", "coordinator.securityContext=null"]);
    let refused = create(&[pod("loose", loose.coordinator())]);
    assert!(refused.stderr.contains("violates PodSecurity"), "{}", refused.stderr);
}

#[test]
fn the_account_has_the_rights_that_coordinators_are_tested_with_and_no_others() {
    let plane = ControlPlane::shared().unwrap();
    let (tests, charts) = (plane.namespace().unwrap(), plane.namespace().unwrap());
    tests.service_account(Role::Ours).unwrap();
    let distributed = ["--set", "coordinator.distributedDeployment=true"];
    helm(&charts, &["install"], &distributed).succeeds();
    let role = |namespace: &Namespace| get(namespace, &["role", "marblerun-coordinator"])["rules"].clone();
    assert_eq!(role(&charts), role(&tests));

    helm(&charts, &["upgrade"], &[&distributed[..], &["--set", "coordinator.stateParts.enabled=true"]].concat())
        .succeeds();
    let account = format!("--as=system:serviceaccount:{}:marblerun-coordinator", charts.name());
    let may = |verb: &str, what: &str| {
        let answer = charts.kubectl(["auth", "can-i", verb, what, &account]).unwrap();
        assert!(["yes\n", "no\n"].contains(&answer.stdout.as_str()), "{answer:?}");
        answer.stdout == "yes\n"
    };
    for part in ["a1", "a15", "b7", "c15"] {
        assert!(may("update", &format!("secrets/marblerun-state-{part}")), "{part}");
    }
    for what in
        ["marblerun-state-a0", "marblerun-state-c16", "marblerun-state-archive-5", "other", "sh.helm.release.v1"]
    {
        assert!(!may("get", &format!("secrets/{what}")), "{what}");
    }
    assert!(!may("get", "secrets") && !may("delete", "secrets/marblerun-state"));
    assert!(!may("update", "configmaps/marblerun-sealed-kek") && !may("list", "pods"));
}

#[test]
fn an_installation_is_changed_removed_and_made_again_on_the_same_volume() {
    let plane = ControlPlane::shared().unwrap();
    let namespace = plane.namespace().unwrap();
    let install = |args: &[&str]| helm(&namespace, &["upgrade", "--install"], args).succeeds();
    let volume = || get(&namespace, &["pvc", "coordinator-pv-claim"])["metadata"]["uid"].clone();

    let said = install(&[]);
    assert!(said.contains("The Coordinator v1.2.3 is being started"), "{said}");
    let first = volume();
    let said = install(&["--set", "coordinator.simulation=true"]);
    assert!(said.contains("SIMULATION: nothing is protected"), "{said}");
    let environment = get(&namespace, &["deployment", "marblerun-coordinator"]).to_string();
    assert!(environment.contains(r#"{"name":"MARBLERUN_TEE","value":"simulation"}"#), "{environment}");

    let uninstall = |args: &[&str]| {
        let helm = Helm::in_cluster(&plane.kubeconfig()).args(["uninstall", "marblerun"]);
        helm.args(["--namespace", namespace.name()]).args(args).succeeds()
    };
    let said = uninstall(&[]);
    assert!(said.contains("kept due to the resource policy"), "{said}");
    let left = namespace.kubectl(["get", "deployment,service,networkpolicy,configmap", "--output=name"]).unwrap();
    assert_eq!(left.ok().unwrap(), "");
    assert_eq!(volume(), first);
    install(&[]);
    assert_eq!(volume(), first, "it is taken over");

    install(&["--set", "coordinator.keepVolume=false"]);
    assert!(!uninstall(&[]).contains("kept"), "as it was asked for");
}

#[test]
fn a_single_coordinator_becomes_several_and_one_again_without_losing_its_volume() {
    let plane = ControlPlane::shared().unwrap();
    let namespace = plane.namespace().unwrap();
    let install = |args: &[&str]| helm(&namespace, &["upgrade", "--install"], args).succeeds();
    install(&[]);
    install(&["--set", "coordinator.distributedDeployment=true", "--set", "coordinator.replicas=3"]);
    let deployment = get(&namespace, &["deployment", "marblerun-coordinator"]);
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    get(&namespace, &["pvc", "coordinator-pv-claim"]);
    install(&[]);
    let deployment = get(&namespace, &["deployment", "marblerun-coordinator"]);
    assert_eq!(deployment["spec"]["strategy"], json!({ "type": "Recreate" }));
}
