//! `marblerun backup .. --kubernetes`: states in a cluster.

mod archive;
mod came_back;
mod place;
mod pod;
mod restore;
mod scale;
mod take;
mod volume;

use std::path::Path;

use anyhow::{Result, bail};
use jiff::Timestamp;
use marblerun_install::archives;
use marblerun_store::backup::{Condition, Created, Facts, Incoming, read_whole};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use self::came_back::Return;
use self::place::{Found, Place};
use self::pod::{Exec, Volume};
use self::restore::{Done, How, Plan};
use super::{about_secret, listed, time, to_json};
use crate::args::{Global, InCluster, RestoreOptions};
use crate::commands::kubernetes::{self, Cluster, in_lines};
use crate::failure::Failure;
use crate::files;
use crate::output::{Output, note, shown, warn};
use crate::prompt;
use crate::state_secret::{Sealed, Source, StateSecret};

/// The cluster that is meant.
async fn find(global: &Global, options: &InCluster) -> Result<Cluster> {
    Cluster::find(kubernetes::namespace(global)?, &options.cluster()).await
}

/// The state in a cluster as a Secret, for other commands; the namespace it is in comes with it.
pub async fn state(global: &Global, options: &InCluster) -> Result<Source> {
    let cluster = find(global, options).await?;
    match Found::look(&cluster).await?.place {
        Place::Secret { name, .. } => match take::state(&cluster, &name).await? {
            Some(sealed) => Ok(Source::Secret(sealed)),
            None => Err(nothing_there(&cluster)),
        },
        Place::Volume => {
            let pod = Exec::find(&cluster).await?;
            let place = format!("pod/{}", pod.name());
            let Some((bytes, _)) = Volume::new(pod).state().await? else { return Err(nothing_there(&cluster)) };
            let secret =
                StateSecret { namespace: Some(cluster.namespace), ..StateSecret::of_file(bytes, "marblerun-state") };
            Ok(Source::Secret(Sealed::new(Path::new(&place), secret)?))
        }
        Place::Nowhere => Err(nothing_there(&cluster)),
    }
}

fn nothing_there(cluster: &Cluster) -> anyhow::Error {
    Failure::conflict(format!(
        "there is no state of MarbleRun in namespace {} of {}; -n names another namespace, --kube-context another cluster",
        cluster.namespace, cluster.server
    ))
}

/// A backup of the state in a cluster: of a Secret as a file for `kubectl`, of a volume as a copy of the file in it.
pub async fn create(
    global: &Global,
    options: &InCluster,
    destination: &Path,
) -> Result<(Created, Option<StateSecret>)> {
    let cluster = find(global, options).await?;
    match Found::look(&cluster).await?.place {
        Place::Secret { name, .. } => {
            let Some(sealed) = take::state(&cluster, &name).await? else { return Err(nothing_there(&cluster)) };
            let (created, secret) = write(&sealed, destination)?;
            Ok((created, Some(secret)))
        }
        Place::Volume => {
            let volume = Volume::new(Exec::find(&cluster).await?);
            // A place first.
            let mut incoming = Incoming::begin(destination)?;
            let Some((bytes, _)) = volume.state().await? else { return Err(nothing_there(&cluster)) };
            incoming.write(&bytes)?;
            Ok((incoming.finish(Timestamp::now())?, None))
        }
        Place::Nowhere => Err(nothing_there(&cluster)),
    }
}

/// Writes a Secret as a file, once it is known that the file holds what the Secret did, and that this is whole.
fn write(sealed: &Sealed, destination: &Path) -> Result<(Created, StateSecret)> {
    let facts = sealed.inspect()?;
    if let Condition::Refused(refusal) = &facts.condition {
        bail!("{}: {refusal}. No backup was made of it", sealed.place.display());
    }
    let now = Timestamp::now();
    let path = if destination.is_dir() {
        let sequence =
            facts.sealed.as_ref().map_or_else(|| "upstream".to_owned(), |sealed| sealed.sequence.to_string());
        destination.join(format!("{}.{}.{sequence}.yaml", sealed.secret.name, now.strftime("%Y%m%dT%H%M%SZ")))
    } else {
        destination.to_path_buf()
    };
    let text = sealed.secret.to_yaml(&about(&sealed.secret, &facts, now));
    let again = Source::of_text(&path, &text)?;
    if again.secret != sealed.secret || again.sealed_data != sealed.sealed_data {
        bail!("the backup does not hold what it should; {} was not written", path.display());
    }
    files::write_new(&path, text.as_bytes())?;
    Ok((Created { facts: again.inspect()?, path }, again.secret))
}

/// The first lines of a backup, for people.
fn about(secret: &StateSecret, facts: &Facts, now: Timestamp) -> Vec<String> {
    let mut lines = vec![format!("Backup of a state of MarbleRun, taken {}", now.strftime("%Y-%m-%dT%H:%M:%SZ"))];
    if let Some(sealed) = &facts.sealed {
        let deployment = hex::encode(sealed.deployment_id);
        lines.push(format!("sequence {} of {}, deployment {deployment}", sealed.sequence, time(sealed.time_ms)));
    }
    lines.push("Restore: marblerun backup restore FILE --kubernetes".to_owned());
    let verb = if secret.can_be_applied() { "kubectl apply -f FILE where there is none, else " } else { "" };
    lines.push(format!("or, with all Coordinators stopped: {verb}kubectl replace --force -f FILE"));
    lines
}

/// The state in the cluster, and what restores and Coordinators have archived.
pub async fn list(global: &Global, options: &InCluster, output: &Output<'_>) -> Result<()> {
    let cluster = find(global, options).await?;
    let mut found = Vec::new();
    match Found::look(&cluster).await?.place {
        Place::Secret { name, .. } => {
            for name in [name.clone()].into_iter().chain(archives(&name)) {
                found.extend(take::state(&cluster, &name).await?.map(|sealed| sealed.inspect()).transpose()?);
            }
        }
        Place::Volume => {
            let volume = Volume::new(Exec::find(&cluster).await?);
            found.extend(volume.state().await?.map(|(_, facts)| facts));
        }
        Place::Nowhere => {}
    }
    listed(output, &found, &format!("namespace {}", cluster.namespace))
}

/// Puts a backup in place in a cluster.
pub async fn restore(global: &Global, output: &Output<'_>, backup: &Path, options: &RestoreOptions) -> Result<()> {
    let cluster = find(global, &options.in_cluster).await?;
    let source = Source::find(backup)?;
    let facts = source.inspect()?;
    if let Condition::Refused(refusal) = &facts.condition {
        bail!("{}: {refusal}. Nothing was changed", backup.display());
    }
    let end = Instant::now() + Duration::from_secs(options.timeout);
    let how = How { options, force: options.force, end };
    let mut found = Found::look(&cluster).await?;
    match found.place {
        Place::Volume => return volume::restore(global, output, &cluster, backup, &source, how).await,
        // Where nothing is yet, there is no pod to copy to: a distributed deployment is what can be restored before it is
        // installed.
        Place::Nowhere => found.place = Place::usual_secret(),
        Place::Secret { .. } => {}
    }
    let sealed = match source {
        Source::Secret(sealed) => sealed,
        Source::File(path) => Sealed::new(&path, StateSecret::of_file(read_whole(&path)?, "marblerun-state"))?,
    };
    let interrupted = found.deployment.as_ref().filter(|deployment| scale::is_interrupted(deployment));
    if let Some(deployment) = interrupted {
        note(&format!(
            "a restore was interrupted here; this one finishes it, and starts {} Coordinators again",
            scale::former(deployment)
        ));
    }
    let plan = Plan::make(&cluster, found, sealed, how).await?;
    let lines = plan.in_words(how);
    if options.dry_run {
        let value = json!({"dryRun": true, "backup": to_json(&plan.facts), "steps": lines, "hostsWithKey": plan.hosts_with_key});
        return output.result(&value, || {
            let steps = lines.iter().map(|line| format!("  {line}\n")).collect::<String>();
            format!("A restore of {} would\n{steps}{}", backup.display(), forecast(&plan))
        });
    }
    let steps = lines.iter().map(|line| format!("\n  {line}")).collect::<String>();
    let question =
        format!("Restore {} in namespace {} of {}?{steps}\n", backup.display(), cluster.namespace, cluster.server);
    prompt::confirm(global, &question).await?;
    let (done, plan) = plan.carry_out(&cluster, how).await?;
    report(output, &cluster, backup, &plan, &done, how)
}

/// What is to be expected of the hosts.
fn forecast(plan: &Plan) -> String {
    match plan.hosts_with_key {
        0 => {
            format!("No host is known to have a key for it: expect recovery by {}.", came_back::recoverers(&plan.facts))
        }
        1 => "One host has a key for it: a Coordinator there opens it by itself, and gives the key to the others."
            .to_owned(),
        hosts => format!("{hosts} hosts have a key for it: Coordinators there open it by themselves."),
    }
}

fn report(output: &Output<'_>, cluster: &Cluster, backup: &Path, plan: &Plan, done: &Done, how: How<'_>) -> Result<()> {
    let mut value = to_json(&plan.facts);
    if let Value::Object(map) = &mut value {
        map.insert("secret".to_owned(), about_secret(&plan.target));
        map.insert("archived".to_owned(), json!(done.archived));
        map.insert("coordinators".to_owned(), json!(done.started));
        map.insert("outcome".to_owned(), json!(done.outcome.as_ref().map(Return::code)));
        map.insert("hostsWithKey".to_owned(), json!(plan.hosts_with_key));
    }
    output.result(&value, || {
        let mut lines =
            vec![format!("Restored {} into secret/{} of namespace {}", backup.display(), plan.name, cluster.namespace)];
        lines.extend(done.archived.iter().map(|name| format!("What it replaced is kept as secret/{name}")));
        lines.push(next_step(plan, done, how));
        lines.join("\n")
    })?;
    match &done.outcome {
        Some(Return::NotReady(troubles)) => Err(Failure::conflict(format!(
            "the backup is in place, but the Coordinators were not ready in time. 'marblerun check' goes on waiting, 'marblerun \
             doctor' looks for the cause{}",
            shown(&in_lines(troubles))
        ))),
        _ => Ok(()),
    }
}

fn next_step(plan: &Plan, done: &Done, how: How<'_>) -> String {
    let recover = || {
        format!(
            "recover with the keys of the time of the backup ({}), at any one of them: see 'marblerun recover'",
            came_back::recoverers(&plan.facts)
        )
    };
    match (&done.outcome, done.started) {
        (Some(Return::Serving), _) => "The Coordinators run again, and opened it by themselves.".to_owned(),
        (Some(Return::Recovery), _) => format!("The Coordinators run again, and are in recovery mode: {}.", recover()),
        (Some(Return::Ready), _) => format!(
            "The Coordinators run again; what they say of their state could not be asked through the API server. 'marblerun \
             status' tells; where it says recovery mode, {}.",
            recover()
        ),
        (Some(Return::NotReady(_)), _) => "The Coordinators are starting.".to_owned(),
        (None, Some(0)) => {
            "There were no Coordinators, and there are none now: scale deployment/marblerun-coordinator up.".to_owned()
        }
        (None, Some(replicas)) => format!("{replicas} Coordinators are starting. {}", forecast(plan)),
        (None, None) if plan.deployment.is_none() => {
            format!("Install the Coordinators now: 'marblerun install --distributed-deployment'. {}", forecast(plan))
        }
        (None, None) if how.options.no_scale => {
            format!("Start the Coordinators now: scale deployment/marblerun-coordinator up. {}", forecast(plan))
        }
        (None, None) => forecast(plan),
    }
}

/// For a backup in a volume, where nothing is started.
fn tell_lost_writes() {
    warn("what the Coordinator acknowledges while its file is being replaced is in neither file; stop its users first");
}
