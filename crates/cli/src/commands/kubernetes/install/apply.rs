//! Objects to the API server, by server-side apply: first all of them as a trial, so that nothing is changed if one of
//! them is refused, then for good.

use anyhow::{Result, bail};
use kube::api::{DynamicObject, Patch, PatchParams};
use marblerun_install::Object;
use marblerun_install::names::{MANAGER, WEBHOOK_SECRET};
use serde_json::{Value, json};

use super::super::cluster::{Cluster, Told as _, plain};
use super::difference::{Difference, differences};
use crate::failure::{ClusterFailure, Failure};

/// An object that the API server understands and does not take.
const INVALID: u16 = 422;

/// What applying an object does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The object.
    pub object: Object,
    /// Whether it is not there yet.
    pub is_new: bool,
    /// What becomes different.
    pub differences: Vec<Difference>,
    /// What the API server filled in before, and refuses to have beside the rest.
    leftover: Option<Value>,
}

impl Plan {
    /// Of an object in a namespace that does not exist yet, so that the API server cannot be asked.
    pub fn unchecked(object: Object) -> Self {
        Self { object, is_new: true, differences: Vec::new(), leftover: None }
    }

    /// In a word.
    pub fn verb(&self) -> &'static str {
        match self {
            Self { is_new: true, .. } => "created",
            Self { differences, .. } if differences.is_empty() => "unchanged",
            _ => "changed",
        }
    }
}

/// Whether an object is taken over from whoever has set it: the webhook's Secret is changed only where what is in it is
/// of no use.
fn is_forced(object: &Object, force: bool) -> bool {
    force || (object.kind == "Secret" && object.name == WEBHOOK_SECRET)
}

/// Tries all objects. Fails with everything that is in the way.
pub async fn plan(cluster: &Cluster, objects: Vec<Object>, force: bool) -> Result<Vec<Plan>> {
    let (mut plans, mut conflicts, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
    for object in objects {
        let api = cluster.of_object(&object);
        let live = api.get_opt(&object.name).await.told("reading what is there")?;
        let live = live.map(serde_json::to_value).transpose()?;
        let leftover = live.as_ref().and_then(|live| leftover(live, &object.body));
        let trial = PatchParams { dry_run: true, force: is_forced(&object, force), ..params() };
        let mut tried = api.patch(&object.name, &trial, &Patch::Apply(&object.body)).await;
        // Refused for what is left over, as must be, but not for a conflict: now both steps at once.
        if let (Some(leftover), Err(kube::Error::Api(status))) = (&leftover, &tried)
            && status.code == INVALID
        {
            let trial = PatchParams { dry_run: true, ..params() };
            tried = api.patch(&object.name, &trial, &Patch::Merge(merged(&object.body, leftover))).await;
        }
        match tried {
            Ok(after) => {
                let differences = match &live {
                    Some(live) => differences(live, &serde_json::to_value(after)?),
                    None => Vec::new(),
                };
                plans.push(Plan { is_new: live.is_none(), object, differences, leftover });
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                conflicts.extend(conflicts_of(&object, &status));
            }
            Err(kube::Error::Api(status)) => {
                refusals.push((object.title(), ClusterFailure::of_status(&status)));
            }
            Err(error) => return Err(plain(error).into()),
        }
    }
    if !refusals.is_empty() {
        return Err(refused(refusals));
    }
    if !conflicts.is_empty() {
        return Err(Failure::conflict(format!(
            "others have set fields of these objects to something else, so nothing was changed:\n  {}\n\
             Set the same with --values, or take these fields over with --force-conflicts",
            conflicts.join("\n  ")
        )));
    }
    Ok(plans)
}

/// For good. `tell` hears of each object.
pub async fn apply(cluster: &Cluster, plans: &[Plan], force: bool, tell: impl Fn(&Plan)) -> Result<()> {
    for plan in plans {
        let api = cluster.of_object(&plan.object);
        let name = &plan.object.name;
        if let Some(leftover) = &plan.leftover {
            let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
            api.patch(name, &params, &Patch::Merge(leftover)).await.told("changing what is there")?;
        }
        let applied: kube::Result<DynamicObject> = api
            .patch(
                name,
                &PatchParams { force: is_forced(&plan.object, force), ..params() },
                &Patch::Apply(&plan.object.body),
            )
            .await;
        if let Err(error) = applied {
            let failure = plain(error);
            return Err(anyhow::Error::new(failure).context(format!("{} {name}", plan.object.kind)));
        }
        tell(plan);
    }
    Ok(())
}

fn params() -> PatchParams {
    PatchParams::apply(MANAGER)
}

/// A Deployment that was rolled keeps the server's own settings for that, which nobody owns, so that no apply takes them
/// away; and they are refused beside `Recreate`.
fn leftover(live: &Value, wanted: &Value) -> Option<Value> {
    let strategy = |object: &Value| object.pointer("/spec/strategy").cloned().unwrap_or_default();
    let is_recreate = strategy(wanted).get("type").is_some_and(|kind| kind == "Recreate");
    let was_rolled = !strategy(live).get("rollingUpdate").is_none_or(Value::is_null);
    (is_recreate && was_rolled)
        .then(|| json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": Value::Null}}}))
}

fn merged(body: &Value, leftover: &Value) -> Value {
    let mut body = body.clone();
    if let (Some(place), Some(strategy)) = (body.pointer_mut("/spec/strategy"), leftover.pointer("/spec/strategy")) {
        *place = strategy.clone();
    }
    body
}

fn conflicts_of(object: &Object, status: &kube::core::Status) -> Vec<String> {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let told: Vec<String> = causes
        .iter()
        .map(|cause| format!("{}: {} ({})", object.title(), cause.field.trim_start_matches('.'), cause.message))
        .collect();
    if told.is_empty() { vec![format!("{}: {}", object.title(), status.message)] } else { told }
}

/// One error of all refusals, of the kind of the first.
fn refused(refusals: Vec<(String, ClusterFailure)>) -> anyhow::Error {
    let others: Vec<String> = refusals.iter().skip(1).map(|(title, failure)| format!("{title}: {failure}")).collect();
    let Some((title, first)) = refusals.into_iter().next() else { return anyhow::anyhow!("nothing was refused") };
    let more = if others.is_empty() { String::new() } else { format!("\n  {}", others.join("\n  ")) };
    anyhow::Error::new(first).context(format!("nothing was changed{more}\n  {title}"))
}

/// Fails where an object that is to be made belongs to someone else: a webhook configuration is in no namespace.
pub fn check_namespace(namespace: &str) -> Result<()> {
    let is_label = |text: &str| {
        (1..=63).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !text.starts_with('-')
            && !text.ends_with('-')
    };
    if is_label(namespace) {
        return Ok(());
    }
    bail!("{namespace:?} cannot be a namespace: use lower-case letters, digits and '-', at most 63 of them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_a_rolling_update_are_taken_away_where_they_would_be_in_the_way_and_only_there() {
        let deployment = |strategy: Value| json!({"spec": {"strategy": strategy}});
        let rolled = deployment(json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}}));
        let recreate = deployment(json!({"type": "Recreate"}));
        assert!(leftover(&rolled, &recreate).is_some());
        assert!(leftover(&recreate, &recreate).is_none());
        assert!(leftover(&recreate, &rolled).is_none());
        assert!(leftover(&rolled, &rolled).is_none());
        assert!(leftover(&json!({"spec": {}}), &json!({"data": {}})).is_none());
    }

    #[test]
    fn a_namespace_has_a_name_that_kubernetes_takes() {
        assert!(check_namespace("marblerun-1").is_ok());
        for bad in ["", "A", "a/b", "-a", "a-", "a.b", &"x".repeat(64)] {
            assert!(check_namespace(bad).is_err(), "{bad}");
        }
    }
}
