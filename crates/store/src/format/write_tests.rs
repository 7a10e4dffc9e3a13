use super::super::state_sample::{append, counter, seal, spec, state};
use super::super::{OpenOptions, open};
use super::*;

#[test]
fn a_compaction_continues_the_sequence_with_the_deltas_of_meanwhile() {
    let (state, dek) = (state(), Dek::generate().unwrap());
    let mut writer = FileWriter::create(Vec::new(), &spec(&state, &dek, 10)).unwrap();
    writer.append(11, 1, &[counter(4)]).unwrap();
    writer.append(12, 2, &[counter(5)]).unwrap();
    assert!(matches!(writer.append(12, 3, &[counter(6)]), Err(WriteError::State(_))));
    assert!(matches!(writer.append(14, 3, &[counter(6)]), Err(WriteError::State(_))));
    let head = writer.head();
    let (mut bytes, mut tail) = writer.finish().unwrap();
    super::super::state_sample::mark(&mut bytes, &mut tail);
    assert_eq!((tail.sequence, tail.records, tail.head), (12, 3, head));
    append(&mut bytes, &mut tail, &[counter(7)]);
    let opened = open(&bytes, &dek, OpenOptions::default()).unwrap();
    assert_eq!((opened.tail.sequence, opened.tail.records, opened.tail.end), (13, 4, bytes.len() as u64));
}

#[test]
fn two_files_of_one_state_share_neither_name_nor_key_nor_ciphertext() {
    let (state, dek) = (state(), Dek::generate().unwrap());
    let ((first, a), (second, b)) = (seal(&spec(&state, &dek, 5)), seal(&spec(&state, &dek, 5)));
    assert_ne!(a.file_id, b.file_id);
    assert_ne!(a.keys.check(), b.keys.check());
    assert_ne!(a.head, b.head);
    assert_eq!(first.len(), second.len());
}

#[test]
fn a_delta_needs_changes_and_a_file_with_marks() {
    let (state, dek) = (state(), Dek::generate().unwrap());
    let (_, tail) = seal(&spec(&state, &dek, 5));
    assert!(matches!(tail.seal_delta(1, &[]), Err(WriteError::State(_))));
    let (bytes, mut unmarked) = seal(&FileSpec { marks: false, ..spec(&state, &dek, 5) });
    assert_eq!(unmarked.mark(), None);
    assert!(matches!(unmarked.seal_delta(1, &[counter(2)]), Err(WriteError::State(_))));
    assert_eq!(open(&bytes, &dek, OpenOptions::default()).unwrap().tail.records, 1);
}

#[test]
fn sealing_a_delta_changes_nothing_until_it_is_durable() {
    let (state, dek) = (state(), Dek::generate().unwrap());
    let (mut bytes, mut tail) = seal(&spec(&state, &dek, 5));
    // Sealed, and lost: never written, or cut off again.
    let lost = tail.seal_delta(1, &[counter(2)]).unwrap();
    append(&mut bytes, &mut tail, &[counter(3)]);
    let opened = open(&bytes, &dek, OpenOptions::default()).unwrap();
    assert_eq!((opened.tail.sequence, opened.tail.head), (6, tail.head));
    assert_eq!(lost.sequence, 6);
    assert_ne!(lost.head, tail.head);
}

#[test]
fn a_file_has_an_end_of_records() {
    let (state, dek) = (state(), Dek::generate().unwrap());
    let (_, tail) = seal(&spec(&state, &dek, 5));
    let full = Tail { records: MAX_RECORDS, ..tail.clone() };
    assert!(matches!(full.seal_delta(1, &[counter(2)]), Err(WriteError::TooLarge { .. })));
    let last = Tail { sequence: u64::MAX, ..tail };
    assert!(matches!(last.seal_delta(1, &[counter(2)]), Err(WriteError::State(_))));
}

#[test]
fn an_error_of_the_sink_is_passed_on_wherever_it_happens() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let written = bytes.len().min(self.0);
            self.0 -= written;
            if written == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(written) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (state, dek) = (state(), Dek::generate().unwrap());
    let length = seal(&spec(&state, &dek, 5)).0.len();
    for room in (0..length).step_by(500) {
        let result = FileWriter::create(Full(room), &spec(&state, &dek, 5));
        assert!(matches!(result.err(), Some(WriteError::Io(error)) if error.kind() == io::ErrorKind::StorageFull));
    }
    assert!(FileWriter::create(Full(length), &spec(&state, &dek, 5)).is_ok());
}
