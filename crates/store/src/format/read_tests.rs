use super::super::record::{Kind, RecordWriter};
use super::super::state_sample::{ROOT, append, content, counter, manifest, seal, secret, spec, state};
use super::super::{DekId, FileId, FileKeys, KeyEntry, Verdict, Witness, check_witness};
use super::*;

fn open_all(bytes: &Vec<u8>, dek: &Dek) -> Result<Opened, Refusal> {
    open(bytes, dek, OpenOptions::default())
}

fn code<T>(result: &Result<T, Refusal>) -> &'static str {
    result.as_ref().map_or_else(Refusal::code, |_| "opens")
}

#[test]
fn a_sealed_state_comes_back_whole() {
    let (state, dek) = (state(), Dek::generate().unwrap());
    let (bytes, tail) = seal(&spec(&state, &dek, 5));
    let opened = open_all(&bytes, &dek).unwrap();
    assert_eq!(content(&opened.state), content(&state));
    assert_eq!(opened.header.sequence, 5);
    assert_eq!(opened.header.lineage, *state.lineage());
    assert_eq!(opened.header.manifest_sha256, state.manifest().unwrap().fingerprint);
    assert_eq!(opened.time_ms, 1_700_000_000_005);
    assert!(!opened.header_altered);
    assert_eq!(opened.torn, None);
    assert_eq!(opened.front.check_signature(), Signature::Valid);
    assert_eq!((opened.tail.end, opened.tail.head, opened.tail.last), (tail.end, tail.head, tail.last));
    assert_eq!((opened.tail.prologue, opened.tail.marks), (tail.prologue, tail.marks));
    assert_eq!(tail.end, bytes.len() as u64);
}

#[test]
fn deltas_are_applied_in_order() {
    let (mut state, dek) = (state(), Dek::generate().unwrap());
    let (mut bytes, mut tail) = seal(&spec(&state, &dek, 5));
    for changes in [
        vec![counter(2)],
        vec![secret("a", vec![1; 10]), secret("b", vec![2; 10])],
        vec![counter(7), secret("a", vec![3])],
    ] {
        changes.iter().for_each(|change| state.apply(change).unwrap());
        append(&mut bytes, &mut tail, &changes);
    }
    let opened = open_all(&bytes, &dek).unwrap();
    assert_eq!(content(&opened.state), content(&state));
    assert_eq!((opened.tail.sequence, opened.tail.records, opened.tail.head), (8, 4, tail.head));
    let inspected = inspect(&bytes).unwrap();
    let body = inspected.body.unwrap();
    assert_eq!((body.sequence, body.records, body.head, body.time_ms), (8, 4, tail.head, 1_800_000_000_000));
    assert_eq!((inspected.length, inspected.durable), (bytes.len() as u64, bytes.len() as u64));
}

#[test]
fn what_was_opened_can_be_appended_to_and_two_such_copies_part_ways() {
    let (state, dek) = (state(), Dek::generate().unwrap());
    let (bytes, _) = seal(&spec(&state, &dek, 5));
    let mut heads = Vec::new();
    for value in [10, 11] {
        let (mut copy, mut tail) = (bytes.clone(), open_all(&bytes, &dek).unwrap().tail);
        append(&mut copy, &mut tail, &[counter(value)]);
        let opened = open_all(&copy, &dek).unwrap();
        assert_eq!(opened.tail.sequence, 6);
        heads.push(opened.tail.head);
    }
    assert_ne!(heads[0], heads[1]);
}

#[test]
fn a_changed_header_decides_nothing_and_is_reported() {
    let (state, dek) = (state(), Dek::generate().unwrap());
    let (bytes, tail) = seal(&spec(&state, &dek, 5));
    let Layout::Sealed(front) = read_front(&bytes).unwrap() else { panic!() };
    let mut header = front.header.clone();
    header.writer = "evil 1.0".into();
    header.previous_head = [9; 32];
    header.recovery.clear();
    header.sequence = 9;
    let forged = Front::new(header, front.file_id, &tail.keys, true, |_| Ok(front.signature.clone())).unwrap();
    let records = &bytes[front.records_at as usize..];
    let bytes = [forged.encode().as_slice(), records].concat();
    let opened = open_all(&bytes, &dek).unwrap();
    assert!(opened.header_altered);
    assert_eq!(opened.header.writer, "test 1.0");
    assert_eq!(opened.header.recovery.len(), 1);
    assert_eq!((opened.tail.sequence, opened.tail.head), (5, tail.head));
    assert_eq!(opened.front.check_signature(), Signature::Invalid);
}

#[test]
fn recovery_slots_open_with_the_root_and_the_state_keeps_it() {
    let (state, dek) = (state(), Dek::generate().unwrap());
    let (bytes, _) = seal(&spec(&state, &dek, 5));
    let Layout::Sealed(front) = read_front(&bytes).unwrap() else { panic!() };
    let found = front.dek_from_recovery_root(&ROOT).unwrap();
    let opened = open_all(&bytes, &found).unwrap();
    assert_eq!(opened.state.recovery()[0].root.expose(), ROOT);
    assert_eq!(front.header.slots[0].params, [4; 16], "names the set of its secrets");
    assert_eq!(front.header.recovery[0].parties[0].encrypted_secret, vec![7; 256]);
    let (bytes, _) = seal(&super::super::FileSpec { recovery_in_header: false, ..spec(&state, &dek, 5) });
    let Layout::Sealed(front) = read_front(&bytes).unwrap() else { panic!() };
    assert_eq!(front.header.recovery[0].parties[0].encrypted_secret, Vec::<u8>::new());
    assert_eq!(open_all(&bytes, &dek).unwrap().state.recovery()[0].set.parties[0].encrypted_secret, vec![7; 256]);
}

#[test]
fn a_wrong_key_is_wrong_and_not_damage() {
    let (state, dek) = (state(), Dek::generate().unwrap());
    let (bytes, _) = seal(&spec(&state, &dek, 5));
    assert_eq!(code(&open_all(&bytes, &Dek::generate().unwrap())), "wrong_key");
}

/// A file whose snapshot holds these items behind the header.
fn crafted(dek: &Dek, header: Header, items: &[Vec<u8>]) -> Vec<u8> {
    let file_id = FileId::generate().unwrap();
    let keys = FileKeys::derive(dek, file_id).unwrap();
    let front = Front::new(header, file_id, &keys, true, |_| Ok(Vec::new())).unwrap();
    let mut bytes = front.encode();
    let record = RecordHeader::new(Kind::Snapshot, 5, 1);
    let mut writer = RecordWriter::new(&keys, &mut bytes, record, [0; 32]).unwrap();
    writer.item(&front.header_bytes).unwrap();
    items.iter().for_each(|item| writer.item(item).unwrap());
    writer.finish(&front.header.previous_head).unwrap();
    bytes
}

fn header_of(state: &State, dek: &Dek) -> Header {
    let Layout::Sealed(front) = read_front(&seal(&spec(state, dek, 5)).0).unwrap() else { panic!() };
    front.header
}

#[test]
fn a_header_inside_that_does_not_fit_the_state_is_damage() {
    let (state, dek) = (state(), Dek::generate().unwrap());
    type Spoil = fn(&mut Header);
    let spoil: [(&str, Spoil); 5] = [
        ("", |_| ()),
        ("sequence", |header| header.sequence = 6),
        ("deployment", |header| header.lineage.incarnation = 9),
        ("manifest", |header| header.manifest_sha256 = [0; 32]),
        ("root certificate", |header| header.root_certificate.push(0)),
    ];
    for (what, spoil) in spoil {
        let mut header = header_of(&state, &dek);
        spoil(&mut header);
        let result = open_all(&crafted(&dek, header, &content(&state)), &dek);
        match result {
            Ok(_) => assert_eq!(what, ""),
            Err(Refusal::Damaged { what: found, .. }) => assert!(!what.is_empty() && found.contains(what), "{found}"),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_kind_of_change_that_is_not_known_is_a_newer_format_and_never_skipped() {
    let (state, dek) = (state(), Dek::generate().unwrap());
    let unknown = vec![(99 << 3 & 0x7f) | 2 | 0x80, 99 >> 4, 0];
    let items = [content(&state), vec![unknown]].concat();
    let result = open_all(&crafted(&dek, header_of(&state, &dek), &items), &dek);
    let Err(Refusal::NewerFormat { what }) = result else { panic!("{}", code(&result)) };
    assert!(what.contains("test 1.0"), "names the program that wrote it: {what}");
}

#[test]
fn a_change_that_does_not_fit_or_is_missing_is_damage() {
    let (state, dek) = (state(), Dek::generate().unwrap());
    let header = || header_of(&state, &dek);
    let backwards = [content(&state), vec![counter(0).encode().to_vec()]].concat();
    assert_eq!(code(&open_all(&crafted(&dek, header(), &backwards), &dek)), "damaged");
    assert_eq!(code(&open_all(&crafted(&dek, header(), &content(&state)[..1]), &dek)), "damaged");
    assert_eq!(code(&open_all(&crafted(&dek, header(), &[]), &dek)), "damaged");
}

#[test]
fn a_state_without_manifest_is_not_sealed() {
    use marblerun_state::{Phase, RootSecret};
    let full = state();
    let secret = RootSecret(zeroize::Zeroizing::new(vec![3; 32]));
    let empty = State::new(Phase::AcceptingManifest, *full.lineage(), full.authority().clone(), secret);
    let dek = Dek::generate().unwrap();
    let result = super::super::FileWriter::create(Vec::new(), &spec(&empty, &dek, 1));
    assert!(matches!(result.err(), Some(super::super::WriteError::State(_))));
}

#[test]
fn truncations_and_changes_of_a_real_file_never_give_a_shorter_state_below_the_mark() {
    let (state, dek) = (state(), Dek::generate().unwrap());
    let (mut bytes, mut tail) = seal(&spec(&state, &dek, 5));
    append(&mut bytes, &mut tail, &[counter(2)]);
    append(&mut bytes, &mut tail, &[counter(3)]);
    let whole = content(&open_all(&bytes, &dek).unwrap().state);
    for at in (0..bytes.len()).step_by(29).chain(bytes.len() - 120..bytes.len()) {
        let cut = bytes[..at].to_vec();
        assert!(open_all(&cut, &dek).is_err(), "{at}");
        assert!(inspect(&cut).and_then(|inspected| inspected.body).is_err(), "{at}");
        let mut changed = bytes.clone();
        changed[at] ^= 0x40;
        if let Ok(opened) = open_all(&changed, &dek) {
            assert_eq!(content(&opened.state), whole, "{at}");
        }
    }
}

mod witness {
    use super::*;

    struct Story {
        dek: Dek,
        bytes: Vec<u8>,
        tail: Tail,
        heads: Vec<Head>,
    }

    /// Sequences 5 to 8, and the heads at each.
    fn story() -> Story {
        let (state, dek) = (state(), Dek::generate().unwrap());
        let (mut bytes, mut tail) =
            seal(&super::super::super::FileSpec { previous_head: [0xee; 32], ..spec(&state, &dek, 5) });
        let mut heads = vec![tail.head];
        for value in 2..5 {
            append(&mut bytes, &mut tail, &[counter(value)]);
            heads.push(tail.head);
        }
        Story { dek, bytes, tail, heads }
    }

    fn verdict(story: &Story, sequence: u64, heads: &[Head]) -> Verdict {
        let witness =
            Witness { incarnation: 1, incarnation_id: [2; 16], sequence, heads: heads.to_vec(), counter: None };
        let entry = KeyEntry::new(DekId([8; 16]), Vec::new(), false, Some(witness), &story.dek);
        let witness = entry.verified_witness(&story.dek);
        let options = OpenOptions { head_at: witness.map(|witness| witness.sequence), stop_after: None };
        check_witness(&open(&story.bytes, &story.dek, options).unwrap(), witness)
    }

    #[test]
    fn the_witnessed_state_and_all_that_continue_it_are_fine() {
        let story = story();
        for (i, head) in story.heads.iter().enumerate() {
            assert_eq!(verdict(&story, 5 + i as u64, &[*head]), Verdict::Fine);
            assert_eq!(
                verdict(&story, 5 + i as u64, &[[1; 32], *head]),
                Verdict::Fine,
                "while a file is being replaced"
            );
        }
        assert_eq!(verdict(&story, 5, &[[0xee; 32]]), Verdict::Fine, "the file before ended there");
        assert_eq!(story.tail.sequence, 8);
    }

    #[test]
    fn a_file_that_ends_before_the_witness_is_older() {
        let story = story();
        assert_eq!(verdict(&story, 9, &[story.heads[3]]), Verdict::OlderThanWitness);
    }

    #[test]
    fn a_file_that_was_continued_elsewhere_is_forked() {
        let story = story();
        assert_eq!(verdict(&story, 7, &[[1; 32]]), Verdict::Forked);
        assert_eq!(verdict(&story, 7, &[story.heads[3]]), Verdict::Forked, "the head of another sequence");
        assert_eq!(
            verdict(&story, 6, &[[0xee; 32]]),
            Verdict::Forked,
            "the previous head counts at the snapshot alone"
        );
        assert_eq!(verdict(&story, 4, &[[0xee; 32]]), Verdict::Forked, "before the file begins");
        assert_eq!(verdict(&story, 6, &[]), Verdict::Forked);
    }

    #[test]
    fn without_a_witness_nothing_is_vouched_for() {
        let story = story();
        let opened = open_all(&story.bytes, &story.dek).unwrap();
        assert_eq!(check_witness(&opened, None), Verdict::NoWitness);
    }
}

#[test]
fn what_is_read_back_at_an_earlier_sequence_is_the_state_of_that_time() {
    let (mut state, dek) = (state(), Dek::generate().unwrap());
    let (mut bytes, mut tail) = seal(&spec(&state, &dek, 5));
    append(&mut bytes, &mut tail, &[counter(2)]);
    state.apply(&counter(2)).unwrap();
    append(&mut bytes, &mut tail, &[manifest("{ }"), counter(3)]);
    let opened = open(&bytes, &dek, OpenOptions { stop_after: Some(6), head_at: None }).unwrap();
    assert!(opened.stopped);
    assert_eq!(content(&opened.state), content(&state));
    assert_eq!(opened.tail.sequence, 6);
}
