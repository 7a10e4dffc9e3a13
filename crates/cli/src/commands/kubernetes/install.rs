//! `marblerun install`: from flags and values to a running installation, any number of times.
//!
//! Everything that can be known is asked before anything is changed. What a failed run has made stays: the next one goes
//! on from there.

mod apply;
mod before;
mod difference;
mod flags;
mod trial;
mod webhook;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, Patch, PatchParams};
use marblerun_install::devices::Plugin;
use marblerun_install::values::UserValues;
use marblerun_install::{Chart, Object, Settings, Tee, names, objects};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::cluster::{self, Cluster, Told as _, is_forbidden};
use super::installation::{Installation, Release};
use super::ours::{self, Own};
use super::waiting::{News, Outcome, in_lines, in_words, until_ready};
use crate::args::{DryRun, Global, InstallArgs};
use crate::failure::Failure;
use crate::files;
use crate::output::{Output, note, shown, warn};
use crate::trust;

/// Installs, or changes an installation.
pub async fn run(global: &Global, output: &Output<'_>, args: &InstallArgs) -> Result<()> {
    deprecated(args);
    let namespace = cluster::namespace(global)?;
    apply::check_namespace(&namespace)?;
    let chart = chart(args)?;
    let mut user = flags::values(args, &chart.values, read)?;
    if args.dry_run == Some(DryRun::Client) {
        return without_cluster(output, args, &chart, user, &namespace);
    }
    let cluster = Cluster::find(namespace, &args.cluster).await?;
    let has_namespace = has_namespace(&cluster).await?;
    let found = Installation::look(&cluster).await?;
    if let Some(release) = &found.release {
        return Err(left_to_helm(release, &cluster.namespace));
    }
    let before = found.described();
    before::keep_what_is_there(&mut user, before.as_ref());
    before::ask_for_repository(&mut user, &chart).await?;
    before::devices(&cluster, &mut user, &chart, args).await?;
    let settings = Settings::read(chart.values.with(&user))?;
    if let Some(before) = &before {
        before::refuse_to_lose_the_state(before, &settings)?;
    }
    before::named_objects(&cluster, &settings).await?;
    let mut wanted = Vec::new();
    let mut renewed = false;
    if settings.has_injector() {
        let prepared = webhook::prepare(&cluster, &mut user, found.webhook.as_ref(), Timestamp::now()).await?;
        if args.dry_run.is_none() {
            output.progress(&format!("Setting up MarbleRun Webhook... Done ({})", prepared.told));
        }
        renewed = prepared.is_renewed && found.webhook.is_some();
        wanted.extend(prepared.secret);
    }
    let settings = Settings::read(chart.values.with(&user))?;
    let installation = installation(&chart, &settings, &cluster.namespace);
    wanted.extend(objects(installation)?);
    if renewed {
        // The API server must believe the new certificate before an injector shows it.
        wanted.sort_by_key(|object| object.kind != "MutatingWebhookConfiguration");
    }
    wanted.iter_mut().for_each(mark);
    let leftovers = leftovers(&cluster, &wanted, settings.has_injector()).await?;
    if args.dry_run.is_some() {
        return trial::trial(output, args, &cluster, has_namespace, wanted, &leftovers).await;
    }
    if !has_namespace {
        make_namespace(&cluster).await?;
        output.progress(&format!("namespace/{} created", cluster.namespace));
    }
    let plans = match apply::plan(&cluster, wanted, args.force_conflicts).await {
        Ok(plans) => plans,
        Err(error) => {
            if !has_namespace {
                // Nothing is in it yet. If it cannot be removed, the error is still the other one.
                let _ = cluster.everywhere::<Namespace>().delete(&cluster.namespace, &DeleteParams::default()).await;
            }
            return Err(error);
        }
    };
    let tell = |plan: &apply::Plan| output.progress(&trial::line(plan));
    apply::apply(&cluster, &plans, args.force_conflicts, tell).await.with_context(|| unfinished(&cluster))?;
    for removed in ours::remove(&cluster, &leftovers).await? {
        output.progress(&format!("{removed} removed"));
    }
    if !args.no_wait {
        wait(output, &cluster, &settings, args.timeout).await?;
    }
    output.progress("MarbleRun installed successfully");
    let is_simulation = settings.tee() == Tee::Simulation;
    if is_simulation {
        warn(trust::SIMULATION_WARNING);
    }
    let changes: Vec<Value> =
        plans.iter().map(|plan| json!({"object": plan.object.title(), "change": plan.verb()})).collect();
    let report = json!({
        "namespace": cluster.namespace,
        "waited": !args.no_wait,
        "simulation": is_simulation,
        "changes": changes,
    });
    output.report(&report, String::new)
}

fn deprecated(args: &InstallArgs) {
    for (flag, is_given) in
        [("enterprise-access-token", args.enterprise_access_token.is_some()), ("dcap-qpl", args.dcap_qpl.is_some())]
    {
        if is_given {
            note(&format!("Flag --{flag} has been deprecated, it has no effect"));
        }
    }
}

fn read(path: &Path) -> Result<String> {
    String::from_utf8(files::read(path)?).with_context(|| format!("{} is not text", path.display()))
}

/// The chart: this program's, or its like in a folder.
fn chart(args: &InstallArgs) -> Result<Chart> {
    let Some(folder) = &args.marblerun_chart_path else {
        let chart = Chart::built_in()?;
        return match args.chart_version.as_deref().map(|version| version.trim_start_matches('v')) {
            Some(version) if version != chart.version => Err(Failure::usage(format!(
                "this program installs version {}, not {version}; use the marblerun command of that version",
                chart.version
            ))),
            _ => Ok(chart),
        };
    };
    if !folder.is_dir() {
        return Err(Failure::usage(format!(
            "{} is not a folder; a packed chart is installed with 'helm install'",
            folder.display()
        )));
    }
    let text = |name: &str| read(&folder.join(name));
    Ok(Chart::of_same_version(&text("Chart.yaml")?, &text("values.yaml")?)?)
}

fn installation<'a>(
    chart: &'a Chart,
    settings: &'a Settings,
    namespace: &'a str,
) -> marblerun_install::Installation<'a> {
    marblerun_install::Installation { settings, namespace, app_version: &chart.app_version }
}

/// The objects alone. What only a cluster could tell is as the flags say, else as the chart does.
fn without_cluster(
    output: &Output<'_>,
    args: &InstallArgs,
    chart: &Chart,
    mut user: UserValues,
    namespace: &str,
) -> Result<()> {
    if let Some(key) = args.resource_key.as_deref().filter(|_| !args.simulation) {
        flags::use_plugin(&mut user, &chart.values, &Plugin::from_resource_key(key));
    }
    let settings = Settings::read(chart.values.with(&user))?;
    if settings.repository().is_empty() {
        return Err(before::no_repository());
    }
    if settings.has_injector() && !settings.uses_cert_manager() && settings.ca_bundle().is_empty() {
        warn(
            "the webhook has no certificate: set marbleInjector.useCertManager, or marbleInjector.CABundle and make \
             the Secret marble-injector-webhook-certs",
        );
    }
    let mut all = objects(installation(chart, &settings, namespace))?;
    all.iter_mut().for_each(mark);
    trial::print(output, &all)
}

fn left_to_helm(release: &Release, namespace: &str) -> anyhow::Error {
    let revision = release.revision.map(|revision| format!(", revision {revision}")).unwrap_or_default();
    let name = &release.name;
    Failure::conflict(format!(
        "Helm keeps this installation up to date (release {name:?}{revision} in namespace {namespace}), so it is left \
         to Helm: 'helm upgrade {name} CHART -n {namespace} --reset-then-reuse-values' changes it. To use this command \
         instead, 'helm uninstall {name} -n {namespace}' first; check that the state stays (coordinator.keepVolume)"
    ))
}

async fn has_namespace(cluster: &Cluster) -> Result<bool> {
    match cluster.everywhere::<Namespace>().get_opt(&cluster.namespace).await {
        Ok(found) => Ok(found.is_some()),
        // Whoever may use one alone may not see it.
        Err(error) if is_forbidden(&error) => Ok(true),
        Err(error) => Err(error).told("looking for the namespace"),
    }
}

async fn make_namespace(cluster: &Cluster) -> Result<()> {
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": cluster.namespace, "labels": {names::MANAGED_BY: names::MANAGER}},
    });
    let api = cluster.everywhere::<Namespace>();
    api.patch(&cluster.namespace, &PatchParams::apply(names::MANAGER), &Patch::Apply(namespace))
        .await
        .told("making the namespace")?;
    Ok(())
}

/// What an earlier run made and this one does not want. The certificate's Secret may be cert-manager's by now.
async fn leftovers(cluster: &Cluster, wanted: &[Object], has_injector: bool) -> Result<Vec<Own>> {
    let is_wanted = |own: &Own| {
        let is_certificate = has_injector && own.kind.kind == "Secret" && own.name == names::WEBHOOK_SECRET;
        is_certificate || wanted.iter().any(|object| object.kind == own.kind.kind && object.name == own.name)
    };
    Ok(ours::find(cluster).await?.into_iter().filter(|own| !is_wanted(own)).collect())
}

/// The label by which this program knows its own.
fn mark(object: &mut Object) {
    let Some(metadata) = object.body.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    if let Some(labels) = labels.as_object_mut() {
        labels.insert(names::MANAGED_BY.to_owned(), json!(names::MANAGER));
    }
}

fn unfinished(cluster: &Cluster) -> String {
    format!(
        "the installation in namespace {} is not finished; what was made stays, and the same command goes on from there \
         ('marblerun uninstall' removes it)",
        cluster.namespace
    )
}

async fn wait(output: &Output<'_>, cluster: &Cluster, settings: &Settings, seconds: u64) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let injector = settings.has_injector().then_some(names::INJECTOR);
    let mut late = Vec::new();
    for name in injector.into_iter().chain([names::COORDINATOR]) {
        let outcome = until_ready(cluster, name, end, |news| match news {
            News::Rollout(rollout) => {
                output.progress(&format!("{name} pods ready: {}/{}", rollout.available, rollout.wanted));
            }
            News::Trouble(trouble) => warn(&in_words(trouble)),
        })
        .await?;
        match outcome {
            Outcome::Ready => {}
            Outcome::ScaledDown => {
                warn(&format!("deployment {name} is scaled to 0, and stays so; --replicas starts it"))
            }
            Outcome::Absent => return Err(Failure::conflict(format!("deployment {name} was deleted meanwhile"))),
            Outcome::NotReady(rollout, troubles) => late.push(format!(
                "deployment {name} was not ready after {seconds} seconds ({}/{} pods available){}",
                rollout.available,
                rollout.wanted,
                shown(&in_lines(&troubles))
            )),
        }
    }
    if late.is_empty() {
        return Ok(());
    }
    Err(Failure::conflict(format!(
        "everything is installed, but not ready: {}\n'marblerun check' goes on waiting, 'marblerun doctor' looks for the \
         cause",
        late.join("; ")
    )))
}
