//! What a full update does that its owners may not have meant. None of it is refused: it may be just what
//! they want; but none of it happens in silence.

use marblerun_manifest::Manifest;
use marblerun_manifest::model::Config;
use marblerun_pki::Secret;
use marblerun_state::{Permission, State};

use crate::core::secret_plan;

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
    notices.extend(state.secrets().filter_map(|(name, secret)| lost_value(name, secret, new)));
    if new.config.rotate_root_secret {
        notices.push("RotateRootSecret is on: keys are rotated now, and again at every further full update".to_owned());
        if state.previous_root_secret() != state.root_secret() {
            notices.push("keys were rotated before: those before the last rotation are lost with this one".to_owned());
        }
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

/// What becomes of a value that the new manifest does not take over.
fn lost_value(name: &str, secret: &Secret, new: &Manifest) -> Option<String> {
    let whose = if secret.user_defined && secret.public.is_some() { "that a user uploaded" } else { "in force" };
    let Some(definition) = new.secrets.get(name) else {
        return Some(format!("secret {name:?} is removed: the value {whose} is lost, and the one before it"));
    };
    let defined = Secret::from_definition(name, definition).ok()?;
    if secret_plan::is_unchanged(&defined, secret) || secret.user_defined && secret.public.is_none() {
        return None;
    }
    Some(if defined.kind == secret.kind {
        format!(
            "secret {name:?} is defined anew: the value {whose} goes on as the previous one, the one before it is lost"
        )
    } else {
        format!("secret {name:?} becomes a {}: the value {whose} is lost", defined.kind.as_str())
    })
}

/// What a package update asks for that it does not get, or that does not mean much.
pub(super) fn package_notices(state: &State, update: &Manifest) -> Vec<String> {
    let mut notices = Vec::new();
    for (name, package) in &update.packages {
        if package.tcb_statuses_given || package.advisories_given {
            notices.push(format!(
                "package {name:?}: AcceptedTCBStatuses and AcceptedAdvisories change in a full update only; they are ignored"
            ));
        }
        let Some(current) = state.package(name) else { continue };
        if package.security_version.is_some() && package.security_version == current.security_version {
            notices.push(format!("package {name:?} has this security version already; all certificates are renewed"));
        }
        if current.debug || !current.unique_id.is_empty() {
            let why = if current.debug { "a debug package" } else { "pinned by UniqueID" };
            notices.push(format!("package {name:?} is {why}: a security version tells its Marbles apart from nothing"));
        }
    }
    if update.config != Config::default() {
        notices.push("Config changes in a full update only; it is ignored".to_owned());
    }
    notices
}

fn shown(version: Option<u64>) -> String {
    version.map_or_else(|| "none".to_owned(), |version| version.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use marblerun_manifest::model::Package;
    use marblerun_state::{Change, Draft, Phase};
    use zeroize::Zeroizing;

    use super::*;
    use crate::core::Clock;

    fn manifest(json: &str) -> Manifest {
        Manifest::decode(json.as_bytes()).unwrap()
    }

    /// A state with one package at version 5 and one uploaded value.
    fn state() -> State {
        let state = crate::start::temporary_state(Phase::AcceptingManifest, "localhost", &Clock::system()).unwrap();
        let mut draft = Draft::new(&Arc::new(state));
        let package = Package { security_version: Some(5), ..Package::default() };
        draft.record(Change::Package("app".into(), Some(Arc::new(package)))).unwrap();
        let definition = manifest(r#"{"Secrets":{"s":{"Type":"plain","UserDefined":true}}}"#).secrets["s"].clone();
        let mut secret = Secret::from_definition("s", &definition).unwrap();
        secret.public = Some(Zeroizing::new(vec![1]));
        draft.record(Change::Secret("s".into(), Some(Arc::new(secret)))).unwrap();
        draft.into_parts().0
    }

    const OWNED: &str =
        r#""Users":{"a":{"Roles":["o"]}},"Roles":{"o":{"ResourceType":"Manifest","Actions":["updatemanifest"]}}"#;

    #[test]
    fn what_an_update_takes_away_is_said() {
        let lower = notices(
            &state(),
            &manifest(r#"{"Packages":{"app":{"SecurityVersion":4,"Debug":true}},"Config":{"RotateRootSecret":true}}"#),
        );
        for word in ["from 5 down to 4", "debug package", "is lost", "RotateRootSecret", "nobody may update"] {
            assert!(lower.iter().any(|notice| notice.contains(word)), "{word}: {lower:?}");
        }
        assert_eq!(lower.len(), 5);
    }

    #[test]
    fn what_takes_nothing_away_says_nothing() {
        let same = format!(
            r#"{{"Packages":{{"app":{{"SecurityVersion":5}}}},"Secrets":{{"s":{{"Type":"plain","UserDefined":true}}}},{OWNED}}}"#
        );
        assert_eq!(notices(&state(), &manifest(&same)), Vec::<String>::new());
    }
}
