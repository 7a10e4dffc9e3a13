//! What is there decides, too: an earlier installation, and the nodes.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Secret};
use kube::api::ListParams;
use marblerun_install::devices::{Plugin, choose, survey};
use marblerun_install::values::UserValues;
use marblerun_install::{Chart, Settings, Tee};
use serde_json::{Value, json};

use super::super::cluster::{Cluster, Told as _, is_forbidden};
use super::super::installation::Described;
use super::flags;
use crate::args::InstallArgs;
use crate::failure::Failure;
use crate::output::warn;
use crate::prompt;

/// What nobody said anew stays as it is.
pub fn keep_what_is_there(user: &mut UserValues, before: Option<&Described>) {
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

/// A registry is never guessed.
pub async fn ask_for_repository(user: &mut UserValues, chart: &Chart) -> Result<()> {
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

/// Nobody said where the images are.
pub fn no_repository() -> anyhow::Error {
    Failure::usage(
        "it is not known where the images are: name registry and path with --repository HOST/PATH, or set \
         coordinator.repository in a file for --values",
    )
}

/// Which SGX device plugin the cluster has; nothing where SGX plays no part.
pub async fn devices(cluster: &Cluster, user: &mut UserValues, chart: &Chart, args: &InstallArgs) -> Result<()> {
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

/// What a pod gets files of must be there, or the pod waits for it for ever. Whoever may not see it is believed.
pub async fn named_objects(cluster: &Cluster, settings: &Settings) -> Result<()> {
    for named in settings.named_by_values() {
        let keys = match named.kind {
            "Secret" => {
                cluster.here::<Secret>().get_opt(named.name).await.map(|found| found.map(|secret| keys(secret.data)))
            }
            _ => cluster.here::<ConfigMap>().get_opt(named.name).await.map(|found| found.map(|map| keys(map.data))),
        };
        let keys = match keys {
            Err(error) if is_forbidden(&error) => continue,
            keys => keys.told("looking for what the values name")?,
        };
        let (kind, name, value, namespace) = (named.kind, named.name, named.value, &cluster.namespace);
        let make = |key: &str| {
            let what = if kind == "Secret" { "secret generic" } else { "configmap" };
            format!("'kubectl -n {namespace} create {what} {name} --from-file={key}'")
        };
        let key = named.key.unwrap_or("FOLDER");
        match keys {
            None => {
                return Err(Failure::conflict(format!(
                    "{value} names {kind} {name}, which is not in namespace {namespace}, so no pod would start; make it: \
                     {}",
                    make(key)
                )));
            }
            Some(keys) if named.key.is_some_and(|key| !keys.iter().any(|found| found == key)) => {
                return Err(Failure::conflict(format!(
                    "{kind} {name} in namespace {namespace} has no {key:?}, so no pod would start; it has {}",
                    if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") }
                )));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn keys<T>(data: Option<BTreeMap<String, T>>) -> Vec<String> {
    data.unwrap_or_default().into_keys().collect()
}

/// A state is where it was made, and opens where it was made. Another place would be a fresh deployment beside it.
pub fn refuse_to_lose_the_state(before: &Described, settings: &Settings) -> Result<()> {
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
    let is_simulation = settings.tee() == Tee::Simulation;
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

#[cfg(test)]
mod tests {
    use marblerun_install::names;

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
