//! `marblerun cluster`, `restore`, `kek`: Coordinators that share a state.

use anyhow::{Context as _, Result};
use marblerun_api::v3::{Cluster, Decided, Head, Peer, PeerAnswer};

use crate::args::{ClusterCommand, Global, KekCommand, RestoreCommand};
use crate::output::{Output, row, shown};
use crate::{prompt, trust};

/// Runs `cluster ..`.
pub async fn run(global: &Global, output: &Output<'_>, command: ClusterCommand) -> Result<()> {
    let ClusterCommand::Status { at } = command;
    let coordinator = global.coordinator(&at)?;
    let client = trust::connect(global, &coordinator, None).await?;
    let cluster = client.v3().cluster().await.context("asking for the shared state")?;
    output.result(&cluster, || text(&cluster))
}

/// Runs `restore ..`.
pub async fn restore(global: &Global, output: &Output<'_>, command: RestoreCommand) -> Result<()> {
    let decided = match command {
        RestoreCommand::Accept { at, client } => {
            let client = super::user_client(global, &at, &client).await?;
            let question =
                "Take over the state that lies in the shared place? What is served now and is not in it is lost.";
            prompt::confirm(global, question).await?;
            client.v3().accept_restore().await.context("accepting the restored state")?
        }
        RestoreCommand::Reject { at, client } => {
            let client = super::user_client(global, &at, &client).await?;
            prompt::confirm(global, "Write the state that is served back over what lies in the shared place?").await?;
            client.v3().reject_restore().await.context("rejecting the restored state")?
        }
    };
    told(output, &decided)
}

/// Runs `kek ..`.
pub async fn kek(global: &Global, output: &Output<'_>, command: KekCommand) -> Result<()> {
    let KekCommand::Rotate { at, client, revoke } = command;
    let client = super::user_client(global, &at, &client).await?;
    let decided = client.v3().rotate_kek(revoke).await.context("rotating the key encryption key")?;
    told(output, &decided)
}

fn told(output: &Output<'_>, decided: &Decided) -> Result<()> {
    output.result(decided, || format!("{}: {}", shown(&decided.by), shown(&decided.message)))
}

fn text(cluster: &Cluster) -> String {
    let mut lines = vec![shown(&cluster.place)];
    let mut add = |label: &str, value: String| lines.push(row(label, &value));
    add("state", state(cluster).to_owned());
    if let Some(head) = &cluster.head {
        add("deployment", head.deployment.clone());
        add("head", at(head));
    }
    add(
        "validated",
        match cluster.validated_ms_ago {
            Some(ms) => format!("{}.{} s ago", ms / 1000, ms % 1000 / 100),
            None => "never".to_owned(),
        },
    );
    let parts = match cluster.part_bytes {
        0 => String::new(),
        bytes => format!(", and a snapshot of {bytes} bytes in parts"),
    };
    add("size", format!("{} of {} bytes{parts}", cluster.bytes, cluster.limit));
    add("writers", cluster.writers.len().to_string());
    add("keys at hand", list(&cluster.kek_ids));
    add("keys that open it", list(&cluster.slots));
    if !cluster.wanted.is_empty() {
        add("keys asked for", list(&cluster.wanted));
    }
    add("key of this host", if cluster.entry_sealed { "kept" } else { "not kept yet" }.to_owned());
    add("conflicts, doubts", format!("{}, {}", cluster.conflicts, cluster.doubts));
    add("offline activations", format!("{} (grace: {} s)", cluster.offline_activations, cluster.offline_grace_seconds));
    if let Some(divergence) = &cluster.divergence {
        add("diverged", divergence.reason.clone());
        add("served here", divergence.here.as_ref().map_or_else(|| "nothing".to_owned(), at));
        add("lies there", divergence.found.as_ref().map_or_else(|| "it cannot be opened".to_owned(), at));
        add("last written by", divergence.last_writer.clone());
    }
    for peer in &cluster.peers {
        add("peer", of_peer(peer));
    }
    lines.join("\n")
}

fn state(cluster: &Cluster) -> &'static str {
    match (cluster.divergence.is_some(), cluster.missing, cluster.in_doubt, cluster.serving) {
        (true, ..) => "diverged: nothing is written and nobody admitted",
        (_, true, ..) => "served, but the shared object was deleted",
        (_, _, true, _) => "a write is in doubt",
        (_, _, _, true) => "served",
        _ => "not open here",
    }
}

fn at(head: &Head) -> String {
    format!("incarnation {}, commit {} ({})", head.incarnation, head.sequence, head.head)
}

fn list(ids: &[String]) -> String {
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}

fn of_peer(peer: &Peer) -> String {
    let answer = match peer.answer {
        PeerAnswer::Serving => "serves",
        PeerAnswer::Recovering => "waits for recovery keys",
        PeerAnswer::Waiting => "waits",
        PeerAnswer::Myself => "this Coordinator",
        PeerAnswer::Nobody => "nobody listens",
        PeerAnswer::Silent => "does not answer",
        PeerAnswer::Rejected => "is not trusted, or does not trust this one",
    };
    let more = peer.head.as_ref().map(|head| format!(", commit {}", head.sequence));
    let more = more.or_else(|| peer.detail.as_ref().map(|detail| format!(": {detail}"))).unwrap_or_default();
    format!("{} {answer}{more}", peer.address)
}

#[cfg(test)]
mod tests {
    use marblerun_api::v3::Divergence;

    use super::*;

    fn head(sequence: u64) -> Head {
        Head {
            deployment: "dd".to_owned(),
            incarnation: 2,
            incarnation_id: "ii".to_owned(),
            sequence,
            head: "aa".to_owned(),
        }
    }

    fn cluster() -> Cluster {
        Cluster {
            place: "Secret marblerun/marblerun-state".to_owned(),
            boot: "bb".to_owned(),
            serving: true,
            head: Some(head(7)),
            writers: Vec::new(),
            kek_ids: vec!["k1".to_owned()],
            slots: vec!["k1".to_owned(), "k2".to_owned()],
            wanted: Vec::new(),
            entry_sealed: true,
            validated_ms_ago: Some(1234),
            offline_grace_seconds: 300,
            offline_activations: 0,
            in_doubt: false,
            doubts: 1,
            conflicts: 3,
            bytes: 9000,
            limit: 1_048_576,
            part_bytes: 0,
            missing: false,
            divergence: None,
            peers: Vec::new(),
            format: 1,
        }
    }

    #[test]
    fn a_cluster_is_told_in_lines() {
        let peer = |answer, detail: Option<&str>, head| Peer {
            address: "10.0.0.7:5433".to_owned(),
            answer,
            detail: detail.map(str::to_owned),
            boot: None,
            version: None,
            head,
        };
        let peers = vec![
            peer(PeerAnswer::Serving, None, Some(head(7))),
            peer(PeerAnswer::Silent, Some("3 s\n  peer x serves"), None),
        ];
        let text = text(&Cluster { peers, ..cluster() });
        for line in [
            "Secret marblerun/marblerun-state",
            "  state                  served",
            "  head                   incarnation 2, commit 7 (aa)",
            "  validated              1.2 s ago",
            "  size                   9000 of 1048576 bytes",
            "  keys that open it      k1, k2",
            "  conflicts, doubts      3, 1",
            "  peer                   10.0.0.7:5433 serves, commit 7",
            "  peer                   10.0.0.7:5433 does not answer: 3 s\u{fffd}  peer x serves",
        ] {
            assert!(text.lines().any(|given| given == line), "{line}:\n{text}");
        }
        assert!(!text.contains("diverged"), "{text}");
    }

    #[test]
    fn a_divergence_shows_both_states_and_who_wrote_last() {
        let divergence = Divergence {
            reason: "an older state lies there".to_owned(),
            here: Some(head(7)),
            found: Some(head(5)),
            last_writer: "kubectl".to_owned(),
        };
        let text = text(&Cluster { divergence: Some(divergence), ..cluster() });
        for line in [
            "  state                  diverged: nothing is written and nobody admitted",
            "  diverged               an older state lies there",
            "  served here            incarnation 2, commit 7 (aa)",
            "  lies there             incarnation 2, commit 5 (aa)",
            "  last written by        kubectl",
        ] {
            assert!(text.lines().any(|given| given == line), "{line}:\n{text}");
        }
    }
}
