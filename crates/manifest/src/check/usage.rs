//! Who may do what, and which secrets anything refers to.

use std::collections::BTreeSet;

use crate::model::{Encoding, File, Manifest, Role, User};

/// The roles of a user that are defined.
pub(super) fn roles<'m>(manifest: &'m Manifest, user: &'m User) -> impl Iterator<Item = &'m Role> {
    user.roles.iter().filter_map(|role| manifest.roles.get(role))
}

/// Users who may update the manifest, as upstream counts them for UpdateThreshold: a role of type Manifest whose
/// *first* action is UpdateManifest.
pub(super) fn updaters(manifest: &Manifest) -> impl Iterator<Item = &User> {
    manifest.users.values().filter(|user| {
        roles(manifest, user).any(|role| {
            role.resource_type == "Manifest"
                && role.actions.first().is_some_and(|action| action.eq_ignore_ascii_case("UpdateManifest"))
        })
    })
}

/// Whether some user may write the secret.
pub(super) fn is_writable(manifest: &Manifest, secret: &str) -> bool {
    manifest.users.values().any(|user| {
        roles(manifest, user).any(|role| {
            role.resource_type == "Secrets"
                && role.resource_names.iter().any(|name| name == secret)
                && role.actions.iter().any(|action| action.eq_ignore_ascii_case("WriteSecret"))
        })
    })
}

/// Which secrets a manifest refers to.
pub(super) enum UsedSecrets<'m> {
    /// Some template takes all of them, or picks them in a way that cannot be told.
    All,
    /// These names; what is not in here is used by nothing.
    Names(BTreeSet<&'m [u8]>),
}

impl<'m> UsedSecrets<'m> {
    /// Collects references from templates, TTLS tags and roles.
    pub(super) fn of(manifest: &'m Manifest) -> Self {
        let mut names: BTreeSet<&[u8]> = BTreeSet::new();
        names.extend(manifest.tls.values().flat_map(|tag| &tag.incoming).map(|entry| entry.cert.as_bytes()));
        names.extend(manifest.roles.values().flat_map(|role| &role.resource_names).map(String::as_bytes));
        let parameters = manifest.marbles.values().map(|marble| &marble.parameters);
        let files = parameters.flat_map(|parameters| parameters.files.values().chain(parameters.env.values()));
        for file in files.filter(|file| !file.no_templates) {
            if !collect(file, &mut names) {
                return Self::All;
            }
        }
        Self::Names(names)
    }

    /// Whether anything refers to the secret.
    pub(super) fn contains(&self, secret: &str) -> bool {
        match self {
            Self::All => true,
            Self::Names(names) => names.contains(secret.as_bytes()),
        }
    }
}

/// Adds the names a template may refer to: what follows `Secrets.`, and every quoted text. `false` if `Secrets` is
/// used as a whole.
fn collect<'m>(file: &'m File, names: &mut BTreeSet<&'m [u8]>) -> bool {
    const WORD: &[u8] = b"Secrets";
    let text = &file.data;
    if file.encoding == Encoding::String && !text.contains(&b'{') {
        return true;
    }
    names.extend(text.split(|byte| matches!(byte, b'"' | b'`')).filter(|part| part.len() <= 256));
    let mut rest = text.as_slice();
    while let Some(at) = rest.windows(WORD.len()).position(|bytes| bytes == WORD) {
        rest = rest.get(at + WORD.len()..).unwrap_or_default();
        match rest.first() {
            Some(b'.') => {
                let name = rest.get(1..).unwrap_or_default();
                let length = name
                    .iter()
                    .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_' || !byte.is_ascii())
                    .count();
                names.extend(name.get(..length));
            }
            // `index .Secrets "name"`
            _ if rest.trim_ascii_start().starts_with(b"\"") || rest.trim_ascii_start().starts_with(b"`") => {}
            _ => return false,
        }
    }
    true
}
