use super::*;

/// A shared state, its snapshot in parts of a third each, and what is left of it.
fn in_parts() -> (Vec<u8>, Vec<u8>, Vec<Vec<u8>>) {
    let deployment = Deployment::new(1, 0);
    let spec = FileSpec { marks: false, ..deployment.spec(7) };
    let (whole, _) = FileWriter::create(Vec::new(), &spec).unwrap().finish().unwrap();
    let Ok(crate::format::Layout::Sealed(front)) = crate::format::read_front(&whole) else { panic!("not sealed") };
    let (head, snapshot) = whole.split_at(usize::try_from(front.records_at).unwrap());
    let parts = snapshot.chunks(snapshot.len().div_ceil(3)).map(<[u8]>::to_vec).collect();
    (head.to_vec(), whole.clone(), parts)
}

#[test]
fn parts_are_put_where_the_snapshot_belongs() {
    let (head, whole, parts) = in_parts();
    assert_eq!(parts.len(), 3);
    assert_eq!(assemble(&head, &parts), Some(Assembled { sealed_data: whole.clone(), parts: 3 }));
    let facts = inspect_bytes(&whole, Path::new("s")).unwrap();
    assert!(matches!(facts.condition, Condition::Whole), "{facts:?}");
    assert_eq!(facts.sealed.unwrap().sequence, 7);
}

#[test]
fn what_is_left_over_from_a_larger_snapshot_is_passed_over() {
    let (head, whole, mut parts) = in_parts();
    parts.push(b"of another snapshot".to_vec());
    assert_eq!(assemble(&head, &parts), Some(Assembled { sealed_data: whole, parts: 3 }));
}

#[test]
fn parts_that_miss_or_are_damaged_fit_nowhere() {
    let (head, _, mut parts) = in_parts();
    assert_eq!(assemble(&head, &parts[..2]), None);
    parts.swap(0, 1);
    assert_eq!(assemble(&head, &parts), None);
    parts.swap(0, 1);
    parts[1][5] ^= 1;
    assert_eq!(assemble(&head, &parts), None);
    assert_eq!(assemble(b"junk", &parts), None);
}
