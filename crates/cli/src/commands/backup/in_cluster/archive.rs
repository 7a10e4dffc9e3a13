//! What a restore replaces, kept as the Coordinator keeps it: in one of five Secrets, of which those older than 30 days may
//! be used again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use marblerun_install::archives;
use marblerun_store::format::SEALED_DATA;

use crate::commands::kubernetes::{Cluster, Told as _};
use crate::failure::Failure;
use crate::state_secret::StateSecret;

/// How long what was replaced is kept for sure.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

// As the Coordinator reads and writes them.
const REASON: &str = "marblerun/archive-reason";
const TIME: &str = "marblerun/archive-time";
const DIGEST: &str = "marblerun/archive-digest";

/// An archive that there is.
struct Kept {
    name: String,
    metadata: ObjectMeta,
}

/// Where a state is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Room {
    /// It is there already, from a restore that was interrupted, or one to the same state.
    Already(String),
    /// Nothing is there.
    Free(String),
    /// What is there is old enough to be replaced.
    Old(String),
}

impl Room {
    /// Name of the Secret.
    pub fn name(&self) -> &str {
        match self {
            Self::Already(name) | Self::Free(name) | Self::Old(name) => name,
        }
    }
}

/// Finds room, without writing anything yet.
pub async fn find_room(cluster: &Cluster, state: &StateSecret) -> Result<Room> {
    let mut kept = Vec::new();
    for name in archives(&state.name) {
        let found = cluster.here::<Secret>().get_metadata_opt(&name).await.told("looking at the archives")?;
        kept.extend(found.map(|found| Kept { name, metadata: found.metadata }));
    }
    choose(&state.name, &kept, &fingerprint(state), Timestamp::now()).ok_or_else(|| {
        Failure::conflict(format!(
            "what would be replaced cannot be archived, so it is not: all archives ({}) are younger than 30 days. Look at \
             them ('marblerun backup list --kubernetes'), and delete one you do not need: kubectl -n {} delete secret {}",
            archives(&state.name).join(", "),
            cluster.namespace,
            archives(&state.name).first().map(String::as_str).unwrap_or_default(),
        ))
    })
}

/// Keeps a state there.
pub async fn keep(cluster: &Cluster, state: &StateSecret, room: &Room) -> Result<()> {
    let secrets = cluster.here::<Secret>();
    let mut archive = state.object(room.name());
    let ours = [
        (REASON.to_owned(), "restored".to_owned()),
        (TIME.to_owned(), Timestamp::now().to_string()),
        (DIGEST.to_owned(), fingerprint(state)),
    ];
    archive.metadata.annotations = Some(BTreeMap::from(ours));
    archive.metadata.labels = None;
    let told = "archiving what is to be replaced";
    match room {
        Room::Already(_) => return Ok(()),
        Room::Free(_) => drop(secrets.create(&PostParams::default(), &archive).await.told(told)?),
        Room::Old(name) => {
            // Only the one that was looked at.
            archive.metadata.resource_version = secrets.get_metadata(name).await.told(told)?.metadata.resource_version;
            drop(secrets.replace(name, &PostParams::default(), &archive).await.told(told)?);
        }
    }
    Ok(())
}

fn fingerprint(state: &StateSecret) -> String {
    hex::encode(digest(&SHA256, state.value(SEALED_DATA).unwrap_or_default()))
}

fn choose(state: &str, kept: &[Kept], fingerprint: &str, now: Timestamp) -> Option<Room> {
    let note = |kept: &Kept, key: &str| kept.metadata.annotations.as_ref().and_then(|notes| notes.get(key)).cloned();
    if let Some(same) = kept.iter().find(|kept| note(kept, DIGEST).as_deref() == Some(fingerprint)) {
        return Some(Room::Already(same.name.clone()));
    }
    if let Some(free) = archives(state).into_iter().find(|name| kept.iter().all(|kept| kept.name != *name)) {
        return Some(Room::Free(free));
    }
    let age = |kept: &Kept| {
        let noted = note(kept, TIME).and_then(|time| time.parse::<Timestamp>().ok());
        let made = noted.or_else(|| kept.metadata.creation_timestamp.as_ref().map(|time| time.0))?;
        Duration::try_from(now.duration_since(made)).ok()
    };
    let old = kept.iter().filter_map(|kept| Some((age(kept)?, kept))).filter(|(age, _)| *age > KEPT);
    old.max_by_key(|(age, _)| *age).map(|(_, kept)| Room::Old(kept.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-03-01T00:00:00Z";

    fn kept(place: u8, time: &str, digest: &str) -> Kept {
        let notes = [(TIME.to_owned(), time.to_owned()), (DIGEST.to_owned(), digest.to_owned())];
        let metadata = ObjectMeta { annotations: Some(BTreeMap::from(notes)), ..ObjectMeta::default() };
        Kept { name: format!("s-archive-{place}"), metadata }
    }

    fn room(kept: &[Kept]) -> Option<Room> {
        choose("s", kept, "mine", NOW.parse().unwrap())
    }

    #[test]
    fn a_free_place_is_taken_before_an_old_one_and_a_young_one_never() {
        let old = "2026-01-01T00:00:00Z";
        let young = "2026-02-28T00:00:00Z";
        assert_eq!(room(&[]), Some(Room::Free("s-archive-0".to_owned())));
        assert_eq!(room(&[kept(0, old, "a"), kept(2, young, "b")]), Some(Room::Free("s-archive-1".to_owned())));
        let mut full: Vec<Kept> = (0..5).map(|place| kept(place, young, "x")).collect();
        assert_eq!(room(&full), None);
        full[1] = kept(1, old, "x");
        full[3] = kept(3, "2025-12-01T00:00:00Z", "x");
        assert_eq!(room(&full), Some(Room::Old("s-archive-3".to_owned())), "the oldest");
        full[4] = kept(4, young, "mine");
        assert_eq!(room(&full), Some(Room::Already("s-archive-4".to_owned())));
    }

    #[test]
    fn an_archive_of_unknown_age_is_not_replaced() {
        let full: Vec<Kept> = (0..5).map(|place| kept(place, "yesterday", "x")).collect();
        assert_eq!(room(&full), None);
    }
}
