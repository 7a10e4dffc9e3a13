use std::cell::Cell;
use std::collections::HashSet;

use super::super::Dek;
use super::super::record::{CHUNK_OVERHEAD, Kind, RecordWriter};
use super::super::sample::{Sample, inspect, open, read};
use super::super::vectors::{counting, dek};
use super::*;

fn code<T>(result: Result<T, Refusal>) -> &'static str {
    result.map_or_else(|refusal| refusal.code(), |_| "opens")
}

/// The end of the last record that was marked durable in [`Sample::small`].
fn durable(sample: &Sample) -> usize {
    sample.marks.unwrap().durable() as usize
}

/// Repairs the checksum of the only chunk of a small record, as an attacker would.
fn repair_chunk(bytes: &mut [u8]) {
    let (chunk, crc) = bytes[RECORD_HEADER..].split_last_chunk_mut::<4>().unwrap();
    *crc = crc32c::crc32c(chunk).to_le_bytes();
}

#[test]
fn records_come_back_as_they_were_written() {
    let sample = Sample::small();
    let (walk, items) = open(&sample.bytes).unwrap();
    assert_eq!((walk.records, walk.sequence, walk.time_ms), (4, 8, 1008));
    assert_eq!(walk.end, sample.bytes.len() as u64);
    assert_eq!(walk.head, sample.head);
    assert_eq!(walk.snapshot_end, sample.bounds[1] as u64);
    assert!(sample.bytes.ends_with(&walk.last));
    assert_eq!(walk.torn, None);
    assert_eq!(items.accepted[0][1..], [b"one".to_vec(), b"two".to_vec()]);
    assert_eq!(
        items.accepted[1..],
        [vec![b"three".to_vec()], vec![b"four".to_vec(), b"five".to_vec()], vec![b"six".to_vec()]]
    );
}

#[test]
fn without_a_key_the_same_ends_and_heads_are_found() {
    let sample = Sample::small();
    let (walk, _) = open(&sample.bytes).unwrap();
    let keyless = inspect(&sample.bytes).unwrap();
    assert_eq!(format!("{walk:?}"), format!("{keyless:?}"));
}

#[test]
fn items_may_straddle_chunks() {
    let large: Vec<Vec<u8>> = (0..5).map(|i| vec![i; CHUNK - 7]).collect();
    let mut items: Vec<&[u8]> = large.iter().map(Vec::as_slice).collect();
    let huge = vec![9; 3 * CHUNK];
    items.push(&huge);
    let sample = Sample::new(&items, true).delta(&items).mark();
    let (_, found) = open(&sample.bytes).unwrap();
    assert_eq!(found.accepted[0][1..], found.accepted[1][..]);
    assert_eq!(found.accepted[1], items);
}

#[test]
fn a_wrong_key_is_told_from_damage_before_anything_is_opened() {
    let mut sample = Sample::small();
    let other = Dek::from_bytes(zeroize::Zeroizing::new(counting(1)));
    assert_eq!(code(read(&sample.bytes, Some(&other), OpenOptions::default())), "wrong_key");
    let records = sample.bounds[0];
    sample.bytes[records..].fill(0);
    assert_eq!(code(read(&sample.bytes, Some(&other), OpenOptions::default())), "wrong_key");
    assert_eq!(code(open(&sample.bytes)), "damaged");
}

#[test]
fn every_truncation_below_the_mark_is_refused_and_above_it_loses_only_what_was_not_durable() {
    let sample = Sample::small();
    for cut in 0..sample.bytes.len() {
        let bytes = sample.bytes[..cut].to_vec();
        let outcome = open(&bytes);
        let keyless = inspect(&bytes);
        assert_eq!(outcome.as_ref().err().map(Refusal::code), keyless.as_ref().err().map(Refusal::code), "{cut}");
        if cut < durable(&sample) {
            let expected = if cut < sample.bounds[0] && cut < header_end() { "damaged" } else { "cut_short" };
            assert_eq!(code(outcome), expected, "{cut}");
        } else {
            let (walk, items) = outcome.unwrap();
            assert_eq!((walk.records, items.accepted.len()), (3, 3));
            let left = (cut - durable(&sample)) as u64;
            assert_eq!(walk.torn.map_or(0, |torn| torn.length), left);
        }
    }
}

/// Where the header of a sample ends.
fn header_end() -> usize {
    256 + super::super::vectors::header().encode().unwrap().len()
}

#[test]
fn a_file_that_was_cut_short_says_how_much_of_it_is_intact() {
    let sample = Sample::small();
    let Err(Refusal::CutShort { length, expected, intact }) = open(&sample.bytes[..sample.bounds[2] + 3].to_vec())
    else {
        panic!("not cut short")
    };
    assert_eq!((length, expected), (sample.bounds[2] as u64 + 3, sample.bounds[3] as u64));
    assert_eq!(intact, Some(Intact { records: 2, sequence: 6 }));
}

#[test]
fn no_changed_byte_ever_gives_a_silently_shorter_state_below_the_mark() {
    let sample = Sample::small();
    let (_, whole) = open(&sample.bytes).unwrap();
    for at in 0..sample.bytes.len() {
        let padding = (header_end()..sample.bounds[0]).contains(&at);
        for change in if padding { &[0xff][..] } else { &[0x01, 0x80, 0xff] } {
            let mut bytes = sample.bytes.clone();
            bytes[at] ^= change;
            let _ = inspect(&bytes);
            let Ok((walk, items)) = open(&bytes) else {
                assert!(at < header_end() || at >= sample.bounds[0], "padding and marks deny nothing: {at}");
                continue;
            };
            if at < durable(&sample) {
                assert_eq!(items, whole, "{at}");
            } else {
                // Never durable, so a torn tail.
                assert_eq!(items.accepted, whole.accepted[..3], "{at}");
                assert!(walk.torn.is_some());
            }
        }
    }
}

#[test]
fn tails_of_zeros_of_garbage_and_of_half_a_page_are_torn() {
    let sample = Sample::small().mark();
    let mut tails: Vec<Vec<u8>> = vec![vec![0; 1], vec![0; 31], vec![0; 5000], vec![0xff; 5000]];
    let mut random = vec![0; 5000];
    aws_lc_rs::rand::fill(&mut random).unwrap();
    tails.push(random);
    let (next, _) = sample.seal(Kind::Delta, sample.sequence + 1, &[&[7; 9000]]);
    for length in [1, 4, 31, 32, 33, 36, 48, 4096 - sample.bytes.len() % 4096, 4096, 8192, next.len() - 1] {
        tails.push(next[..length].to_vec());
        // Length of the file written, data not: the rest reads as zeros.
        let mut zeroed = next[..length].to_vec();
        zeroed.resize(next.len(), 0);
        // The lost end may have been zero: then nothing was lost.
        if zeroed != next {
            tails.push(zeroed);
        }
        // Later pages written, earlier ones not.
        let mut late = next.clone();
        late[..length].fill(0);
        tails.push(late);
    }
    for tail in tails {
        let bytes = [sample.bytes.as_slice(), &tail].concat();
        let (walk, _) = open(&bytes).unwrap_or_else(|refusal| panic!("{} bytes: {refusal}", tail.len()));
        assert_eq!(walk.torn, Some(TornTail { offset: sample.bytes.len() as u64, length: tail.len() as u64 }));
        assert_eq!(walk.sequence, sample.sequence);
        assert_eq!(inspect(&bytes).unwrap().torn, walk.torn);
    }
}

#[test]
fn swapped_dropped_doubled_and_grafted_records_are_refused_wherever_they_stand() {
    let base = Sample::new(&[b"base"], true);
    let sample = base.clone().delta(&[b"a"]).delta(&[b"b"]).delta(&[b"c"]);
    let sibling = base.clone().delta(&[b"x"]).delta(&[b"y"]).delta(&[b"z"]);
    let [a, b, c] = [1, 2, 3].map(|i| sample.record(i));
    let [x, y, z] = [1, 2, 3].map(|i| sibling.record(i));
    let other_file = Sample::new(&[b"base"], true).delta(&[b"a"]).record(1);
    let snapshot = base.record(0);
    let spliced: [(&str, Vec<&Vec<u8>>); 10] = [
        ("swapped", vec![&b, &a, &c]),
        ("swapped later", vec![&a, &c, &b]),
        ("dropped first", vec![&b, &c]),
        ("dropped middle", vec![&a, &c]),
        ("doubled", vec![&a, &a, &b]),
        ("grafted first", vec![&x, &b, &c]),
        ("grafted middle", vec![&a, &y, &c]),
        ("grafted last", vec![&a, &b, &z]),
        ("of another file", vec![&other_file]),
        ("a second snapshot", vec![&snapshot]),
    ];
    for (what, records) in spliced {
        let mut changed = base.clone();
        records.iter().for_each(|record| changed.bytes.extend_from_slice(record));
        assert_eq!(code(open(&changed.bytes)), "damaged", "{what}, above the mark");
        assert_eq!(code(open(&changed.mark().bytes)), "damaged", "{what}, below the mark");
    }
    // Dropping the end is what the mark is for.
    let mut shorter = sample.mark();
    shorter.bytes.truncate(shorter.bounds[3]);
    assert_eq!(code(open(&shorter.bytes)), "cut_short");
    // The snapshot of a sibling under another front is not authentic either.
    let foreign = Sample::new(&[b"base"], true);
    let start = foreign.bounds[0];
    let bytes = [&foreign.bytes[..start], &snapshot].concat();
    assert_eq!(code(open(&bytes)), "damaged");
}

#[test]
fn chunks_cannot_be_swapped_dropped_or_declared_the_last() {
    let large = vec![3; 2 * CHUNK + 10];
    let sample = Sample::new(&[&large], true).mark();
    let chunk = CHUNK + CHUNK_OVERHEAD;
    let first = sample.bounds[0] + RECORD_HEADER;
    let mut swapped = sample.bytes.clone();
    swapped[first..first + 2 * chunk].rotate_left(chunk);
    assert_eq!(code(open(&swapped)), "damaged");
    let mut dropped = sample.bytes.clone();
    dropped.drain(first..first + chunk);
    assert_eq!(code(open(&dropped)), "damaged");
    let mut early = sample.bytes[..first + 2 * chunk].to_vec();
    early[first + chunk + 3] |= 0x80;
    let (body, crc) = early[first + chunk..].split_last_chunk_mut::<4>().unwrap();
    *crc = crc32c::crc32c(body).to_le_bytes();
    let early = Sample { bytes: early, marks: Some(Marks::empty(sample.marks_page())), ..sample };
    assert_eq!(code(open(&early.mark().bytes)), "damaged");
}

impl Sample {
    fn marks_page(&self) -> u64 {
        self.bounds[0] as u64 - 4096
    }
}

#[test]
fn tampering_with_right_checksums_is_damage_above_the_mark_too() {
    let sample = Sample::small();
    for at in RECORD_HEADER + 4..sample.record(3).len() - 4 {
        let mut record = sample.record(3);
        record[at] ^= 1;
        repair_chunk(&mut record);
        let bytes = [&sample.bytes[..sample.bounds[3]], &record].concat();
        match open(&bytes) {
            Err(Refusal::Damaged { what, intact, .. }) => {
                assert_eq!(what, "authentication failed");
                assert_eq!(intact, Some(Intact { records: 3, sequence: 7 }));
            }
            other => panic!("{at}: {}", code(other)),
        }
        assert_eq!(code(inspect(&bytes)), "opens", "checksums alone cannot tell");
    }
}

#[test]
fn a_hole_above_the_mark_is_damage_not_a_torn_tail() {
    let sample = Sample::new(&[b"base"], true).mark();
    let longer = sample.clone().delta(&[&[1; 6000]]).delta(&[b"b"]);
    let mut bytes = longer.bytes.clone();
    bytes[longer.bounds[1]..longer.bounds[2]].fill(0);
    let Err(Refusal::Damaged { what, .. }) = open(&bytes) else { panic!("opens") };
    assert!(what.contains("missing"), "{what}");
    // Also if the hole begins in the middle of a record, and the header behind it lies across a read.
    for offset in [0, 1, 100, CHUNK - 40, CHUNK + 5, 3 * CHUNK - 17] {
        let gap = [longer.bytes[..longer.bounds[1] + 10].to_vec(), vec![0; offset], longer.record(2)].concat();
        assert_eq!(code(open(&gap)), "damaged", "{offset}");
        assert_eq!(code(inspect(&gap)), "damaged", "{offset}");
    }
}

#[test]
fn a_file_without_marks_is_whole_or_refused() {
    let sample = Sample::new(&[b"one", b"two"], false);
    assert_eq!(code(open(&sample.bytes)), "opens");
    for cut in 0..sample.bytes.len() {
        assert!(open(&sample.bytes[..cut].to_vec()).is_err(), "{cut}");
    }
    for at in 0..sample.bytes.len() {
        let mut bytes = sample.bytes.clone();
        bytes[at] ^= 4;
        assert!(open(&bytes).is_err(), "{at}");
    }
    assert_eq!(code(open(&[sample.bytes.as_slice(), &[0]].concat())), "damaged");
    assert_eq!(code(open(&sample.delta(&[b"more"]).bytes)), "damaged", "a cut between records would not be seen");
}

#[test]
fn without_a_valid_mark_nothing_is_known_to_be_durable() {
    let sample = Sample::small();
    let mut bytes = sample.bytes.clone();
    let page = sample.marks_page() as usize;
    bytes[page..page + 32].fill(0xee);
    bytes.truncate(sample.bounds[2] + 5);
    let (walk, _) = open(&bytes).unwrap();
    assert_eq!((walk.sequence, walk.torn.unwrap().length), (6, 5));
    bytes.truncate(sample.bounds[1] - 1);
    assert_eq!(code(open(&bytes)), "damaged", "no snapshot");
}

#[test]
fn reading_can_stop_at_a_sequence_and_says_which_there_are() {
    let sample = Sample::small().mark();
    let stop = |bytes: &Vec<u8>, sequence| {
        read(bytes, Some(&dek()), OpenOptions { stop_after: Some(sequence), head_at: None })
    };
    for (sequence, records) in [(5, 1), (6, 2), (7, 3), (8, 4)] {
        let (walk, items) = stop(&sample.bytes, sequence).unwrap();
        assert_eq!((walk.sequence, items.accepted.len(), walk.stopped), (sequence, records, true));
    }
    for asked in [0, 4, 9] {
        assert!(matches!(
            stop(&sample.bytes, asked),
            Err(Refusal::NoSuchSequence { asked: a, first: 5, last: 8 }) if a == asked
        ));
    }
    let mut damaged = sample.bytes.clone();
    damaged[sample.bounds[3] + 2] ^= 1;
    assert_eq!(code(stop(&damaged, 7)), "opens");
    assert_eq!(code(stop(&damaged, 8)), "damaged");
}

#[test]
fn the_head_after_any_record_can_be_asked_for() {
    let base = Sample::new(&[b"base"], true);
    let heads = [base.head, base.clone().delta(&[b"a"]).head];
    assert_ne!(heads[0], heads[1]);
    let sample = base.delta(&[b"a"]);
    let at = |sequence| {
        read(&sample.bytes, None, OpenOptions { head_at: Some(sequence), stop_after: None }).unwrap().0.head_at
    };
    assert_eq!(at(5), Some((5, heads[0])));
    assert_eq!(at(6).unwrap().0, 6);
    assert_eq!(at(6).unwrap().1, sample.head);
    assert_eq!((at(4), at(7)), (None, None));
}

#[test]
fn two_copies_that_go_on_never_share_a_key_and_a_nonce() {
    let mut copies = [Sample::new(&[b"base"], true), Sample::new(&[b"base"], true)]
        .map(|sample| vec![sample.clone(), sample])
        .concat();
    let mut seen = HashSet::new();
    for round in 0..500_u32 {
        for copy in &mut copies {
            *copy = copy.clone().delta(&[&round.to_le_bytes()]);
            let start = copy.bounds[copy.bounds.len() - 2];
            let nonce: [u8; 12] = copy.bytes[start + RECORD_HEADER + 4..][..12].try_into().unwrap();
            assert!(seen.insert((*copy.keys.check(), nonce)));
        }
    }
}

/// Counts how much is read at a time and in all.
struct Counting<'a> {
    bytes: &'a Vec<u8>,
    largest: Cell<usize>,
    total: Cell<usize>,
    reads: Cell<usize>,
}

impl Source for Counting<'_> {
    fn length(&self) -> io::Result<u64> {
        self.bytes.length()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.largest.set(self.largest.get().max(buffer.len()));
        self.total.set(self.total.get() + buffer.len());
        self.reads.set(self.reads.get() + 1);
        self.bytes.read_exact_at(buffer, offset)
    }
}

#[test]
fn a_large_file_is_read_once_and_in_pieces_of_a_mebibyte() {
    let item = vec![1; 100_000];
    let mut sample = Sample::new(&vec![item.as_slice(); 100], true);
    for _ in 0..2000 {
        sample = Sample { bytes: std::mem::take(&mut sample.bytes), ..sample }.delta(&[b"small"]);
    }
    let source = Counting { bytes: &sample.bytes, largest: 0.into(), total: 0.into(), reads: 0.into() };
    let super::super::Layout::Sealed(front) = super::super::read_front(&source).unwrap() else { panic!() };
    let extent = Extent::read(&source, &front).unwrap();
    let mut items = super::super::sample::Items::default();
    walk(&source, &front, &extent, front.keys(&dek()).as_ref(), OpenOptions::default(), &mut items).unwrap();
    assert!(source.largest.get() <= CHUNK + 4096, "{}", source.largest.get());
    assert!(source.total.get() < sample.bytes.len() * 11 / 10, "{} of {}", source.total.get(), sample.bytes.len());
    assert!(source.reads.get() < 30, "{}", source.reads.get());
}

#[test]
fn a_source_that_fails_is_unreadable_not_damaged() {
    struct Failing(Vec<u8>, usize);
    impl Source for Failing {
        fn length(&self) -> io::Result<u64> {
            self.0.length()
        }
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            if offset as usize + buffer.len() > self.1 {
                return Err(io::Error::other("bad sector"));
            }
            self.0.read_exact_at(buffer, offset)
        }
    }
    let bytes = Sample::small().bytes;
    for good in [0, 100, 300, bytes.len() - 1] {
        let source = Failing(bytes.clone(), good);
        let result = super::super::read_front(&source).and_then(|layout| match layout {
            super::super::Layout::Sealed(front) => {
                let extent = Extent::read(&source, &front)?;
                let mut items = super::super::sample::Items::default();
                walk(&source, &front, &extent, None, OpenOptions::default(), &mut items).map(|_| ())
            }
            super::super::Layout::Upstream(_) => Ok(()),
        });
        assert_eq!(code(result), "unreadable", "{good}");
    }
}

#[test]
fn content_that_is_not_items_is_damage() {
    let sample = Sample::new(&[b"base"], true);
    let mut bytes = sample.bytes.clone();
    let header = RecordHeader::new(Kind::Delta, 6, 1);
    let mut writer = RecordWriter::new(&sample.keys, &mut bytes, header, sample.head).unwrap();
    writer.bytes(&[5, 1, 2]).unwrap();
    writer.finish(&sample.head).unwrap();
    assert_eq!(code(open(&bytes)), "damaged");
}

mod properties {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_splice_ever_gives_a_silently_shorter_state_below_the_mark(
            from in 0_usize..9000, length in 0_usize..3000, insert in vec(any::<u8>(), 0..64),
            second in any::<prop::sample::Index>(), value: u8,
        ) {
            let sample = Sample::small();
            let (_, whole) = open(&sample.bytes).unwrap();
            let mut bytes = sample.bytes.clone();
            let from = from.min(bytes.len());
            let to = (from + length).min(bytes.len());
            bytes.splice(from..to, insert);
            if !bytes.is_empty() {
                let at = second.index(bytes.len());
                bytes[at] = value;
            }
            let _ = inspect(&bytes);
            // Where the newest mark itself is hit as well, the one before it is what stands.
            let Ok(crate::format::Layout::Sealed(front)) = crate::format::read_front(&sample.bytes) else { panic!() };
            let page = usize::try_from(front.marks_page().unwrap()).unwrap();
            let marks = page..page + 32;
            let vouched = if bytes.get(marks.clone()) == sample.bytes.get(marks) { 3 } else { 0 };
            if let Ok((_, items)) = open(&bytes) {
                prop_assert!(items.accepted.len() >= vouched);
                let common = items.accepted.len().min(3);
                prop_assert_eq!(&items.accepted[..common], &whole.accepted[..common]);
            }
        }

        #[test]
        fn a_copy_read_front_to_back_while_records_are_appended_holds_what_was_durable_before(
            before in 0_usize..3, sizes in vec(1_usize..6000, 1..40), appends in vec(0_usize..4, 40..41),
        ) {
            let base = Sample::new(&[b"one", b"two"], true).mark();
            let base = (0..before).fold(base, |sample, _| sample.delta(&[b"before"]).mark());
            // What a Coordinator does, write by write: half a record, all of it, its mark.
            let mut writes = vec![base.bytes.clone()];
            let mut sample = base.clone();
            for length in [10_usize, 3000, 10, 9000, 500, 10] {
                let next = sample.clone().delta(&[&vec![7; length]]);
                let half = (sample.bytes.len() + next.bytes.len()) / 2;
                writes.push(next.bytes[..half].to_vec());
                writes.push(next.bytes.clone());
                sample = next.mark();
                writes.push(sample.bytes.clone());
            }
            let (mut copy, mut now) = (Vec::new(), 0);
            for (size, more) in sizes.iter().chain(std::iter::repeat(&512)).zip(appends.iter().chain(std::iter::repeat(&0))) {
                let file = &writes[now];
                if copy.len() >= file.len() {
                    break;
                }
                let end = (copy.len() + size).min(file.len());
                copy.extend_from_slice(&file[copy.len()..end]);
                now = (now + more).min(writes.len() - 1);
            }
            let (walk, items) = open(&copy).unwrap();
            prop_assert!(items.accepted.len() > before);
            prop_assert!(walk.sequence >= base.sequence);
        }

        #[test]
        fn any_bytes_behind_a_valid_front_are_judged_without_a_panic(
            tail in vec(any::<u8>(), 0..400), headers in vec((0_u64..12, 0_usize..400), 0..3),
        ) {
            let sample = Sample::small().mark();
            let mut bytes = [sample.bytes.as_slice(), &tail].concat();
            for (sequence, at) in headers {
                let header = RecordHeader::new(Kind::Delta, sequence, 1).bytes;
                let at = sample.bytes.len() + at;
                if at + header.len() <= bytes.len() {
                    bytes[at..at + header.len()].copy_from_slice(&header);
                }
            }
            match open(&bytes) {
                Ok((walk, _)) => prop_assert_eq!(walk.sequence, 8),
                Err(refusal) => prop_assert_eq!(refusal.code(), "damaged"),
            }
        }
    }
}
