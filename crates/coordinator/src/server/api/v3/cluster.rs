//! A state that several Coordinators share: what is known about it, and what operators decide.

use std::time::{Duration, Instant};

use http::StatusCode;
use marblerun_api::v3;
use marblerun_state::Standing;
use marblerun_store::cluster::{ClusterView, KekId, Peer, PeerAnswer};

use super::Result;
use crate::core::{OfflineCounts, not_shared};
use crate::error::{Error, ErrorKind};
use crate::server::http::envelope;
use crate::server::http::guard::UserPass;
use crate::server::http::router::Call;

/// What this Coordinator knows of the state that it shares with others.
#[utoipa::path(
    get,
    path = "/api/v3/cluster",
    responses(
        (status = 200, description = "What is known.", body = v3::Cluster),
        (status = 409, description = "This Coordinator does not share its state.", body = v3::Problem),
    )
)]
pub(in crate::server::api) async fn cluster(call: Call<()>) -> Result {
    let coordinator = call.coordinator();
    let view = coordinator.cluster_view().ok_or_else(not_shared)?;
    let shown = shown(&view, coordinator.offline_grace(), coordinator.observer().offline());
    Ok(envelope::json(StatusCode::OK, &shown))
}

/// What lies in the shared place replaces what is served here.
#[utoipa::path(
    post,
    path = "/api/v3/restore/accept",
    responses(
        (status = 200, description = "Accepted.", body = v3::Decided),
        (status = 401, description = "Not a user of the manifest that is in force here.", body = v3::Problem),
        (status = 403, description = "This user may not update the manifest.", body = v3::Problem),
        (status = 409, description = "There is nothing to decide, or the state is not shared.", body = v3::Problem),
        (status = 503, description = "It could not be written.", body = v3::Problem),
    )
)]
pub(in crate::server::api) async fn accept_restore(call: Call<UserPass>) -> Result {
    let by = call.coordinator().accept_restore(Some(&call.pass.certificate)).await?;
    Ok(decided(
        by,
        "the state that lies in the shared place is taken over; it goes on as another life of the deployment",
    ))
}

/// What is served here is written back over what lies in the shared place, which is archived.
#[utoipa::path(
    post,
    path = "/api/v3/restore/reject",
    responses(
        (status = 200, description = "Rejected.", body = v3::Decided),
        (status = 401, description = "Not a user of the manifest that is in force here.", body = v3::Problem),
        (status = 403, description = "This user may not update the manifest.", body = v3::Problem),
        (status = 409, description = "There is nothing to decide, or the state is not shared.", body = v3::Problem),
        (status = 503, description = "It could not be written.", body = v3::Problem),
    )
)]
pub(in crate::server::api) async fn reject_restore(call: Call<UserPass>) -> Result {
    let by = call.coordinator().reject_restore(Some(&call.pass.certificate)).await?;
    Ok(decided(by, "the state that is served here was written back; what lay in the shared place is archived"))
}

/// Another key encryption key.
#[utoipa::path(
    post,
    path = "/api/v3/kek/rotate",
    request_body(content = v3::KekRotation, description = "May be empty."),
    responses(
        (status = 200, description = "Rotated.", body = v3::Decided),
        (status = 400, description = "The body cannot be read.", body = v3::Problem),
        (status = 401, description = "Not a user of the manifest.", body = v3::Problem),
        (status = 403, description = "This user may not update the manifest.", body = v3::Problem),
        (status = 409, description = "Not now, or the state is not shared.", body = v3::Problem),
        (status = 503, description = "It could not be written.", body = v3::Problem),
    )
)]
pub(in crate::server::api) async fn rotate_kek(call: Call<UserPass>) -> Result {
    let v3::KekRotation { revoke } = match call.body.is_empty() {
        true => v3::KekRotation::default(),
        false => serde_json::from_slice(&call.body)
            .map_err(|error| Error::new(ErrorKind::BadRequest, "bad_json", error.to_string()))?,
    };
    let by = call.coordinator().rotate_kek(Some(&call.pass.certificate), revoke).await?;
    Ok(decided(
        by,
        match revoke {
            true => "the old key encryption keys open nothing any more; the data encryption key is another one, too",
            false => "a new key encryption key is in force; the old one goes once every host has the new one",
        },
    ))
}

fn decided(by: String, message: &str) -> envelope::Answer {
    envelope::json(StatusCode::OK, &v3::Decided { by, message: message.to_owned() })
}

/// How long ago the published state was proved to be the newest.
pub(super) fn validated_ms_ago(view: &ClusterView) -> Option<u64> {
    let age = Instant::now().saturating_duration_since(view.validated?);
    Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}

/// Both heads, if they contradict each other.
pub(super) fn divergence(view: &ClusterView) -> Option<v3::Divergence> {
    let divergence = view.diverged.as_ref()?;
    Some(v3::Divergence {
        reason: divergence.reason.clone(),
        here: view.standing.as_ref().map(head),
        found: divergence.found.as_ref().map(head),
        last_writer: divergence.last_writer.clone(),
    })
}

fn shown(view: &ClusterView, grace: Duration, offline: OfflineCounts) -> v3::Cluster {
    let bytes = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    let writers = view.standing.iter().flat_map(|standing| standing.writers.iter());
    v3::Cluster {
        place: view.place.clone(),
        boot: hex::encode(view.boot.0),
        serving: view.serving,
        head: view.standing.as_ref().map(head),
        writers: writers
            .map(|mark| v3::Writer {
                boot: hex::encode(mark.boot.0),
                sequence: mark.sequence,
                commit: hex::encode(mark.commit.0),
            })
            .collect(),
        kek_ids: ids(&view.kek_ids()),
        slots: ids(&view.slots),
        wanted: ids(&view.wanted),
        entry_sealed: view.entry_sealed,
        validated_ms_ago: validated_ms_ago(view),
        offline_grace_seconds: grace.as_secs(),
        offline_activations: offline.activations,
        in_doubt: view.in_doubt,
        doubts: view.doubts,
        conflicts: view.conflicts,
        bytes: bytes(view.bytes),
        limit: bytes(view.limit),
        part_bytes: bytes(view.part_bytes),
        missing: view.missing,
        divergence: divergence(view),
        peers: view.peers.iter().map(peer).collect(),
        format: view.format,
    }
}

fn ids(keks: &[KekId]) -> Vec<String> {
    keks.iter().map(|id| hex::encode(id.0)).collect()
}

fn head(standing: &Standing) -> v3::Head {
    v3::Head {
        deployment: hex::encode(standing.lineage.deployment_id),
        incarnation: standing.lineage.incarnation,
        incarnation_id: hex::encode(standing.lineage.incarnation_id),
        sequence: standing.sequence,
        head: hex::encode(standing.head),
    }
}

fn peer(peer: &Peer) -> v3::Peer {
    let detail = match &peer.answer {
        PeerAnswer::Silent(why) | PeerAnswer::Rejected(why) => Some(why.clone()),
        PeerAnswer::Greeted(_) | PeerAnswer::Myself | PeerAnswer::Nobody => None,
    };
    let greeting = match &peer.answer {
        PeerAnswer::Greeted(greeting) => Some(greeting),
        _ => None,
    };
    v3::Peer {
        address: peer.address.clone(),
        answer: answer_of(&peer.answer),
        detail,
        boot: greeting.map(|greeting| hex::encode(greeting.boot.0)),
        version: greeting.map(|greeting| greeting.version.clone()),
        head: greeting.and_then(|greeting| greeting.standing.as_ref()).map(head),
    }
}

/// How an address answered, in one word.
pub(in crate::server) fn answer_of(answer: &PeerAnswer) -> v3::PeerAnswer {
    match answer {
        PeerAnswer::Greeted(greeting) if greeting.serving => v3::PeerAnswer::Serving,
        PeerAnswer::Greeted(greeting) if greeting.recovering => v3::PeerAnswer::Recovering,
        PeerAnswer::Greeted(_) => v3::PeerAnswer::Waiting,
        PeerAnswer::Myself => v3::PeerAnswer::Myself,
        PeerAnswer::Nobody => v3::PeerAnswer::Nobody,
        PeerAnswer::Silent(_) => v3::PeerAnswer::Silent,
        PeerAnswer::Rejected(_) => v3::PeerAnswer::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use marblerun_store::cluster::Kek;

    use super::*;
    use crate::core::sample;

    #[test]
    fn everything_is_told_and_no_key() {
        let kek = Kek::generate().unwrap();
        let view = ClusterView {
            keks: vec![kek.clone()],
            slots: vec![kek.id()],
            peers: vec![sample::greeted(true), sample::peer(PeerAnswer::Silent("3 s".to_owned()))],
            ..sample::diverged_view()
        };
        let shown = shown(&view, Duration::from_secs(300), OfflineCounts { activations: 2, signed_quotes: 0 });
        let text = serde_json::to_string(&shown).unwrap();
        assert_eq!(shown.kek_ids, shown.slots);
        assert!(text.contains(&hex::encode(kek.id().0)) && !text.contains(&hex::encode(kek.expose())), "{text}");
        let divergence = shown.divergence.unwrap();
        assert_eq!(divergence.here, shown.head);
        assert_eq!((divergence.here.unwrap().sequence, divergence.found.unwrap().sequence), (7, 5));
        assert_eq!(divergence.last_writer, "kubectl");
        assert_eq!(shown.writers.len(), 1);
        assert_eq!((shown.offline_grace_seconds, shown.offline_activations), (300, 2));
        let answers: Vec<_> = shown.peers.iter().map(|peer| (peer.answer, peer.detail.as_deref())).collect();
        assert_eq!(answers, [(v3::PeerAnswer::Serving, None), (v3::PeerAnswer::Silent, Some("3 s"))]);
    }
}
