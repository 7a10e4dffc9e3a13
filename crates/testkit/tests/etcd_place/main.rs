//! The place that Coordinators share in etcd, against a real one with TLS and client certificates: what every shared place
//! promises, what is particular to etcd, and what a broken wire is called.
#![allow(missing_docs)]

mod coordinators;
#[path = "../kube_place/cutter.rs"]
mod cutter;
mod lab;
mod particular;
mod peers;
mod wire;

use marblerun_store::cluster::conformance::PROMISES;

#[test]
fn etcd_keeps_every_promise_of_a_shared_place() {
    for (name, check) in PROMISES {
        println!("{name}");
        check(&lab::EtcdLab::new());
    }
}
