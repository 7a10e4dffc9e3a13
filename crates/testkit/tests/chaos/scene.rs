//! A Secret, a proxy before it, and a client as a Coordinator's.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Error};
use marblerun_testkit::chaos::{ChaosProxy, Fault, Verb};
use marblerun_testkit::kube::{ControlPlane, Namespace, Role, ServiceAccount};

pub const STATE: &str = "marblerun-state";

/// How long the client waits for an answer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A proxy, and a Secret behind it.
pub struct Scene {
    pub proxy: ChaosProxy,
    pub secrets: Api<Secret>,
    pub account: ServiceAccount,
    pub namespace: Namespace,
}

impl Scene {
    pub async fn new() -> Self {
        let namespace = ControlPlane::shared().unwrap().namespace().unwrap();
        let account = namespace.service_account(Role::Ours).unwrap();
        let proxy = ChaosProxy::start(namespace.control_plane()).unwrap();
        let secrets = Api::default_namespaced(client(&proxy.kubeconfig(&account).unwrap()).await);
        let scene = Self { proxy, secrets, account, namespace };
        let empty = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": STATE}});
        scene.secrets.patch(STATE, &PatchParams::apply("test"), &Patch::Apply(empty)).await.unwrap();
        scene
    }

    /// Every call of that verb suffers that; the others do not.
    pub fn at(&self, verb: Verb, fault: Fault) {
        self.proxy.set_policy(move |call| if call.verb == verb { fault } else { Fault::Pass });
    }

    /// A write as a Coordinator does it: of what it has read.
    pub async fn put(&self, base: &Secret, value: &str) -> Result<Secret, Error> {
        self.secrets.replace(STATE, &PostParams::default(), &with(base, value)).await
    }

    pub async fn get(&self) -> Secret {
        self.secrets.get(STATE).await.unwrap()
    }

    /// What is really there.
    pub fn truth(&self) -> String {
        let words = ["get", "secret", STATE, "--output=go-template={{.data.k | base64decode}}"];
        self.namespace.kubectl(words).unwrap().ok().unwrap()
    }

    pub fn count(&self, name: &str) -> usize {
        self.proxy.counts().get(name).copied().unwrap_or(0)
    }
}

/// As a Coordinator's: nothing is repeated below it, nothing waits for ever.
pub async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    config.read_timeout = Some(PATIENCE);
    Client::try_from(config).unwrap()
}

pub fn with(base: &Secret, value: &str) -> Secret {
    let data = BTreeMap::from([("k".to_owned(), ByteString(value.as_bytes().to_vec()))]);
    Secret { data: Some(data), ..base.clone() }
}

pub fn value(secret: &Secret) -> &str {
    std::str::from_utf8(&secret.data.as_ref().unwrap()["k"].0).unwrap()
}

pub fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Api(status) => Some(status.code),
        _ => None,
    }
}
