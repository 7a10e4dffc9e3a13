//! The kinds of objects that an installation may consist of. What is of one of them and carries our label is ours.

/// A kind, by its place in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// API group, empty for the core.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Name.
    pub kind: &'static str,
    /// The kind in a URL.
    pub plural: &'static str,
    /// Whether objects of it are in a namespace.
    pub is_namespaced: bool,
}

const fn kind(group: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind { group, version: "v1", kind, plural, is_namespaced: true }
}

/// All of them, in the order in which they are removed: first what others depend on least, and what would keep pods
/// from being made. Volume claims are not among them, as they are state.
pub const KINDS: [Kind; 13] = [
    Kind {
        group: "admissionregistration.k8s.io",
        version: "v1",
        kind: "MutatingWebhookConfiguration",
        plural: "mutatingwebhookconfigurations",
        is_namespaced: false,
    },
    kind("apps", "Deployment", "deployments"),
    kind("cert-manager.io", "Certificate", "certificates"),
    kind("cert-manager.io", "Issuer", "issuers"),
    kind("monitoring.coreos.com", "ServiceMonitor", "servicemonitors"),
    kind("policy", "PodDisruptionBudget", "poddisruptionbudgets"),
    kind("networking.k8s.io", "NetworkPolicy", "networkpolicies"),
    kind("", "Service", "services"),
    kind("", "ConfigMap", "configmaps"),
    kind("", "Secret", "secrets"),
    kind("rbac.authorization.k8s.io", "RoleBinding", "rolebindings"),
    kind("rbac.authorization.k8s.io", "Role", "roles"),
    kind("", "ServiceAccount", "serviceaccounts"),
];
