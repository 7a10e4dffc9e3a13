//! Copies of the key encryption key as key slots: shown, tried, made, removed, replaced while the state is served.

use std::path::Path;
use std::sync::Arc;

use marblerun_sealing::{HostKeyFile, KeySealer, SlotKind};
use marblerun_state::AuditKind;

use super::rig::{Deployment, Instance, gossip};
use crate::cluster::Content;
use crate::cluster::simulated::{Call, Fault};
use crate::device::Device;
use crate::slots::{SlotError, SlotPlan};
use crate::testing::recovery;

fn add(backend: &str) -> SlotPlan {
    SlotPlan::Add { backend: backend.to_owned() }
}

fn remove(label: &str, force: bool) -> SlotPlan {
    SlotPlan::Remove { label: label.to_owned(), force }
}

fn rotate(label: Option<&str>, force: bool) -> SlotPlan {
    SlotPlan::Rotate { label: label.map(str::to_owned), force }
}

fn host_and(devices: &[&Device]) -> impl Fn(&Path) -> Vec<Arc<dyn KeySealer>> + 'static {
    let devices: Vec<_> = devices.iter().map(|device| device.sealer()).collect();
    move |host| {
        let host: Arc<dyn KeySealer> = Arc::new(HostKeyFile::new(host));
        std::iter::once(host).chain(devices.iter().cloned()).collect()
    }
}

/// A deployment sealed to its hosts, a chip and a token, and one instance of it.
fn sealed_to_three() -> (Deployment, Device, Device, Instance) {
    let (chip, token) = (Device::chip(), Device::token());
    let mut deployment = Deployment::new();
    deployment.seal_with(host_and(&[&chip, &token]));
    let mut a = deployment.running("a", "host-a");
    a.tend();
    (deployment, chip, token, a)
}

fn labels(instance: &mut Instance) -> Vec<String> {
    instance.keyring().slots().into_iter().map(|slot| slot.label).collect()
}

#[test]
fn the_copies_of_this_host_and_those_of_all_hosts_are_shown_and_tried() {
    let (deployment, _, token, mut a) = sealed_to_three();
    let mut b = deployment.start_among("b", "host-b", &mut [&mut a]);
    b.tend();
    for instance in [&mut a, &mut b] {
        assert_eq!(labels(instance), ["host-key-file", "chip", "token"]);
        let keyring = instance.keyring();
        let slots = keyring.slots();
        assert_eq!(
            slots.iter().map(|slot| slot.kind).collect::<Vec<_>>(),
            [Some(SlotKind::Platform), Some(SlotKind::Tpm), Some(SlotKind::Pkcs11)]
        );
        assert_eq!(slots.iter().map(|slot| slot.shared).collect::<Vec<_>>(), [false, false, true]);
        assert!(slots.iter().all(|slot| slot.opens.is_none() && !slot.in_backups));
        let tested = keyring.test(None).unwrap();
        assert!(tested.iter().all(|slot| slot.opens == Some(Ok(()))), "{tested:?}");
    }
    token.plug(None);
    let tested = a.keyring().test(None).unwrap();
    assert_eq!(tested.iter().filter(|slot| slot.opens == Some(Ok(()))).count(), 2);
    assert!(matches!(&tested[2].opens, Some(Err(why)) if why.contains("not plugged in")), "{tested:?}");
    let unknown = a.keyring().test(Some("floppy")).unwrap_err();
    assert!(unknown.to_string().contains("host-key-file, chip, token"), "{unknown}");
    b.stop();
    let mut waiting = deployment.start_alone("c", "host-c");
    waiting.tend();
    let refused = deployment.boot("d", "host-d").try_keyring();
    assert!(matches!(refused, Err(SlotError::Unavailable(_))), "{refused:?}");
}

#[test]
fn what_is_removed_opens_nothing_that_comes_after() {
    let (deployment, chip, _, mut a) = sealed_to_three();
    let before = deployment.place.host_entries();
    let key_before = deployment.place.object().unwrap().sealed_key;
    a.slots(&remove("chip", false)).unwrap();
    assert_eq!(labels(&mut a), ["host-key-file", "token"]);
    a.count(2).unwrap();
    a.tend();
    assert_eq!(labels(&mut a), ["host-key-file", "token"], "not made again while it runs");
    assert!(a.state.audit(AuditKind::Changes).after(0).any(|entry| entry.actor == "operator"));
    a.stop();
    // All copies of before, put back.
    deployment.place.delete_host_entries();
    before.iter().for_each(|(name, bytes)| deployment.place.set_host_entry(name, bytes));
    assert_eq!(deployment.start_alone("thief", "host-a").code(), "no_key");
    // And the data encryption key, as the Secret had it before.
    let after = deployment.place.object().unwrap();
    deployment.place.put(&Content {
        sealed_data: after.sealed_data.unwrap(),
        sealed_key: key_before,
        ..Content::default()
    });
    assert_eq!(deployment.start_alone("thief-2", "host-a").code(), "no_key");
    drop(chip);
}

#[test]
fn one_that_all_share_is_removed_once_nobody_has_it_configured() {
    let (mut deployment, chip, _, mut a) = sealed_to_three();
    let refused = a.slots(&remove("token", true)).unwrap_err();
    assert_eq!(refused, SlotError::StillConfigured("token".to_owned()));
    a.stop();
    deployment.seal_with(host_and(&[&chip]));
    let mut a = deployment.start_alone("a2", "host-a");
    a.tend();
    assert_eq!(labels(&mut a), ["host-key-file", "chip", "token"], "it opens the state, so it is shown");
    let tested = a.keyring().test(Some("token")).unwrap();
    assert!(matches!(&tested[0].opens, Some(Err(why)) if why.contains("MARBLERUN_SEAL")), "{tested:?}");
    let lost = a.slots(&rotate(None, false)).unwrap_err();
    assert!(matches!(&lost, SlotError::WouldLose(what) if what.contains("token")), "{lost}");
    a.slots(&remove("token", false)).unwrap();
    a.tend();
    assert_eq!(labels(&mut a), ["host-key-file", "chip"]);
    let names = deployment.place.host_entries();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_rotation_gives_everyone_the_new_key_and_the_old_one_goes_after() {
    let (deployment, _, token, mut a) = sealed_to_three();
    let mut b = deployment.start_among("b", "host-b", &mut [&mut a]);
    let before = a.keyring().key_id();
    // The token was replaced: its copy does not open any more, and is not replaced by itself.
    token.plug(Some(7));
    let exists = a.slots(&add("token")).unwrap_err();
    assert!(matches!(&exists, SlotError::Exists(why) if why.contains("seal slot rotate token")), "{exists}");
    a.slots(&rotate(Some("token"), false)).unwrap();
    for _ in 0..4 {
        gossip(&mut [&mut a, &mut b]);
    }
    assert_eq!(a.view().slots.len(), 1, "the old key has gone");
    for instance in [&mut a, &mut b] {
        instance.validate().unwrap();
        assert_ne!(instance.keyring().key_id(), before);
        let tested = instance.keyring().test(None).unwrap();
        assert!(tested.len() == 3 && tested.iter().all(|slot| slot.opens == Some(Ok(()))), "{tested:?}");
    }
    a.stop();
    b.stop();
    assert!(deployment.start_alone("new", "host-new").is_serving());
}

#[test]
fn a_backend_that_is_away_holds_up_a_rotation_unless_it_is_forced() {
    let (deployment, chip, token, mut a) = sealed_to_three();
    token.plug(None);
    let before = (deployment.place.object(), deployment.place.host_entries());
    let lost = a.slots(&rotate(None, false)).unwrap_err();
    assert!(matches!(&lost, SlotError::WouldLose(what) if what.contains("token") && what.contains("not plugged in")));
    let failed = a.slots(&rotate(Some("token"), true)).unwrap_err();
    assert!(matches!(&failed, SlotError::Failed { name, .. } if name == "token"), "{failed}");
    let lost = a.slots(&remove("chip", false)).unwrap_err();
    assert!(matches!(lost, SlotError::WouldLose(_)));
    assert_eq!((deployment.place.object(), deployment.place.host_entries()), before, "nothing has changed");
    a.slots(&rotate(None, true)).unwrap();
    assert!(a.warnings().join("\n").contains("backend token"));
    token.plug(Some(1));
    a.slots(&add("token"))
        .or_else(|error| match error {
            // It was made by itself meanwhile.
            SlotError::Exists(_) => Ok(()),
            other => Err(other),
        })
        .unwrap();
    a.tend();
    assert_eq!(labels(&mut a).len(), 3);
    drop(chip);
}

#[test]
fn the_last_copy_stays_since_the_others_get_the_key_from_whoever_keeps_it() {
    let deployment = Deployment::new();
    let mut a = deployment.running("a", "host-a");
    let last = a.slots(&remove("host-key-file", true)).unwrap_err();
    assert!(matches!(last, SlotError::Last(_)), "{last}");
    assert!(matches!(a.slots(&add("floppy")).unwrap_err(), SlotError::NoBackend { .. }));
    a.count(2).unwrap();
}

#[test]
fn what_was_removed_is_made_again_when_an_operator_says_so_or_at_the_next_start() {
    let (deployment, ..) = sealed_to_three();
    let mut a = deployment.start_alone("a2", "host-a");
    a.slots(&remove("chip", false)).unwrap();
    a.slots(&add("chip")).unwrap();
    assert_eq!(labels(&mut a).len(), 3);
    a.slots(&remove("chip", false)).unwrap();
    a.stop();
    let mut a = deployment.start_alone("a3", "host-a");
    a.tend();
    assert_eq!(labels(&mut a).len(), 3);
}

#[test]
fn a_change_is_done_or_not_whatever_call_of_it_fails_and_what_is_served_opens_again() {
    let plans = [add("chip"), remove("chip", false), rotate(None, false), rotate(Some("token"), false)];
    let calls = [Call::Entries, Call::ChangeEntries, Call::Replace, Call::Read];
    let faults = [Fault::LostRequest, Fault::LostAnswer, Fault::Garbled, Fault::Repeated];
    for plan in &plans {
        for call in calls {
            for fault in &faults {
                let (deployment, _, _, mut a) = sealed_to_three();
                if *plan == plans[0] {
                    a.slots(&remove("chip", false)).unwrap();
                }
                deployment.place.fault("a", call, fault.clone());
                let answer = a.slots(plan);
                a.count(2).unwrap();
                a.tend();
                a.stop();
                // By its host, and by what all hosts reach.
                for (name, host) in [("again", "host-a"), ("new", "host-new")] {
                    let found = deployment.start_alone(name, host);
                    assert!(found.is_serving(), "{plan:?} {call:?} {fault:?} {answer:?}: {:?}", found.mode());
                    assert_eq!(found.counted(), 2);
                }
            }
        }
    }
}

#[test]
fn wherever_a_process_ends_in_a_change_the_old_copies_open_the_state_or_the_new_ones() {
    for plan in [remove("chip", false), rotate(None, false)] {
        for left in 0..40 {
            let (deployment, _, _, mut a) = sealed_to_three();
            deployment.place.stall_after("a", left);
            let done = a.slots(&plan);
            drop(a);
            for (name, host) in [("new", "host-new"), ("again", "host-a")] {
                let found = deployment.start_alone(name, host);
                assert!(found.is_serving(), "{plan:?} after {left} calls, {done:?}: {:?}", found.mode());
                assert_eq!(found.counted(), 1);
            }
        }
    }
}

#[test]
fn somebody_else_writes_first_and_the_change_is_made_on_top() {
    let (deployment, _, _, mut a) = sealed_to_three();
    let b = deployment.start_among("b", "host-b", &mut [&mut a]);
    let b = Arc::new(std::sync::Mutex::new(b));
    for round in 0..3 {
        let other = Arc::clone(&b);
        deployment.place.before("a", Call::Replace, move || other.lock().unwrap().count(10 + round).unwrap());
    }
    a.slots(&remove("chip", false)).unwrap();
    assert_eq!(a.counted(), 12);
    let mut b = Arc::try_unwrap(b).ok().unwrap().into_inner().unwrap();
    gossip(&mut [&mut a, &mut b]);
    gossip(&mut [&mut a, &mut b]);
    b.commit([recovery("bob")]).unwrap();
    a.validate().unwrap();
    a.count(20).unwrap();
}
