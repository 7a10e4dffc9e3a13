//! Coordinators as a cluster's processes: what they are told, and how they end and come back. What they do together is
//! told by stories of their own.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::time::Duration;

use marblerun_testkit::Coordinator;
use marblerun_testkit::kube::{Cluster, ControlPlane};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinators_of_a_cluster_are_told_of_each_other_and_come_back_at_their_addresses() {
    let plane = ControlPlane::shared().unwrap();
    // Each for itself alone: this is about processes.
    let builder = Cluster::builder(&plane).instances(3).env("EDG_DISTRIBUTED_COORDINATOR", "");
    let mut cluster = builder.start().await.unwrap();
    let mut key_addrs = Vec::new();
    for (_, coordinator) in cluster.running() {
        key_addrs.push(environment(coordinator)["MARBLERUN_KEY_ADDR"].clone());
    }
    for number in 0..3 {
        let environment = environment(cluster.get(number).unwrap());
        let peers: Vec<&str> = environment["MARBLERUN_PEERS"].split(',').collect();
        let others: Vec<&String> = key_addrs.iter().enumerate().filter(|(n, _)| *n != number).map(|(_, a)| a).collect();
        assert_eq!(peers, others);
        assert_eq!(environment["EDG_STORE_BACKEND"], "k8s-secret");
        assert_eq!(environment["EDG_K8S_NAMESPACE"], cluster.namespace().name());
        assert_eq!(environment["KUBECONFIG"], cluster.account().kubeconfig.display().to_string());
        assert!(environment["MARBLERUN_SIMULATION_HOST_KEY"].ends_with(&format!("host-{number}")));
    }

    let endpoints = cluster.endpoints().unwrap();
    let (pid, addr) = (cluster.get(1).unwrap().pid(), cluster.get(1).unwrap().client_addr);
    assert_eq!(addr.to_string(), endpoints[1].to_string());
    assert!(cluster.start(1).await.is_err(), "it runs");
    cluster.kill(1).unwrap();
    assert!(cluster.get(1).is_err() && cluster.kill(1).is_err() && cluster.running().count() == 2);
    cluster.set_env(1, "EDG_DEBUG_LOGGING", "1").unwrap();
    cluster.start_on(1, "host-7").await.unwrap();
    let again = cluster.get(1).unwrap();
    let told = environment(again);
    assert!(again.pid() != pid && again.client_addr == addr && told["EDG_DEBUG_LOGGING"] == "1");
    assert_eq!(told["MARBLERUN_KEY_ADDR"], key_addrs[1]);
    assert_eq!(told["MARBLERUN_SIMULATION_HOST_KEY"], cluster.host_key("host-7").display().to_string());
    cluster.wait_for_status(1, 2, Duration::from_secs(30)).await.unwrap();
    let error = cluster.wait_for_status(1, 3, Duration::ZERO).await.unwrap_err().to_string();
    assert!(error.contains("Ok(2) instead of 3"), "{error}");

    let pids: Vec<u32> = cluster.running().map(|(_, coordinator)| coordinator.pid()).collect();
    cluster.terminate(0).await.unwrap();
    drop(cluster);
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid} still runs");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_coordinator_reaches_the_api_server_through_a_proxy_of_its_own_if_asked_for() {
    let plane = ControlPlane::shared().unwrap();
    let builder = Cluster::builder(&plane).instances(2).through_proxies();
    let mut cluster = builder.env("EDG_DISTRIBUTED_COORDINATOR", "").start().await.unwrap();
    for number in 0..2 {
        let kubeconfig = environment(cluster.get(number).unwrap())["KUBECONFIG"].clone();
        let account = cluster.account().clone().with_kubeconfig(kubeconfig.into());
        account.kubectl(["get", "endpointslices"]).unwrap().ok().unwrap();
        let passed = |number| cluster.proxy(number).unwrap().calls().len();
        assert!(passed(number) > 0 && (number == 1 || passed(1) == 0));
    }
    let direct = cluster.account().kubeconfig.clone();
    cluster.kill(0).unwrap();
    cluster.set_kubeconfig(0, &direct).unwrap();
    cluster.start(0).await.unwrap();
    assert_eq!(environment(cluster.get(0).unwrap())["KUBECONFIG"], direct.display().to_string());
}

fn environment(coordinator: &Coordinator) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(format!("/proc/{}/environ", coordinator.pid())).unwrap();
    text.split('\0').filter_map(|entry| entry.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}
