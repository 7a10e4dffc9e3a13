//! The pod of the Coordinator: where it may run, what it is given, how its health is asked.

use k8s_openapi::api::core::v1::{
    Affinity, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, PersistentVolumeClaimVolumeSource,
    PodAffinityTerm, PodAntiAffinity, PodSpec, Probe, ResourceRequirements, SecurityContext, Toleration,
    TopologySpreadConstraint, Volume, VolumeMount, WeightedPodAffinityTerm,
};
use serde_json::{Value, json};

use super::storage::{DCAP_CONFIG, QCNL_FILE};
use super::{Installation, environment, given, mounts, some};
use crate::devices::KNOWN_KEYS;
use crate::names;
use crate::settings::Coordinator;
use crate::values::ValuesError;

const STATE_VOLUME: &str = "coordinator-pv-storage";
const DCAP_VOLUME: &str = "dcap-conf";
const TMP_VOLUME: &str = "tmp";

pub(super) fn coordinator(installation: Installation<'_>) -> Result<PodSpec, ValuesError> {
    let (settings, c) = (installation.settings, &installation.settings.coordinator);
    Ok(PodSpec {
        service_account_name: Some(names::COORDINATOR.to_owned()),
        automount_service_account_token: Some(settings.is_distributed()),
        runtime_class_name: given(&c.runtime_class_name),
        priority_class_name: given(&c.priority_class_name),
        termination_grace_period_seconds: Some(c.termination_grace_period_seconds),
        security_context: c.pod_security_context.clone(),
        node_selector: (!settings.node_selector.is_empty()).then(|| settings.node_selector.clone()),
        tolerations: some(tolerations(installation)),
        topology_spread_constraints: Some(vec![TopologySpreadConstraint {
            max_skew: c.topology_spread.max_skew,
            topology_key: c.topology_spread.topology_key.clone(),
            when_unsatisfiable: c.topology_spread.when_unsatisfiable.clone(),
            label_selector: Some(installation.coordinators()),
            ..TopologySpreadConstraint::default()
        }]),
        affinity: c.affinity.clone().or_else(|| apart(installation)),
        containers: vec![container(installation)?],
        volumes: Some(volumes(installation)),
        ..PodSpec::default()
    })
}

/// Outside of SGX those of SGX are left out, as are its resources, for which a pod would wait for ever.
fn tolerations(installation: Installation<'_>) -> Vec<Toleration> {
    let settings = installation.settings;
    let is_of_sgx = |toleration: &&Toleration| toleration.key.as_deref().is_some_and(|key| KNOWN_KEYS.contains(&key));
    let wanted = |toleration: &&Toleration| settings.may_use_sgx() || !is_of_sgx(toleration);
    settings.tolerations.iter().filter(wanted).cloned().collect()
}

/// Coordinators of a distributed deployment on different nodes.
fn apart(installation: Installation<'_>) -> Option<Affinity> {
    let term = PodAffinityTerm {
        topology_key: "kubernetes.io/hostname".to_owned(),
        label_selector: Some(installation.coordinators()),
        ..PodAffinityTerm::default()
    };
    let anti = match installation.settings.coordinator.pod_anti_affinity.as_str() {
        _ if !installation.settings.is_distributed() => return None,
        "preferred" => PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                weight: 100,
                pod_affinity_term: term,
            }]),
            ..PodAntiAffinity::default()
        },
        "required" => PodAntiAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![term]),
            ..PodAntiAffinity::default()
        },
        _ => return None,
    };
    Some(Affinity { pod_anti_affinity: Some(anti), ..Affinity::default() })
}

fn container(installation: Installation<'_>) -> Result<Container, ValuesError> {
    let (settings, c) = (installation.settings, &installation.settings.coordinator);
    let mut ports = vec![port("http", c.client_server_port), port("grpc", c.mesh_server_port)];
    if settings.is_distributed() {
        ports.push(port("key", c.key_server_port));
    }
    if c.metrics.enabled {
        ports.push(port("metrics", c.metrics.port));
    }
    Ok(Container {
        name: "coordinator".to_owned(),
        image: Some(image(&c.repository, &c.image, installation.coordinator_version(), &c.hash)),
        image_pull_policy: given(&c.pull_policy),
        security_context: security(c),
        ports: Some(ports),
        env: Some(environment::environment(installation)?),
        readiness_probe: Some(probe("readyz", c.probes.readiness.as_ref(), "readiness")?),
        liveness_probe: Some(probe("healthz", c.probes.liveness.as_ref(), "liveness")?),
        startup_probe: Some(probe("healthz", c.probes.startup.as_ref(), "startup")?),
        resources: resources(installation),
        volume_mounts: Some(all_mounts(installation)),
        ..Container::default()
    })
}

/// What makes evidence through configfs must be root, as others cannot make folders there.
fn security(c: &Coordinator) -> Option<SecurityContext> {
    let mut context = c.security_context.clone();
    if c.configfs {
        let context = context.get_or_insert_default();
        context.run_as_user.get_or_insert(0);
        context.run_as_non_root.get_or_insert(false);
    }
    context
}

/// `REPOSITORY/NAME:TAG@DIGEST`.
pub(super) fn image(repository: &str, name: &str, tag: &str, digest: &str) -> String {
    let digest = given(digest).map(|digest| format!("@{digest}")).unwrap_or_default();
    format!("{repository}/{name}:{tag}{digest}")
}

fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort { name: Some(name.to_owned()), container_port: number.into(), ..ContainerPort::default() }
}

/// A probe of the client API, with any fields that the user wants.
fn probe(endpoint: &str, fields: Option<&Value>, name: &str) -> Result<Probe, ValuesError> {
    let mut probe = json!({"httpGet": {"scheme": "HTTPS", "path": format!("/api/v3/{endpoint}"), "port": "http"}});
    if let (Some(probe), Some(Value::Object(fields))) = (probe.as_object_mut(), fields) {
        probe.extend(fields.iter().map(|(field, value)| (field.clone(), value.clone())));
    }
    serde_json::from_value(probe).map_err(|error| ValuesError::Type(format!("coordinator.probes.{name}: {error}")))
}

fn resources(installation: Installation<'_>) -> Option<ResourceRequirements> {
    let mut resources = installation.settings.coordinator.resources.clone()?;
    let keep_sgx = installation.settings.may_use_sgx();
    for amounts in [&mut resources.limits, &mut resources.requests] {
        if let Some(all) = amounts {
            all.retain(|key, _| keep_sgx || !KNOWN_KEYS.contains(&key.as_str()));
            if all.is_empty() {
                *amounts = None;
            }
        }
    }
    (resources != ResourceRequirements::default()).then_some(resources)
}

fn all_mounts(installation: Installation<'_>) -> Vec<VolumeMount> {
    let settings = installation.settings;
    let mount = |name: &str, path: &str| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    };
    let mut all = Vec::new();
    if settings.is_on_volume() {
        all.push(mount(STATE_VOLUME, "/coordinator/data"));
    }
    if settings.dcap.is_some() {
        let file = mount(DCAP_VOLUME, &format!("/etc/{QCNL_FILE}"));
        all.push(VolumeMount { sub_path: Some(QCNL_FILE.to_owned()), ..file });
    }
    all.push(mount(TMP_VOLUME, "/tmp"));
    all.extend(mounts::given(installation).into_iter().map(|(_, mount)| mount));
    all.extend(settings.coordinator.extra_volume_mounts.iter().cloned());
    all
}

fn volumes(installation: Installation<'_>) -> Vec<Volume> {
    let (settings, c) = (installation.settings, &installation.settings.coordinator);
    let named = |name: &str| Volume { name: name.to_owned(), ..Volume::default() };
    let mut all = Vec::new();
    if settings.is_on_volume() {
        let claim_name = given(&c.pvc_name).unwrap_or_else(|| names::VOLUME_CLAIM.to_owned());
        let claim = PersistentVolumeClaimVolumeSource { claim_name, read_only: None };
        all.push(Volume { persistent_volume_claim: Some(claim), ..named(STATE_VOLUME) });
    }
    if settings.dcap.is_some() {
        let map = ConfigMapVolumeSource { name: DCAP_CONFIG.to_owned(), ..ConfigMapVolumeSource::default() };
        all.push(Volume { config_map: Some(map), ..named(DCAP_VOLUME) });
    }
    all.push(Volume { empty_dir: Some(EmptyDirVolumeSource::default()), ..named(TMP_VOLUME) });
    all.extend(mounts::given(installation).into_iter().map(|(volume, _)| volume));
    all.extend(c.extra_volumes.iter().cloned());
    all
}
