//! Which copies of key encryption keys go: a bounded number by each backend of a host, and not more than there is room for.
//! What a key in force is kept in goes last, and never what this host needs.

use std::collections::BTreeMap;

use super::KekId;
use super::backend::ClusterBackend;
use super::copies::{BackendCopy, Values};
use super::entry::{EntryName, Known, known};

/// Newest copies by one backend of a host that are kept.
const KEPT: usize = 4;
/// Share of the place's room for entries above which the oldest of any host go.
const FULL: (usize, usize) = (7, 10);

/// What goes. `is_own`: made by a backend of this host, or by one that all hosts reach; `most`: bytes there is room for.
fn superfluous(
    mut known: Vec<Known<'_>>,
    is_own: impl Fn(&Known<'_>) -> bool,
    in_force: &[KekId],
    most: usize,
) -> Vec<EntryName> {
    // What a key in force is kept in goes last.
    known.sort_by_key(|entry| (in_force.contains(&entry.name.kek), entry.facts.made_at_ms, entry.name.to_string()));
    let mut counts = BTreeMap::new();
    for entry in known.iter().filter(|entry| is_own(entry)) {
        *counts.entry((entry.name.host, entry.maker.label.clone())).or_insert(0_usize) += 1;
    }
    let mut bytes: usize = known.iter().map(|entry| entry.bytes.len()).sum();
    let mut gone = Vec::new();
    for entry in &known {
        let own = is_own(entry);
        if own && in_force.contains(&entry.name.kek) {
            continue;
        }
        let count = counts.get_mut(&(entry.name.host, entry.maker.label.clone())).filter(|count| own && **count > KEPT);
        if count.is_some() || bytes > most {
            count.into_iter().for_each(|count| *count -= 1);
            bytes -= entry.bytes.len();
            gone.push(entry.name);
        }
    }
    gone
}

impl ClusterBackend {
    pub(super) fn prune_entries(&mut self, values: &Values) {
        let in_force = self.live().map(|live| live.keys.kek_ids()).unwrap_or_default();
        let most = self.place.limits().entries_bytes * FULL.0 / FULL.1;
        let is_own = |entry: &Known<'_>| {
            let of =
                |copy: &BackendCopy| copy.host == Some(entry.name.host) && entry.maker.kind == Some(copy.sealer.kind());
            self.copies.iter().any(of) || (entry.maker.is_portable() && in_force.contains(&entry.name.kek))
        };
        let gone = superfluous(known(values), is_own, &in_force, most);
        if !gone.is_empty() {
            self.remove_entries(&gone);
        }
    }

    /// What a key that was revoked is kept in by the backends of this host, and by those that all hosts reach, goes: nobody
    /// else would remove the latter.
    pub(super) fn remove_entries_but(&mut self, kek: KekId) {
        let Ok(values) = self.place.entries() else { return };
        let is_own = |name: &EntryName| self.copies.iter().any(|copy| copy.host == Some(name.host));
        let old = known(&values).into_iter().filter(|entry| entry.name.kek != kek);
        let old = old.filter(|entry| is_own(&entry.name) || entry.maker.is_portable());
        let old: Vec<_> = old.map(|entry| entry.name).collect();
        if !old.is_empty() {
            self.remove_entries(&old);
        }
    }
}

#[cfg(test)]
mod tests {
    use marblerun_sealing::SlotKind;

    use super::*;
    use crate::cluster::entry::{EntryFacts, Maker};

    fn entry(host: u8, kek: u8, made_at_ms: u64, label: &str) -> Known<'static> {
        let kind = Some(if label == "pkcs11" { SlotKind::Pkcs11 } else { SlotKind::Tpm });
        let name = EntryName { host: [host; 16], kek: KekId([kek; 16]), seal: [0; 8] };
        let facts = EntryFacts { deployment_id: [0; 16], made_at_ms, confirmed: true };
        Known { name, facts, maker: Maker { kind, label: label.to_owned() }, bytes: &[0; 100] }
    }

    fn keks_gone(known: Vec<Known<'_>>, in_force: &[u8], most: usize) -> Vec<(u8, u8)> {
        let in_force: Vec<_> = in_force.iter().map(|kek| KekId([*kek; 16])).collect();
        let gone = superfluous(known, |entry| entry.name.host == [1; 16], &in_force, most);
        gone.into_iter().map(|name| (name.host[0], name.kek.0[0])).collect()
    }

    #[test]
    fn of_each_backend_of_a_host_the_newest_four_stay_and_the_one_in_force_always() {
        let all: Vec<_> =
            (0..6).flat_map(|at| [entry(1, at, at.into(), "tpm"), entry(1, at, at.into(), "pkcs11")]).collect();
        assert_eq!(keks_gone(all.clone(), &[5], 10_000), [(1, 0), (1, 0), (1, 1), (1, 1)]);
        assert_eq!(keks_gone(all, &[0], 10_000), [(1, 1), (1, 1), (1, 2), (1, 2)]);
        let others: Vec<_> = (0..6).map(|at| entry(2, at, at.into(), "tpm")).collect();
        assert!(keks_gone(others, &[5], 10_000).is_empty(), "another host looks after its own");
    }

    #[test]
    fn where_there_is_no_room_what_no_key_in_force_is_kept_in_goes_first_and_never_what_this_host_needs() {
        let all = vec![entry(1, 9, 0, "tpm"), entry(2, 9, 1, "tpm"), entry(2, 1, 7, "tpm"), entry(3, 9, 8, "tpm")];
        assert_eq!(keks_gone(all.clone(), &[9], 300), [(2, 1)]);
        assert_eq!(keks_gone(all.clone(), &[9], 200), [(2, 1), (2, 9)]);
        assert_eq!(keks_gone(all, &[9], 0), [(2, 1), (2, 9), (3, 9)]);
    }
}
