use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::testing::{NAMES, manifest_keys, private, signed};
use crate::{Established, establish, verify_quorum};

/// A deployment that waits, and the instances it waits in.
struct Cluster {
    established: Established,
    header: Vec<RecoverySet>,
    secrets: Vec<Zeroizing<Vec<u8>>>,
    instances: Vec<SharedUploads>,
}

/// What can be told of a set from outside.
type Shown = (BTreeSet<(u64, [u8; 16], Vec<u8>)>, usize, Vec<(String, bool)>);

impl Cluster {
    fn new(parties: usize, threshold: u64, header: impl Fn(RecoverySet) -> Vec<RecoverySet>) -> Self {
        let established = establish(&manifest_keys(parties), threshold).unwrap().unwrap();
        let answer = established.encrypted_secrets();
        let secrets = (0..parties).map(|party| private(party).decrypt(&answer[NAMES[party]]).unwrap()).collect();
        let instances = (1..=3).map(|id| SharedUploads::new([id; 16])).collect();
        let header = header(established.set.clone());
        Self { established, header, secrets, instances }
    }

    fn judge(&self) -> Ceremony {
        Ceremony::new(&self.header)
    }

    fn opens(&self) -> impl Fn(&[u8]) -> bool + '_ {
        |candidate| candidate == self.established.root.expose()
    }

    /// As an instance does: what has a place is noted.
    fn upload(&mut self, instance: usize, upload: Upload) -> bool {
        let place = self.judge().place(&upload);
        place.map(|place| self.instances[instance].note(place, upload)).is_some()
    }

    fn party(&mut self, instance: usize, party: usize) -> bool {
        let upload = signed(&self.secrets[party].clone(), party);
        self.upload(instance, upload)
    }

    fn tell(&mut self, from: usize, to: usize) -> bool {
        let (told, judge) = (self.instances[from].all(), self.judge());
        self.instances[to].merge(&told, |upload| judge.place(upload))
    }

    fn tell_all(&mut self) {
        for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 1), (2, 1), (1, 0), (0, 2)] {
            self.tell(from, to);
        }
    }

    fn shown(&self, uploads: &SharedUploads) -> Shown {
        let all = uploads.all();
        let (ceremony, _) = replay(&self.header, &all, &self.opens());
        let bytes = |s: &Stamped| (s.stamp.count, s.stamp.by, [&s.upload.secret[..], &s.upload.signature].concat());
        (all.iter().map(bytes).collect(), ceremony.remaining(), ceremony.progress())
    }

    fn decides(&self, instance: usize, threshold: u64) -> Option<usize> {
        let (_, complete) = replay(&self.header, &self.instances[instance].all(), &self.opens());
        let Some(Outcome::Complete { root, uploads }) = complete else { return None };
        assert_eq!(root.expose(), self.established.root.expose());
        verify_quorum(&manifest_keys(self.secrets.len()), threshold, &uploads).ok().map(|names| names.len())
    }
}

fn everything(set: RecoverySet) -> Vec<RecoverySet> {
    vec![set]
}

fn keys_only(mut set: RecoverySet) -> Vec<RecoverySet> {
    set.parties.iter_mut().for_each(|party| party.commitment = None);
    vec![set]
}

fn hashes_only(mut set: RecoverySet) -> Vec<RecoverySet> {
    set.unassigned_commitments = set.parties.drain(..).filter_map(|party| party.commitment).collect();
    set.threshold = 0;
    vec![set]
}

fn nothing(_: RecoverySet) -> Vec<RecoverySet> {
    Vec::new()
}

#[test]
fn shares_taken_by_different_instances_open_on_any() {
    for (parties, threshold, needed) in [(2, 0, 2), (3, 0, 3), (3, 2, 2)] {
        let mut cluster = Cluster::new(parties, threshold, everything);
        for party in 0..needed {
            assert!(cluster.party(party, party));
            assert_eq!(cluster.decides(party, threshold), None);
        }
        cluster.tell_all();
        for instance in 0..3 {
            assert_eq!(cluster.decides(instance, threshold), Some(needed));
        }
    }
}

#[test]
fn an_accepted_share_lives_as_long_as_one_instance() {
    let mut cluster = Cluster::new(3, 2, everything);
    cluster.party(0, 0);
    cluster.tell(0, 1);
    cluster.instances[0] = SharedUploads::new([9; 16]);
    cluster.party(1, 1);
    cluster.tell(1, 0);
    cluster.instances[1] = SharedUploads::new([8; 16]);
    assert_eq!(cluster.decides(0, 2), Some(2));
}

#[test]
fn junk_has_no_place_and_changes_nothing() {
    for header in [everything, keys_only, hashes_only] as [fn(RecoverySet) -> Vec<RecoverySet>; 3] {
        let mut cluster = Cluster::new(3, 2, header);
        cluster.party(0, 0);
        let before = cluster.shown(&cluster.instances[0]);
        for length in [0, 16, 32, 33, 600] {
            let secret = Zeroizing::new(vec![length as u8; length]);
            let junk = Upload { secret, signature: vec![1; 256] };
            assert!(!cluster.upload(0, junk.clone()));
            let told = [Stamped { stamp: Stamp { count: 99, by: [7; 16] }, upload: junk }];
            let judge = cluster.judge();
            assert!(!cluster.instances[0].merge(&told, |upload| judge.place(upload)));
        }
        assert_eq!(cluster.shown(&cluster.instances[0]), before);
    }
}

#[test]
fn signatures_that_nobody_can_check_are_bounded_and_the_newest_stay() {
    let mut cluster = Cluster::new(2, 0, hashes_only);
    for number in 0..100u8 {
        let upload = Upload { secret: cluster.secrets[0].clone(), signature: vec![number; 8] };
        assert!(cluster.upload(usize::from(number) % 3, upload));
        cluster.tell_all();
    }
    assert_eq!(cluster.instances[1].all().len(), 8);
    cluster.party(2, 0);
    cluster.party(1, 1);
    cluster.tell_all();
    assert_eq!(cluster.decides(0, 0), Some(2), "the right one among them counts");
}

#[test]
fn where_a_signature_is_all_there_is_to_go_by_the_newest_secret_of_a_key_counts() {
    let mut cluster = Cluster::new(2, 0, keys_only);
    cluster.upload(0, signed(&[9; 32], 0));
    cluster.party(1, 1);
    cluster.tell_all();
    assert_eq!(cluster.decides(0, 0), None);
    cluster.party(2, 0);
    cluster.tell_all();
    assert_eq!((cluster.instances[0].all().len(), cluster.decides(1, 0)), (2, Some(2)));
}

#[test]
fn a_lost_header_is_searched_together() {
    let mut cluster = Cluster::new(2, 0, nothing);
    for junk in 0..40u8 {
        let upload = Upload { secret: Zeroizing::new(vec![junk; 32]), signature: Vec::new() };
        assert!(cluster.upload(0, upload));
    }
    cluster.party(1, 0);
    cluster.party(2, 1);
    cluster.tell_all();
    assert_eq!(cluster.instances[2].all().len(), 16);
    // The junk was stamped before anybody told anybody; the two of now are the newest once they are uploaded again.
    cluster.party(1, 0);
    cluster.party(1, 1);
    cluster.tell_all();
    assert_eq!(cluster.decides(0, 0), Some(2));
}

#[test]
fn another_header_keeps_what_fits_it() {
    let mut cluster = Cluster::new(2, 0, everything);
    cluster.party(0, 0);
    let judge = cluster.judge();
    cluster.instances[0].refit(|upload| judge.place(upload));
    assert_eq!(cluster.instances[0].all().len(), 1);
    let other = Ceremony::new(&[establish(&manifest_keys(2), 0).unwrap().unwrap().set]);
    cluster.instances[0].refit(|upload| other.place(upload));
    assert!(cluster.instances[0].is_empty());
}

#[test]
fn sessions_are_the_lowest_eight_and_grow_only() {
    let session = |id: u8, key: &[u8]| SessionKeys {
        id: [id; 16],
        decryption_key: Zeroizing::new(key.to_vec()),
        authority: Zeroizing::new(vec![id]),
    };
    let mut sessions = SharedSessions::default();
    for id in (1..=10).rev() {
        sessions.merge(session(id, b""));
    }
    assert_eq!(sessions.first().unwrap().id, [1; 16]);
    assert_eq!(sessions.iter().map(|session| session.id[0]).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    assert!(!sessions.merge(session(9, b"")), "no room");
    assert!(sessions.merge(session(3, b"key")));
    assert!(!sessions.merge(session(3, b"")), "what is known stays known");
    assert_eq!(sessions.iter().nth(2).unwrap().decryption_key.as_slice(), b"key");
}

/// What may happen in a cluster.
#[derive(Debug, Clone)]
enum Event {
    Party(usize, usize),
    Crossed(usize, usize, usize),
    Wrong(usize, usize, u8),
    Tell(usize, usize),
    Restart(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let at = 0usize..3;
    let event = prop_oneof![
        3 => (at.clone(), 0usize..3).prop_map(|(at, party)| Event::Party(at, party)),
        1 => (at.clone(), 0usize..3, 0usize..3).prop_map(|(at, party, key)| Event::Crossed(at, party, key)),
        1 => (at.clone(), 0usize..3, 0u8..3).prop_map(|(at, key, fill)| Event::Wrong(at, key, fill)),
        3 => (at.clone(), at.clone()).prop_map(|(from, to)| Event::Tell(from, to)),
        1 => at.prop_map(Event::Restart),
    ];
    prop::collection::vec(event, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whoever was cut off from whom, and in whatever order they hear of each other at last.
    #[test]
    fn who_has_heard_the_same_holds_the_same(
        events in events(),
        header in 0usize..4,
        orders in prop::collection::vec(Just([0usize, 1, 2]).prop_shuffle(), 3),
    ) {
        let header = [everything, keys_only, hashes_only, nothing as fn(RecoverySet) -> Vec<RecoverySet>][header];
        let mut cluster = Cluster::new(3, 2, header);
        for (event, number) in events.into_iter().zip(0u8..) {
            match event {
                Event::Party(at, party) => { cluster.party(at, party); }
                Event::Crossed(at, party, key) => {
                    let upload = signed(&cluster.secrets[party].clone(), key);
                    cluster.upload(at, upload);
                }
                Event::Wrong(at, key, fill) => { cluster.upload(at, signed(&[fill; 33], key)); }
                Event::Tell(from, to) => {
                    cluster.tell(from, to);
                    prop_assert!(!cluster.tell(from, to), "a second time nothing is new");
                }
                // Another process: what it held is gone, and its stamps are its own.
                Event::Restart(at) => cluster.instances[at] = SharedUploads::new([100 + number; 16]),
            }
        }
        let parts: Vec<Vec<Stamped>> = cluster.instances.iter().map(SharedUploads::all).collect();
        let judge = cluster.judge();
        let mut unions = orders.iter().map(|order| {
            let mut union = SharedUploads::new([0; 16]);
            for part in order {
                union.merge(&parts[*part], |upload| judge.place(upload));
            }
            cluster.shown(&union)
        });
        let union = unions.next().unwrap();
        prop_assert!(unions.all(|other| other == union));

        for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 1)] {
            cluster.tell(from, to);
        }
        for instance in &cluster.instances {
            prop_assert_eq!(cluster.shown(instance), union.clone());
        }
    }
}
