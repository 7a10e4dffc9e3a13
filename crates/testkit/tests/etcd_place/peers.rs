//! Watch and discovery.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use marblerun_store::cluster::conformance::content;
use marblerun_store::cluster::{Changed, SharedPlace as _};

use crate::lab::EtcdLab;

#[track_caller]
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(90), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn each_change_is_noticed() {
    let lab = EtcdLab::new();
    let etcd = lab.etcd(lab.config(1));
    let seen = Arc::<Mutex<HashMap<Changed, usize>>>::default();
    let (to, watched) = (Arc::clone(&seen), etcd.clone());
    lab.runtime.spawn(async move {
        watched.watch(move |changed| *to.lock().unwrap().entry(changed).or_default() += 1).await;
    });
    let count = |changed| seen.lock().unwrap().get(&changed).copied().unwrap_or_default();
    for changed in [Changed::State, Changed::HostKeys, Changed::Peers] {
        wait_for("the beginning", || count(changed) == 1);
    }
    let mut place = etcd.place();
    let version = place.create(&content(1, 500)).unwrap();
    wait_for("a creation", || count(Changed::State) == 2);
    place.replace(&version, &content(2, 500)).unwrap();
    wait_for("a commit", || count(Changed::State) == 3);
    place.change_entries(&[("aa.bb.cc".to_owned(), vec![1])].into(), &[]).unwrap();
    wait_for("a value of a host", || count(Changed::HostKeys) == 2);
    assert_eq!(count(Changed::Peers), 1);
    let announced = etcd.clone();
    lab.runtime.spawn(async move { announced.announce("10.0.0.1:5433").await });
    wait_for("an address", || count(Changed::Peers) == 2);
    lab.delete("about");
    wait_for("a deletion", || count(Changed::State) == 4);
}

#[test]
fn who_announces_itself_is_found_until_it_withdraws_or_ends() {
    let lab = EtcdLab::new();
    let (one, two) = (lab.etcd(lab.config(1)), lab.etcd(lab.config(2)));
    let found = || lab.runtime.block_on(one.addresses()).unwrap();
    assert_eq!(found(), Vec::<String>::new());
    let announce = |etcd: &marblerun_etcd::Etcd, address: &'static str| {
        let etcd = etcd.clone();
        lab.runtime.spawn(async move { etcd.announce(address).await })
    };
    let (first, second) = (announce(&one, "10.0.0.1:5433"), announce(&two, "[fd00::2]:5433"));
    wait_for("both", || found() == ["10.0.0.1:5433", "[fd00::2]:5433"]);
    lab.put("peer/other", b"not an address");
    assert_eq!(found().len(), 2);
    second.abort();
    lab.runtime.block_on(two.withdraw());
    assert_eq!(found(), ["10.0.0.1:5433"]);
    // Longer than a lease lives: the first one renews it.
    std::thread::sleep(Duration::from_secs(33));
    assert_eq!(found(), ["10.0.0.1:5433"]);
    first.abort();
    wait_for("the end of its lease", || found().is_empty());
}
