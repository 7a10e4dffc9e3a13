//! The way from an instance to the place, with the faults on it.

use std::collections::BTreeMap;

use super::fault::{Call, Fault, Logged, Outcome};
use super::world::{Report, Request, World, conflict};
use super::{Late, SimulatedStore};
use crate::cluster::{
    Archive, ArchiveReason, Content, Limits, Object, Part, PlaceError, Severity, SharedPlace, Version, WriteFailure,
};

/// The place as one instance reaches it.
#[derive(Debug)]
pub struct SimulatedPlace {
    store: SimulatedStore,
    instance: String,
    /// The object as this handle read or wrote it last, and whether it had content.
    known: Option<(Version, bool)>,
}

/// What happens to the call at hand.
enum Way {
    Open,
    Fault(Fault),
    Stalled,
    Denied,
}

impl SimulatedPlace {
    pub(super) fn new(store: SimulatedStore, instance: &str) -> Self {
        Self { store, instance: instance.to_owned(), known: None }
    }

    /// Does what the test planned for this call, outside the lock.
    fn begin(&self, call: Call) -> Way {
        while let Some(run) = self.planned(call) {
            run();
        }
        let mut inner = self.store.lock();
        let it = inner.instance(&self.instance);
        it.stalled |= it.left == Some(0);
        if it.stalled {
            return Way::Stalled;
        }
        it.left = it.left.map(|left| left - 1);
        if it.denied.contains(&call) {
            return Way::Denied;
        }
        let fault = it.faults.iter().position(|(kind, _)| *kind == call).and_then(|at| it.faults.remove(at));
        fault.map_or(Way::Open, |(_, fault)| Way::Fault(fault))
    }

    fn planned(&self, call: Call) -> Option<Box<dyn FnOnce() + Send>> {
        let mut inner = self.store.lock();
        let it = inner.instance(&self.instance);
        let at = it.before.iter().position(|(kind, _)| *kind == call)?;
        it.before.remove(at).map(|(_, run)| run)
    }

    fn log(&self, call: Call, outcome: Outcome) {
        self.store.lock().log.push(Logged { instance: self.instance.clone(), call, outcome });
    }

    fn denied(&self, call: Call) -> String {
        format!("403: {} may not {call:?}", self.instance)
    }

    fn read_with<T>(&self, call: Call, read: impl FnOnce(&World) -> T) -> Result<T, PlaceError> {
        let answer = match self.begin(call) {
            Way::Open => Ok(read(self.store.lock().seen_by(&self.instance))),
            Way::Stalled => Err(PlaceError::Unreachable("no answer in time".to_owned())),
            Way::Denied => Err(PlaceError::Forbidden(self.denied(call))),
            Way::Fault(fault @ Fault::Garbled) => Err(PlaceError::Malformed(fault.reason().to_owned())),
            Way::Fault(fault) => Err(PlaceError::Unreachable(fault.reason().to_owned())),
        };
        self.log(call, outcome_of(&answer));
        answer
    }

    /// The object's own writes.
    fn write_object(&mut self, call: Call, request: &Request) -> Result<Version, WriteFailure> {
        let answer = match self.begin(call) {
            Way::Denied => Err(WriteFailure::Forbidden(self.denied(call))),
            Way::Stalled => Err(doubt("no answer in time")),
            Way::Open => self.carry_out(request),
            Way::Fault(fault) => {
                if fault.carried_out() {
                    let applied = self.carry_out(request);
                    match (&fault, applied) {
                        (Fault::Repeated, Ok(_)) => Err(conflict("the object has been modified")),
                        (Fault::Repeated, refused) => refused,
                        _ => Err(doubt(fault.reason())),
                    }
                } else {
                    self.keep_if_late(&fault, request);
                    Err(match fault {
                        Fault::TooManyRequests(retry_after) => {
                            WriteFailure::InDoubt { reason: fault.reason().to_owned(), conflict: false, retry_after }
                        }
                        _ => doubt(fault.reason()),
                    })
                }
            }
        };
        if let Ok(version) = &answer {
            self.known = Some((version.clone(), true));
        }
        self.log(call, written_outcome(&answer));
        answer
    }

    fn carry_out(&self, request: &Request) -> Result<Version, WriteFailure> {
        let mut inner = self.store.lock();
        let fork = inner.fork_of(&self.instance);
        let world = inner.world_mut(fork);
        match request {
            Request::Create { over, content } => world.create(&self.instance, over.as_ref(), content),
            Request::Replace { base, content } => world.replace(&self.instance, base, content),
            Request::Parts { base, parts } => world.set_parts(&self.instance, base, parts),
            Request::Part { .. } | Request::Archive { .. } | Request::Entries { .. } => {
                Err(WriteFailure::Refused("not a write of the object".to_owned()))
            }
        }
    }

    /// Writes beside the object.
    fn write_beside(&self, call: Call, request: &Request) -> Result<(), PlaceError> {
        let apply = || {
            let mut inner = self.store.lock();
            let fork = inner.fork_of(&self.instance);
            let world = inner.world_mut(fork);
            match request {
                Request::Part { part, base, bytes } => world.write_part(*part, base.as_ref(), bytes),
                Request::Archive { place, object, reason } => world.archive(*place, object, *reason),
                Request::Entries { set, remove } => world.change_entries(set, remove),
                Request::Create { .. } | Request::Replace { .. } | Request::Parts { .. } => {
                    Err(PlaceError::Refused("a write of the object".to_owned()))
                }
            }
        };
        let answer = match self.begin(call) {
            Way::Open => apply(),
            Way::Stalled => Err(PlaceError::Unreachable("no answer in time".to_owned())),
            Way::Denied => Err(PlaceError::Forbidden(self.denied(call))),
            Way::Fault(fault) => {
                if fault.carried_out() {
                    // What it was refused for is as lost as what it was done for.
                    let _ = apply();
                }
                self.keep_if_late(&fault, request);
                Err(match fault {
                    Fault::Garbled => PlaceError::Malformed(fault.reason().to_owned()),
                    _ => PlaceError::Unreachable(fault.reason().to_owned()),
                })
            }
        };
        self.log(call, outcome_of(&answer));
        answer
    }

    fn keep_if_late(&self, fault: &Fault, request: &Request) {
        if *fault == Fault::Late {
            let mut inner = self.store.lock();
            let fork = inner.fork_of(&self.instance);
            inner.late.push(Late { instance: self.instance.clone(), fork, request: request.clone() });
        }
    }
}

impl SharedPlace for SimulatedPlace {
    fn name(&self) -> String {
        format!("simulated place of {}", self.instance)
    }

    fn limits(&self) -> Limits {
        self.store.lock().seen_by(&self.instance).limits
    }

    fn read(&mut self) -> Result<Option<Object>, PlaceError> {
        let object = self.read_with(Call::Read, World::read)?;
        self.known = object.as_ref().map(|object| (object.version.clone(), object.sealed_data.is_some()));
        Ok(object)
    }

    fn version(&mut self) -> Result<Option<Version>, PlaceError> {
        self.read_with(Call::Version, World::version)
    }

    fn create(&mut self, content: &Content) -> Result<Version, WriteFailure> {
        let over = self.known.as_ref().filter(|(_, filled)| !filled).map(|(version, _)| version.clone());
        self.write_object(Call::Create, &Request::Create { over, content: content.clone() })
    }

    fn replace(&mut self, base: &Version, content: &Content) -> Result<Version, WriteFailure> {
        if self.known.as_ref().map(|(version, _)| version) != Some(base) {
            return Err(conflict("what is to be replaced is not what was read last"));
        }
        self.write_object(Call::Replace, &Request::Replace { base: base.clone(), content: content.clone() })
    }

    fn read_part(&mut self, part: Part) -> Result<Option<Vec<u8>>, PlaceError> {
        self.read_with(Call::ReadPart, |world| world.parts.get(&part).map(|(_, bytes)| bytes.clone()))
    }

    fn part_version(&mut self, part: Part) -> Result<Option<Version>, PlaceError> {
        self.read_with(Call::ReadPart, |world| world.part_version(part))
    }

    fn write_part(&mut self, part: Part, base: Option<&Version>, bytes: &[u8]) -> Result<(), PlaceError> {
        self.write_beside(Call::WritePart, &Request::Part { part, base: base.cloned(), bytes: bytes.to_vec() })
    }

    fn set_parts(&mut self, base: &Version, parts: &[u8]) -> Result<Version, WriteFailure> {
        if self.known.as_ref().map(|(version, _)| version) != Some(base) {
            return Err(conflict("what is to be replaced is not what was read last"));
        }
        self.write_object(Call::Replace, &Request::Parts { base: base.clone(), parts: parts.to_vec() })
    }

    fn archives(&mut self) -> Result<Vec<Archive>, PlaceError> {
        self.read_with(Call::Archives, World::archives)
    }

    fn archive(&mut self, place: u8, object: &Object, reason: ArchiveReason) -> Result<(), PlaceError> {
        self.write_beside(Call::Archive, &Request::Archive { place, object: object.clone(), reason })
    }

    fn entries(&mut self) -> Result<BTreeMap<String, Vec<u8>>, PlaceError> {
        self.read_with(Call::Entries, |world| world.entries.clone())
    }

    fn change_entries(&mut self, set: &BTreeMap<String, Vec<u8>>, remove: &[String]) -> Result<(), PlaceError> {
        self.write_beside(Call::ChangeEntries, &Request::Entries { set: set.clone(), remove: remove.to_vec() })
    }

    fn report(&mut self, severity: Severity, reason: &'static str, message: &str) {
        if matches!(self.begin(Call::Report), Way::Open) {
            let instance = self.instance.clone();
            self.store.lock().reports.push(Report { instance, severity, reason, message: message.to_owned() });
            self.log(Call::Report, Outcome::Done);
        } else {
            self.log(Call::Report, Outcome::Unknown("nobody heard it".to_owned()));
        }
    }
}

fn doubt(reason: &str) -> WriteFailure {
    WriteFailure::InDoubt { reason: reason.to_owned(), conflict: false, retry_after: None }
}

fn outcome_of<T>(answer: &Result<T, PlaceError>) -> Outcome {
    match answer {
        Ok(_) => Outcome::Done,
        Err(PlaceError::Unreachable(why) | PlaceError::Malformed(why)) => Outcome::Unknown(why.clone()),
        Err(PlaceError::Forbidden(why) | PlaceError::Refused(why)) => Outcome::Refused(why.clone()),
    }
}

fn written_outcome(answer: &Result<Version, WriteFailure>) -> Outcome {
    match answer {
        Ok(_) => Outcome::Done,
        Err(WriteFailure::InDoubt { conflict: true, .. }) => Outcome::Conflict,
        Err(WriteFailure::InDoubt { reason, .. }) => Outcome::Unknown(reason.clone()),
        Err(WriteFailure::Missing) => Outcome::Refused("404: it is gone".to_owned()),
        Err(WriteFailure::TooLarge(why) | WriteFailure::Forbidden(why) | WriteFailure::Refused(why)) => {
            Outcome::Refused(why.clone())
        }
    }
}
