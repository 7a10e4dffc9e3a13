//! The TTLS configuration that each Marble would get from its tags together: ports that contradict each other,
//! and tags that say nothing at all.

use std::collections::BTreeMap;

use super::{Report, Stage, limits};
use crate::model::{Manifest, Marble};
use crate::path;

/// Upstream lets the last entry of a port win. One that asks for client certificates would be switched off by another
/// that does not, in silence.
pub(super) fn check(manifest: &Manifest, report: &mut Report) {
    // A tag counts once for each Marble that lists it, so a manifest of moderate size could ask for billions.
    if limits::connections(manifest) > limits::MAX_CONNECTIONS {
        return;
    }
    for (name, marble) in &manifest.marbles {
        let mut seen: BTreeMap<&str, (&str, &str, bool)> = BTreeMap::new();
        for (index, tag) in marble.tls.iter().enumerate() {
            let entries = manifest.tls.get(tag).map_or(&[][..], |tag| &tag.incoming);
            for entry in entries {
                let this = (tag.as_str(), entry.cert.as_str(), entry.disable_client_auth);
                let (other, cert, disabled) = *seen.entry(&entry.port).or_insert(this);
                if (cert, disabled) != (this.1, this.2) {
                    let path = format!("{}[{index}]", path::of(["Marbles", name, "TLS"]));
                    let text = format!(
                        "Marble {name:?} has port {:?} in TLS tags {other:?} and {tag:?} with another Cert or \
                         DisableClientAuth",
                        entry.port
                    );
                    report.error(Stage::Check, "conflicting-port", path, text);
                }
            }
        }
    }
}

pub(super) fn warn(manifest: &Manifest, report: &mut Report) {
    let says_nothing = |tag: &String| {
        manifest
            .tls
            .get(tag)
            .is_none_or(|connections| connections.incoming.is_empty() && connections.outgoing.is_empty())
    };
    let is_empty = |marble: &Marble| !marble.tls.is_empty() && marble.tls.iter().all(says_nothing);
    for (name, _) in manifest.marbles.iter().filter(|(_, marble)| is_empty(marble)) {
        let text = "these tags have no connections; runtimes do not start a Marble with an empty TTLS configuration";
        report.warn("empty-ttls", path::of(["Marbles", name, "TLS"]), text);
    }
}
