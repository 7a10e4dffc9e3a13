//! What others do to the place: operators with `kubectl`, a database restored from a snapshot, a place that lies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::SimulatedStore;
use super::world::{Archived, World, Written};
use crate::cluster::{Content, Limits, Object, Part, Version};

/// Who writes what no instance wrote.
const OPERATOR: &str = "kubectl";

impl SimulatedStore {
    /// The object as it is.
    #[must_use]
    pub fn object(&self) -> Option<Object> {
        self.look(World::read)
    }

    /// Every write of the object that there was, oldest first, those of other operators included.
    #[must_use]
    pub fn history(&self) -> Vec<Arc<Written>> {
        self.look(|world| world.history.clone())
    }

    /// An operator replaces what the object holds (`kubectl replace`).
    pub fn put(&self, content: &Content) -> Version {
        self.change(|world| world.force(OPERATOR, Some(content.clone()), true))
    }

    /// An operator deletes the object and makes it again (`kubectl replace --force`).
    pub fn recreate(&self, content: &Content) -> Version {
        self.change(|world| world.force(OPERATOR, Some(content.clone()), false))
    }

    /// An operator makes an object without `sealed_data`, or takes it out of the one that is there.
    pub fn empty(&self) -> Version {
        self.change(|world| world.force(OPERATOR, None, true))
    }

    /// An operator changes something about the object that is not ours, such as a label: a new revision.
    pub fn touch(&self) -> Option<Version> {
        self.change(|world| {
            let content = world.object.as_ref()?.content.clone();
            Some(world.force(OPERATOR, content, true))
        })
    }

    /// An operator deletes the object.
    pub fn delete(&self) {
        self.change(|world| world.object = None);
    }

    /// `immutable: true`, or not.
    pub fn set_immutable(&self, immutable: bool) {
        self.change(|world| world.immutable = immutable);
    }

    /// Bytes of other people's values in the object.
    pub fn set_foreign_bytes(&self, bytes: usize) {
        self.change(|world| world.foreign_bytes = bytes);
    }

    /// What fits.
    pub fn set_limits(&self, limits: Limits) {
        self.change(|world| world.limits = limits);
    }

    /// The clock of the place goes on; archives grow older.
    pub fn advance(&self, by: Duration) {
        self.change(|world| world.now += by);
    }

    /// The database is restored from a snapshot: the object is again what that write made it, and revisions count from
    /// there a second time. False if there was no such write.
    pub fn turn_back(&self, to: &Version) -> bool {
        self.change(|world| {
            let found = world.history.iter().find(|written| written.version == *to).cloned();
            found.is_some_and(|to| {
                world.turn_back(&to);
                true
            })
        })
    }

    /// The instance is shown what there is now, whatever is written after, until [`Self::thaw`]; its own writes meet
    /// what there is.
    pub fn freeze(&self, instance: &str) {
        let mut inner = self.lock();
        let world = inner.seen_by(instance).clone();
        inner.instance(instance).frozen = Some(world);
    }

    /// Ends [`Self::freeze`].
    pub fn thaw(&self, instance: &str) {
        self.lock().instance(instance).frozen = None;
    }

    /// From now on the place shows that instance a history of its own, which begins as what there is.
    pub fn fork(&self, instance: &str) {
        let mut inner = self.lock();
        let world = inner.seen_by(instance).clone();
        inner.forks.push(world);
        let number = inner.forks.len();
        inner.instance(instance).fork = number;
    }

    /// Shows an instance what another one is shown.
    pub fn join(&self, instance: &str, with: &str) {
        let mut inner = self.lock();
        let fork = inner.instance(with).fork;
        inner.instance(instance).fork = fork;
    }

    /// Ends [`Self::fork`]: the instance is shown what there is.
    pub fn unite(&self, instance: &str) {
        self.lock().instance(instance).fork = 0;
    }

    /// Values of the hosts.
    #[must_use]
    pub fn host_entries(&self) -> BTreeMap<String, Vec<u8>> {
        self.look(|world| world.entries.clone())
    }

    /// Somebody sets a value of a host.
    pub fn set_host_entry(&self, name: &str, value: &[u8]) {
        self.change(|world| world.entries.insert(name.to_owned(), value.to_vec()));
    }

    /// Somebody deletes the values of all hosts (the whole ConfigMap).
    pub fn delete_host_entries(&self) {
        self.change(|world| world.entries.clear());
    }

    /// Somebody deletes, damages or replaces a part.
    pub fn set_part(&self, part: Part, bytes: Option<&[u8]>) {
        self.change(|world| match bytes {
            Some(bytes) => world.put_part(part, bytes),
            None => drop(world.parts.remove(&part)),
        });
    }

    /// The parts.
    #[must_use]
    pub fn stored_parts(&self) -> BTreeMap<Part, Vec<u8>> {
        self.look(|world| world.parts.iter().map(|(part, (_, bytes))| (*part, bytes.clone())).collect())
    }

    /// What is archived.
    #[must_use]
    pub fn archived(&self) -> BTreeMap<u8, Archived> {
        self.look(|world| world.archives.clone())
    }

    /// Somebody prunes an archive.
    pub fn delete_archive(&self, place: u8) {
        self.change(|world| world.archives.remove(&place));
    }

    /// It is no longer known when that archive was made.
    pub fn forget_age(&self, place: u8) {
        self.change(|world| {
            if let Some(archived) = world.archives.get_mut(&place) {
                archived.made = None;
            }
        });
    }

    fn look<T>(&self, at: impl FnOnce(&World) -> T) -> T {
        at(&self.lock().world)
    }

    fn change<T>(&self, how: impl FnOnce(&mut World) -> T) -> T {
        how(&mut self.lock().world)
    }
}
