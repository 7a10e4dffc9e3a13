//! Whether two states say the same about something. Where several Coordinators write a state, one that another wrote is
//! read as a whole, and all its values are new ones in memory; so values count, and pointers are but a quick answer.

use std::sync::Arc;

use marblerun_pki::Authority;
use marblerun_state::{ActiveManifest, State};

/// The same keys and certificates.
pub(crate) fn same_authority(a: &Arc<Authority>, b: &Arc<Authority>) -> bool {
    fn certificates(authority: &Authority) -> [&[u8]; 3] {
        [&authority.root_certificate, &authority.intermediate_certificate, &authority.marble_root_certificate]
    }
    // A certificate names its key, so equal certificates have equal keys.
    Arc::ptr_eq(a, b) || certificates(a) == certificates(b)
}

/// The same manifest, byte for byte.
pub(super) fn same_manifest(a: &Arc<ActiveManifest>, b: &Arc<ActiveManifest>) -> bool {
    Arc::ptr_eq(a, b) || a.fingerprint == b.fingerprint
}

/// The same value, at the same place in memory or not.
pub(super) fn same_value<T: PartialEq>(a: &Arc<T>, b: &Arc<T>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// Whether a Marble without a limit on its activations would be refused, or given the same, in both states.
pub(super) fn provides_the_same(a: &State, b: &State) -> bool {
    fn all<'s, T: PartialEq + 's>(
        a: impl Iterator<Item = (&'s str, &'s Arc<T>)>,
        b: impl Iterator<Item = (&'s str, &'s Arc<T>)>,
    ) -> bool {
        a.map(Entry).eq(b.map(Entry))
    }
    let manifests = match (a.manifest(), b.manifest()) {
        (Some(a), Some(b)) => same_manifest(a, b),
        (None, None) => true,
        _ => false,
    };
    a.phase() == b.phase()
        && manifests
        && same_authority(a.authority(), b.authority())
        && a.root_secret() == b.root_secret()
        && a.previous_root_secret() == b.previous_root_secret()
        && all(a.packages(), b.packages())
        && all(a.secrets(), b.secrets())
        && all(a.previous_secrets(), b.previous_secrets())
}

/// A named value, compared as [`same_value`] does.
struct Entry<'s, T>((&'s str, &'s Arc<T>));

impl<T: PartialEq> PartialEq for Entry<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        let (Self((a_name, a)), Self((b_name, b))) = (self, other);
        a_name == b_name && same_value(a, b)
    }
}

#[cfg(test)]
mod tests {
    use marblerun_manifest::model::Package;
    use marblerun_state::{Change, Draft, Phase};

    use super::*;
    use crate::core::Clock;

    fn state() -> Arc<State> {
        Arc::new(crate::start::temporary_state(Phase::AcceptingManifest, "localhost", &Clock::system()).unwrap())
    }

    fn with(state: &Arc<State>, changes: impl IntoIterator<Item = Change>) -> Arc<State> {
        let mut draft = Draft::new(state);
        changes.into_iter().for_each(|change| draft.record(change).unwrap());
        Arc::new(draft.into_parts().0)
    }

    fn package(version: u64) -> Change {
        let package = Package { security_version: Some(version), ..Package::default() };
        Change::Package("app".into(), Some(Arc::new(package)))
    }

    #[test]
    fn a_copy_of_a_state_provides_the_same_and_pointers_do_not_matter() {
        let before = with(&state(), [package(1)]);
        // The same values, somewhere else.
        let authority = Change::Authority(Arc::new(Authority::clone(before.authority())));
        let read_again = with(&before, [package(1), authority]);
        assert!(!Arc::ptr_eq(before.authority(), read_again.authority()));
        assert!(same_authority(before.authority(), read_again.authority()));
        assert!(provides_the_same(&before, &read_again));
    }

    #[test]
    fn what_a_marble_would_notice_is_a_difference() {
        let before = with(&state(), [package(1)]);
        assert!(!provides_the_same(&before, &with(&before, [package(2)])));
        let rotated = before.authority().rotate_intermediate(jiff::Timestamp::now()).unwrap();
        let rotated = with(&before, [Change::Authority(Arc::new(rotated))]);
        assert!(!same_authority(before.authority(), rotated.authority()));
        assert!(!provides_the_same(&before, &rotated));
        assert!(provides_the_same(&before, &with(&before, [Change::Log(vec!["a line".into()])])), "a line of the log");
    }
}
