//! Copies of the key encryption key by several sealing backends: each opens the state by itself, those that all hosts reach
//! also where every host is new.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use marblerun_sealing::{HostKeyFile, KeySealer, Plain, SealMode};
use marblerun_state::Phase;

use super::rig::{Deployment, Instance, gossip};
use crate::cluster::entry::{self, EntryFacts, EntryName, EntrySecret, Maker};
use crate::cluster::simulated::Call;
use crate::device::Device;
use crate::testing::{manifest, recovery, root};

/// The host's own key, and then these.
fn host_and(devices: &[&Device]) -> impl Fn(&Path) -> Vec<Arc<dyn KeySealer>> + 'static {
    let devices: Vec<_> = devices.iter().map(|device| device.sealer()).collect();
    move |host| std::iter::once(host_key(host)).chain(devices.iter().cloned()).collect()
}

fn host_key(host: &Path) -> Arc<dyn KeySealer> {
    Arc::new(HostKeyFile::new(host))
}

fn only(device: &Device) -> impl Fn(&Path) -> Vec<Arc<dyn KeySealer>> + 'static {
    let sealer = device.sealer();
    move |_| vec![Arc::clone(&sealer)]
}

/// Copies in the place, by the backend that made them.
fn copies(deployment: &Deployment) -> BTreeMap<String, Vec<(String, Vec<u8>)>> {
    let mut copies = BTreeMap::<_, Vec<_>>::new();
    for (name, bytes) in deployment.place.host_entries() {
        copies.entry(Maker::of(&bytes).unwrap().label).or_default().push((name, bytes));
    }
    copies
}

fn made(deployment: &Deployment) -> Vec<(String, usize)> {
    copies(deployment).into_iter().map(|(label, copies)| (label, copies.len())).collect()
}

fn keep_only(deployment: &Deployment, label: &str) {
    let kept = copies(deployment).remove(label).unwrap_or_default();
    deployment.place.delete_host_entries();
    kept.iter().for_each(|(name, bytes)| deployment.place.set_host_entry(name, bytes));
}

fn serves(instance: &Instance, count: u64) {
    assert!(instance.is_serving(), "{}: {:?}", instance.name, instance.mode());
    assert_eq!(instance.counted(), count);
}

#[test]
fn every_backend_has_a_copy_and_any_one_of_them_opens_the_state() {
    let (chip, token) = (Device::chip(), Device::token());
    let mut deployment = Deployment::new();
    deployment.seal_with(host_and(&[&chip, &token]));
    let mut a = deployment.running("a", "host-a");
    a.tend();
    let all = ["chip", "host-key-file", "token"];
    assert_eq!(copies(&deployment).into_keys().collect::<Vec<_>>(), all);
    assert_eq!(a.warnings(), Vec::<String>::new());
    a.stop();
    for (at, label) in all.into_iter().enumerate() {
        keep_only(&deployment, label);
        let mut again = deployment.start_alone(&format!("again-{at}"), "host-a");
        serves(&again, 1);
        again.tend();
        assert_eq!(made(&deployment).len(), 3, "the others are made again");
        again.stop();
    }
}

#[test]
fn a_backend_that_is_away_costs_its_copy_and_never_the_start_while_another_opens() {
    let (chip, token) = (Device::chip(), Device::token());
    let mut deployment = Deployment::new();
    let (first, last) = (chip.sealer(), token.sealer());
    deployment.seal_with(move |host| vec![Arc::clone(&first), host_key(host), Arc::clone(&last)]);
    chip.plug(None);
    token.plug(None);
    let mut a = deployment.running("a", "host-a");
    a.tend();
    assert_eq!(made(&deployment).len(), 1);
    let told = |instance: &Instance| instance.warnings().join("\n");
    assert!(told(&a).contains("backend chip") && told(&a).contains("backend token"), "{}", told(&a));
    // They come, and are found without a restart.
    chip.plug(Some(1));
    token.plug(Some(1));
    a.tend();
    assert_eq!((made(&deployment).len(), told(&a)), (3, String::new()));
    a.stop();
    // Away again at a start.
    chip.plug(None);
    let a = deployment.start_alone("a2", "host-a");
    serves(&a, 1);
    assert!(told(&a).contains("it is not plugged in"), "{}", told(&a));
    a.stop();
    deployment.lose_host("host-a");
    token.plug(None);
    let mut b = deployment.start_alone("b", "host-a");
    assert_eq!(b.code(), "no_key");
    let why = format!("{:?}", b.mode());
    assert!(why.contains("backend chip") && why.contains("backend token"), "all causes: {why}");
    chip.plug(Some(1));
    b.tend();
    serves(&b, 1);
}

#[test]
fn a_key_that_once_lay_in_the_clear_is_told_until_it_is_replaced() {
    let mut deployment = Deployment::new();
    deployment.seal_with(|_| vec![Arc::new(Plain)]);
    let mut a = deployment.running("a", "host-a");
    a.tend();
    assert_eq!(a.warnings(), Vec::<String>::new(), "so it was wanted");
    a.stop();
    deployment.seal_with(|host| vec![host_key(host), Arc::new(Plain)]);
    let mut a = deployment.start_alone("a2", "host-a");
    a.tend();
    a.stop();
    deployment.seal_with(|host| vec![host_key(host)]);
    let mut a = deployment.start_alone("a3", "host-a");
    a.tend();
    let told = a.warnings().join("\n");
    assert!(told.contains("in the clear") && told.contains("kek rotate --revoke"), "{told}");
    a.rotate(true).unwrap();
    a.tend();
    assert_eq!(a.warnings(), Vec::<String>::new());
    serves(&a, 1);
}

#[test]
fn with_all_hosts_new_what_all_hosts_reach_opens_the_state() {
    let token = Device::token();
    let mut deployment = Deployment::new();
    deployment.seal_with(host_and(&[&token]));
    let mut a = deployment.running("a", "host-a");
    let b = deployment.start_among("b", "host-b", &mut [&mut a]);
    a.tend();
    b.stop();
    a.stop();
    let shared = copies(&deployment).remove("token").unwrap();
    keep_only(&deployment, "token");
    let mut c = deployment.start_alone("c", "host-c");
    serves(&c, 1);
    assert_eq!(c.state.lineage().incarnation, 1, "an ordinary start is no other life");
    c.tend();
    assert_eq!(copies(&deployment).remove("token").unwrap(), shared, "nobody writes it again");
    assert_eq!(made(&deployment), [("host-key-file".to_owned(), 1), ("token".to_owned(), 1)]);
    c.count(2).unwrap();
    c.stop();

    // Another token of the same name has nothing to do with it.
    keep_only(&deployment, "token");
    token.plug(Some(2));
    let mut d = deployment.start_alone("d", "host-d");
    assert_eq!(d.code(), "no_key");
    let why = format!("{:?}", d.mode());
    assert!(why.contains("sealed by another device"), "{why}");
    token.plug(Some(1));
    d.tend();
    serves(&d, 2);
    d.stop();
    deployment.place.delete_host_entries();
    let mut e = deployment.start_alone("e", "host-e");
    assert_eq!(e.code(), "no_key");
    e.recover(&root("alice")).unwrap();
    serves(&e, 2);
}

#[test]
fn with_refuse_a_new_host_alone_waits_for_the_key_holders_since_nobody_knows_the_newest_state() {
    let token = Device::token();
    let mut deployment = Deployment::new();
    deployment.rollback = crate::RollbackPolicy::Refuse;
    deployment.seal_with(host_and(&[&token]));
    let mut a = deployment.running("a", "host-a");
    a.tend();
    a.stop();
    let mut b = deployment.start_alone("b", "host-b");
    assert_eq!(b.code(), "no_witness");
    b.recover(&root("alice")).unwrap();
    b.stop();
    serves(&deployment.start_alone("b2", "host-b"), 1);
    // Who runs is a witness.
    let mut a = deployment.start_alone("a2", "host-a");
    serves(&a, 1);
    serves(&deployment.start_among("c", "host-c", &mut [&mut a]), 1);
}

#[test]
fn what_all_hosts_reach_is_written_once_for_all_of_them() {
    let token = Device::token();
    let mut deployment = Deployment::new();
    deployment.seal_with(host_and(&[&token]));
    let mut a = deployment.running("a", "host-a");
    a.tend();
    let shared = copies(&deployment).remove("token").unwrap();
    let mut b = deployment.start_among("b", "host-b", &mut [&mut a]);
    let mut c = deployment.start_among("c", "host-c", &mut [&mut a, &mut b]);
    for round in 0..4 {
        a.count(10 + round).unwrap();
        gossip(&mut [&mut a, &mut b, &mut c]);
    }
    let of_hosts = copies(&deployment).remove("host-key-file").unwrap();
    let hosts: std::collections::BTreeSet<_> =
        of_hosts.iter().map(|(name, _)| EntryName::parse(name).unwrap().host).collect();
    assert_eq!((hosts.len(), copies(&deployment)["token"].len()), (3, 1));
    a.stop();
    b.stop();
    c.stop();
    assert_eq!(copies(&deployment).remove("token").unwrap(), shared);
    assert!(deployment.start_alone("a2", "host-a").is_serving());
    assert_eq!(copies(&deployment).remove("token").unwrap(), shared);
}

#[test]
fn a_backend_whose_copy_another_host_made_and_that_does_not_open_here_is_told() {
    let (mine, theirs) = (Device::token(), Device::token());
    let mut deployment = Deployment::new();
    deployment.seal_with(host_and(&[&mine]));
    let mut a = deployment.running("a", "host-a");
    a.tend();
    let (name, bytes) = copies(&deployment).remove("token").unwrap().remove(0);
    // As if the other passphrase had the same name: one host cannot know whom it serves.
    theirs.plug(Some(1));
    deployment.seal_with(host_and(&[&theirs]));
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    deployment.place.set_host_entry(&name, &damaged);
    let mut b = deployment.start_among("b", "host-b", &mut [&mut a]);
    serves(&b, 1);
    b.tend();
    let told = b.warnings().join("\n");
    assert!(told.contains("not authentic") && told.contains("seal slot rotate token"), "{told}");
    assert_eq!(deployment.place.host_entries()[&name], damaged, "nobody but an operator replaces it");
}

#[test]
fn backends_are_changed_by_restarts_alone_with_one_instance() {
    let chip = Device::chip();
    let mut deployment = Deployment::new();
    deployment.running("a", "host-a").stop();
    for (at, both) in [true, false].into_iter().enumerate() {
        let device = chip.sealer();
        deployment.seal_with(move |host| match both {
            true => vec![Arc::clone(&device), host_key(host)],
            false => vec![Arc::clone(&device)],
        });
        let mut again = deployment.start_alone(&format!("again-{at}"), "host-a");
        serves(&again, 1);
        again.tend();
        assert_eq!(again.warnings(), Vec::<String>::new());
        again.stop();
    }
    // The way back needs the old one's copies, which are still there, or both again.
    deployment.lose_host("host-a");
    let again = deployment.start_alone("last", "host-a");
    serves(&again, 1);
}

#[test]
fn backends_are_changed_one_instance_after_the_other() {
    let (old, new) = (Device::new(marblerun_sealing::SlotKind::Tpm, "old"), Device::token());
    let mut deployment = Deployment::new();
    deployment.seal_with(only(&old));
    let mut a = deployment.running("a", "host-a");
    let mut b = deployment.start_among("b", "host-b", &mut [&mut a]);
    for stage in 0..2 {
        let (first, second) = (new.sealer(), old.sealer());
        deployment.seal_with(move |_| match stage {
            0 => vec![Arc::clone(&first), Arc::clone(&second)],
            _ => vec![Arc::clone(&first)],
        });
        a.stop();
        a = deployment.start_among(&format!("a{stage}"), "host-a", &mut [&mut b]);
        serves(&a, 1);
        b.stop();
        b = deployment.start_among(&format!("b{stage}"), "host-b", &mut [&mut a]);
        serves(&b, 1);
    }
    a.stop();
    b.stop();
    old.plug(None);
    let mut a = deployment.start_alone("a3", "host-a");
    serves(&a, 1);
    // And what the old one has kept opens nothing any more.
    a.rotate(true).unwrap();
    a.tend();
    let in_force = a.view().kek_ids();
    a.stop();
    let kept = copies(&deployment).remove("old").unwrap_or_default();
    let keks: Vec<_> = kept.iter().map(|(name, _)| EntryName::parse(name).unwrap().kek).collect();
    assert!(!keks.iter().any(|kek| in_force.contains(kek)), "{keks:?}");
}

#[test]
fn an_entry_of_a_version_with_one_backend_opens_and_such_a_version_opens_ours() {
    let mut deployment = Deployment::new();
    let token = Device::token();
    let mut a = deployment.running("a", "host-a");
    a.tend();
    let kek = a.view().keks[0].clone();
    let deployment_id = a.state.lineage().deployment_id;
    a.stop();
    // Such a version seals with the first backend alone, and says nothing of its name; this one had a token.
    let sealer = token.sealer();
    let name = EntryName { host: sealer.host_id().unwrap(), kek: kek.id(), seal: [7; 8] };
    let facts = EntryFacts { deployment_id, made_at_ms: 1, confirmed: true };
    let old = entry::seal_without_label(&*sealer, SealMode::ProductKey, name, &facts, &EntrySecret { kek, seen: None });
    deployment.place.delete_host_entries();
    deployment.place.set_host_entry(&name.to_string(), &old);
    deployment.seal_with(host_and(&[&token]));
    let mut b = deployment.start_alone("b", "host-b");
    serves(&b, 1);
    b.tend();
    assert_eq!(deployment.place.host_entries()[&name.to_string()], old);
    assert_eq!(copies(&deployment).len(), 3, "its own, that of the token under its own name, and the old one");
    for (name, bytes) in copies(&deployment).into_values().flatten() {
        assert_eq!(entry::read_as_before(&bytes), Some((name, true)), "older versions read over what they do not know");
    }
}

#[test]
fn wherever_a_process_ends_the_state_opens_again_by_a_host_or_by_what_all_hosts_reach() {
    // How many calls a whole life takes.
    let life = |deployment: &Deployment, name: &str| -> Option<u64> {
        let mut a = deployment.start_alone(name, "host-a");
        a.commit([manifest(""), recovery("alice")]).ok()?;
        a.tend();
        a.count(2).ok()?;
        a.rotate(false).ok();
        a.tend();
        a.rotate(true).ok();
        a.tend();
        a.count(3).ok()?;
        Some(a.counted())
    };
    let sealed = |token: &Device| {
        let mut deployment = Deployment::new();
        deployment.seal_with(host_and(&[token]));
        deployment
    };
    let whole = sealed(&Device::token());
    assert_eq!(life(&whole, "a"), Some(3));
    let calls = whole.place.calls().len();
    assert!(calls > 20, "{calls}");
    for left in 0..calls {
        let token = Device::token();
        let deployment = sealed(&token);
        deployment.place.stall_after("a", left);
        life(&deployment, "a");
        let had_manifest = deployment.place.object().is_some();
        let mut again = deployment.start_alone("a2", "host-a");
        again.tend();
        assert!(again.is_serving(), "after {left} calls: {:?}", again.mode());
        assert!(had_manifest || again.phase() == Phase::AcceptingManifest);
        let has_manifest = again.state.manifest().is_some();
        again.stop();
        if has_manifest {
            // One life that came to its end in order is enough for hosts that are all new.
            keep_only(&deployment, "token");
            let new = deployment.start_alone("new", "host-new");
            assert!(new.is_serving(), "after {left} calls: {:?}", new.mode());
        }
    }
}

#[test]
fn where_the_place_takes_no_copies_no_manifest_is_taken_whatever_backends_there_are() {
    let token = Device::token();
    let mut deployment = Deployment::new();
    deployment.seal_with(host_and(&[&token]));
    let mut a = deployment.start_alone("a", "host-a");
    deployment.place.delete_host_entries();
    deployment.place.deny("a", Call::ChangeEntries);
    a.tend();
    assert!(!a.view().entry_sealed);
    assert!(a.commit([manifest("")]).is_err());
    deployment.place.permit("a", Call::ChangeEntries);
    a.commit([manifest("")]).unwrap();
}
