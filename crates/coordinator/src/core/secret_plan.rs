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

/// The plan for a secret, given what the state has under that name. `defined` is what the new manifest
/// says, with the default validity filled in, or a certificate that names no days would look changed in
/// every update and lose its previous generation.
pub(super) fn plan(defined: &Secret, stored: Option<&Secret>, rotate: bool) -> (Current, Previous) {
    match (stored.is_some_and(|stored| is_unchanged(defined, stored)), defined.user_defined, defined.kind) {
        (false, _, _) => (Current::Renew, Previous::New),
        (true, true, _) => (Current::Keep, Previous::Keep),
        (true, false, SecretKind::SymmetricKey) if !rotate => (Current::Keep, Previous::Keep),
        (true, false, _) => (Current::Renew, Previous::Old),
    }
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
                assert_eq!(plan(&new, Some(&new), rotate), expected, "{kind:?} {user_defined} {rotate}");
                assert_eq!(plan(&new, None, rotate), (Renew, Previous::New), "a new secret");
                for changed in [
                    Secret { size: 128, ..new.clone() },
                    Secret { shared: !shared, ..new.clone() },
                    Secret { user_defined: !user_defined, ..new.clone() },
                    Secret { valid_for: 7, ..new.clone() },
                    Secret { kind: SecretKind::CertRsa, ..new.clone() },
                ] {
                    assert_eq!(plan(&new, Some(&changed), rotate), (Renew, Previous::New), "{changed:?}");
                }
            }
        }
    }

    #[test]
    fn a_certificate_that_names_no_days_is_not_taken_for_changed() {
        let new = defined(SecretKind::CertEcdsa, true, false);
        assert_eq!(new.valid_for, 365);
        assert_eq!(plan(&new, Some(&new), false).1, Previous::Old);
    }
}
