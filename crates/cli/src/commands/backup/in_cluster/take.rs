//! Reading a state out of a Secret: one read, and where its snapshot lies in parts, head, parts, and head again.

use std::path::Path;

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;

use crate::commands::kubernetes::{Cluster, Told as _};
use crate::state_secret::{PARTS, Part, Sealed, StateSecret};

/// A bank is not written again before the second next snapshot: twice in a row is rare, more often means something else.
const ATTEMPTS: u32 = 5;

/// The state in a Secret, whole; `None` if there is none.
pub async fn state(cluster: &Cluster, name: &str) -> Result<Option<Sealed>> {
    let Some(secret) = secret(cluster, name).await? else { return Ok(None) };
    if !secret.has_state() {
        return Ok(None);
    }
    Sealed::new(Path::new(&format!("secret/{name}")), secret).map(Some)
}

/// The Secret as it is, whatever it holds.
pub async fn secret(cluster: &Cluster, name: &str) -> Result<Option<StateSecret>> {
    let secrets = cluster.here::<Secret>();
    for _ in 0..ATTEMPTS {
        let Some(head) = read(&secrets, name).await? else { return Ok(None) };
        if !head.is_in_parts() {
            return Ok(Some(head));
        }
        let mut parts = Vec::new();
        for part in Part::all() {
            let there = secrets.get_opt(&part.name(name)).await.told("reading a part of the state")?;
            parts.extend(there.and_then(StateSecret::part_of).map(|bytes| (part, bytes)));
        }
        // What the first head names is still there if the second one names the same.
        let Some(mut again) = read(&secrets, name).await? else { return Ok(None) };
        if again.value(PARTS) == head.value(PARTS) {
            again.parts.extend(parts);
            return Ok(Some(again));
        }
    }
    bail!("Secret {name} got another snapshot during each of {ATTEMPTS} copies; try again when less is written")
}

async fn read(secrets: &Api<Secret>, name: &str) -> Result<Option<StateSecret>> {
    let found = secrets.get_opt(name).await.told("reading the Secret with the state")?;
    Ok(found.map(StateSecret::of))
}
