//! Putting a backup in place of a state in a Secret: archive what is there, stop all Coordinators, replace, start as many
//! again, and tell what became of it. What was interrupted is finished by running it again.

use std::path::Path;

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use marblerun_sealing::SlotKind;
use marblerun_store::backup::{self, BackupError, Facts};
use marblerun_store::format::{KeyFile, SEALED_KEY};
use tokio::time::{Duration, Instant, sleep};

use super::archive::{self, Room};
use super::came_back::{self, Return};
use super::place::{Found, Place};
use super::{scale, take};
use crate::args::RestoreOptions;
use crate::commands::kubernetes::{Cluster, Told as _, is_absent, is_forbidden, plain};
use crate::failure::Failure;
use crate::state_secret::{MOST_VALUES, Part, Sealed, StateSecret};

/// How long the API server may take to remove an object.
const GONE: Duration = Duration::from_secs(30);
const EVERY: Duration = Duration::from_millis(200);

/// How it is to be done.
#[derive(Debug, Clone, Copy)]
pub struct How<'a> {
    /// The options of the command.
    pub options: &'a RestoreOptions,
    /// Replace even a newer state or another deployment.
    pub force: bool,
    /// When to stop waiting.
    pub end: Instant,
}

/// What is to be done, found out without changing anything.
pub struct Plan {
    /// What the backup is.
    pub facts: Facts,
    /// The Secret to write.
    pub target: StateSecret,
    /// Name of the Secret.
    pub name: String,
    /// The state that is there and goes; `None`: nothing is there.
    pub replaced: Option<StateSecret>,
    /// Where that is to be kept.
    pub room: Option<Room>,
    /// It is in place already.
    pub is_done: bool,
    /// The namespace must be made.
    pub makes_namespace: bool,
    /// The Deployment, if there is one.
    pub deployment: Option<Deployment>,
    /// How many hosts have an entry for a key of the backup.
    pub hosts_with_key: usize,
}

/// What was done.
pub struct Done {
    /// Where what was replaced is kept.
    pub archived: Option<String>,
    /// How many Coordinators were started again; `None`: they were left alone.
    pub started: Option<i32>,
    /// What became of them, if that was waited for.
    pub outcome: Option<Return>,
}

impl Plan {
    /// Finds out what is to be done.
    pub async fn make(cluster: &Cluster, found: Found, backup: Sealed, how: How<'_>) -> Result<Self> {
        let Place::Secret { name, kek_map } = &found.place else {
            return Err(Failure::usage("the state is in no Secret"));
        };
        let has_namespace = has_namespace(cluster).await?;
        if !has_namespace && !how.options.create_namespace {
            return Err(Failure::conflict(format!(
                "there is no namespace {}; --create-namespace makes it, and -n names another one",
                cluster.namespace
            )));
        }
        let current = take::secret(cluster, name).await?;
        let mut plan = Self {
            facts: backup.inspect()?,
            target: backup.secret,
            name: name.clone(),
            replaced: None,
            room: None,
            is_done: false,
            makes_namespace: !has_namespace,
            deployment: found.deployment,
            hosts_with_key: 0,
        };
        plan.target.name.clone_from(name);
        plan.target.namespace = Some(cluster.namespace.clone());
        plan.compare(current, how.force)?;
        if plan.target.bytes() > MOST_VALUES {
            return Err(Failure::conflict(format!(
                "the state has {} bytes with its key, and a Secret takes {MOST_VALUES}; nothing was changed",
                plan.target.bytes()
            )));
        }
        if let Some(replaced) = &plan.replaced {
            plan.room = Some(archive::find_room(cluster, replaced).await?);
        }
        plan.hosts_with_key = hosts_with_key(cluster, kek_map, &plan.target).await?;
        if let (true, Some(deployment)) = (how.options.no_scale, &plan.deployment) {
            let running = scale::running(cluster, deployment).await?;
            if !running.is_empty() {
                return Err(Failure::conflict(format!(
                    "Coordinators run ({}), and with --no-scale they are left to you: kubectl -n {} scale \
                     deployment/marblerun-coordinator --replicas=0",
                    running.join(", "),
                    cluster.namespace
                )));
            }
        }
        Ok(plan)
    }

    /// Decides over what is there. A Secret without a state is as good as none.
    fn compare(&mut self, current: Option<StateSecret>, force: bool) -> Result<()> {
        self.replaced = current.filter(StateSecret::has_state);
        self.is_done = false;
        let Some(current) = self.replaced.clone() else { return Ok(()) };
        // A key for this very state may be there, and need not have been in the backup.
        if self.target.fitting_key().is_none()
            && let Some(key) = current.value(SEALED_KEY)
        {
            let mut with_key = self.target.clone();
            with_key.data.insert(SEALED_KEY.to_owned(), key.to_vec());
            if with_key.fitting_key().is_some() {
                self.target = with_key;
            }
        }
        let same = |(name, value): (&String, &Vec<u8>)| current.data.get(name) == Some(value);
        let has_parts = || self.target.parts.iter().all(|(part, bytes)| current.parts.get(part) == Some(bytes));
        if self.target.data.iter().all(same) && has_parts() {
            self.is_done = true;
            self.replaced = None;
            return Ok(());
        }
        if force {
            return Ok(());
        }
        let place = format!("secret/{}", self.name);
        let there = Sealed::new(Path::new(&place), current.clone()).map_err(|error| BackupError::WouldReplace {
            code: "unknown_state",
            reason: format!("it cannot be told whether {place} is newer than the backup: {error:#}"),
        })?;
        backup::may_replace(&self.facts, &there.inspect()?)?;
        // An archive keeps the Secret, and only names its parts.
        let overwritten = self.target.parts.iter().find(|(part, bytes)| {
            current.is_in_parts() && current.parts.get(part).is_some_and(|there| there != *bytes)
        });
        if let Some((part, _)) = overwritten {
            return Err(Failure::conflict(format!(
                "the state in {place} lies partly in Secret {}, which the restore would replace, and an archive does not \
                 keep it. Back it up first ('marblerun backup create --kubernetes FILE'), then restore with --force",
                part.name(&self.name)
            )));
        }
        Ok(())
    }

    /// The Deployment that is to be stopped and started: nobody is stopped for a state that is there already, unless by a
    /// restore that was interrupted.
    fn scaled(&self, how: How<'_>) -> Option<&Deployment> {
        let is_needed = |deployment: &&Deployment| !self.is_done || scale::is_interrupted(deployment);
        self.deployment.as_ref().filter(is_needed).filter(|_| !how.options.no_scale)
    }

    /// What is going to happen, in lines.
    pub fn in_words(&self, how: How<'_>) -> Vec<String> {
        let mut lines = Vec::new();
        let namespace = self.target.namespace.as_deref().unwrap_or_default();
        if self.makes_namespace {
            lines.push(format!("make namespace {namespace}"));
        }
        let scaled = self.scaled(how);
        if let Some(deployment) = scaled {
            lines.push(format!("stop all Coordinators ({} now)", scale::wanted(deployment)));
        }
        match (&self.room, self.is_done) {
            (_, true) => lines.push(format!("leave secret/{} as it is: it holds this very state", self.name)),
            (Some(Room::Already(name)), _) => lines.push(format!("what is replaced is kept as secret/{name} already")),
            (Some(room), _) => lines.push(format!("keep what is in secret/{} as secret/{}", self.name, room.name())),
            (None, _) => {}
        }
        for part in self.target.parts.keys() {
            lines.push(format!("write secret/{}", part.name(&self.name)));
        }
        if !self.is_done {
            let verb = if self.replaced.is_some() { "delete and make" } else { "make" };
            lines.push(format!("{verb} secret/{}, as 'kubectl replace --force' does", self.name));
        }
        if let Some(deployment) = scaled {
            lines.push(format!("start {} Coordinators", scale::former(deployment)));
        }
        lines
    }

    /// Does it.
    pub async fn carry_out(mut self, cluster: &Cluster, how: How<'_>) -> Result<(Done, Self)> {
        if self.makes_namespace {
            let namespace = Namespace {
                metadata: ObjectMeta { name: Some(cluster.namespace.clone()), ..ObjectMeta::default() },
                ..Namespace::default()
            };
            cluster.everywhere().create(&PostParams::default(), &namespace).await.told("making the namespace")?;
        }
        let scaled = self.scaled(how).cloned();
        let archived = match &scaled {
            Some(deployment) => {
                scale::stop(cluster, deployment).await?;
                let replaced = match scale::await_end(cluster, how.end).await {
                    Ok(()) => self.replace(cluster, how).await,
                    Err(error) => return Err(error),
                };
                match replaced {
                    // Refused, with nothing changed: as if it had not been tried.
                    Err(error) if error.is::<BackupError>() || error.is::<Failure>() => {
                        scale::start(cluster, scale::former(deployment)).await?;
                        return Err(error.context("the Coordinators were stopped, and started again with nothing changed"));
                    }
                    replaced => replaced.with_context(|| {
                        format!(
                            "the restore was interrupted with all Coordinators stopped. Run the same command again: it goes \
                             on where it stopped, and starts {} again",
                            scale::former(deployment)
                        )
                    })?,
                }
            }
            None => self.replace(cluster, how).await?,
        };
        let mut done = Done { archived, started: None, outcome: None };
        if let Some(deployment) = &scaled {
            let replicas = scale::former(deployment);
            scale::start(cluster, replicas).await?;
            done.started = Some(replicas);
            if replicas > 0 && !how.options.no_wait {
                done.outcome = Some(came_back::wait(cluster, how.end).await?);
            }
        }
        Ok((done, self))
    }

    /// With nobody writing any more.
    async fn replace(&mut self, cluster: &Cluster, how: How<'_>) -> Result<Option<String>> {
        // Since the plan was made, Coordinators may have written.
        self.compare(take::secret(cluster, &self.name).await?, how.force)?;
        if self.is_done {
            return Ok(self.room.as_ref().map(|room| room.name().to_owned()));
        }
        let mut archived = None;
        if let Some(replaced) = &self.replaced {
            let room = archive::find_room(cluster, replaced).await?;
            archive::keep(cluster, replaced, &room).await?;
            archived = Some(room.name().to_owned());
        }
        for (part, bytes) in &self.target.parts {
            write_part(cluster, *part, &self.name, bytes).await?;
        }
        remove(cluster, &self.name).await?;
        let made = cluster.here::<Secret>().create(&PostParams::default(), &self.target.object(&self.name)).await;
        let made = made.map_err(plain).context("making the Secret with the restored state")?;
        if StateSecret::of(made).data != self.target.data {
            anyhow::bail!("the API server has stored something else than secret/{} that it was given", self.name);
        }
        Ok(archived)
    }
}

async fn has_namespace(cluster: &Cluster) -> Result<bool> {
    match cluster.everywhere::<Namespace>().get_metadata_opt(&cluster.namespace).await {
        Ok(found) => Ok(found.is_some()),
        // Who may only use a namespace has one.
        Err(error) if is_forbidden(&error) => Ok(true),
        Err(error) => Err(error).told("looking for the namespace"),
    }
}

async fn write_part(cluster: &Cluster, part: Part, state: &str, bytes: &[u8]) -> Result<()> {
    let secrets = cluster.here::<Secret>();
    let mut object = StateSecret::part_object(part, state, bytes);
    let name = part.name(state);
    let there = secrets.get_metadata_opt(&name).await.told("looking at a part of the state")?;
    let written = match there {
        Some(there) => {
            object.metadata.resource_version = there.metadata.resource_version;
            secrets.replace(&name, &PostParams::default(), &object).await
        }
        None => secrets.create(&PostParams::default(), &object).await,
    };
    written.told("writing a part of the state").map(drop)
}

/// Deletes the Secret, if it is there, and waits until it is gone. The one that is made after it is another object, which
/// tells the Coordinators that this is a restore.
async fn remove(cluster: &Cluster, name: &str) -> Result<()> {
    let secrets = cluster.here::<Secret>();
    let doing = "deleting the Secret with the old state";
    let Some(there) = secrets.get_metadata_opt(name).await.told(doing)? else { return Ok(()) };
    let only = Preconditions { uid: there.metadata.uid, resource_version: there.metadata.resource_version };
    let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
    match secrets.delete(name, &params).await {
        Err(error) if is_absent(&error) => return Ok(()),
        other => drop(other.told(doing)?),
    }
    let end = Instant::now() + GONE;
    while secrets.get_metadata_opt(name).await.told(doing)?.is_some() {
        if Instant::now() >= end {
            anyhow::bail!("secret/{name} is being deleted, and something holds it back (finalizers)");
        }
        sleep(EVERY).await;
    }
    Ok(())
}

/// How many hosts could open the state by themselves: a host's entry is named after the key that it holds. A backend that
/// all hosts reach counts as one.
async fn hosts_with_key(cluster: &Cluster, kek_map: &str, state: &StateSecret) -> Result<usize> {
    let keys = cluster_keys(state);
    if keys.is_empty() {
        return Ok(0);
    }
    let map = match cluster.here::<ConfigMap>().get_opt(kek_map).await {
        Ok(map) => map,
        Err(error) if is_forbidden(&error) => None,
        Err(error) => return Err(error).told("reading the keys of the hosts"),
    };
    let entries = map.and_then(|map| map.binary_data).unwrap_or_default();
    let mut hosts: Vec<&str> = entries
        .keys()
        .filter_map(|entry| {
            let mut fields = entry.split('.');
            let host = fields.next()?;
            fields.next().is_some_and(|key| keys.iter().any(|id| id == key)).then_some(host)
        })
        .collect();
    hosts.sort_unstable();
    hosts.dedup();
    Ok(hosts.len())
}

/// Names of the key encryption keys that open it.
fn cluster_keys(state: &StateSecret) -> Vec<String> {
    let Some(Ok(KeyFile::Ours(key))) = state.fitting_key().map(KeyFile::decode) else { return Vec::new() };
    let slots = key.entries.iter().flat_map(|entry| &entry.slots);
    slots.filter(|slot| slot.kind() == Some(SlotKind::Cluster)).map(|slot| hex::encode(&slot.params)).collect()
}
