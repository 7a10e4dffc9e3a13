//! Opening what lies in the shared place: a pure function of its bytes and the keys at hand.

use marblerun_state::{Standing, State};

use super::keys::{KeySet, slots_of};
use super::{Kek, KekId, Object};
use crate::format::upstream::UpstreamFront;
use crate::format::{Dek, DekId, Front, Head, Layout, OpenOptions, Refusal, open, read_front};

/// A state that authenticated, from front to end.
#[derive(Debug)]
pub(super) struct OpenedObject {
    pub(super) state: State,
    pub(super) sequence: u64,
    pub(super) head: Head,
    pub(super) keys: KeySet,
    /// The readable header was changed by somebody; the next commit repairs it.
    pub(super) header_altered: bool,
}

/// Why what lies there is not open.
#[derive(Debug)]
pub(super) enum Unopened {
    /// None of the keys at hand has a slot.
    NoKey {
        /// Keys that would help.
        wanted: Vec<KekId>,
        reason: String,
        front: Box<Front>,
    },
    /// Damaged, cut short, newer.
    Refused(Refusal),
    /// Upstream's layout.
    Upstream(UpstreamFront),
}

impl OpenedObject {
    pub(super) fn standing(&self) -> Standing {
        self.state.standing(self.sequence, self.head)
    }
}

/// Opens an object that has a `sealed_data`, with the data encryption key known (if it is still that one) or a key
/// encryption key.
pub(super) fn open_object(
    sealed_data: &Vec<u8>,
    object: &Object,
    known: Option<(&Dek, DekId)>,
    keks: &[Kek],
) -> Result<OpenedObject, Unopened> {
    let front = match read_front(sealed_data).map_err(Unopened::Refused)? {
        Layout::Sealed(front) => front,
        Layout::Upstream(front) => return Err(Unopened::Upstream(front)),
    };
    let dek_id = front.header.dek_id;
    let found = slots_of(object.sealed_key.as_deref(), dek_id);
    let known = known.filter(|(dek, _)| front.accepts(dek)).map(|(dek, _)| dek.clone());
    let dek = known.or_else(|| {
        let pairs = keks.iter().flat_map(|kek| found.slots.iter().map(move |slot| (kek, slot)));
        pairs.filter_map(|(kek, slot)| slot.unwrap(kek.expose(), dek_id)).find(|dek| front.accepts(dek))
    });
    let Some(dek) = dek else {
        let wanted: Vec<KekId> = found.slots.iter().filter_map(super::keys::kek_of).collect();
        let reason = found.problem.unwrap_or_else(|| {
            let names: Vec<String> = wanted.iter().map(|kek| hex::encode(kek.0)).collect();
            format!("it is sealed under the key encryption keys {}, which this host does not have", names.join(", "))
        });
        return Err(Unopened::NoKey { wanted, reason, front });
    };
    let opened = open(sealed_data, &dek, OpenOptions::default()).map_err(Unopened::Refused)?;
    let portable = crate::format::portable_slots(&opened.header);
    Ok(OpenedObject {
        sequence: opened.tail.sequence,
        head: opened.tail.head,
        keys: KeySet { dek, dek_id: opened.header.dek_id, slots: found.slots, portable },
        header_altered: opened.header_altered,
        state: opened.state,
    })
}
