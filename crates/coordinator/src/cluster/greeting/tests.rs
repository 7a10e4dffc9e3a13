use prost::Message as _;

use super::*;

fn greeting() -> PeerGreeting {
    let mark = |n: u8| WriterMark { boot: BootId([n; 16]), sequence: n.into(), commit: CommitId([n; 16]) };
    let life =
        |number, cause, cut_off| Incarnation { number, id: [7; 16], cause, confirmed_by: "admin".to_owned(), cut_off };
    PeerGreeting {
        boot: BootId([1; 16]),
        standing: Some(Standing {
            lineage: Lineage { deployment_id: [2; 16], incarnation: 3, incarnation_id: [4; 16] },
            sequence: 5,
            head: [6; 32],
            writers: (1..=3).map(mark).collect(),
            incarnations: vec![life(1, Cause::Genesis, None), life(2, Cause::Import, Some((9, [9; 32])))],
            has_manifest: true,
        }),
        serving: true,
        recovering: false,
        keks: vec![KekId([8; 16])],
        format: 1,
        version: "marblerun-coordinator 1".to_owned(),
    }
}

#[test]
fn what_is_told_is_what_is_heard() {
    for greeting in [greeting(), PeerGreeting { standing: None, keks: Vec::new(), ..greeting() }] {
        let wire = encode(&greeting).encode_to_vec();
        assert_eq!(decode(Greeting::decode(wire.as_slice()).unwrap()), Some(greeting));
    }
}

#[test]
fn a_greeting_that_is_not_whole_is_none() {
    type Damage = fn(&mut Greeting);
    let damages: [Damage; 9] = [
        |g| g.boot.clear(),
        |g| g.keks.push(vec![0; 15]),
        |g| g.keks = vec![vec![0; 16]; MOST_KEKS + 1],
        |g| g.standing.as_mut().unwrap().head.push(0),
        |g| g.standing.as_mut().unwrap().deployment_id.clear(),
        |g| g.standing.as_mut().unwrap().writers[0].commit.pop().map_or((), drop),
        |g| g.standing.as_mut().unwrap().writers = vec![Writer::default(); Writers::MOST + 1],
        |g| g.standing.as_mut().unwrap().incarnations[0].cause = 77,
        |g| g.standing.as_mut().unwrap().incarnations[1].cut_off = Some(CutOff::default()),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let mut wire = encode(&greeting());
        damage(&mut wire);
        assert_eq!(decode(wire), None, "{number}");
    }
}

#[test]
fn texts_are_cut_and_cannot_steer_a_terminal() {
    let mut wire = encode(&greeting());
    wire.version = format!("\x1b[31m{}", "é".repeat(4096));
    let heard = decode(wire).unwrap().version;
    assert!(heard.chars().count() == LONGEST && !heard.contains('\x1b'), "{heard}");
}
