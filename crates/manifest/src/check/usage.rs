//! Who may do what, and which secrets anything refers to.

use std::collections::BTreeSet;

use crate::model::{Manifest, Role, User};
use crate::template::{Kind, References, Template};

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

/// Names of the roles that some user has.
pub(super) fn assigned_roles(manifest: &Manifest) -> BTreeSet<&str> {
    manifest.users.values().flat_map(|user| &user.roles).map(String::as_str).collect()
}

/// Names of the secrets that some user may write.
pub(super) fn writable_secrets(manifest: &Manifest) -> BTreeSet<&str> {
    let assigned = assigned_roles(manifest);
    let writing = manifest.roles.iter().filter(|(name, role)| {
        assigned.contains(name.as_str())
            && role.resource_type == "Secrets"
            && role.actions.iter().any(|action| action.eq_ignore_ascii_case("WriteSecret"))
    });
    writing.flat_map(|(_, role)| &role.resource_names).map(String::as_str).collect()
}

/// Every secret that some template, TTLS tag or role refers to.
pub(super) struct UsedSecrets<'m> {
    names: BTreeSet<&'m str>,
    templates: References,
}

impl<'m> UsedSecrets<'m> {
    /// Collects them.
    pub(super) fn of(manifest: &'m Manifest) -> Self {
        let tags = manifest.tls.values().flat_map(|tag| &tag.incoming).map(|entry| entry.cert.as_str());
        let roles = manifest.roles.values().flat_map(|role| &role.resource_names).map(String::as_str);
        let mut templates = References::default();
        let parameters = manifest.marbles.values().map(|marble| &marble.parameters);
        let files = parameters.flat_map(|parameters| {
            let files = parameters.files.values().map(|file| (Kind::File, file));
            files.chain(parameters.env.values().map(|file| (Kind::Env, file)))
        });
        for (kind, file) in files.filter(|(_, file)| !file.no_templates && Template::has_actions(&file.data)) {
            if let Ok(template) = Template::parse(&file.data, kind) {
                templates.merge(template.references());
            }
        }
        Self { names: tags.chain(roles).collect(), templates }
    }

    /// Whether anything refers to the secret.
    pub(super) fn contains(&self, secret: &str) -> bool {
        self.names.contains(secret) || self.templates.uses(secret) || self.templates.uses_previous(secret)
    }
}
