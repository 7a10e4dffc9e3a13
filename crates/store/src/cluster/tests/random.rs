//! Any order of commits, kills, lost messages, late landings and outages: what was acknowledged stays, a counter never
//! falls, one deployment stays one deployment, and in the end all who run serve the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use marblerun_sealing::HostKeyFile;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::rig::{Deployment, Instance, gossip};
use crate::backend::Failure;
use crate::cluster::Limits;
use crate::cluster::entry::{EntryName, Maker};
use crate::cluster::parts::records_at;
use crate::cluster::simulated::{Call, Fault};
use crate::device::Device;
use crate::testing::{manifest, recovery, secret};

#[derive(Debug, Clone)]
enum Step {
    Commit(usize),
    Write(usize),
    Validate(usize),
    Gossip,
    Kill(usize),
    Restart(usize, usize),
    Fault(usize, Call, Fault),
    Stall(usize),
    Resume(usize),
    Land,
    LoseKeys,
    Rotate(usize, bool),
    Touch,
    Plug(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..3_usize;
    let call = prop_oneof![
        3 => Just(Call::Replace),
        1 => Just(Call::Read),
        1 => Just(Call::Version),
        1 => Just(Call::WritePart),
        1 => Just(Call::ReadPart),
        1 => Just(Call::ChangeEntries),
        1 => Just(Call::Entries)
    ];
    let fault = prop_oneof![
        Just(Fault::LostRequest),
        Just(Fault::LostAnswer),
        Just(Fault::Late),
        Just(Fault::Repeated),
        Just(Fault::GatewayTimeout),
        Just(Fault::ServerError),
        Just(Fault::Garbled)
    ];
    prop_oneof![
        6 => who().prop_map(Step::Commit),
        2 => who().prop_map(Step::Write),
        3 => who().prop_map(Step::Validate),
        4 => Just(Step::Gossip),
        1 => who().prop_map(Step::Kill),
        2 => (who(), who()).prop_map(|(who, host)| Step::Restart(who, host)),
        4 => (who(), call, fault).prop_map(|(who, call, fault)| Step::Fault(who, call, fault)),
        1 => who().prop_map(Step::Stall),
        2 => who().prop_map(Step::Resume),
        2 => Just(Step::Land),
        1 => Just(Step::LoseKeys),
        1 => (who(), any::<bool>()).prop_map(|(who, revoke)| Step::Rotate(who, revoke)),
        1 => Just(Step::Touch),
        2 => any::<bool>().prop_map(Step::Plug),
    ]
}

struct Run {
    deployment: Deployment,
    /// Reached by all hosts, when it is there.
    token: Device,
    instances: Vec<Option<Instance>>,
    boots: usize,
    /// The largest count that was acknowledged, and the next one nobody has used.
    acknowledged: u64,
    next: u64,
    /// Names of secrets that were acknowledged.
    written: Vec<String>,
    root: Vec<u8>,
    in_parts: bool,
}

impl Run {
    /// Where little fits into the object, most snapshots lie in parts.
    fn new(in_parts: bool) -> Self {
        let (mut deployment, token) = (Deployment::new(), Device::token());
        let sealer = token.sealer();
        deployment.seal_with(move |host| vec![Arc::clone(&sealer), Arc::new(HostKeyFile::new(host))]);
        if in_parts {
            deployment.place.set_limits(Limits {
                object_bytes: 12_000,
                part_bytes: Some(3000),
                entries_bytes: 700_000,
            });
        }
        let mut first = deployment.start_alone("i0-0", "host-0");
        first.commit([manifest(""), recovery("alice")]).unwrap();
        let root = first.state.authority().root_certificate.clone();
        let instances = vec![Some(first), None, None];
        let mut run = Self {
            deployment,
            token,
            instances,
            boots: 1,
            acknowledged: 0,
            next: 1,
            written: Vec::new(),
            root,
            in_parts,
        };
        run.restart(1, 1);
        run.restart(2, 2);
        run.gossip();
        run
    }

    fn gossip(&mut self) {
        let mut all: Vec<&mut Instance> = self.instances.iter_mut().flatten().collect();
        gossip(&mut all);
    }

    /// Whether somebody else has the newest state and a key of it: who holds the only key is not killed, for then the
    /// recovery keys are needed, as they should be.
    fn another_holds_it(&mut self, who: usize) -> bool {
        let others =
            self.instances.iter_mut().enumerate().filter(|(at, _)| *at != who).filter_map(|(_, it)| it.as_mut());
        let mut holds = false;
        for other in others {
            holds |= other.validate().is_ok() && other.is_serving() && !other.view().keks.is_empty();
        }
        holds
    }

    fn restart(&mut self, who: usize, host: usize) {
        self.instances[who] = None;
        let name = format!("i{who}-{}", self.boots);
        self.boots += 1;
        self.instances[who] = Some(self.deployment.boot(&name, &format!("host-{host}")));
        self.gossip();
        self.gossip();
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Commit(who) => {
                let value = self.next;
                self.next += 1;
                let Some(instance) = self.instances[who].as_mut() else { return };
                // The caller reads the counter and adds to it, as the transaction of a Marble does.
                if instance.state.manifest().is_none() {
                    return;
                }
                match instance.count(value) {
                    Ok(()) => self.acknowledged = self.acknowledged.max(value),
                    // A counter that is ahead refuses: not an acknowledgement.
                    Err(Failure::NotStored(_) | Failure::Unknown(_) | Failure::Unavailable(_)) => {}
                    Err(Failure::Stale(_)) => unreachable!("the rig runs it again"),
                }
            }
            Step::Write(who) => {
                let name = format!("s{}", self.next);
                self.next += 1;
                let Some(instance) = self.instances[who].as_mut() else { return };
                if instance.state.manifest().is_some() && instance.commit([secret(&name, 4)]).is_ok() {
                    self.written.push(name);
                }
            }
            Step::Validate(who) => {
                let Some(instance) = self.instances[who].as_mut() else { return };
                if instance.validate().is_ok() && instance.is_serving() {
                    let missing = self.written.iter().find(|name| instance.state.secret(name).is_none());
                    assert_eq!(missing, None, "an acknowledged write is not read");
                    assert!(instance.counted() >= self.acknowledged, "an acknowledged count is not read");
                }
            }
            Step::Gossip => self.gossip(),
            Step::Kill(who) => {
                if self.another_holds_it(who) {
                    self.instances[who] = None;
                }
            }
            Step::Restart(who, host) => {
                if self.another_holds_it(who) {
                    self.restart(who, host);
                }
            }
            Step::Fault(who, call, fault) => {
                if let Some(instance) = &self.instances[who] {
                    self.deployment.place.fault(&instance.name, call, fault);
                }
            }
            Step::Stall(who) => {
                if let Some(instance) = &self.instances[who] {
                    self.deployment.place.stall(&instance.name);
                }
            }
            Step::Resume(who) => {
                if let Some(instance) = &self.instances[who] {
                    self.deployment.place.resume(&instance.name);
                }
            }
            Step::Land => drop(self.deployment.place.land()),
            Step::LoseKeys => self.deployment.place.delete_host_entries(),
            Step::Rotate(who, revoke) => {
                if let Some(instance) = self.instances[who].as_mut() {
                    // Not now is an answer as good as done.
                    let _ = instance.rotate(revoke);
                }
            }
            Step::Touch => drop(self.deployment.place.touch()),
            Step::Plug(plugged) => self.token.plug(plugged.then_some(1)),
        }
        for instance in self.instances.iter().flatten().filter(|instance| instance.is_serving()) {
            assert_eq!(instance.state.authority().root_certificate, self.root, "one deployment, one root");
        }
    }

    /// The token is back for a moment, and then all hosts are lost with what they kept.
    fn opens_by_the_token_alone(&mut self) {
        self.token.plug(Some(1));
        let in_force = |run: &Self| -> Option<(String, Vec<u8>)> {
            let keks = run.instances.iter().flatten().next()?.view().kek_ids();
            run.deployment.place.host_entries().into_iter().find(|(name, bytes)| {
                let is_of_token = Maker::of(bytes).is_some_and(|maker| maker.label == "token");
                is_of_token && EntryName::parse(name).is_some_and(|name| keks.contains(&name.kek))
            })
        };
        for _ in 0..60 {
            if in_force(self).is_none() {
                self.gossip();
            }
        }
        let (name, bytes) = in_force(self).expect("who serves has the token keep a copy");
        self.instances.iter_mut().for_each(|instance| *instance = None);
        self.deployment.place.delete_host_entries();
        self.deployment.place.set_host_entry(&name, &bytes);
        let last = self.deployment.start_alone("last", "host-new");
        assert!(last.is_serving(), "{:?}", last.mode());
        assert!(last.counted() >= self.acknowledged);
        assert!(self.written.iter().all(|name| last.state.secret(name).is_some()));
    }

    fn end(mut self) {
        while self.deployment.place.land().is_some() {}
        for instance in self.instances.iter().flatten() {
            self.deployment.place.resume(&instance.name);
        }
        for _ in 0..12 {
            self.gossip();
        }
        let serving: Vec<&Instance> =
            self.instances.iter().flatten().filter(|instance| instance.is_serving()).collect();
        assert!(!serving.is_empty(), "one serves in the end");
        for instance in self.instances.iter().flatten() {
            assert!(instance.is_serving(), "{}: {:?}", instance.name, instance.mode());
            assert!(instance.counted() >= self.acknowledged);
            for name in &self.written {
                assert!(instance.state.secret(name).is_some(), "{}: {name} is lost", instance.name);
            }
        }
        self.opens_by_the_token_alone();
        let files: BTreeSet<Vec<u8>> = self
            .deployment
            .place
            .history()
            .iter()
            .filter_map(|written| written.content.as_ref().map(|content| content.sealed_data.clone()))
            .collect();
        let mut of_one_key: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
        for file in &files {
            let at = records_at(file).unwrap();
            of_one_key.entry(&file[16..48]).or_default().push(&file[at..]);
        }
        for records in of_one_key.values_mut() {
            records.sort_by_key(|records| records.len());
            assert!(records.len() == 1 || self.in_parts, "a file that lies in the object is written once");
            let grows = records.windows(2).all(|two| two[1].starts_with(two[0]));
            assert!(grows, "what is sealed under one file's key only grows");
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 32, max_shrink_iters: 200, ..Config::default() })]
    #[test]
    fn whatever_happens_nothing_acknowledged_is_lost_and_all_meet_again(steps in vec(step(), 1..40), in_parts: bool) {
        let mut run = Run::new(in_parts);
        for step in steps {
            run.run(step);
        }
        run.end();
    }
}
