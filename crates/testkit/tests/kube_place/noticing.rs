//! Watch and discovery.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use marblerun_kubernetes::Kubernetes;
use marblerun_store::cluster::conformance::content;
use marblerun_store::cluster::{Changed, SharedPlace as _};
use marblerun_testkit::kube::{ControlPlane, Role};
use serde_json::json;

use crate::lab::KubeLab;

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<HashMap<Changed, usize>>>);

impl Seen {
    fn watch(lab: &KubeLab, kubernetes: &Kubernetes) -> Self {
        let (seen, kubernetes) = (Self::default(), kubernetes.clone());
        let to = seen.clone();
        lab.runtime.spawn(async move {
            kubernetes.watch(move |changed| *to.0.lock().unwrap().entry(changed).or_default() += 1).await;
        });
        seen
    }

    fn count(&self, changed: Changed) -> usize {
        self.0.lock().unwrap().get(&changed).copied().unwrap_or_default()
    }

    #[track_caller]
    fn wait(&self, changed: Changed, beyond: usize) -> Duration {
        let start = Instant::now();
        while self.count(changed) <= beyond {
            assert!(start.elapsed() < Duration::from_secs(90), "{changed:?} was not noticed");
            std::thread::sleep(Duration::from_millis(5));
        }
        start.elapsed()
    }

    /// Until nothing more comes of what was done so far.
    fn settled(&self, changed: Changed) -> usize {
        std::thread::sleep(Duration::from_secs(1));
        self.count(changed)
    }
}

fn slice(name: &str, family: &str, addresses: &[&str], terminating: bool) -> serde_json::Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "coordinator-key-api"}},
        "endpoints": [{"addresses": addresses, "conditions": {"ready": false, "terminating": terminating}}],
        "ports": [{"name": "grpc", "port": 5433}],
    })
}

#[test]
fn each_change_is_noticed_at_once_and_a_restart_of_the_api_server_is_survived() {
    let plane = ControlPlane::builder().start().unwrap();
    let lab = KubeLab::in_plane(&plane, Role::Ours);
    let kubernetes = lab.kubernetes(1);
    let mut place = kubernetes.place();
    let seen = Seen::watch(&lab, &kubernetes);
    for changed in [Changed::State, Changed::HostKeys, Changed::Peers] {
        seen.wait(changed, 0);
    }
    let before = seen.settled(Changed::State);
    let version = place.create(&content(1, 500)).unwrap();
    println!("noticed after {:?}", seen.wait(Changed::State, before));
    place.change_entries(&[("aa.bb.cc".to_owned(), vec![1])].into(), &[]).unwrap();
    seen.wait(Changed::HostKeys, 1);
    lab.apply(&["create", "-f", "-"], &slice("one", "IPv4", &["10.1.2.3"], false));
    seen.wait(Changed::Peers, 1);

    plane.stop_api_server().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert!(place.version().is_err());
    plane.start_api_server().unwrap();
    let before = seen.settled(Changed::State);
    lab.kubectl(&["label", "secret", "marblerun-state", "a=b"]);
    seen.wait(Changed::State, before);
    assert_ne!(place.version().unwrap().unwrap(), version);
    let before = seen.settled(Changed::State);
    lab.kubectl(&["delete", "secret", "marblerun-state"]);
    seen.wait(Changed::State, before);
}

#[test]
fn what_may_not_be_watched_is_said_and_the_rest_goes_on() {
    let lab = KubeLab::new(Role::Upstream);
    let kubernetes = lab.kubernetes(1);
    let seen = Seen::watch(&lab, &kubernetes);
    let start = Instant::now();
    while kubernetes.refusals().all().len() < 3 {
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", kubernetes.refusals().all());
        std::thread::sleep(Duration::from_millis(50));
    }
    let refused: Vec<_> = kubernetes.refusals().all().iter().map(|it| (it.verb, it.resource)).collect();
    assert_eq!(refused, [("watch", "configmaps"), ("watch", "endpointslices"), ("watch", "secrets")]);
    assert_eq!(seen.count(Changed::State), 0);
    lab.apply(&["create", "-f", "-"], &slice("one", "IPv4", &["10.1.2.3"], false));
    let found = lab.runtime.block_on(kubernetes.discovery().addresses()).unwrap();
    assert_eq!(found, ["10.1.2.3:5433"], "listing is permitted");
}

#[test]
fn all_endpoint_slices_of_the_service_are_found_and_no_others() {
    let lab = KubeLab::new(Role::Ours);
    let discovery = lab.kubernetes(1).discovery();
    let addresses = || lab.runtime.block_on(discovery.addresses()).unwrap();
    assert_eq!(addresses(), Vec::<String>::new());
    lab.apply(&["create", "-f", "-"], &slice("one", "IPv4", &["10.1.2.3"], true));
    lab.apply(&["create", "-f", "-"], &slice("two", "IPv4", &["10.1.2.4"], false));
    lab.apply(&["create", "-f", "-"], &slice("three", "IPv6", &["fd00::7"], false));
    let mut other = slice("four", "IPv4", &["10.1.2.5"], false);
    other["metadata"]["labels"]["kubernetes.io/service-name"] = json!("another-service");
    lab.apply(&["create", "-f", "-"], &other);
    assert_eq!(addresses(), ["10.1.2.4:5433", "[fd00::7]:5433", "10.1.2.3:5433"]);
}
