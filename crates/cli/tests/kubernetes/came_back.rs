//! What a restore tells of Coordinators that it started: whether they serve, wait for keys, or cannot be asked. They are asked
//! through the API server's way to Services, which leads to no loopback address; so the test starts itself again in a network
//! of its own, where Coordinators have another.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use marblerun_testkit::kube::ControlPlane;
use marblerun_testkit::{Coordinator, RecoveryKeyPair, TestUser, free_port, load};
use serde_json::json;

use crate::person::{COORDINATORS, Person, Said};

const INSIDE: &str = "MARBLERUN_TEST_IN_NETWORK";
/// Where pods are, and the Coordinator is.
const ADDRESS: &str = "10.99.0.1";

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_restore_tells_how_coordinators_came_back() {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        return runtime.block_on(in_a_network());
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "came_back::a_restore_tells_how_coordinators_came_back", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && said.contains("1 passed");
    assert!(passed, "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// A machine with one Coordinator, and somebody who restores its state.
struct Machine {
    person: Person,
    coordinator: Option<Coordinator>,
}

impl Machine {
    /// The name of the only pod, once there is one that was not there before.
    async fn pod_after(&self, old: &str) -> String {
        let begun = Instant::now();
        loop {
            let line = format!("get pods -l {COORDINATORS} -o jsonpath={{.items[*].metadata.name}}");
            let pods = self.person.kubectl(&line);
            match pods.split_whitespace().collect::<Vec<_>>().as_slice() {
                [new] if *new != old => return (*new).to_owned(),
                _ => assert!(begun.elapsed() < Duration::from_secs(120), "{old:?} {pods:?}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn make_pod_ready(&self) {
        let pod = self.pod_after("").await;
        let of_pod = json!({"kind": "Pod", "name": pod, "namespace": self.person.namespace.name()});
        self.person.applies(&json!({
            "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "coordinator-client-api"},
            "subsets": [{
                "addresses": [{"ip": ADDRESS, "targetRef": of_pod}],
                "ports": [{"name": "http", "port": 4433, "protocol": "TCP"}],
            }],
        }));
        let conditions = json!([
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "ContainersReady", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ]);
        let status = json!({
            "phase": "Running", "conditions": conditions, "podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}],
        });
        self.person.says_of_pods(COORDINATORS, 1, &status);
    }

    /// The Coordinator of the pod, on a host of that name.
    async fn start(&mut self, host: &str) {
        let folder = self.person.home.path();
        let started = Coordinator::builder(&folder.join("seal"))
            .host_key(&folder.join(host))
            .ports(4433, free_port())
            .env("EDG_COORDINATOR_CLIENT_ADDR", ":4433")
            .env("KUBECONFIG", self.person.plane.kubeconfig().display().to_string())
            .env("EDG_DISTRIBUTED_COORDINATOR", "1")
            .env("EDG_STORE_BACKEND", "k8s-secret")
            .env("EDG_K8S_NAMESPACE", self.person.namespace.name())
            .env("MARBLERUN_KEY_ADDR", format!("127.0.0.1:{}", free_port()))
            .start();
        self.coordinator = Some(started.await.unwrap());
    }

    async fn stop(&mut self) {
        if let Some(coordinator) = self.coordinator.take() {
            coordinator.terminate().await.unwrap();
        }
    }

    async fn reaches(&self, code: i64) {
        let (coordinator, begun) = (self.coordinator.as_ref().unwrap(), Instant::now());
        while coordinator.status().await.ok() != Some(code) {
            assert!(begun.elapsed() < Duration::from_secs(60), "not at {code}:\n{}", coordinator.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Loses the state, and begins to restore it. Answers once the Coordinators that it started have a pod.
    async fn begin_restore(&self, lost: &[&str]) -> Child {
        let old = self.pod_after("").await;
        for object in lost {
            self.person.kubectl(&format!("delete {object}"));
        }
        let child = self.person.begins("backup restore b.yaml --kubernetes --timeout 120");
        self.pod_after(&old).await;
        child
    }
}

fn end(child: Child) -> Said {
    tokio::task::block_in_place(|| Person::ends(child)).succeeds()
}

async fn in_a_network() {
    run("ip", &["link", "set", "lo", "up"]);
    run("ip", &["address", "add", &format!("{ADDRESS}/32"), "dev", "lo"]);
    let person = Person::in_plane(ControlPlane::builder().controller_manager().start().unwrap());
    person.installs("--distributed-deployment --simulation --disable-auto-injection").succeeds();
    // Controllers leave out pods without a node, so who is behind the Service is said by hand.
    person.kubectl(r#"patch service coordinator-client-api --type=merge -p {"spec":{"selector":null}}"#);
    let mut machine = Machine { person, coordinator: None };
    machine.make_pod_ready().await;
    machine.start("host").await;
    machine.reaches(2).await;
    let (user, key) = (TestUser::new("owner").unwrap(), RecoveryKeyPair::new().unwrap());
    let manifest = load::manifest(&user, &[("alice", key.public_pem().unwrap())], 1).unwrap();
    machine.coordinator.as_ref().unwrap().client().await.unwrap().set_manifest(&manifest).await.unwrap();
    machine.person.types("backup create --kubernetes b.yaml").succeeds();
    machine.stop().await;

    let child = machine.begin_restore(&["secret/marblerun-state"]).await;
    machine.start("host").await;
    machine.reaches(3).await;
    machine.make_pod_ready().await;
    let said = end(child);
    assert!(said.stdout.contains("The Coordinators run again, and opened it by themselves."), "{said:?}");
    machine.stop().await;

    let child = machine.begin_restore(&["secret/marblerun-state", "configmap/marblerun-sealed-kek"]).await;
    machine.start("another-host").await;
    machine.reaches(1).await;
    machine.make_pod_ready().await;
    let said = end(child);
    let told =
        "The Coordinators run again, and are in recovery mode: recover with the keys of the time of the backup (alice)";
    assert!(said.stdout.contains(told), "{said:?}");
    machine.stop().await;

    // Ready, but nobody answers at the address of the pod.
    let child = machine.begin_restore(&["secret/marblerun-state"]).await;
    machine.make_pod_ready().await;
    let said = end(child);
    let told = "what they say of their state could not be asked through the API server";
    assert!(said.stdout.contains(told), "{said:?}");
}
