//! Opening what lies in the shared place: a pure function of its bytes and the keys at hand.

use std::sync::Arc;

use marblerun_state::{Standing, State};

use super::backend::Live;
use super::keys::{KeySet, slots_of};
use super::parts::{Split, Whole};
use super::{Kek, KekId, Object};
use crate::format::upstream::UpstreamFront;
use crate::format::{Dek, DekId, Front, Head, Layout, Refusal, portable_slots, read_front, read_on};

/// A state that authenticated, from front to end.
#[derive(Debug)]
pub(super) struct OpenedObject {
    pub(super) state: State,
    pub(super) sequence: u64,
    pub(super) head: Head,
    pub(super) keys: KeySet,
    /// The readable header was changed by somebody; the next commit repairs it.
    pub(super) header_altered: bool,
    /// Where its snapshot lies in parts.
    pub(super) split: Option<Arc<Split>>,
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

/// What an open state has become, where all that was done since is appended to it. `None`: it has to be opened anew.
pub(super) fn open_further(whole: &Whole, object: &Object, live: &Live, state: &State) -> Option<OpenedObject> {
    let split = live.split.as_ref().filter(|split| whole.list.as_ref() == Some(&split.list))?;
    // Whatever is wrong with it, opening it anew tells.
    let (state, tail) = read_on(whole, &split.tail, state).ok()??;
    let slots = slots_of(object.sealed_key.as_deref(), live.keys.dek_id).slots;
    Some(OpenedObject {
        state,
        sequence: tail.sequence,
        head: tail.head,
        keys: KeySet { slots, ..live.keys.clone() },
        header_altered: false,
        split: whole.split(&tail),
    })
}

/// Opens an object that has a `sealed_data`, with the data encryption key known (if it is still that one) or a key
/// encryption key.
pub(super) fn open_object(
    whole: &Whole,
    object: &Object,
    known: Option<(&Dek, DekId)>,
    keks: &[Kek],
) -> Result<OpenedObject, Unopened> {
    let front = match read_front(whole).map_err(Unopened::Refused)? {
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
    let opened = whole.open(&dek).map_err(Unopened::Refused)?;
    let portable = portable_slots(&opened.header);
    // What was altered is written anew, snapshot and all.
    let split = whole.split(&opened.tail).filter(|_| !opened.header_altered);
    Ok(OpenedObject {
        split,
        sequence: opened.tail.sequence,
        head: opened.tail.head,
        keys: KeySet { dek, dek_id: opened.header.dek_id, slots: found.slots, portable },
        header_altered: opened.header_altered,
        state: opened.state,
    })
}
