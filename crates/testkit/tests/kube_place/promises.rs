//! The promises of every shared place, under our Role, and under upstream's.

use marblerun_store::cluster::conformance::PROMISES;
use marblerun_testkit::kube::Role;

use crate::lab::KubeLab;

#[test]
fn a_secret_keeps_every_promise_of_a_shared_place_under_our_role() {
    for (name, check) in PROMISES {
        println!("{name}");
        check(&KubeLab::new(Role::OursWithParts));
    }
}

#[test]
fn a_secret_keeps_every_promise_under_upstreams_role_too_without_list_patch_and_watch() {
    for (name, check) in PROMISES {
        println!("{name}");
        check(&KubeLab::new(Role::Upstream));
    }
}
