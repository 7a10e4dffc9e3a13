//! Names that documents, scripts and other programs know; they never change.

/// The Coordinator's Deployment, ServiceAccount, Role and RoleBinding.
pub const COORDINATOR: &str = "marblerun-coordinator";
/// The webhook's Deployment and Service.
pub const INJECTOR: &str = "marble-injector";
/// The Secret with the webhook's certificate.
pub const WEBHOOK_SECRET: &str = "marble-injector-webhook-certs";
/// The Certificate by which cert-manager makes it.
pub const WEBHOOK_CERTIFICATE: &str = "marble-injector-serving-cert";
/// The volume claim of a single Coordinator.
pub const VOLUME_CLAIM: &str = "coordinator-pv-claim";
/// The Secret with the state of a distributed deployment.
pub const STATE_SECRET: &str = "marblerun-state";
/// The ConfigMap with the sealed keys of the hosts.
pub const KEK_CONFIG_MAP: &str = "marblerun-sealed-kek";
/// The Service of the client API.
pub const CLIENT_SERVICE: &str = "coordinator-client-api";
/// The Service of the Marble API.
pub const MESH_SERVICE: &str = "coordinator-mesh-api";
/// The label that tells who keeps an object up to date.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// What `marblerun install` writes there; also its field manager.
pub const MANAGER: &str = "marblerun-install";
/// The label of pods that become Marbles.
pub const MARBLE_TYPE: &str = "marblerun/marbletype";

/// The webhook configuration of an installation. It is not in a namespace, so its name holds it.
pub fn webhook_configuration(namespace: &str) -> String {
    format!("{INJECTOR}-{namespace}")
}

/// The host name at which the API server asks the webhook.
pub fn injector_host(namespace: &str) -> String {
    format!("{INJECTOR}.{namespace}.svc")
}
