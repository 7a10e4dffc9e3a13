//! Who may do what, and why? Permissions follow from users, their roles, and the actions and resources of those
//! roles; here the whole chain is told, also where it ends in nobody. Pure: the same rules as a Coordinator applies,
//! over a manifest that need not be in force.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::model::{Manifest, Role};

/// Something a role can allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Action {
    /// Read the value of a secret.
    ReadSecret,
    /// Upload the value of a secret.
    WriteSecret,
    /// Raise the security version of a package.
    UpdateSecurityVersion,
    /// Propose, acknowledge and cancel updates of the whole manifest.
    UpdateManifest,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ReadSecret, Self::WriteSecret, Self::UpdateSecurityVersion, Self::UpdateManifest];

    /// The name in manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadSecret => "ReadSecret",
            Self::WriteSecret => "WriteSecret",
            Self::UpdateSecurityVersion => "UpdateSecurityVersion",
            Self::UpdateManifest => "UpdateManifest",
        }
    }

    /// The action of that name, in any letter case, as manifests spell it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| name.to_lowercase() == action.as_str().to_lowercase())
    }

    /// The `ResourceType` of roles with this action.
    #[must_use]
    pub fn resource_type(self) -> &'static str {
        match self {
            Self::ReadSecret | Self::WriteSecret => "Secrets",
            Self::UpdateSecurityVersion => "Packages",
            Self::UpdateManifest => "Manifest",
        }
    }
}

/// One thing one user may do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Grant {
    /// Who.
    pub user: String,
    /// What.
    pub action: Action,
    /// On which secret or package; `None` is the manifest as a whole.
    pub resource: Option<String>,
    /// Every role of the user that it follows from.
    pub roles: Vec<String>,
}

/// Why nobody may do something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "reason", rename_all = "camelCase")]
pub enum Reason {
    /// No role names it.
    NoRole,
    /// Roles allow it, and no user has one of them.
    NoUser {
        /// Those roles.
        roles: Vec<String>,
    },
    /// The definition of the secret rules it out, whatever roles say.
    Never {
        /// What in the definition does.
        because: &'static str,
    },
}

/// Something that nobody may do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Nobody {
    /// What.
    pub action: Action,
    /// On which secret or package; `None` is the manifest as a whole.
    pub resource: Option<String>,
    /// Why nobody may.
    #[serde(flatten)]
    pub reason: Reason,
}

/// What it takes to replace the whole manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FullUpdate {
    /// Who may propose, acknowledge and cancel.
    pub owners: Vec<String>,
    /// How many of them must agree. Who proposes has agreed. 0 if there are no owners: then it is not possible.
    pub agreements_needed: u64,
}

impl FullUpdate {
    /// Acknowledgements needed after the proposal.
    #[must_use]
    pub fn acknowledgements_needed(&self) -> u64 {
        self.agreements_needed.saturating_sub(1)
    }
}

/// Everything the users of a manifest may do, and what nobody may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// By user, action, resource.
    pub grants: Vec<Grant>,
    /// By action, resource.
    pub nobody: Vec<Nobody>,
    /// Users who may do nothing.
    pub powerless: Vec<String>,
    /// Updates of the whole manifest.
    pub full_update: FullUpdate,
}

/// Which part of it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only this user.
    pub user: Option<String>,
    /// Only this action.
    pub action: Option<Action>,
    /// Only this secret or package.
    pub resource: Option<String>,
}

/// A question about something that the manifest does not have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum QueryError {
    /// No such user.
    #[error("the manifest has no user {0:?}")]
    User(String),
    /// No such secret or package.
    #[error("the manifest has neither a secret nor a package {0:?}")]
    Resource(String),
}

impl Access {
    /// What a manifest grants.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        let grants = grants(manifest);
        let powerful: BTreeSet<&str> = grants.iter().map(|grant| grant.user.as_str()).collect();
        let powerless = manifest.users.keys().filter(|user| !powerful.contains(user.as_str())).cloned().collect();
        let nobody = every_action(manifest)
            .filter(|(action, resource)| {
                !grants.iter().any(|grant| grant.action == *action && grant.resource.as_deref() == *resource)
            })
            .map(|(action, resource)| Nobody {
                action,
                resource: resource.map(str::to_owned),
                reason: reason(manifest, action, resource),
            })
            .collect();
        let full_update = full_update(manifest, &grants);
        Self { grants, nobody, powerless, full_update }
    }

    /// The part that was asked for.
    ///
    /// # Errors
    /// If the question names what the manifest does not have.
    pub fn select(&self, manifest: &Manifest, query: &Query) -> Result<Self, QueryError> {
        if let Some(user) = query.user.as_ref().filter(|user| !manifest.users.contains_key(*user)) {
            return Err(QueryError::User(user.clone()));
        }
        let is_known = |name: &String| manifest.secrets.contains_key(name) || manifest.packages.contains_key(name);
        if let Some(name) = query.resource.as_ref().filter(|name| !is_known(name)) {
            return Err(QueryError::Resource(name.clone()));
        }
        let fits = |action: Action, resource: &Option<String>| {
            query.action.is_none_or(|asked| asked == action)
                && query.resource.as_ref().is_none_or(|asked| resource.as_ref() == Some(asked))
        };
        let is_asked = |user: &String| query.user.as_ref().is_none_or(|asked| asked == user);
        Ok(Self {
            grants: self
                .grants
                .iter()
                .filter(|grant| is_asked(&grant.user) && fits(grant.action, &grant.resource))
                .cloned()
                .collect(),
            nobody: self.nobody.iter().filter(|nobody| fits(nobody.action, &nobody.resource)).cloned().collect(),
            powerless: self.powerless.iter().filter(|user| is_asked(user)).cloned().collect(),
            full_update: self.full_update.clone(),
        })
    }
}

fn grants(manifest: &Manifest) -> Vec<Grant> {
    let mut grants = Vec::new();
    for (name, user) in &manifest.users {
        // A role may be listed twice; it grants the same.
        let roles: BTreeSet<&String> = user.roles.iter().collect();
        for (action, resource) in every_action(manifest) {
            let granting: Vec<String> = roles
                .iter()
                .filter(|role| manifest.roles.get(**role).is_some_and(|role| allows(role, action, resource)))
                .map(|role| (*role).clone())
                .collect();
            if !granting.is_empty() {
                grants.push(Grant {
                    user: name.clone(),
                    action,
                    resource: resource.map(str::to_owned),
                    roles: granting,
                });
            }
        }
    }
    grants
}

/// Every action on every resource that the manifest defines, by action and name.
fn every_action(manifest: &Manifest) -> impl Iterator<Item = (Action, Option<&str>)> {
    Action::ALL.into_iter().flat_map(|action| {
        let names: Vec<Option<&str>> = match action {
            Action::ReadSecret | Action::WriteSecret => manifest.secrets.keys().map(|name| Some(&**name)).collect(),
            Action::UpdateSecurityVersion => manifest.packages.keys().map(|name| Some(&**name)).collect(),
            Action::UpdateManifest => vec![None],
        };
        names.into_iter().map(move |name| (action, name))
    })
}

fn allows(role: &Role, action: Action, resource: Option<&str>) -> bool {
    role.resource_type == action.resource_type()
        && role.actions.iter().any(|name| Action::from_name(name) == Some(action))
        && resource.is_none_or(|resource| role.resource_names.iter().any(|name| name == resource))
}

fn reason(manifest: &Manifest, action: Action, resource: Option<&str>) -> Reason {
    if let Some(secret) = resource.and_then(|name| manifest.secrets.get(name)) {
        if action == Action::WriteSecret && !secret.user_defined {
            return Reason::Never { because: "it is not UserDefined" };
        }
        if action == Action::ReadSecret && !secret.shared && !secret.user_defined {
            return Reason::Never { because: "it is neither Shared nor UserDefined: each Marble has its own" };
        }
    }
    let roles: Vec<String> = manifest
        .roles
        .iter()
        .filter(|(_, role)| allows(role, action, resource))
        .map(|(name, _)| name.clone())
        .collect();
    if roles.is_empty() { Reason::NoRole } else { Reason::NoUser { roles } }
}

fn full_update(manifest: &Manifest, grants: &[Grant]) -> FullUpdate {
    let owners: Vec<String> =
        grants.iter().filter(|grant| grant.action == Action::UpdateManifest).map(|grant| grant.user.clone()).collect();
    let agreements_needed = match (owners.len() as u64, manifest.config.update_threshold) {
        (0, _) => 0,
        (all, 0) => all,
        // A threshold above the number of owners is refused when a manifest is set.
        (_, threshold) => threshold,
    };
    FullUpdate { owners, agreements_needed }
}

#[cfg(test)]
mod tests;
