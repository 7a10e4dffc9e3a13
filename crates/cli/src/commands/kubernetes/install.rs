//! `marblerun install`: from flags and values to a running installation, any number of times.
//!
//! Everything that can be known is asked before anything is changed. What a failed run has made stays: the next one goes
//! on from there.

mod apply;
mod difference;
mod flags;
mod webhook;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::{ListParams, Patch, PatchParams};
use marblerun_install::devices::{Plugin, choose, survey};
use marblerun_install::values::UserValues;
use marblerun_install::{Chart, Object, Settings, names, objects};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::cluster::{self, Cluster, Told as _, is_forbidden};
use super::installation::{Described, Installation, Release};
use super::uninstall::remove_leftovers;
use super::waiting::{News, Outcome, in_lines, in_words, until_ready};
use crate::args::{DryRun, Global, InstallArgs};
use crate::failure::Failure;
use crate::output::{Output, note, shown, warn};
use crate::{files, prompt};

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
    keep_what_is_there(&mut user, before.as_ref());
    ask_for_repository(&mut user, &chart).await?;
    devices(&cluster, &mut user, &chart, args).await?;
    let settings = Settings::read(chart.values.with(&user))?;
    if let Some(before) = &before {
        refuse_to_lose_the_state(before, &settings)?;
    }
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
    if args.dry_run.is_some() {
        return trial(output, args, &cluster, has_namespace, wanted).await;
    }
    if !has_namespace {
        make_namespace(&cluster).await?;
        output.progress(&format!("namespace/{} created", cluster.namespace));
    }
    let kept: Vec<(String, String)> = wanted.iter().map(|object| (object.kind.clone(), object.name.clone())).collect();
    let plans = apply::plan(&cluster, wanted, args.force_conflicts).await?;
    let tell = |plan: &apply::Plan| output.progress(&line(plan));
    apply::apply(&cluster, &plans, args.force_conflicts, tell).await.with_context(|| unfinished(&cluster))?;
    for removed in remove_leftovers(&cluster, &kept, settings.has_injector()).await? {
        output.progress(&format!("{removed} removed"));
    }
    if !args.no_wait {
        wait(output, &cluster, &settings, args.timeout).await?;
    }
    output.progress("MarbleRun installed successfully");
    let changes: Vec<Value> =
        plans.iter().map(|plan| json!({"object": plan.object.title(), "change": plan.verb()})).collect();
    output.report(&json!({"namespace": cluster.namespace, "waited": !args.no_wait, "changes": changes}), String::new)
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
        return Err(no_repository());
    }
    if settings.has_injector() && !settings.uses_cert_manager() && settings.ca_bundle().is_empty() {
        warn(
            "the webhook has no certificate: set marbleInjector.useCertManager, or marbleInjector.CABundle and make \
             the Secret marble-injector-webhook-certs",
        );
    }
    let mut all = objects(installation(chart, &settings, namespace))?;
    all.iter_mut().for_each(mark);
    print(output, &all)
}

/// One document with all objects, which `kubectl apply -f -` takes. Values of Secrets are left out.
fn print(output: &Output<'_>, objects: &[Object]) -> Result<()> {
    let bodies: Vec<Value> =
        objects.iter().filter(|object| object.kind != "Secret").map(|object| object.body.clone()).collect();
    for secret in objects.iter().filter(|object| object.kind == "Secret") {
        note(&format!("{} is left out, as it holds a private key or credentials", secret.title()));
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": bodies});
    output.result(&list, || objects.iter().map(Object::title).collect::<Vec<_>>().join("\n"))
}

async fn trial(
    output: &Output<'_>,
    args: &InstallArgs,
    cluster: &Cluster,
    has_namespace: bool,
    wanted: Vec<Object>,
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
    let lines: Vec<String> = plans.iter().map(|plan| format!("{} (dry run)", detailed(plan))).collect();
    output.result(&Value::Null, || shown(&lines.join("\n")))
}

fn line(plan: &apply::Plan) -> String {
    format!("{}/{} {}", plan.object.kind.to_lowercase(), plan.object.name, plan.verb())
}

fn detailed(plan: &apply::Plan) -> String {
    let nothing = || "(none)".to_owned();
    let changes = plan.differences.iter().map(|change| {
        let (before, after) =
            (change.before.clone().unwrap_or_else(nothing), change.after.clone().unwrap_or_else(nothing));
        format!("\n    {}: {before} -> {after}", change.path)
    });
    format!("{}{}", line(plan), changes.collect::<String>())
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

/// What nobody said anew stays as it is.
fn keep_what_is_there(user: &mut UserValues, before: Option<&Described>) {
    let Some(before) = before else { return };
    let repository = ["coordinator", "repository"];
    if let (None, Some(there)) = (user.get(&repository), &before.repository)
        && before.is_ours
    {
        user.put(&repository, json!(there));
    }
    let replicas = ["coordinator", "replicas"];
    if user.get(&replicas).is_none() {
        user.put(&replicas, json!(before.replicas));
    }
}

async fn ask_for_repository(user: &mut UserValues, chart: &Chart) -> Result<()> {
    let path = ["coordinator", "repository"];
    let is_named = |value: Option<&Value>| value.and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    if is_named(user.get(&path)) || (user.get(&path).is_none() && is_named(chart.values.get(&path))) {
        return Ok(());
    }
    let question = "Registry and path of the images (such as registry.example/marblerun):";
    let answer = prompt::ask_word(question).await?.ok_or_else(no_repository)?;
    user.put(&path, json!(answer.trim_end_matches('/')));
    Ok(())
}

fn no_repository() -> anyhow::Error {
    Failure::usage(
        "it is not known where the images are: name registry and path with --repository HOST/PATH, or set \
         coordinator.repository in a file for --values",
    )
}

/// Which SGX device plugin the cluster has; nothing where SGX plays no part.
async fn devices(cluster: &Cluster, user: &mut UserValues, chart: &Chart, args: &InstallArgs) -> Result<()> {
    let settings = Settings::read(chart.values.with(user))?;
    if !settings.may_use_sgx() {
        // Neither do Marbles use it, unless somebody says so.
        let key = ["marbleInjector", "resourceKey"];
        if user.get(&key).is_none() {
            user.put(&key, json!(""));
        }
        return Ok(());
    }
    if let Some(key) = &args.resource_key {
        flags::use_plugin(user, &chart.values, &Plugin::from_resource_key(key));
        return Ok(());
    }
    let nodes = match cluster.everywhere::<Node>().list(&ListParams::default()).await {
        Ok(nodes) => nodes.items,
        Err(error) if is_forbidden(&error) => {
            warn("you may not see the nodes: Intel's SGX device plugin is assumed; --resource-key names another");
            return Ok(());
        }
        Err(error) => return Err(error).told("reading the nodes"),
    };
    let devices = survey(&nodes);
    match choose(&devices) {
        Some(plugin) => flags::use_plugin(user, &chart.values, plugin),
        None => warn(
            "no node offers SGX through a device plugin that is known, so the Coordinator will not be scheduled; \
             --resource-key names another plugin, --simulation runs without protection",
        ),
    }
    Ok(())
}

/// A state is where it was made, and opens where it was made. Another place would be a fresh deployment beside it.
fn refuse_to_lose_the_state(before: &Described, settings: &Settings) -> Result<()> {
    let kind = |distributed: bool| if distributed { "distributed" } else { "single" };
    if before.is_distributed != settings.is_distributed() {
        let flag =
            if before.is_distributed { "add --distributed-deployment" } else { "leave out --distributed-deployment" };
        return Err(Failure::conflict(format!(
            "the installation is a {} one, and would become a {} one, which keeps its state elsewhere: {flag}. To change \
             it, back up the state, 'marblerun uninstall', install anew and restore the backup",
            kind(before.is_distributed),
            kind(settings.is_distributed())
        )));
    }
    let is_simulation = settings.tee() == marblerun_install::Tee::Simulation;
    if before.is_simulation != is_simulation {
        let flag = if before.is_simulation { "add --simulation" } else { "leave out --simulation" };
        return Err(Failure::conflict(format!(
            "the installation runs {}, and would run {}, where its state does not open: {flag}. To change it, \
             'marblerun uninstall --delete-state' and install anew",
            if before.is_simulation { "in simulation" } else { "protected" },
            if is_simulation { "in simulation" } else { "protected" }
        )));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn described(is_distributed: bool, is_simulation: bool) -> Described {
        Described {
            repository: Some("r.example/m".to_owned()),
            is_distributed,
            has_state_in_secret: is_distributed,
            is_simulation,
            is_ours: true,
            replicas: 2,
            state_secret: names::STATE_SECRET.to_owned(),
            kek_config_map: names::KEK_CONFIG_MAP.to_owned(),
            claim: None,
        }
    }

    fn settings(text: &str) -> Settings {
        let user = UserValues::from_yaml(text).unwrap();
        Settings::read(Chart::built_in().unwrap().values.with(&user)).unwrap()
    }

    #[test]
    fn no_run_moves_the_state_elsewhere_or_runs_where_it_does_not_open() {
        let (single, distributed) = ("", "coordinator: {distributedDeployment: true}");
        assert!(refuse_to_lose_the_state(&described(false, false), &settings(single)).is_ok());
        assert!(refuse_to_lose_the_state(&described(true, false), &settings(distributed)).is_ok());
        let error = refuse_to_lose_the_state(&described(true, false), &settings(single)).unwrap_err().to_string();
        assert!(error.contains("add --distributed-deployment"), "{error}");
        assert!(refuse_to_lose_the_state(&described(false, false), &settings(distributed)).is_err());
        let error = refuse_to_lose_the_state(&described(false, true), &settings(single)).unwrap_err().to_string();
        assert!(error.contains("add --simulation"), "{error}");
    }

    #[test]
    fn what_nobody_says_anew_stays_as_it_is() {
        let mut user = UserValues::default();
        keep_what_is_there(&mut user, Some(&described(true, false)));
        assert_eq!(user.get(&["coordinator", "replicas"]), Some(&json!(2)));
        assert_eq!(user.get(&["coordinator", "repository"]), Some(&json!("r.example/m")));
        let mut user = UserValues::from_yaml("coordinator: {replicas: 5, repository: other}").unwrap();
        keep_what_is_there(&mut user, Some(&described(true, false)));
        assert_eq!(user.get(&["coordinator", "replicas"]), Some(&json!(5)));
        assert_eq!(user.get(&["coordinator", "repository"]), Some(&json!("other")));
    }
}
