use super::{Access, Action, Query, QueryError, Reason};
use crate::Manifest;

/// Three owners of whom two must agree, one who raises versions, one who writes and reads, one with nothing.
fn manifest() -> Manifest {
    Manifest::decode(
        br#"{
        "Packages": {"app": {}, "lab": {}},
        "Secrets": {
            "mine": {"Type": "plain", "UserDefined": true},
            "shared": {"Type": "symmetric-key", "Size": 128, "Shared": true},
            "private": {"Type": "symmetric-key", "Size": 128}
        },
        "Users": {
            "alice": {"Roles": ["owner", "writer"]},
            "bob": {"Roles": ["owner", "owner"]},
            "carol": {"Roles": ["owner"]},
            "dave": {"Roles": ["svn", "svn-all", "no-such-role"]},
            "erin": {}
        },
        "Roles": {
            "owner": {"ResourceType": "Manifest", "Actions": ["updatemanifest"]},
            "svn": {"ResourceType": "Packages", "ResourceNames": ["app"], "Actions": ["UpdateSecurityVersion"]},
            "svn-all": {"ResourceType": "Packages", "ResourceNames": ["app"], "Actions": ["UPDATESECURITYVERSION"]},
            "writer": {"ResourceType": "Secrets", "ResourceNames": ["mine"], "Actions": ["WriteSecret"]},
            "reader": {"ResourceType": "Secrets", "ResourceNames": ["mine", "shared"], "Actions": ["ReadSecret"]}
        },
        "Config": {"UpdateThreshold": 2}
    }"#,
    )
    .unwrap()
}

fn sentences(access: &Access) -> Vec<String> {
    let name = |resource: &Option<String>| resource.clone().unwrap_or_default();
    access
        .grants
        .iter()
        .map(|g| format!("{} {} {} by {}", g.user, g.action.as_str(), name(&g.resource), g.roles.join("+")))
        .collect()
}

#[test]
fn every_grant_is_told_with_all_roles_it_follows_from() {
    assert_eq!(
        sentences(&Access::of(&manifest())),
        [
            "alice WriteSecret mine by writer",
            "alice UpdateManifest  by owner",
            "bob UpdateManifest  by owner",
            "carol UpdateManifest  by owner",
            "dave UpdateSecurityVersion app by svn+svn-all",
        ]
    );
}

#[test]
fn what_nobody_may_do_is_told_with_its_reason() {
    let access = Access::of(&manifest());
    let of = |action, resource: &str| {
        let found = access.nobody.iter().find(|n| n.action == action && n.resource.as_deref() == Some(resource));
        found.map(|nobody| nobody.reason.clone())
    };
    let reader = Reason::NoUser { roles: vec!["reader".to_owned()] };
    assert_eq!(of(Action::ReadSecret, "mine"), Some(reader.clone()));
    assert_eq!(of(Action::ReadSecret, "shared"), Some(reader));
    assert!(matches!(of(Action::ReadSecret, "private"), Some(Reason::Never { .. })));
    assert!(matches!(of(Action::WriteSecret, "shared"), Some(Reason::Never { .. })));
    assert_eq!(of(Action::UpdateSecurityVersion, "lab"), Some(Reason::NoRole));
    assert_eq!(of(Action::WriteSecret, "mine"), None, "alice may");
    assert_eq!(access.powerless, ["erin"]);
}

#[test]
fn a_full_update_needs_the_threshold_or_all_owners_and_the_proposer_counts() {
    let update = Access::of(&manifest()).full_update;
    assert_eq!((update.owners.len(), update.agreements_needed, update.acknowledgements_needed()), (3, 2, 1));
    let mut all = manifest();
    all.config.update_threshold = 0;
    assert_eq!(Access::of(&all).full_update.acknowledgements_needed(), 2);
    let nobody = Access::of(&Manifest::default());
    assert_eq!((nobody.full_update.agreements_needed, nobody.full_update.acknowledgements_needed()), (0, 0));
    assert_eq!(nobody.nobody.len(), 1, "the manifest itself, which nobody may update");
}

#[test]
fn a_question_selects_and_one_about_nothing_is_an_error() {
    let manifest = manifest();
    let access = Access::of(&manifest);
    let ask = |user: Option<&str>, action, resource: Option<&str>| {
        let query = Query { user: user.map(str::to_owned), action, resource: resource.map(str::to_owned) };
        access.select(&manifest, &query)
    };
    assert_eq!(sentences(&ask(Some("dave"), None, None).unwrap()).len(), 1);
    assert_eq!(sentences(&ask(None, Some(Action::UpdateManifest), None).unwrap()).len(), 3);
    assert_eq!(sentences(&ask(None, None, Some("mine")).unwrap()), ["alice WriteSecret mine by writer"]);
    assert_eq!(ask(None, None, Some("mine")).unwrap().nobody.len(), 1);
    assert!(ask(Some("erin"), None, None).unwrap().grants.is_empty());
    assert_eq!(ask(Some("mallory"), None, None).unwrap_err(), QueryError::User("mallory".to_owned()));
    assert_eq!(ask(None, None, Some("x")).unwrap_err(), QueryError::Resource("x".to_owned()));
}
