//! `marblerun install` makes the objects that the chart renders, of the same values, and leaves alone what Helm installed.

use std::process::{Command, Stdio};

use marblerun_install::values::UserValues;
use marblerun_install::{Chart, Installation, Settings, objects};
use marblerun_testkit::binary;
use marblerun_testkit::kube::ControlPlane;
use serde_json::{Map, Value};

use crate::helm::{Case, Helm, Objects, chart, fixtures, template};

/// What Kubernetes does not tell apart is made the same, and what only Helm writes is left out.
fn normal(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map
                .into_iter()
                .filter(|(key, _)| !key.starts_with("helm.sh/") && key != "app.kubernetes.io/managed-by");
            let fields = kept.map(|(key, value)| match value {
                Value::Object(amounts) if key == "limits" || key == "requests" => (
                    key,
                    normal(Value::Object(amounts.into_iter().map(|(key, amount)| (key, as_text(amount))).collect())),
                ),
                value => (key, normal(value)),
            });
            let is_nothing = |key: &str, value: &Value| {
                let is_empty_list = value.as_array().is_some_and(Vec::is_empty);
                let no_annotations = key == "annotations" && value.as_object().is_some_and(Map::is_empty);
                value.is_null() || is_empty_list || no_annotations
            };
            Value::Object(fields.filter(|(key, value)| !is_nothing(key, value)).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(normal).collect()),
        other => other,
    }
}

/// A quantity may be a number.
fn as_text(amount: Value) -> Value {
    match amount {
        Value::Number(number) => Value::String(number.to_string()),
        other => other,
    }
}

/// Of the same values: the program's objects.
fn made(user: &UserValues, namespace: &str) -> Objects {
    let chart = Chart::built_in().unwrap();
    let settings = Settings::read(chart.values.with(user)).unwrap();
    let installation = Installation { settings: &settings, namespace, app_version: &chart.app_version };
    Objects(objects(installation).unwrap().into_iter().map(|object| object.body).collect())
}

fn common() -> UserValues {
    UserValues::from_yaml(&std::fs::read_to_string(fixtures().join("common.yaml")).unwrap()).unwrap()
}

#[track_caller]
fn assert_same(made: &Objects, rendered: &Objects, of: &str) {
    assert_eq!(made.names(), rendered.names(), "{of}");
    for object in &made.0 {
        let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        let (made, rendered) = (normal(object.clone()), normal(rendered.get(kind, name).clone()));
        assert!(made == rendered, "{of}: {kind} {name}\nmade: {made:#}\nrendered: {rendered:#}");
    }
}

#[test]
fn each_case_of_values_makes_the_same_objects() {
    for case in Case::all() {
        let mut user = common();
        user.add(UserValues::from_yaml(&std::fs::read_to_string(case.folder.join("values.yaml")).unwrap()).unwrap());
        let rendered = Objects::parse(&std::fs::read_to_string(case.folder.join("objects.yaml")).unwrap());
        assert_same(&made(&user, "marblerun"), &rendered, &case.name);
    }
}

#[test]
fn words_of_set_mean_the_same_to_both() {
    for set in [
        "coordinator.hostname=a.example\\,b.example,coordinator.debugLogging=true,global.createdBy=me",
        "tolerations=null,nodeSelector=null,coordinator.resources=null,coordinator.securityContext=null",
        "coordinator.resources.limits.sgx\\.intel\\.com/epc=64Mi,coordinator.resources.limits.cpu=2",
        "coordinator.resources.limits=null,coordinator.resources.requests.memory=null",
        "tolerations[0].key=mine,tolerations[0].operator=Equal,tolerations[0].value=yes,tolerations[1].operator=Exists",
        "coordinator.simulation=true,marbleInjector.start=true,dcap=null",
        "coordinator.tee=auto,marbleInjector.start=true,marbleInjector.repository=other.example/x,marbleInjector.hash=",
        "coordinator.tee=snp,coordinator.runtimeClassName=kata,coordinator.extraEnv[0].name=A,coordinator.extraEnv[0].value=b",
        "coordinator.distributedDeployment=true,coordinator.replicas=3,coordinator.podAntiAffinity=none",
        "coordinator.distributedDeployment=true,coordinator.replicas=2,coordinator.podDisruptionBudget.maxUnavailable=50%",
        "coordinator.distributedDeployment=true,coordinator.storeBackend=etcd,coordinator.keyServerPort=6000",
        "coordinator.distributedDeployment=true,coordinator.storeBackend=",
        "coordinator.probes.liveness=null,coordinator.probes.readiness.successThreshold=2",
        "marbleInjector.start=true,marbleInjector.objectSelector=null,marbleInjector.namespaceSelector.matchLabels.a=b",
        "marbleInjector.start=true,marbleInjector.replicas=2,marbleInjector.CABundle=QUJD,global.pullSecret=pull",
        "dcap.pccsUrl=https://p.example/?a=1&b=<2>,dcap.useSecureCert=FALSE",
        "coordinator.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key=k,\
         coordinator.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator=Exists",
        "global.podLabels.app\\.kubernetes\\.io/name=other,global.podLabels.mine=x,global.podAnnotations.note=y",
        "coordinator.metrics.enabled=true,coordinator.metrics.port=9000,coordinator.networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.m=n",
        "coordinator.simulation=true,coordinator.seal.backends=passphrase\\,plain,coordinator.seal.passphrase.secretName=s",
        "coordinator.tee=tdx,coordinator.seal.backends=tpm+pkcs11,coordinator.seal.pkcs11.secretName=s,coordinator.seal.pkcs11.keyLabel=k",
        "coordinator.tee=tdx,coordinator.configfs=true,coordinator.seal.backends=tpm,coordinator.seal.tpm.pcrs=7\\,14,coordinator.securityContext=null",
        "coordinator.tee=snp,coordinator.runtimeClassName=kata,coordinator.devices={/dev/sev-guest},coordinator.seal.snp.vmpl=2",
        "coordinator.collateral.configMap=c,coordinator.collateral.kdsURL=https://kds.example/?a=1&b=2",
        "coordinator.networkPolicy.enabled=false,coordinator.storageSize=1Gi,clusterDomain=corp.example",
    ] {
        let rendered = Objects::parse(&template("elsewhere", &["--set", set]).succeeds());
        let mut user = common();
        user.set(set).unwrap();
        assert_same(&made(&user, "elsewhere"), &rendered, set);
    }
}

#[test]
fn a_release_of_helm_is_left_to_helm_until_helm_has_removed_it() {
    let plane = ControlPlane::shared().unwrap();
    let namespace = plane.namespace().unwrap();
    let home = tempfile::tempdir().unwrap();
    let helm = |args: &[&str]| {
        let helm = Helm::in_cluster(&plane.kubeconfig()).args(args).args(["--namespace", namespace.name()]);
        helm.succeeds()
    };
    let path = chart().display().to_string();
    helm(&["install", "mine", &path, "--set", "coordinator.repository=r.example/m"]);
    let marblerun = |args: &[&str]| {
        let mut command = Command::new(binary("marblerun"));
        command.args(args).args(["--namespace", namespace.name()]).stdin(Stdio::null());
        command.env_clear().env("HOME", home.path()).env("KUBECONFIG", plane.kubeconfig()).output().unwrap()
    };
    let install = ["install", "--repository", "r.example/m", "--no-wait", "--disable-auto-injection"];
    for (args, advice) in [(&install[..], "helm upgrade mine CHART"), (&["uninstall"][..], "helm uninstall mine")] {
        let output = marblerun(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(advice), "{said}");
    }
    let claim = ["get", "pvc/coordinator-pv-claim", "--output=jsonpath={.metadata.uid}"];
    let before = namespace.kubectl(claim).unwrap().ok().unwrap();
    helm(&["uninstall", "mine"]);
    // The volume that Helm left is taken over; Helm's labels on it are no others' settings.
    let output = marblerun(&[&install[..], &["--force-conflicts"]].concat());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(namespace.kubectl(claim).unwrap().ok().unwrap(), before);
}
