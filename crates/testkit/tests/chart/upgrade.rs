//! A release of the original chart 1.9.1 becomes one of ours: the same objects go on, and with them the state.

use std::collections::BTreeMap;

use marblerun_testkit::kube::{ControlPlane, Namespace};
use serde_json::Value;

use crate::helm::{Helm, chart, fixtures, root, template};

/// A release of the original, and the state that its Coordinators made.
struct Original {
    namespace: Namespace,
}

impl Original {
    /// `objects`: what the original makes, as a file among the fixtures.
    fn install(objects: &str, args: &[&str]) -> Self {
        let plane = ControlPlane::shared().unwrap();
        let namespace = plane.namespace().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let source = fixtures().join("upstream-1.9.1");
        std::fs::create_dir(folder.path().join("templates")).unwrap();
        std::fs::copy(source.join("values.yaml"), folder.path().join("values.yaml")).unwrap();
        let about = "apiVersion: v2\nname: marblerun\nversion: 1.9.1\nappVersion: v1.9.1\n";
        std::fs::write(folder.path().join("Chart.yaml"), about).unwrap();
        let objects = std::fs::read_to_string(source.join(objects)).unwrap();
        let objects = objects.replace("NAMESPACE", namespace.name()).replace("CA_BUNDLE", &ca_bundle(&plane));
        std::fs::write(folder.path().join("templates/objects.yaml"), objects).unwrap();

        let helm = Helm::in_cluster(&plane.kubeconfig()).args(["install", "marblerun"]).args([folder.path()]);
        helm.args(["--namespace", namespace.name()]).args(args).succeeds();
        let state = ["create", "secret", "generic", "marblerun-state", "--from-literal=sealed_data=precious"];
        namespace.kubectl(state).unwrap().ok().unwrap();
        let keys = ["create", "configmap", "marblerun-sealed-kek", "--from-literal=key=precious"];
        namespace.kubectl(keys).unwrap().ok().unwrap();
        Self { namespace }
    }

    /// `helm upgrade` to our chart.
    fn upgrade(&self, args: &[&str]) -> Helm {
        let kubeconfig = self.namespace.control_plane().kubeconfig();
        let helm = Helm::in_cluster(&kubeconfig).args(["upgrade", "marblerun"]).args([chart()]);
        helm.args(["--namespace", self.namespace.name()]).args(args)
    }

    fn objects(&self) -> BTreeMap<String, Value> {
        let kinds = "deployment,service,persistentvolumeclaim,secret,configmap,serviceaccount,role,rolebinding,\
                     networkpolicy,poddisruptionbudget";
        let list = self.namespace.kubectl(["get", kinds, "--output=json"]).unwrap().ok().unwrap();
        let list: Value = serde_json::from_str(&list).unwrap();
        let name = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]).replace('"', "");
        let objects = list["items"].as_array().unwrap().iter().map(|object| (name(object), object.clone()));
        objects.filter(|(name, _)| !name.contains("sh.helm.release")).collect()
    }
}

fn ca_bundle(plane: &ControlPlane) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(plane.ca_pem().unwrap())
}

const IMAGES: &str = "coordinator.repository=registry.example.com/marblerun";

/// Nothing was deleted or made anew, and what carries the state was not touched.
fn assert_goes_on(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) {
    for (name, old) in before {
        let new = after.get(name).unwrap_or_else(|| panic!("{name} is gone"));
        assert_eq!(old["metadata"]["uid"], new["metadata"]["uid"], "{name} was made anew");
        match name.split(' ').next() {
            Some("PersistentVolumeClaim") => assert_eq!(old["spec"], new["spec"], "{name}"),
            Some("Deployment") => assert_eq!(old["spec"]["selector"], new["spec"]["selector"], "{name}"),
            Some("Service") => {
                assert_eq!(old["spec"]["selector"], new["spec"]["selector"], "{name}");
                assert_eq!(old["spec"]["clusterIP"], new["spec"]["clusterIP"], "{name}");
                assert_eq!(old["spec"]["ports"], new["spec"]["ports"], "{name}");
            }
            _ => {}
        }
    }
    for state in ["Secret marblerun-state", "ConfigMap marblerun-sealed-kek"] {
        assert_eq!(before[state], after[state], "{state}");
    }
}

#[test]
fn a_single_coordinator_of_the_original_goes_on_and_can_go_back() {
    let original = Original::install("single.yaml", &[]);
    let before = original.objects();
    original.upgrade(&["--set", IMAGES, "--dry-run=server"]).succeeds();
    assert_eq!(original.objects(), before);

    original.upgrade(&["--set", IMAGES]).succeeds();
    let after = original.objects();
    assert_goes_on(&before, &after);
    assert_eq!(after["Deployment marblerun-coordinator"]["spec"]["strategy"]["type"], "Recreate");
    let volume = &after["PersistentVolumeClaim coordinator-pv-claim"];
    assert_eq!(volume["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    let new: Vec<&String> = after.keys().filter(|name| !before.contains_key(*name)).collect();
    assert_eq!(new, ["NetworkPolicy marblerun-coordinator"]);

    let back = Helm::in_cluster(&original.namespace.control_plane().kubeconfig());
    back.args(["rollback", "marblerun", "1", "--namespace", original.namespace.name()]).succeeds();
    assert_goes_on(&before, &original.objects());
    let image =
        &original.objects()["Deployment marblerun-coordinator"]["spec"]["template"]["spec"]["containers"][0]["image"];
    assert!(image.as_str().unwrap().contains(":v1.9.1@sha256:"), "{image}");
    original.upgrade(&["--set", IMAGES]).succeeds();
    assert_goes_on(&before, &original.objects());
}

#[test]
fn distributed_coordinators_and_injector_of_the_original_go_on() {
    let original = Original::install("distributed.yaml", &[]);
    let before = original.objects();
    let bundle = format!("marbleInjector.CABundle={}", ca_bundle(original.namespace.control_plane()));
    let distributed = "coordinator.distributedDeployment=true,coordinator.replicas=3,marbleInjector.start=true";
    let args = ["--set", IMAGES, "--set", distributed, "--set", &bundle];
    original.upgrade(&[&args[..], &["--dry-run=server"]].concat()).succeeds();
    original.upgrade(&args).succeeds();
    let after = original.objects();
    assert_goes_on(&before, &after);
    let rolling = &after["Deployment marblerun-coordinator"]["spec"]["strategy"]["rollingUpdate"];
    assert_eq!(rolling["maxUnavailable"], 0);
    assert!(after["Role marblerun-coordinator"]["rules"][0]["resourceNames"].is_array());
}

#[test]
fn values_given_to_the_original_are_kept_if_asked_for_rightly() {
    let original = Original::install("single.yaml", &["--set", "coordinator.hostname=mine.example"]);
    let said = original.upgrade(&["--reuse-values"]).fails();
    assert!(said.contains("use `helm upgrade --reset-then-reuse-values`"), "{said}");
    original.upgrade(&["--reset-then-reuse-values", "--set", IMAGES]).succeeds();
    let container =
        &original.objects()["Deployment marblerun-coordinator"]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["image"],
        format!("registry.example.com/marblerun/coordinator:v{}", env!("CARGO_PKG_VERSION"))
    );
    let names =
        container["env"].as_array().unwrap().iter().find(|variable| variable["name"] == "EDG_COORDINATOR_DNS_NAMES");
    assert!(names.unwrap()["value"].as_str().unwrap().starts_with("mine.example,localhost,"), "{names:?}");
}

/// Server-side apply keeps what the API server once filled in; the page tells what to type first.
#[test]
fn a_tool_that_applies_on_the_server_side_can_upgrade_after_the_command_on_the_page() {
    let original = Original::install("single.yaml", &[]);
    let before = original.objects();
    let objects = template(original.namespace.name(), &[]).succeeds();
    let apply = || {
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        original.namespace.kubectl_with_input(apply, &objects).unwrap()
    };
    let refused = apply();
    assert!(refused.stderr.contains("spec.strategy.rollingUpdate: Forbidden"), "{}", refused.stderr);

    let page = std::fs::read_to_string(root().join("docs/src/reference/chart.md")).unwrap();
    let command = page.lines().find(|line| line.contains("patch deployment marblerun-coordinator")).unwrap();
    let patch = command.split('\'').nth(1).unwrap();
    assert_eq!(
        command,
        format!("kubectl -n marblerun patch deployment marblerun-coordinator --type merge -p '{patch}'")
    );
    let command = ["patch", "deployment", "marblerun-coordinator", "--type", "merge", "-p", patch];
    original.namespace.kubectl(command).unwrap().ok().unwrap();
    apply().ok().unwrap();
    assert_goes_on(&before, &original.objects());
}
