//! What a full update does that its owners may not have meant. None of it is refused: it may be just what
//! they want; but none of it happens in silence.

use marblerun_manifest::Manifest;
use marblerun_pki::Secret;
use marblerun_state::{Permission, State};

/// Compares the state in force with the manifest that will replace its own.
pub(super) fn notices(state: &State, new: &Manifest) -> Vec<String> {
    let mut notices = Vec::new();
    for (name, current) in state.packages() {
        let Some(package) = new.packages.get(name) else { continue };
        if current.security_version > package.security_version {
            notices.push(format!(
                "package {name:?}: the security version goes from {} down to {}",
                shown(current.security_version),
                shown(package.security_version)
            ));
        }
        if package.debug && !current.debug {
            notices.push(format!("package {name:?} becomes a debug package: its Marbles can be read from outside"));
        }
    }
    for (name, secret) in state.secrets().filter(|(_, secret)| secret.user_defined && secret.public.is_some()) {
        let is_kept = new
            .secrets
            .get(name)
            .and_then(|definition| Secret::from_definition(name, definition).ok())
            .is_some_and(|defined| super::secret_plan::is_unchanged(&defined, secret));
        if !is_kept {
            notices.push(format!("secret {name:?}: the value that a user uploaded is lost"));
        }
    }
    if new.config.rotate_root_secret {
        notices.push("RotateRootSecret is on: keys are rotated now, and again at every further full update".to_owned());
    }
    let has_owner = new.users.values().any(|user| {
        let roles = user.roles.iter().filter_map(|role| new.roles.get(role));
        roles
            .flat_map(|role| &role.actions)
            .any(|action| Permission::from_action(action) == Some(Permission::UpdateManifest))
    });
    if !has_owner {
        notices.push("nobody may update the new manifest: it can never be changed again".to_owned());
    }
    notices
}

fn shown(version: Option<u64>) -> String {
    version.map_or_else(|| "none".to_owned(), |version| version.to_string())
}
