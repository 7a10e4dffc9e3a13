use super::*;

fn boot(n: u8) -> BootId {
    BootId([n; 16])
}

fn mark(who: u8, sequence: u64, commit: u8) -> WriterMark {
    WriterMark { boot: boot(who), sequence, commit: CommitId([commit; 16]) }
}

fn standing(head: u8, marks: &[WriterMark]) -> Standing {
    Standing {
        lineage: Lineage { deployment_id: [7; 16], incarnation: 1, incarnation_id: [1; 16] },
        sequence: marks.iter().map(|mark| mark.sequence).max().unwrap_or(0),
        head: [head; 32],
        writers: marks.iter().copied().collect(),
        incarnations: Vec::new(),
        has_manifest: true,
    }
}

#[test]
fn a_longer_history_that_lacks_a_commit_of_mine_is_a_fork_and_no_successor() {
    let mine = standing(1, &[mark(1, 5, 50), mark(2, 4, 40)]);
    let longer = standing(2, &[mark(1, 3, 30), mark(2, 9, 90)]);
    assert_eq!(mine.relation(&longer), Relation::Fork);
    let on = standing(3, &[mark(1, 5, 50), mark(2, 9, 90)]);
    assert_eq!(mine.relation(&on), Relation::Successor);
    assert_eq!(on.relation(&mine), Relation::Older);
    assert_eq!(mine.relation(&mine), Relation::Equal);
}

#[test]
fn two_commits_under_one_sequence_are_told_apart() {
    let one = standing(1, &[mark(1, 5, 50)]);
    let other = standing(2, &[mark(1, 5, 51)]);
    assert_eq!(one.relation(&other), Relation::Fork);
}

#[test]
fn only_a_restore_that_somebody_confirmed_replaces_what_is_known() {
    let mine = standing(1, &[mark(1, 5, 50)]);
    let mut restored = standing(2, &[mark(1, 3, 30), mark(3, 4, 41)]);
    restored.lineage.incarnation = 2;
    let life = |confirmed_by: &str| Incarnation {
        number: 2,
        id: [2; 16],
        cause: Cause::Restore,
        confirmed_by: confirmed_by.to_owned(),
        cut_off: None,
    };
    restored.incarnations = vec![life("")];
    assert_eq!(mine.relation(&restored), Relation::Fork);
    restored.incarnations = vec![life("user:admin")];
    assert_eq!(mine.relation(&restored), Relation::ConfirmedRestore);
    let mut younger = mine.clone();
    younger.lineage.incarnation = 2;
    assert_eq!(younger.relation(&restored), Relation::Fork, "a restore before my own life decides nothing");
}

#[test]
fn writers_that_were_pruned_contradict_nobody_and_the_newest_stay() {
    let mut writers = Writers::default();
    for n in 0..=u8::try_from(Writers::MOST).unwrap() {
        writers.note(mark(n, u64::from(n) + 1, n));
    }
    assert_eq!(writers.len(), Writers::MOST);
    assert_eq!(writers.last(boot(0)), None);
    let before: Writers = [mark(0, 1, 0), mark(1, 2, 1)].into_iter().collect();
    assert!(writers.dominates(&before));
    let unknown: Writers = [mark(200, 40, 9)].into_iter().collect();
    assert!(!writers.dominates(&unknown), "it is newer than what would have been pruned");
}

#[test]
fn another_deployment_is_never_a_successor() {
    let mine = standing(1, &[]);
    let mut foreign = standing(2, &[mark(1, 5, 50)]);
    foreign.lineage.deployment_id = [8; 16];
    assert_eq!(mine.relation(&foreign), Relation::Foreign);
}
