//! The names, labels, selectors, variables and certificate names that the original chart's users rely on.

use serde_json::{Value, json};

use crate::helm::Objects;

const DISTRIBUTED: &str = "coordinator.distributedDeployment=true";

fn labels(component: &str, name: &str) -> Value {
    json!({
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/created-by": "Helm",
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/part-of": "marblerun",
        "app.kubernetes.io/version": "v1.2.3",
    })
}

fn selector(component: &str) -> Value {
    json!({
        "edgeless.systems/control-plane-component": component,
        "edgeless.systems/control-plane-ns": "marblerun",
    })
}

fn both(mut one: Value, other: &Value) -> Value {
    let other = other.as_object().unwrap().clone();
    one.as_object_mut().unwrap().extend(other);
    one
}

#[test]
fn a_single_coordinator_has_the_objects_of_the_original_with_their_labels() {
    let objects = Objects::of(&[]);
    let names = [
        "ConfigMap coordinator-dcap-config",
        "Deployment marblerun-coordinator",
        "NetworkPolicy marblerun-coordinator",
        "PersistentVolumeClaim coordinator-pv-claim",
        "Service coordinator-client-api",
        "Service coordinator-mesh-api",
        "ServiceAccount marblerun-coordinator",
    ];
    assert_eq!(objects.names(), names);
    let of = |kind: &str, name: &str| objects.get(kind, name)["metadata"]["labels"].clone();
    assert_eq!(
        of("ServiceAccount", "marblerun-coordinator"),
        both(labels("controller", "marblerun-coordinator"), &selector("controller"))
    );
    assert_eq!(
        of("Deployment", "marblerun-coordinator"),
        both(labels("coordinator", "coordinator"), &selector("coordinator"))
    );
    assert_eq!(
        of("ConfigMap", "coordinator-dcap-config"),
        both(labels("dcap-config", "coordinator-dcap-config"), &selector("dcap-config"))
    );
    let volume = of("PersistentVolumeClaim", "coordinator-pv-claim");
    assert_eq!(volume, labels("persistent-storage", "coordinator-pv-claim"));
    assert_eq!(of("Service", "coordinator-client-api"), labels("client-api", "coordinator-client-api"));
    assert_eq!(of("Service", "coordinator-mesh-api"), labels("mesh-api", "coordinator-mesh-api"));
}

#[test]
fn a_distributed_one_has_its_role_and_key_service_instead_of_a_volume() {
    let objects = Objects::of(&[DISTRIBUTED, "coordinator.replicas=3"]);
    let names = [
        "ConfigMap coordinator-dcap-config",
        "Deployment marblerun-coordinator",
        "NetworkPolicy marblerun-coordinator",
        "PodDisruptionBudget marblerun-coordinator",
        "Role marblerun-coordinator",
        "RoleBinding marblerun-coordinator",
        "Service coordinator-client-api",
        "Service coordinator-key-api",
        "Service coordinator-mesh-api",
        "ServiceAccount marblerun-coordinator",
    ];
    assert_eq!(objects.names(), names);
    let key = objects.get("Service", "coordinator-key-api");
    assert_eq!(key["metadata"]["labels"], labels("key-api", "coordinator-key-api"));
    let port = json!({ "name": "grpc", "port": 5433, "targetPort": 5433, "appProtocol": "tcp" });
    assert_eq!(key["spec"]["ports"], json!([port]));
    assert_eq!(key["spec"]["publishNotReadyAddresses"], true, "who waits for the key is not ready");
}

#[test]
fn the_injector_has_the_objects_of_the_original_with_their_labels() {
    let injector = ["marbleInjector.start=true", "marbleInjector.useCertManager=true"];
    let objects = Objects::of(&injector);
    for (kind, name, component) in [
        ("Service", "marble-injector", "admission-controller-svc"),
        ("MutatingWebhookConfiguration", "marble-injector-marblerun", "admission-controller-configuration"),
        ("Issuer", "marble-injector-selfsigned-issuer", "admission-controller-selfsigned-issuer"),
        ("Certificate", "marble-injector-serving-cert", "admission-controller-serving-cert"),
    ] {
        assert_eq!(objects.get(kind, name)["metadata"]["labels"], labels(component, "marble-injector"), "{kind}");
    }
    let deployment = objects.get("Deployment", "marble-injector");
    let expected = both(labels("admission-controller", "marble-injector"), &selector("admission-controller"));
    assert_eq!(deployment["metadata"]["labels"], expected);
    assert_eq!(deployment["spec"]["template"]["metadata"]["labels"], expected);
    let pods = json!({ "app.kubernetes.io/name": "marble-injector", "app.kubernetes.io/part-of": "marblerun" });
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], pods);
}

#[test]
fn selectors_and_pod_labels_are_those_of_the_original_whatever_labels_the_user_adds() {
    let objects = Objects::of(&[
        "global.podLabels.team=ours",
        r"global.podLabels.app\.kubernetes\.io/name=other",
        r"global.podAnnotations.example\.com/note=hello",
        "marbleInjector.start=true",
    ]);
    let spec = &objects.coordinator()["spec"];
    assert_eq!(spec["selector"]["matchLabels"], selector("coordinator"));
    let pod = both(labels("coordinator", "coordinator"), &selector("coordinator"));
    assert_eq!(spec["template"]["metadata"]["labels"], both(pod, &json!({ "team": "ours" })));
    for service in ["coordinator-client-api", "coordinator-mesh-api"] {
        assert_eq!(objects.get("Service", service)["spec"]["selector"], selector("coordinator"));
    }
    for deployment in ["marblerun-coordinator", "marble-injector"] {
        let metadata = &objects.get("Deployment", deployment)["spec"]["template"]["metadata"];
        assert_eq!(metadata["annotations"]["example.com/note"], "hello", "{deployment}");
        assert_eq!(metadata["labels"]["team"], "ours", "{deployment}");
    }
}

/// In the order of the original. Ours come after.
const FIRST: [&str; 10] = [
    "EDG_HTTP_ERROR_LOG_LEVEL",
    "EDG_COORDINATOR_MESH_ADDR",
    "EDG_COORDINATOR_CLIENT_ADDR",
    "EDG_COORDINATOR_DNS_NAMES",
    "EDG_COORDINATOR_SEAL_DIR",
    "OE_SIMULATION",
    "EDG_AZURE_HSM_KEY_NAME",
    "EDG_AZURE_HSM_KEY_VERSION",
    "EDG_AZURE_HSM_VAULT_URL",
    "EDG_MAA_URL",
];

#[test]
fn the_environment_is_that_of_the_original_in_its_order_and_then_ours() {
    let names = |objects: &Objects| objects.environment().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let single = Objects::of(&[]);
    assert_eq!(names(&single), [&FIRST[..], &["MARBLERUN_TEE"]].concat());
    for (name, value) in [
        ("EDG_HTTP_ERROR_LOG_LEVEL", "error"),
        ("EDG_COORDINATOR_MESH_ADDR", "0.0.0.0:2001"),
        ("EDG_COORDINATOR_CLIENT_ADDR", "0.0.0.0:4433"),
        ("EDG_COORDINATOR_SEAL_DIR", "/coordinator/data/"),
        ("OE_SIMULATION", "0"),
        ("EDG_MAA_URL", ""),
        ("MARBLERUN_TEE", "sgx"),
    ] {
        assert_eq!(single.variable(name).as_deref(), Some(value), "{name}");
    }

    let azure = "coordinator.azureCredentials.secretName=mine";
    let distributed = Objects::of(&[DISTRIBUTED, "coordinator.debugLogging=true", azure]);
    let azure = ["EDG_AZURE_CLIENT_ID", "EDG_AZURE_TENANT_ID", "EDG_AZURE_CLIENT_SECRET"];
    let cluster = [
        "EDG_STORE_BACKEND",
        "EDG_K8S_STATE_NAME",
        "EDG_K8S_SERVICE_NAME",
        "EDG_K8S_KEK_MAP",
        "EDG_K8S_NAMESPACE",
        "EDG_DISTRIBUTED_COORDINATOR",
    ];
    let ours = ["MARBLERUN_TEE", "MARBLERUN_KEY_ADDR"];
    let (before, after) = FIRST.split_at(6);
    assert_eq!(names(&distributed), [&["EDG_DEBUG_LOGGING"], before, &azure, after, &cluster, &ours].concat());
    for (name, value) in [
        ("EDG_DEBUG_LOGGING", "1"),
        ("EDG_STORE_BACKEND", "k8s-secret"),
        ("EDG_K8S_STATE_NAME", "marblerun-state"),
        ("EDG_K8S_SERVICE_NAME", "coordinator-key-api"),
        ("EDG_K8S_KEK_MAP", "marblerun-sealed-kek"),
        ("EDG_K8S_NAMESPACE", "marblerun"),
        ("EDG_DISTRIBUTED_COORDINATOR", "1"),
        ("MARBLERUN_KEY_ADDR", ":5433"),
    ] {
        assert_eq!(distributed.variable(name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn certificates_name_what_the_original_names_in_its_order_and_then_the_short_service_names() {
    let names = |values: &[&str]| Objects::of(values).variable("EDG_COORDINATOR_DNS_NAMES").unwrap();
    let single = "localhost,coordinator-mesh-api,coordinator-client-api,\
                  coordinator-mesh-api.marblerun,coordinator-client-api.marblerun,\
                  coordinator-mesh-api.marblerun.svc.cluster.local,coordinator-client-api.marblerun.svc.cluster.local";
    let short = "coordinator-mesh-api.marblerun.svc,coordinator-client-api.marblerun.svc";
    assert_eq!(names(&[]), format!("{single},{short}"));
    assert_eq!(names(&[r"coordinator.hostname=a.example\,192.0.2.1"]), format!("a.example,192.0.2.1,{single},{short}"));
    let key = "other-key-api,other-key-api.marblerun,other-key-api.marblerun.svc.cluster.local";
    assert_eq!(
        names(&[DISTRIBUTED, "coordinator.keyAPIName=other-key-api"]),
        format!("{single},{key},{short},other-key-api.marblerun.svc")
    );
    let domain = names(&["clusterDomain=example.org"]);
    assert_eq!(domain, format!("{single},{short}").replace("cluster.local", "example.org"));
}

#[test]
fn the_documents_of_users_find_pod_container_volume_and_file() {
    let objects = Objects::of(&[]);
    assert_eq!(objects.container()["name"], "coordinator");
    let claim = json!([{
        "name": "coordinator-pv-storage",
        "persistentVolumeClaim": { "claimName": "coordinator-pv-claim" },
    }]);
    let volumes = objects.pod()["volumes"].as_array().unwrap();
    assert_eq!(json!([volumes[0]]), claim);
    let mount = json!({ "name": "coordinator-pv-storage", "mountPath": "/coordinator/data" });
    assert_eq!(objects.container()["volumeMounts"][0], mount);
    let qcnl = json!({
        "name": "dcap-conf",
        "mountPath": "/etc/sgx_default_qcnl.conf",
        "subPath": "sgx_default_qcnl.conf",
    });
    assert_eq!(objects.container()["volumeMounts"][1], qcnl);
    let image = &objects.container()["image"];
    assert_eq!(image, "registry.example.com/marblerun/coordinator:v1.2.3", "no digest, no @");
    let ports = &Objects::of(&[DISTRIBUTED]).container()["ports"].clone();
    let expected = json!([
        { "name": "http", "containerPort": 4433 },
        { "name": "grpc", "containerPort": 2001 },
        { "name": "key", "containerPort": 5433 },
    ]);
    assert_eq!(*ports, expected);
}

#[test]
fn the_quote_provider_gets_its_file() {
    let file = |values: &[&str]| {
        let objects = Objects::of(values);
        objects.get("ConfigMap", "coordinator-dcap-config")["data"]["sgx_default_qcnl.conf"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let url = "https://global.acccache.azure.net/sgx/certification/v4/";
    let expected = |secure: bool| format!("{{\n  \"pccs_url\": \"{url}\",\n  \"use_secure_cert\": {secure}\n}}\n");
    assert_eq!(file(&[]), expected(true));
    assert_eq!(file(&["dcap.useSecureCert=false"]), expected(false));
    assert_eq!(file(&["dcap.useSecureCert=TRUE"]), expected(true));
    assert_eq!(file(&["dcap.useSecureCert=yes"]), expected(false));
    let own = r#"dcap.qcnlConfig=<the user's> & "verbatim""#;
    assert_eq!(file(&[own]), r#"<the user's> & "verbatim""#);

    let without = Objects::of(&["dcap=null"]);
    assert!(without.find("ConfigMap", "coordinator-dcap-config").is_none());
    assert!(!without.coordinator().to_string().contains("dcap"));
    let checksum = |values: &[&str]| {
        Objects::of(values).coordinator()["spec"]["template"]["metadata"]["annotations"]["checksum/dcap-config"].clone()
    };
    assert_ne!(checksum(&[]), checksum(&["dcap.useSecureCert=false"]), "a changed file needs a new pod");
}
