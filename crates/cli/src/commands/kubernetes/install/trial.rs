//! What is shown of objects: all of them as a document, or what would become of each.

use anyhow::Result;
use marblerun_install::Object;
use serde_json::{Value, json};

use super::super::cluster::Cluster;
use super::super::ours::Own;
use super::apply;
use crate::args::InstallArgs;
use crate::output::{Output, note, shown};

/// One document with all objects, which `kubectl apply -f -` takes. Values of Secrets are left out.
pub fn print(output: &Output<'_>, objects: &[Object]) -> Result<()> {
    let bodies: Vec<Value> =
        objects.iter().filter(|object| object.kind != "Secret").map(|object| object.body.clone()).collect();
    for secret in objects.iter().filter(|object| object.kind == "Secret") {
        note(&format!("{} is left out, as it holds a private key or credentials", secret.title()));
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": bodies});
    output.result(&list, || objects.iter().map(Object::title).collect::<Vec<_>>().join("\n"))
}

/// What would change, asked of the API server.
pub async fn trial(
    output: &Output<'_>,
    args: &InstallArgs,
    cluster: &Cluster,
    has_namespace: bool,
    wanted: Vec<Object>,
    leftovers: &[Own],
) -> Result<()> {
    let plans = if has_namespace {
        apply::plan(cluster, wanted, args.force_conflicts).await?
    } else {
        note(&format!(
            "namespace {} would be created; as it is not there yet, the API server cannot check what would be in it",
            cluster.namespace
        ));
        wanted.into_iter().map(apply::Plan::unchecked).collect()
    };
    if output.is_structured() {
        let objects: Vec<Object> = plans.into_iter().map(|plan| plan.object).collect();
        return print(output, &objects);
    }
    let removed = leftovers.iter().map(|own| format!("{} removed (dry run)", own.title()));
    let lines: Vec<String> = plans.iter().map(detailed).chain(removed).collect();
    output.result(&Value::Null, || shown(&lines.join("\n")))
}

/// `deployment/marblerun-coordinator changed`.
pub fn line(plan: &apply::Plan) -> String {
    format!("{}/{} {}", plan.object.kind.to_lowercase(), plan.object.name, plan.verb())
}

fn detailed(plan: &apply::Plan) -> String {
    let nothing = || "(none)".to_owned();
    let changes = plan.differences.iter().map(|change| {
        let (before, after) =
            (change.before.clone().unwrap_or_else(nothing), change.after.clone().unwrap_or_else(nothing));
        format!("\n    {}: {before} -> {after}", change.path)
    });
    format!("{} (dry run){}", line(plan), changes.collect::<String>())
}
