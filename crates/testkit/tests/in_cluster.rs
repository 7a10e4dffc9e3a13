//! Coordinators as their pods have them: the API server by its variables and the files of the service account, each other
//! by the EndpointSlices of their service, each at an address of its own. Nothing else tells them anything.
//!
//! The API server takes no loopback addresses for endpoints, and the files lie at a fixed place. So the test starts itself
//! again in namespaces of its own: users, mounts, network.
#![allow(missing_docs)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use marblerun_testkit::kube::{ControlPlane, Role};
use marblerun_testkit::{Coordinator, TestUser};
use serde_json::json;

const INSIDE: &str = "MARBLERUN_TEST_IN_NAMESPACE";
const ACCOUNT: &str = "/run/secrets/kubernetes.io/serviceaccount";

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn coordinators_find_api_server_and_each_other_as_pods_do() {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        return runtime.block_on(in_pods());
    }
    let this = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--net"])
        .arg(this)
        .args(["--exact", "coordinators_find_api_server_and_each_other_as_pods_do", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let (errors, passed) = (String::from_utf8_lossy(&output.stderr), said.contains("1 passed"));
    assert!(output.status.success() && passed, "{said}\n{errors}");
}

fn address(number: usize) -> String {
    format!("10.99.0.{}", number + 1)
}

async fn in_pods() {
    run("ip", &["link", "set", "lo", "up"]);
    for number in 0..3 {
        run("ip", &["address", "add", &format!("{}/32", address(number)), "dev", "lo"]);
    }
    run("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
    assert!(Path::new("/var/run").canonicalize().unwrap().starts_with("/run"), "/var/run is /run");

    let plane = ControlPlane::builder().start().unwrap();
    let namespace = plane.namespace().unwrap();
    let account = namespace.service_account(Role::Ours).unwrap();
    std::fs::create_dir_all(ACCOUNT).unwrap();
    for (name, content) in [
        ("token", account.token.clone()),
        ("ca.crt", plane.ca_pem().unwrap()),
        ("namespace", namespace.name().to_owned()),
    ] {
        std::fs::write(Path::new(ACCOUNT).join(name), content).unwrap();
    }
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "coordinator-key-api-1", "labels": {"kubernetes.io/service-name": "coordinator-key-api"}},
        "endpoints": (0..3).map(|number| json!({"addresses": [address(number)]})).collect::<Vec<_>>(),
        "ports": [{"name": "grpc", "port": 5433, "protocol": "TCP"}],
    });
    namespace.kubectl_with_input(["create", "-f", "-"], &slice.to_string()).unwrap().ok().unwrap();

    let home = tempfile::tempdir().unwrap();
    let port = plane.port().unwrap();
    let pod = |number: usize, host: &str| {
        Coordinator::builder(&home.path().join(format!("seal-of-{host}")))
            .host_key(&home.path().join(host))
            .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            .env("KUBERNETES_SERVICE_PORT", port.to_string())
            .env("EDG_DISTRIBUTED_COORDINATOR", "1")
            .env("EDG_STORE_BACKEND", "k8s-secret")
            .env("MARBLERUN_KEY_ADDR", format!("{}:5433", address(number)))
            .start()
    };
    let mut all = Vec::new();
    for (number, host) in ["one", "two", "three"].into_iter().enumerate() {
        all.push(pod(number, host).await.unwrap());
    }
    for coordinator in &all {
        reaches(coordinator, 2).await;
    }
    let user = TestUser::new("admin").unwrap();
    let manifest = json!({
        "Packages": {"app": {"Debug": true}},
        "Marbles": {"app": {"Package": "app", "Parameters": {}}},
        "Users": {"admin": {"Certificate": user.certificate_pem, "Roles": []}},
    });
    all[0].client().await.unwrap().set_manifest(&serde_json::to_vec(&manifest).unwrap()).await.unwrap();
    for coordinator in &all {
        reaches(coordinator, 3).await;
    }
    // One on a host that is new: its key is from a peer, which it knows by the EndpointSlice alone.
    let third = all.pop().unwrap();
    third.kill().unwrap();
    reaches(&pod(2, "new").await.unwrap(), 3).await;
}

async fn reaches(coordinator: &Coordinator, status: i64) {
    let begun = Instant::now();
    while coordinator.status().await.is_ok_and(|now| now != status) || coordinator.status().await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(40), "not at {status}:\n{}", coordinator.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
