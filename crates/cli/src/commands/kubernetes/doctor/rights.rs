//! May the user do what `install` and `uninstall` do?

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::PostParams;
use marblerun_install::kinds::KINDS;

use super::super::cluster::{Cluster, plain};
use super::finding::Finding;

/// Kinds that only some clusters have.
const OPTIONAL: [&str; 2] = ["cert-manager.io", "monitoring.coreos.com"];

/// Group, resource, and whether it is in the namespace.
type What = (&'static str, &'static str, bool);

pub async fn examine(cluster: &Cluster) -> Vec<Finding> {
    let mut missing = Vec::new();
    for (verb, (group, resource, is_namespaced)) in needed() {
        match may(cluster, verb, (group, resource, is_namespaced)).await {
            Ok(true) => {}
            Ok(false) => missing.push((resource, verb)),
            Err(error) => return vec![Finding::unseen("rights", &plain(error).to_string())],
        }
    }
    vec![judge(&missing)]
}

/// To apply an object takes `patch`, and `create` where it is not there.
fn needed() -> Vec<(&'static str, What)> {
    let kinds = KINDS.iter().filter(|kind| !OPTIONAL.contains(&kind.group));
    let mut what: Vec<What> = kinds.map(|kind| (kind.group, kind.plural, kind.is_namespaced)).collect();
    what.push(("", "persistentvolumeclaims", true));
    let mut all: Vec<(&str, What)> =
        what.into_iter().flat_map(|what| ["get", "create", "patch", "delete"].map(|verb| (verb, what))).collect();
    all.extend([
        ("list", ("", "pods", true)),
        ("list", ("", "events", true)),
        ("list", ("", "nodes", false)),
        ("get", ("", "namespaces", false)),
        ("create", ("", "namespaces", false)),
    ]);
    all
}

async fn may(cluster: &Cluster, verb: &str, (group, resource, is_namespaced): What) -> kube::Result<bool> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                verb: Some(verb.to_owned()),
                namespace: is_namespaced.then(|| cluster.namespace.clone()),
                ..ResourceAttributes::default()
            }),
            non_resource_attributes: None,
        },
        ..SelfSubjectAccessReview::default()
    };
    let answer = cluster.everywhere::<SelfSubjectAccessReview>().create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

fn judge(missing: &[(&str, &str)]) -> Finding {
    if missing.is_empty() {
        return Finding::ok("rights", "you may do all that installing takes");
    }
    let mut resources: Vec<&str> = missing.iter().map(|(resource, _)| *resource).collect();
    resources.dedup();
    let told: Vec<String> = resources
        .iter()
        .map(|resource| {
            let verbs = missing.iter().filter(|(of, _)| of == resource).map(|(_, verb)| *verb);
            format!("{resource} ({})", verbs.collect::<Vec<_>>().join(", "))
        })
        .collect();
    Finding::warn(
        "rights",
        format!("you may not do all that installing takes; missing: {}", told.join("; ")),
        "fine for looking and using; to install, have someone bind you a role with them",
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn missing_rights_are_told_by_resource() {
        assert_eq!(judge(&[]).level, Level::Ok);
        let finding = judge(&[("roles", "create"), ("roles", "patch"), ("nodes", "list")]);
        assert_eq!(finding.level, Level::Warn);
        assert!(finding.text.ends_with("roles (create, patch); nodes (list)"), "{}", finding.text);
    }
}
