use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::testing::{NAMES, manifest_keys, private, signed};
use crate::{Established, Party, Scheme, commitment, establish, verify_quorum};

/// A deployment, its parties and the ceremony that shall bring it back.
struct Story {
    established: Established,
    secrets: Vec<Zeroizing<Vec<u8>>>,
    keys: BTreeMap<String, String>,
    threshold: u64,
    ceremony: Ceremony,
    tries: Cell<usize>,
}

impl Story {
    fn new(parties: usize, threshold: u64) -> Self {
        Self::with_header(parties, threshold, everything)
    }

    /// What the header tells is made from the true set.
    fn with_header(parties: usize, threshold: u64, header: impl Fn(RecoverySet) -> Vec<RecoverySet>) -> Self {
        let keys = manifest_keys(parties);
        let established = establish(&keys, threshold).unwrap().unwrap();
        let answer = established.encrypted_secrets();
        let secrets = (0..parties).map(|party| private(party).decrypt(&answer[NAMES[party]]).unwrap()).collect();
        let ceremony = Ceremony::new(&header(established.set.clone()));
        Self { established, secrets, keys, threshold, ceremony, tries: Cell::new(0) }
    }

    fn upload(&mut self, upload: Upload) -> Result<Outcome, String> {
        let (root, tries) = (self.established.root.clone(), &self.tries);
        tries.set(0);
        let opens = |candidate: &[u8]| {
            tries.set(tries.get() + 1);
            candidate == root.expose()
        };
        self.ceremony.add(upload, &opens).map_err(|error| error.to_string())
    }

    /// A party uploads its secret, properly signed.
    fn party(&mut self, party: usize) -> Result<Outcome, String> {
        self.crossed(party, party)
    }

    fn crossed(&mut self, party: usize, signer: usize) -> Result<Outcome, String> {
        self.upload(signed(&self.secrets[party].clone(), signer))
    }

    fn unsigned(&mut self, party: usize) -> Result<Outcome, String> {
        let secret = self.secrets[party].clone();
        self.upload(Upload { secret, signature: vec![1; 256] })
    }

    fn junk(&mut self, length: usize, fill: u8) -> Result<Outcome, String> {
        self.upload(Upload { secret: Zeroizing::new(vec![fill; length]), signature: vec![fill; 256] })
    }

    /// Whether what completed is the root and passes the check that decides.
    fn decides(&self, outcome: Outcome) -> Result<Vec<String>, String> {
        let Outcome::Complete { root, uploads } = outcome else { return Err("not complete".to_owned()) };
        assert_eq!(root.expose(), self.established.root.expose());
        verify_quorum(&self.keys, self.threshold, &uploads).map_err(|error| error.to_string())
    }
}

#[track_caller]
fn accepted(outcome: Result<Outcome, String>) -> (usize, Option<String>) {
    match outcome.unwrap() {
        Outcome::Accepted { remaining, party } => (remaining, party),
        Outcome::Complete { .. } => panic!("complete"),
    }
}

#[track_caller]
fn refused(outcome: Result<Outcome, String>) -> String {
    match outcome {
        Err(reason) => reason,
        Ok(_) => panic!("not refused"),
    }
}

fn everything(set: RecoverySet) -> Vec<RecoverySet> {
    vec![set]
}

fn hashes_only(set: RecoverySet) -> Vec<RecoverySet> {
    let map = set.parties.iter().filter_map(|p| p.commitment).map(|h| (hex::encode(h), true));
    let header = serde_json::to_vec(&map.collect::<BTreeMap<_, _>>()).unwrap();
    vec![RecoverySet::from_upstream_header(&header).unwrap()]
}

fn owners_unknown(mut set: RecoverySet) -> Vec<RecoverySet> {
    set.unassigned_commitments = set.parties.iter_mut().rev().filter_map(|p| p.commitment.take()).collect();
    vec![set]
}

fn keys_only(mut set: RecoverySet) -> Vec<RecoverySet> {
    set.parties.iter_mut().for_each(|party| party.commitment = None);
    vec![set]
}

fn nothing(_: RecoverySet) -> Vec<RecoverySet> {
    Vec::new()
}

fn upstream_single(_: RecoverySet) -> Vec<RecoverySet> {
    vec![RecoverySet::from_upstream_header(b"null").unwrap()]
}

#[test]
fn a_single_party_recovers_with_one_upload() {
    let mut story = Story::new(1, 0);
    assert_eq!(story.ceremony.remaining(), 1);
    let outcome = story.party(0).unwrap();
    assert_eq!(story.decides(outcome).unwrap(), ["alice"]);
}

#[test]
fn a_wrong_single_secret_is_refused_and_the_right_one_then_taken() {
    for header in [everything, upstream_single, keys_only] as [fn(RecoverySet) -> Vec<RecoverySet>; 3] {
        let mut story = Story::with_header(1, 0, header);
        for length in [16, 24, 32, 33] {
            let reason = refused(story.junk(length, 7));
            assert!(reason.starts_with("uploaded an invalid or already used secret"), "{reason}");
        }
        let outcome = story.party(0).unwrap();
        assert_eq!(story.decides(outcome).unwrap(), ["alice"]);
    }
}

#[test]
fn all_parties_recover_in_any_order() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut story = Story::new(3, 0);
        assert_eq!(accepted(story.party(order[0])), (2, Some(NAMES[order[0]].to_owned())));
        assert_eq!(accepted(story.party(order[1])), (1, Some(NAMES[order[1]].to_owned())));
        let outcome = story.party(order[2]).unwrap();
        assert_eq!(story.decides(outcome).unwrap().len(), 3);
    }
}

#[test]
fn remaining_is_what_the_threshold_still_needs() {
    let mut story = Story::new(3, 2);
    assert_eq!(story.ceremony.remaining(), 2);
    assert_eq!(accepted(story.party(2)), (1, Some("carol".to_owned())));
    assert_eq!(story.ceremony.remaining(), 1);
    let progress = [("alice", false), ("bob", false), ("carol", true)].map(|(n, done)| (n.to_owned(), done));
    assert_eq!(story.ceremony.progress(), progress);
    let outcome = story.party(0).unwrap();
    assert_eq!(story.decides(outcome).unwrap(), ["alice", "carol"]);
}

#[test]
fn a_repeated_secret_is_refused_by_name_and_changes_nothing() {
    let mut story = Story::new(3, 2);
    accepted(story.party(1));
    let reason = refused(story.party(1));
    assert!(reason.starts_with("uploaded an invalid or already used secret"), "{reason}");
    assert!(reason.contains("bob") && reason.contains("1 more needed"), "{reason}");
    let outcome = story.party(0).unwrap();
    story.decides(outcome).unwrap();
}

#[test]
fn impossible_lengths_are_refused() {
    let mut story = Story::new(2, 0);
    for length in [0, 1, 15, 17, 31, 34, 512, 20_480] {
        assert_eq!(refused(story.junk(length, 1)), "invalid secret length");
    }
    let secret = story.secrets[0].clone();
    assert!(refused(story.upload(Upload { secret, signature: vec![0; 15_000] })).contains("too long"));
    assert_eq!(story.ceremony.remaining(), 2);
}

#[test]
fn a_bad_signature_is_answered_at_once_with_the_name_of_the_party() {
    let mut story = Story::new(2, 0);
    accepted(story.party(0));
    let reason = refused(story.unsigned(1));
    assert!(reason.contains("\"bob\""), "{reason}");
    assert_eq!(story.ceremony.remaining(), 1, "what was accepted stays, what was refused does not count");
    let outcome = story.party(1).unwrap();
    story.decides(outcome).unwrap();
}

#[test]
fn a_secret_signed_by_another_party_counts_but_a_key_counts_once() {
    let mut story = Story::new(2, 0);
    assert_eq!(accepted(story.crossed(0, 1)), (1, Some("alice".to_owned())));
    let outcome = story.crossed(1, 0).unwrap();
    assert_eq!(story.decides(outcome).unwrap().len(), 2);

    let mut story = Story::new(2, 0);
    accepted(story.crossed(0, 1));
    assert_eq!(accepted(story.party(1)).0, 1, "bob signed both");
    assert_eq!(story.ceremony.progress(), [("alice".to_owned(), false), ("bob".to_owned(), true)]);
    let outcome = story.party(0).unwrap();
    assert_eq!(story.decides(outcome).unwrap().len(), 2, "alice signs again, bob does not have to");
}

#[test]
fn a_completed_ceremony_completes_again() {
    let mut story = Story::new(3, 2);
    accepted(story.party(0));
    for party in [1, 1, 0, 2] {
        let outcome = story.party(party).unwrap();
        assert_eq!(story.decides(outcome).unwrap().len(), 2);
    }
}

#[test]
fn a_late_secret_after_completion_is_harmless() {
    let mut story = Story::new(3, 2);
    accepted(story.party(0));
    story.party(1).unwrap();
    let _ = refused(story.junk(33, 1));
    let outcome = story.party(2).unwrap();
    assert!(story.decides(outcome).unwrap().contains(&"carol".to_owned()));
}

#[test]
fn secrets_of_both_sets_of_a_rotation_are_collected_apart() {
    let old = Story::new(1, 0);
    let mut new = Story::with_header(3, 2, |set| vec![set, old.established.set.clone()]);
    assert_eq!(new.ceremony.remaining(), 1, "one secret of the old set, or two of the new");
    assert_eq!(accepted(new.party(0)).0, 1);
    let upload = signed(&old.secrets[0], 0);
    let opens = |candidate: &[u8]| candidate == old.established.root.expose();
    assert!(matches!(new.ceremony.add(upload, &opens), Ok(Outcome::Complete { .. })));
    let outcome = new.party(1).unwrap();
    new.decides(outcome).unwrap();
}

#[test]
fn right_secrets_that_do_not_open_say_that_the_file_is_damaged() {
    let mut story = Story::new(2, 0);
    story.established.root = RecoveryRoot::new(Zeroizing::new(vec![0; 32]));
    accepted(story.party(0));
    assert!(refused(story.party(1)).contains("damaged"));
}

#[test]
fn hashes_without_names_recover_with_any_order_of_signatures() {
    for (parties, threshold) in [(2, 0), (3, 0), (3, 2)] {
        let mut story = Story::with_header(parties, threshold, owners_unknown);
        let needed = if threshold == 0 { parties } else { 2 };
        assert_eq!(story.ceremony.remaining(), needed);
        assert!(refused(story.unsigned(0)).contains("signature"));
        for party in (1..needed).rev() {
            let (remaining, who) = accepted(story.party(party));
            assert_eq!((remaining, who.as_deref()), (party, Some(NAMES[party])));
            assert!(story.ceremony.progress().contains(&(NAMES[party].to_owned(), true)));
        }
        let outcome = story.party(0).unwrap();
        story.decides(outcome).unwrap();
    }
}

#[test]
fn an_upstream_header_recovers_all_of_n() {
    let mut story = Story::with_header(3, 0, hashes_only);
    assert_eq!(story.ceremony.progress(), vec![("unknown".to_owned(), false); 3]);
    assert_eq!(accepted(story.party(2)), (2, None));
    refused(story.junk(32, 9));
    assert_eq!(accepted(story.party(0)), (1, None));
    let outcome = story.party(1).unwrap();
    story.decides(outcome).unwrap();
}

#[test]
fn an_upstream_header_recovers_a_threshold_it_does_not_tell() {
    let mut story = Story::with_header(3, 2, hashes_only);
    assert_eq!(accepted(story.party(2)).0, 1);
    let outcome = story.party(0).unwrap();
    story.decides(outcome).unwrap();
    // The check after opening refused, say; the third share still makes exactly two.
    let outcome = story.party(1).unwrap();
    assert!(story.decides(outcome).unwrap().contains(&"bob".to_owned()));
}

#[test]
fn where_keys_are_unknown_a_party_that_signed_wrongly_signs_again_alone() {
    let mut story = Story::with_header(2, 0, hashes_only);
    accepted(story.unsigned(0));
    let outcome = story.party(1).unwrap();
    assert!(story.decides(outcome).is_err(), "the check that decides");
    let outcome = story.party(0).unwrap();
    assert_eq!(story.decides(outcome).unwrap().len(), 2);
    // And a worse signature uploaded after it takes nothing away.
    let outcome = story.unsigned(0).unwrap();
    assert_eq!(story.decides(outcome).unwrap().len(), 2);
}

#[test]
fn where_keys_are_unknown_signatures_are_bounded() {
    let mut story = Story::with_header(2, 0, hashes_only);
    for number in 0..100u8 {
        let secret = story.secrets[0].clone();
        accepted(story.upload(Upload { secret, signature: vec![number; 256] }));
    }
    accepted(story.party(0));
    let Outcome::Complete { uploads, .. } = story.party(1).unwrap() else { panic!("not complete") };
    assert_eq!(uploads.len(), 9);
    verify_quorum(&story.keys, 0, &uploads).unwrap();
}

#[test]
fn keys_without_hashes_recognise_by_signature() {
    for (threshold, needed) in [(0, 3), (2, 2)] {
        let mut story = Story::with_header(3, threshold, keys_only);
        assert!(refused(story.junk(32, 3)).contains("signature"));
        for party in 1..needed {
            accepted(story.party(party));
        }
        let outcome = story.party(0).unwrap();
        story.decides(outcome).unwrap();
    }
}

#[test]
fn keys_without_hashes_a_party_replaces_its_own_wrong_secret() {
    let mut story = Story::with_header(3, 2, keys_only);
    accepted(story.upload(signed(&[9; 33], 0)));
    assert_eq!(accepted(story.party(1)).0, 1, "one of the two is wrong");
    let outcome = story.party(2).unwrap();
    assert_eq!(story.decides(outcome).unwrap().len(), 2, "two right ones among three");

    let mut story = Story::with_header(2, 0, keys_only);
    accepted(story.upload(signed(&[9; 32], 0)));
    assert_eq!(accepted(story.party(1)).0, 1);
    let outcome = story.party(0).unwrap();
    story.decides(outcome).unwrap();
}

#[test]
fn a_lost_header_is_searched() {
    for (parties, threshold, needed) in [(1, 0, 1), (2, 0, 2), (3, 0, 3), (3, 2, 2)] {
        let mut story = Story::with_header(parties, threshold, nothing);
        for junk in 0..200u8 {
            accepted(story.junk([16, 24, 32, 33][junk as usize % 4], junk));
        }
        for party in 1..needed {
            assert_eq!(accepted(story.party(party)), (1, None));
            accepted(story.junk(if threshold == 2 { 33 } else { 32 }, 201));
        }
        let outcome = story.party(0).unwrap();
        story.decides(outcome).unwrap();
    }
}

#[test]
fn a_search_is_bounded_in_memory_and_work() {
    let mut story = Story::with_header(3, 2, nothing);
    for junk in 0..=255u8 {
        accepted(story.junk(33, junk));
        accepted(story.junk(32, junk));
        assert!(story.tries.get() <= 150, "{}", story.tries.get());
    }
}

#[test]
fn subsets_are_complete_and_hold_the_first() {
    for (count, size, number) in [(5, 1, 1), (5, 2, 4), (5, 3, 6), (5, 5, 1), (1, 1, 1), (4, 5, 0), (3, 0, 0)] {
        let subsets: Vec<_> = search::subsets_with_first(count, size).collect();
        let distinct: std::collections::BTreeSet<_> = subsets.iter().cloned().collect();
        assert_eq!((subsets.len(), distinct.len()), (number, number), "{size} of {count}");
        for subset in subsets {
            assert_eq!(subset[0], 0);
            assert!(subset.is_sorted_by(|a, b| a < b) && subset.iter().all(|index| *index < count));
        }
    }
}

#[test]
fn an_upstream_header_is_read_or_known_as_lost() {
    let hash = "3b7183cd843c02c62f92d1708fc3bdcd9e51b421cec8674c68e7e84a00a99382";
    let other = "6c65561b2cd83357a6e6b33a1d70973a14f9f323e135065273e5c90fd471686a";
    let read = |header: &str| RecoverySet::from_upstream_header(header.as_bytes());
    assert_eq!(read("null").unwrap().scheme, Scheme::Single);
    assert_eq!(read(&format!("{{\"{hash}\":true, \"{other}\":false}}")).unwrap().unassigned_commitments.len(), 2);
    for lost in ["", "{}", "nul", "[]", "7", "{\"ab\":true,\"cd\":true}"] {
        assert!(read(lost).is_none(), "{lost}");
    }
    assert!(read(&format!("{{\"{hash}\":true}}")).is_none(), "several parties have several hashes");
}

#[test]
fn a_hostile_header_makes_no_panic() {
    let party = Party { name: String::new(), public_key: vec![0], commitment: None, encrypted_secret: vec![] };
    let known = Party { commitment: Some(commitment(&[1; 32])), ..party.clone() };
    for scheme in [Scheme::Single, Scheme::Xor, Scheme::Shamir] {
        for threshold in [0, 1, 2, 200, u32::MAX] {
            for parties in [vec![], vec![party.clone()], vec![known.clone(), party.clone()], vec![known.clone()]] {
                let set = RecoverySet { scheme, threshold, epoch: [0; 16], parties, unassigned_commitments: vec![] };
                let mut ceremony = Ceremony::new(&[set.clone(), set]);
                for (length, fill) in [(32, 1), (33, 1), (16, 1), (32, 1)] {
                    let upload = Upload { secret: Zeroizing::new(vec![fill; length]), signature: vec![] };
                    let _ = ceremony.add(upload, &|_| false);
                    let _ = ceremony.remaining();
                    let _ = ceremony.progress();
                }
            }
        }
    }
}

/// What may arrive at a Coordinator in recovery mode.
#[derive(Debug, Clone)]
enum Event {
    Party(usize),
    Crossed(usize, usize),
    Unsigned(usize),
    Junk { length: usize, fill: u8 },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let length = prop_oneof![Just(16usize), Just(24), Just(32), Just(33), 0usize..600];
    let event = prop_oneof![
        (0usize..3).prop_map(Event::Party),
        (0usize..3, 0usize..3).prop_map(|(party, signer)| Event::Crossed(party, signer)),
        (0usize..3).prop_map(Event::Unsigned),
        (length, any::<u8>()).prop_map(|(length, fill)| Event::Junk { length, fill }),
    ];
    proptest::collection::vec(event, 0..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever came before, in whatever order: once the needed parties have uploaded, properly signed, the state
    /// is recovered; `remaining` only falls, and refused uploads leave it.
    #[test]
    fn nothing_that_comes_before_or_between_blocks_the_right_secrets(
        events in events(),
        policy in prop_oneof![Just((1usize, 0u64, 1usize)), Just((2, 0, 2)), Just((3, 0, 3)), Just((3, 2, 2))],
        known in 0usize..3,
        order in Just([0usize, 1, 2]).prop_shuffle(),
    ) {
        let (parties, threshold, needed) = policy;
        let header: fn(RecoverySet) -> Vec<RecoverySet> = match (known, parties) {
            (0, _) => everything,
            (1, _) => owners_unknown,
            (_, 1) => upstream_single,
            _ => hashes_only,
        };
        let mut story = Story::with_header(parties, threshold, header);
        for event in events {
            let before = (story.ceremony.remaining(), story.ceremony.progress());
            let outcome = match event {
                Event::Party(party) if party < parties => story.party(party),
                Event::Crossed(party, signer) if party < parties => story.crossed(party, signer),
                Event::Unsigned(party) if party < parties => story.unsigned(party),
                Event::Junk { length, fill } => {
                    let outcome = story.junk(length, fill);
                    prop_assert!(outcome.is_err());
                    prop_assert!(story.tries.get() <= 1);
                    outcome
                }
                _ => continue,
            };
            prop_assert!(story.tries.get() <= 2);
            prop_assert!(story.ceremony.remaining() <= before.0);
            match outcome {
                Err(_) => prop_assert_eq!((story.ceremony.remaining(), story.ceremony.progress()), before),
                Ok(Outcome::Accepted { remaining, .. }) => prop_assert_eq!(story.ceremony.remaining(), remaining),
                Ok(outcome @ Outcome::Complete { .. }) => {
                    let _ = story.decides(outcome);
                }
            }
        }
        let mut last = None;
        for party in order.into_iter().filter(|party| *party < parties).take(needed) {
            last = story.party(party).ok();
        }
        let names = story.decides(last.unwrap());
        prop_assert_eq!(names.unwrap().len(), needed);
    }
}
