//! What becomes of each secret when a whole manifest is replaced. A pure table.
//!
//! "Previous" is the generation before the last change of a secret. What a new manifest does not change it
//! keeps, except certificates: the authority behind them is new after every update.

use marblerun_manifest::model::SecretKind;
use marblerun_pki::Secret;

/// What becomes of the current value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Current {
    /// It stays.
    Keep,
    /// It is made anew, or set to what the manifest holds.
    Renew,
}

/// What becomes of the previous value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Previous {
    /// It stays.
    Keep,
    /// The value that was current.
    Old,
    /// The same as the new value.
    New,
}

/// What an update does to the root secret, from which the keys of each Marble are derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Roots {
    /// The update makes a new one.
    pub(super) rotate: bool,
    /// There was one before that in force, of an earlier rotation.
    pub(super) rotated_before: bool,
}

/// The plan for a secret, given what the state has under that name. `defined` is what the new manifest
/// says, with the default validity filled in, or a certificate that names no days would look changed in
/// every update and lose its previous generation.
pub(super) fn plan(defined: &Secret, stored: Option<&Secret>, roots: Roots) -> (Current, Previous) {
    let Some(stored) = stored else { return (Current::Renew, Previous::New) };
    match (is_unchanged(defined, stored), defined.user_defined, defined.kind) {
        (true, true, _) => (Current::Keep, Previous::Keep),
        (true, false, SecretKind::SymmetricKey) if !roots.rotate => (Current::Keep, Previous::Keep),
        (true, false, _) => (Current::Renew, Previous::Old),
        (false, _, _) if can_be_previous(defined, stored, roots) => (Current::Renew, Previous::Old),
        (false, _, _) => (Current::Renew, Previous::New),
    }
}

/// Whether templates that use the previous generation of the new definition can use the value of the old one.
fn can_be_previous(defined: &Secret, stored: &Secret, roots: Roots) -> bool {
    if stored.kind != defined.kind {
        return false;
    }
    if stored.shared || stored.user_defined {
        return has_value(stored);
    }
    // The previous generation of a Marble's key is derived from the root secret before the last rotation. Only if
    // that is the one in force now will it be the key of now.
    roots.rotate || !roots.rotated_before
}

/// Whether a secret has a value in each part that it can have.
pub(super) fn has_value(secret: &Secret) -> bool {
    let is_given = |part: &Option<zeroize::Zeroizing<Vec<u8>>>| part.as_ref().is_some_and(|value| !value.is_empty());
    is_given(&secret.public)
        && is_given(&secret.private)
        && (secret.certificate.is_some() || !secret.kind.is_certificate())
}

/// Whether a stored secret is of that definition. What its certificate says does not count.
pub(super) fn is_unchanged(defined: &Secret, stored: &Secret) -> bool {
    stored.kind == defined.kind
        && stored.size == defined.size
        && stored.shared == defined.shared
        && stored.user_defined == defined.user_defined
        && stored.valid_for == defined.valid_for
}

#[cfg(test)]
mod tests {
    use marblerun_manifest::model::SecretDefinition;

    use super::*;

    fn defined(kind: SecretKind, shared: bool, user_defined: bool) -> Secret {
        let kind = kind.as_str().to_owned();
        let definition = SecretDefinition { kind, size: 256, shared, user_defined, ..SecretDefinition::default() };
        Secret::from_definition("s", &definition).unwrap()
    }

    fn valued(secret: &Secret) -> Secret {
        let value = Some(zeroize::Zeroizing::new(vec![1]));
        Secret { private: value.clone(), public: value, certificate: Some(vec![1]), ..secret.clone() }
    }

    #[test]
    fn each_row_of_the_table_holds() {
        use Current::{Keep, Renew};
        use SecretKind::{CertEcdsa, Plain, SymmetricKey};
        for shared in [true, false] {
            for (kind, user_defined, rotate, expected) in [
                (SymmetricKey, false, false, (Keep, Previous::Keep)),
                (SymmetricKey, false, true, (Renew, Previous::Old)),
                (CertEcdsa, false, false, (Renew, Previous::Old)),
                (CertEcdsa, false, true, (Renew, Previous::Old)),
                (SymmetricKey, true, true, (Keep, Previous::Keep)),
                (CertEcdsa, true, true, (Keep, Previous::Keep)),
                (Plain, true, false, (Keep, Previous::Keep)),
            ] {
                let new = defined(kind, shared, user_defined);
                let roots = Roots { rotate, rotated_before: false };
                assert_eq!(plan(&new, Some(&new), roots), expected, "{kind:?} {user_defined} {rotate}");
                assert_eq!(plan(&new, None, roots), (Renew, Previous::New), "a new secret");
                for changed in [
                    Secret { size: 128, ..new.clone() },
                    Secret { shared: !shared, ..new.clone() },
                    Secret { user_defined: !user_defined, ..new.clone() },
                    Secret { valid_for: 7, ..new.clone() },
                ] {
                    let with_value = valued(&changed);
                    assert_eq!(plan(&new, Some(&with_value), roots), (Renew, Previous::Old), "{changed:?}");
                    let derived = !changed.shared && !changed.user_defined;
                    let without = if derived { Previous::Old } else { Previous::New };
                    assert_eq!(plan(&new, Some(&changed), roots), (Renew, without), "{changed:?} without a value");
                    let again = Roots { rotated_before: true, ..roots };
                    let of_now = if derived && !rotate { Previous::New } else { Previous::Old };
                    assert_eq!(plan(&new, Some(&with_value), again), (Renew, of_now), "{changed:?} after a rotation");
                }
                let other_kind = valued(&Secret { kind: SecretKind::CertRsa, ..new.clone() });
                assert_eq!(plan(&new, Some(&other_kind), roots), (Renew, Previous::New), "of another kind");
            }
        }
    }

    #[test]
    fn a_certificate_that_names_no_days_is_not_taken_for_changed() {
        let new = defined(SecretKind::CertEcdsa, true, false);
        assert_eq!(new.valid_for, 365);
        let roots = Roots { rotate: false, rotated_before: false };
        assert_eq!(plan(&new, Some(&new), roots).1, Previous::Old);
    }
}
