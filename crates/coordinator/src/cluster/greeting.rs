//! Greetings on the wire. What a peer sends is bounded and whole, or no greeting.

use marblerun_api::peer::{CutOff, Greeting, Incarnation as WireIncarnation, Standing as WireStanding, Writer};
use marblerun_state::{BootId, Cause, CommitId, Incarnation, Lineage, Standing, WriterMark, Writers};
use marblerun_store::cluster::{KekId, PeerGreeting};

/// More lives are not told, as the state keeps no more.
const MOST_INCARNATIONS: usize = 16;
/// More keys than any state has slots.
const MOST_KEKS: usize = 16;
/// Longest text.
const LONGEST: usize = 256;

/// To the wire.
pub(super) fn encode(greeting: &PeerGreeting) -> Greeting {
    let PeerGreeting { boot, standing, serving, recovering, keks, format, version } = greeting;
    Greeting {
        boot: boot.0.to_vec(),
        standing: standing.as_ref().map(encode_standing),
        serving: *serving,
        recovering: *recovering,
        keks: keks.iter().take(MOST_KEKS).map(|id| id.0.to_vec()).collect(),
        format: *format,
        version: short(version),
    }
}

/// From the wire. `None` if it is not whole.
pub(super) fn decode(greeting: Greeting) -> Option<PeerGreeting> {
    let Greeting { boot, standing, serving, recovering, keks, format, version } = greeting;
    let keks: Option<Vec<KekId>> = keks.iter().map(|id| Some(KekId(array(id)?))).collect();
    Some(PeerGreeting {
        boot: BootId(array(&boot)?),
        standing: match standing {
            Some(standing) => Some(decode_standing(standing)?),
            None => None,
        },
        serving,
        recovering,
        keks: keks.filter(|keks| keks.len() <= MOST_KEKS)?,
        format,
        version: short(&version),
    })
}

fn encode_standing(standing: &Standing) -> WireStanding {
    let Standing { lineage, sequence, head, writers, incarnations, has_manifest } = standing;
    let skipped = incarnations.len().saturating_sub(MOST_INCARNATIONS);
    WireStanding {
        deployment_id: lineage.deployment_id.to_vec(),
        incarnation: lineage.incarnation,
        incarnation_id: lineage.incarnation_id.to_vec(),
        sequence: *sequence,
        head: head.to_vec(),
        writers: writers
            .iter()
            .map(|WriterMark { boot, sequence, commit }| Writer {
                boot: boot.0.to_vec(),
                sequence,
                commit: commit.0.to_vec(),
            })
            .collect(),
        incarnations: incarnations.iter().skip(skipped).map(encode_incarnation).collect(),
        has_manifest: *has_manifest,
    }
}

fn encode_incarnation(life: &Incarnation) -> WireIncarnation {
    let Incarnation { number, id, cause, confirmed_by, cut_off } = life;
    WireIncarnation {
        number: *number,
        id: id.to_vec(),
        cause: *cause as u32,
        confirmed_by: short(confirmed_by),
        cut_off: cut_off.map(|(sequence, head)| CutOff { sequence, head: head.to_vec() }),
    }
}

fn decode_standing(standing: WireStanding) -> Option<Standing> {
    if standing.writers.len() > Writers::MOST || standing.incarnations.len() > MOST_INCARNATIONS {
        return None;
    }
    let mark = |writer: &Writer| {
        let (boot, commit) = (BootId(array(&writer.boot)?), CommitId(array(&writer.commit)?));
        Some(WriterMark { boot, sequence: writer.sequence, commit })
    };
    Some(Standing {
        lineage: Lineage {
            deployment_id: array(&standing.deployment_id)?,
            incarnation: standing.incarnation,
            incarnation_id: array(&standing.incarnation_id)?,
        },
        sequence: standing.sequence,
        head: array(&standing.head)?,
        writers: standing.writers.iter().map(mark).collect::<Option<Vec<_>>>()?.into_iter().collect(),
        incarnations: standing.incarnations.into_iter().map(decode_incarnation).collect::<Option<_>>()?,
        has_manifest: standing.has_manifest,
    })
}

fn decode_incarnation(life: WireIncarnation) -> Option<Incarnation> {
    let causes = [Cause::Genesis, Cause::Recovery, Cause::Restore, Cause::Import];
    Some(Incarnation {
        number: life.number,
        id: array(&life.id)?,
        cause: causes.into_iter().find(|cause| *cause as u32 == life.cause)?,
        confirmed_by: short(&life.confirmed_by),
        cut_off: match life.cut_off {
            Some(cut_off) => Some((cut_off.sequence, array(&cut_off.head)?)),
            None => None,
        },
    })
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests;
