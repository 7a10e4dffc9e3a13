//! An injector that an API server asks.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use marblerun_testkit::kube::{ControlPlane, KubectlOutput, Namespace};
use serde_json::{Value, json};

use crate::certificate::{MountedSecret, Pair};
use crate::process::Injector;

/// A namespace whose labelled pods are sent to an injector.
pub struct Webhook {
    pub namespace: Namespace,
    name: String,
}

/// As the Helm chart registers it, for one namespace of the tests.
fn configuration(namespace: &str, url: &str, certificates: &[&Pair]) -> Value {
    let bundle: String = certificates.iter().map(|pair| pair.certificate.as_str()).collect();
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": format!("marble-injector-{namespace}")},
        "webhooks": [{
            "name": format!("marble-injector-{namespace}.cluster.local"),
            "clientConfig": {"url": url, "caBundle": BASE64_STANDARD.encode(bundle)},
            "rules": [{
                "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
                "scope": "Namespaced"
            }],
            "objectSelector": {"matchExpressions": [{"key": "marblerun/marbletype", "operator": "Exists"}]},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "admissionReviewVersions": ["v1", "v1beta1"],
            "sideEffects": "None"
        }]
    })
}

impl Webhook {
    pub fn register(injector: &Injector, certificates: &[&Pair]) -> Self {
        Self::register_as(injector, certificates, |_| {})
    }

    pub fn register_as(injector: &Injector, certificates: &[&Pair], change: impl FnOnce(&mut Value)) -> Self {
        Self::register_in(&ControlPlane::shared().unwrap(), injector, certificates, change)
    }

    pub fn register_in(
        plane: &ControlPlane,
        injector: &Injector,
        certificates: &[&Pair],
        change: impl FnOnce(&mut Value),
    ) -> Self {
        let namespace = plane.namespace().unwrap();
        let url = format!("https://{}/mutate", injector.address);
        let mut configuration = configuration(namespace.name(), &url, certificates);
        change(&mut configuration);
        let name = configuration["metadata"]["name"].as_str().unwrap().to_owned();
        let webhook = Self { namespace, name };
        webhook.apply(&configuration);
        webhook.wait_until_in_force();
        webhook
    }

    fn apply(&self, object: &Value) {
        let plane = self.namespace.control_plane();
        plane.kubectl_with_input(["apply", "--filename", "-"], &object.to_string()).unwrap().ok().unwrap();
    }

    /// The API server learns of a configuration a moment after it has stored it.
    fn wait_until_in_force(&self) {
        let probe = pod("probe", json!({"marblerun/marbletype": "probe", "marblerun/marblecontainer": "none"}));
        for _ in 0..600 {
            let output = self.kubectl(["create", "--dry-run=server", "--filename", "-"], &probe);
            if !output.is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("the webhook is never asked");
    }

    pub fn kubectl<const N: usize>(&self, arguments: [&str; N], input: &Value) -> KubectlOutput {
        self.namespace.kubectl_with_input(arguments, &input.to_string()).unwrap()
    }

    pub fn create(&self, pod: &Value) -> KubectlOutput {
        self.kubectl(["create", "--output", "json", "--filename", "-"], pod)
    }

    /// The pod as it is stored.
    pub fn stored(&self, pod: &Value) -> Value {
        let created: Value = serde_json::from_str(&self.create(pod).ok().unwrap()).unwrap();
        let name = created["metadata"]["name"].as_str().unwrap();
        let stored = self.namespace.kubectl(["get", "pod", name, "--output", "json"]).unwrap().ok().unwrap();
        serde_json::from_str(&stored).unwrap()
    }

    pub fn refused(&self, pod: &Value) -> String {
        let output = self.create(pod);
        assert!(!output.is_ok(), "{}", output.stdout);
        output.stderr
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        let plane = self.namespace.control_plane();
        let _ = plane.kubectl(["delete", "mutatingwebhookconfiguration", &self.name, "--ignore-not-found"]);
    }
}

pub fn pod(name: &str, labels: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "app", "image": "app"}]}
    })
}

pub fn marble(name: &str) -> Value {
    pod(name, json!({"marblerun/marbletype": "Voting"}))
}

/// One injector for the tests that only ask it.
pub fn injector(arguments: &[&str]) -> (Injector, Pair) {
    let pair = Pair::new("webhook");
    (Injector::start(&MountedSecret::new(&pair), arguments), pair)
}
