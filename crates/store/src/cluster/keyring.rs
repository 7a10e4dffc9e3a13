//! The copies of the key encryption key as key slots: those of this host, and those that all hosts share. What other hosts
//! have is theirs: it is neither shown nor changed from here.

use std::cmp::Reverse;
use std::sync::Arc;

use marblerun_sealing::{KeySealer, SealMode, Sealers, SlotKind};
use marblerun_state::AuditEntry;

use super::copies::{Copied, Order, Report, Values};
use super::entry::{self, EntryFacts, EntryName, Known, Maker, Seen, known};
use super::{Kek, KekId, SealIdentity};
use crate::slots::{SlotChange, SlotError, SlotFacts, SlotPlan};

/// The copies of a key at one moment.
#[derive(Debug)]
pub(crate) struct SharedKeyring {
    /// In force, the newest that is at hand.
    pub(super) kek: Kek,
    /// All that are in force.
    pub(super) in_force: Vec<KekId>,
    pub(super) sealers: Sealers,
    pub(super) identity: SealIdentity,
    pub(super) mode: SealMode,
    pub(super) deployment_id: [u8; 16],
    pub(super) now_ms: u64,
    /// The newest state seen, and by which backends it is told.
    pub(super) seen: Option<Seen>,
    pub(super) tells_seen: Vec<bool>,
    /// What each backend calls its host, as far as known.
    pub(super) hosts: Vec<Option<[u8; 16]>>,
    /// Backends whose copy was removed on purpose.
    pub(super) unused: Vec<bool>,
    pub(super) recoverable: bool,
    pub(super) values: Arc<Values>,
}

/// Another key encryption key, with copies that their backends have opened.
#[derive(Debug)]
pub(crate) struct NewKek {
    pub(super) kek: Kek,
    /// By the place of the backend.
    pub(super) copies: Vec<(usize, EntryName, Vec<u8>)>,
    /// Backends that made none, by their place, and why.
    pub(super) problems: Vec<(usize, String)>,
}

/// A copy that is shown as a slot.
struct Slot<'a> {
    entry: Known<'a>,
    label: String,
    /// Place of the backend that opens it.
    backend: Option<usize>,
}

impl Slot<'_> {
    fn is_shared(&self) -> bool {
        self.entry.maker.is_portable()
    }
}

impl SharedKeyring {
    pub(crate) fn slots(&self) -> Vec<SlotFacts> {
        self.all(&self.hosts).iter().map(|slot| self.facts(slot)).collect()
    }

    pub(crate) fn test(&self, label: Option<&str>) -> Result<Vec<SlotFacts>, SlotError> {
        let slots = self.all(&self.asked_hosts());
        if let Some(label) = label {
            require(&slots, label)?;
        }
        let slots = slots.iter().filter(|slot| label.is_none_or(|label| slot.label == label));
        Ok(slots.map(|slot| SlotFacts { opens: Some(self.opens(slot)), ..self.facts(slot) }).collect())
    }

    pub(crate) fn key_id(&self) -> [u8; 16] {
        self.kek.id().0
    }

    pub(crate) fn mode(&self) -> SealMode {
        self.mode
    }

    pub(crate) fn sealers(&self) -> &Sealers {
        &self.sealers
    }

    pub(crate) fn is_recoverable(&self) -> bool {
        self.recoverable
    }

    pub(crate) fn prepare(&self, plan: &SlotPlan, entry: AuditEntry) -> Result<SlotChange, SlotError> {
        let slots = self.all(&self.asked_hosts());
        match plan {
            SlotPlan::Add { backend } => {
                let report = Box::new(self.add(&slots, backend)?);
                Ok(SlotChange::Copy { report, entry })
            }
            SlotPlan::Remove { label, force } => {
                let slot = require(&slots, label)?;
                if let Some(sealer) = slot.backend.and_then(|at| self.sealer(at)).filter(|_| slot.is_shared()) {
                    return Err(SlotError::StillConfigured(sealer.name().to_owned()));
                }
                let key = self.another_kek(&slots, Some(label), *force)?;
                Ok(SlotChange::Kek { key, removed: Some(label.clone()), revoke: true, entry })
            }
            SlotPlan::Rotate { label, force } => {
                let slot = label.as_ref().map(|label| require(&slots, label)).transpose()?;
                let key = self.another_kek(&slots, None, *force)?;
                let missing = slot.filter(|slot| !key.copies.iter().any(|(at, ..)| Some(*at) == slot.backend));
                if let Some(slot) = missing {
                    return Err(SlotError::Failed { name: slot.label.clone(), why: self.why_not(slot, &key) });
                }
                Ok(SlotChange::Kek { key, removed: None, revoke: false, entry })
            }
        }
    }

    /// Another key with a copy by every backend that is there, whatever is lost with it.
    pub(super) fn whatever_is_lost(&self) -> Result<NewKek, SlotError> {
        self.another_kek(&[], None, true)
    }

    fn add(&self, slots: &[Slot<'_>], name: &str) -> Result<Report, SlotError> {
        let found = self.sealers.iter().enumerate().find(|(_, sealer)| sealer.name() == name);
        let Some((at, sealer)) = found else { return Err(SlotError::no_backend(name, &self.sealers)) };
        let newest = |slot: &&Slot<'_>| slot.backend == Some(at) && slot.entry.name.kek == self.kek.id();
        if let Some(slot) = slots.iter().find(newest) {
            return Err(SlotError::exists(name, &slot.label, self.opens(slot)));
        }
        let report = self.order(at, sealer, &self.kek).carry_out();
        match report.problem() {
            Some(why) => Err(SlotError::Failed { name: name.to_owned(), why: why.to_owned() }),
            None => Ok(report),
        }
    }

    fn another_kek(&self, slots: &[Slot<'_>], removed: Option<&str>, force: bool) -> Result<NewKek, SlotError> {
        let failed = |error: crate::format::WriteError| SlotError::NotStored(error.to_string());
        let mut key = NewKek { kek: Kek::generate().map_err(failed)?, copies: Vec::new(), problems: Vec::new() };
        let is_removed = |at: usize| slots.iter().any(|slot| slot.backend == Some(at) && removed == Some(&*slot.label));
        for (at, sealer) in self.sealers.iter().enumerate() {
            if self.unused.get(at).copied().unwrap_or_default() || is_removed(at) {
                continue;
            }
            match self.order(at, sealer, &key.kek).copy() {
                Ok(Copied::Made { name, bytes } | Copied::There { name, bytes }) => key.copies.push((at, name, bytes)),
                Err(why) => key.problems.push((at, why)),
            }
        }
        let stays = |slot: &&Slot<'_>| removed != Some(&*slot.label);
        let lost =
            slots.iter().filter(stays).filter(|slot| !key.copies.iter().any(|(at, ..)| Some(*at) == slot.backend));
        let lost: Vec<_> = lost.map(|slot| format!("{} ({})", slot.label, self.why_not(slot, &key))).collect();
        if !lost.is_empty() && !force {
            return Err(SlotError::WouldLose(lost.join("; ")));
        }
        if key.copies.is_empty() {
            return Err(match key.problems.first() {
                Some((at, why)) => {
                    let name = self.sealer(*at).map_or("unknown", KeySealer::name).to_owned();
                    SlotError::Failed { name, why: why.clone() }
                }
                None => {
                    SlotError::Last(": the others get the key of a shared state from a Coordinator whose host keeps it")
                }
            });
        }
        Ok(key)
    }

    fn order(&self, at: usize, sealer: &Arc<dyn KeySealer>, kek: &Kek) -> Order {
        let tells_seen = self.tells_seen.get(at).copied().unwrap_or_default() && kek.id() == self.kek.id();
        Order {
            at,
            sealer: Arc::clone(sealer),
            kek: kek.clone(),
            mode: self.mode,
            identity: self.identity.clone(),
            facts: EntryFacts { deployment_id: self.deployment_id, made_at_ms: self.now_ms, confirmed: true },
            seen: self.seen.filter(|_| tells_seen),
            anew: true,
            values: Arc::default(),
        }
    }

    fn sealer(&self, at: usize) -> Option<&dyn KeySealer> {
        self.sealers.iter().nth(at).map(|sealer| &**sealer)
    }

    /// What each backend calls its host. May block.
    fn asked_hosts(&self) -> Vec<Option<[u8; 16]>> {
        let ask = |(sealer, host): (&Arc<dyn KeySealer>, &Option<[u8; 16]>)| host.or_else(|| sealer.host_id().ok());
        self.sealers.iter().zip(&self.hosts).map(ask).collect()
    }

    /// One slot for each backend: the copy of the newest key. Those of this host first.
    fn all(&self, hosts: &[Option<[u8; 16]>]) -> Vec<Slot<'_>> {
        let mut slots: Vec<Slot<'_>> = Vec::new();
        let mut entries: Vec<_> = known(&self.values)
            .into_iter()
            .filter(|entry| entry.facts.confirmed && entry.facts.deployment_id == self.deployment_id)
            .filter_map(|entry| Some((self.in_force.iter().position(|kek| *kek == entry.name.kek)?, entry)))
            .collect();
        // Of several by one backend, the one that this program would make.
        entries.sort_by_key(|(age, entry)| (*age, !self.is_as_made_now(entry, hosts), Reverse(entry.facts.made_at_ms)));
        for (_, entry) in entries {
            let opener = self.sealers.iter().zip(hosts).position(|(sealer, host)| {
                entry.maker.is(&**sealer) && (entry.maker.is_portable() || *host == Some(entry.name.host))
            });
            if opener.is_none() && !entry.maker.is_portable() {
                continue;
            }
            let label = opener
                .and_then(|at| self.sealer(at))
                .map_or_else(|| label(&entry.maker), |sealer| sealer.name().to_owned());
            if !slots.iter().any(|slot| slot.label == label) {
                slots.push(Slot { entry, label, backend: opener });
            }
        }
        slots.sort_by_key(|slot| (slot.is_shared(), slot.backend.unwrap_or(usize::MAX)));
        slots
    }

    fn is_as_made_now(&self, entry: &Known<'_>, hosts: &[Option<[u8; 16]>]) -> bool {
        self.sealers.iter().zip(hosts).any(|(sealer, host)| {
            *host == Some(entry.name.host) && entry.name.seal == self.identity.seal_id(self.mode, &**sealer)
        })
    }

    fn opens(&self, slot: &Slot<'_>) -> Result<(), String> {
        match slot.backend.and_then(|at| self.sealer(at)) {
            Some(sealer) => entry::open(sealer, slot.entry.name, slot.entry.bytes).map(drop),
            None => Err("no sealing backend for it is configured (MARBLERUN_SEAL)".to_owned()),
        }
    }

    fn why_not(&self, slot: &Slot<'_>, key: &NewKek) -> String {
        let Some(at) = slot.backend else {
            return "no sealing backend for it is configured (MARBLERUN_SEAL)".to_owned();
        };
        let problem = key.problems.iter().find(|(of, _)| *of == at);
        problem.map_or_else(|| "no copy was made".to_owned(), |(_, why)| why.clone())
    }

    fn facts(&self, slot: &Slot<'_>) -> SlotFacts {
        SlotFacts {
            label: slot.label.clone(),
            kind: slot.entry.maker.kind,
            backend: slot.backend.and_then(|at| self.sealer(at)).map(|sealer| sealer.name().to_owned()),
            in_backups: false,
            shared: slot.is_shared(),
            opens: None,
        }
    }
}

/// What a copy is called whose backend is not configured.
fn label(maker: &Maker) -> String {
    match (maker.label.as_str(), maker.kind) {
        ("", kind) => kind.map_or("unknown", SlotKind::as_str).to_owned(),
        (label, _) => label.to_owned(),
    }
}

fn require<'a, 'b>(slots: &'a [Slot<'b>], label: &str) -> Result<&'a Slot<'b>, SlotError> {
    let found = slots.iter().find(|slot| slot.label == label);
    found.ok_or_else(|| SlotError::no_slot(label, slots.iter().map(|slot| slot.label.as_str())))
}
