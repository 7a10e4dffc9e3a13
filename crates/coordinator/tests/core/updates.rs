//! Package updates and full updates.

use std::sync::Arc;

use marblerun_coordinator::core::UpdateAnswer;
use marblerun_coordinator::error::ErrorKind;
use marblerun_state::{Change, Draft, PendingUpdate};
use serde_json::{Value, json};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

use crate::world::{UUID, World, first_certificate, json as bytes, text, user, user_pem, vector};

/// What a line says, without its time.
async fn said(world: &World) -> Vec<String> {
    world.log().await.into_iter().map(|line| line.split_once("Z\",").unwrap().1.to_owned()).collect()
}

fn extension(certificate: &[u8], oid: &str) -> Vec<u8> {
    let certificate = Certificate::from_der(certificate).unwrap();
    let extensions = certificate.tbs_certificate().extensions().unwrap();
    extensions.iter().find(|e| e.extn_id.to_string() == oid).unwrap().extn_value.as_bytes().to_vec()
}

fn not_after(certificate: &[u8]) -> u64 {
    Certificate::from_der(certificate).unwrap().tbs_certificate().validity().not_after.to_unix_duration().as_secs()
}

const SUBJECT_ALT_NAME: &str = "2.5.29.17";

#[tokio::test]
async fn a_package_update_renews_what_is_below_the_root_and_nothing_else() {
    let mut manifest: Value = serde_json::from_slice(&vector("updbase-single.json")).unwrap();
    manifest["Roles"]["rw"] = json!({"ResourceType": "Secrets", "ResourceNames": ["symShared", "certShared", "userPlain"], "Actions": ["ReadSecret"]});
    let world = World::with(&manifest).await;
    let before = world.coordinator.snapshot();
    let (sym, cert) = (world.read("alice", "symShared").await, world.read("alice", "certShared").await);
    let marble = world.activate("pin", UUID).await.unwrap();

    world.pass_days(10);
    let answer = world.coordinator.update(Some(&user("dave")), vector("upd-svn-two.json")).await.unwrap();
    assert_eq!(answer, UpdateAnswer::default());
    let after = world.coordinator.snapshot();
    let (old, new) = (before.authority(), after.authority());
    assert_eq!(old.root_certificate, new.root_certificate);
    assert_ne!(old.intermediate_certificate, new.intermediate_certificate);
    assert_ne!(old.intermediate_key.spki_der(), new.intermediate_key.spki_der());
    let names = extension(&old.root_certificate, SUBJECT_ALT_NAME);
    assert_eq!(extension(&new.intermediate_certificate, SUBJECT_ALT_NAME), names, "extra addresses are kept");
    assert_eq!(extension(&new.marble_root_certificate, SUBJECT_ALT_NAME), names);

    let manifest = world.coordinator.manifest().await.unwrap().unwrap();
    assert_eq!(manifest.raw, before.manifest().unwrap().raw);
    assert_eq!(manifest.signature, before.manifest().unwrap().signature);
    assert_eq!(world.read("alice", "symShared").await, sym);
    let reissued = world.read("alice", "certShared").await;
    assert_ne!(reissued.private, cert.private);
    assert_eq!(reissued.valid_for, cert.valid_for);
    assert_eq!(
        not_after(&reissued.cert.unwrap().0),
        not_after(&cert.cert.unwrap().0),
        "it ends when it would have ended"
    );
    let again = world.activate("pin", UUID).await.unwrap();
    assert_ne!(text(&again, "MARBLE_PREDEFINED_ROOT_CA"), text(&marble, "MARBLE_PREDEFINED_ROOT_CA"));
    assert!(
        said(&world).await[1..]
            .iter()
            .all(|line| line.starts_with(r#""update":"SecurityVersion increased","user":"dave","package":"#))
    );
}

#[tokio::test]
async fn the_version_in_force_is_what_the_next_update_is_held_against() {
    let world = World::new();
    world.coordinator.set_manifest(vector("updbase-single.json")).await.unwrap();
    let raise = async |version: u64| {
        let update = bytes(&json!({"Packages": {"app": {"SecurityVersion": version}}}));
        world.coordinator.update(Some(&user("dave")), update).await
    };
    raise(9).await.unwrap();
    raise(9).await.unwrap();
    assert_eq!(
        raise(8).await.unwrap_err().message,
        "checking update manifest: update manifest tries to downgrade SecurityVersion of the original manifest"
    );
    assert_eq!(world.coordinator.snapshot().package("app").unwrap().security_version, Some(9));
    assert_eq!(
        said(&world).await[1],
        r#""update":"SecurityVersion increased","user":"dave","package":"app","new version":9}"#
    );
}

#[tokio::test]
async fn the_log_tells_a_shared_decision_line_by_line() {
    let world = World::new();
    world.coordinator.set_manifest(vector("updbase-multi.json")).await.unwrap();
    let file = vector("other-multi-1.json");
    let c = &world.coordinator;
    c.update(Some(&user("alice")), file.clone()).await.unwrap();
    c.acknowledge_update(Some(&user("alice")), file.clone()).await.unwrap();
    c.cancel_update(Some(&user("bob"))).await.unwrap();
    c.update(Some(&user("bob")), file.clone()).await.unwrap();
    c.acknowledge_update(Some(&user("carol")), file.clone()).await.unwrap();
    c.acknowledge_update(Some(&user("alice")), file.clone()).await.unwrap();
    let f = c.manifest().await.unwrap().unwrap().fingerprint;
    let initiated = "Complete Manifest update initiated by user. Waiting for acknowledgments to apply the update";
    let acknowledged = "Complete Manifest update acknowledged by user";
    assert_eq!(
        said(&world).await,
        [
            r#""update":"Initial manifest set"}"#.to_owned(),
            format!(
                r#""update":"{initiated}","user":"alice","missingAcknowledgments":2,"missingUsers":["bob","carol"],"manifestFingerprint":"{f}"}}"#
            ),
            // The repeated acknowledgement said nothing new.
            format!(
                r#""update":"Complete Manifest update cancelled by user","user":"bob","manifestFingerprint":"{f}"}}"#
            ),
            format!(
                r#""update":"{initiated}","user":"bob","missingAcknowledgments":2,"missingUsers":["alice","carol"],"manifestFingerprint":"{f}"}}"#
            ),
            format!(
                r#""update":"{acknowledged}","user":"carol","missingAcknowledgments":1,"missingUsers":["alice"],"manifestFingerprint":"{f}"}}"#
            ),
            format!(
                r#""update":"{acknowledged}","user":"alice","missingAcknowledgments":0,"missingUsers":[],"manifestFingerprint":"{f}"}}"#
            ),
            format!(r#""update":"Complete Manifest updated","manifestFingerprint":"{f}"}}"#),
        ]
    );
}

#[tokio::test]
async fn an_update_by_one_alone_is_two_lines() {
    let world = World::new();
    world.coordinator.set_manifest(vector("updbase-single.json")).await.unwrap();
    let answer = world.coordinator.update(Some(&user("alice")), vector("updfull-recovery-removed.json")).await.unwrap();
    assert_eq!(answer.recovery_secrets, Some(Default::default()), "new recovery data, for nobody");
    assert!(world.coordinator.snapshot().recovery().is_empty());
    let f = world.coordinator.manifest().await.unwrap().unwrap().fingerprint;
    assert_eq!(
        said(&world).await[1..],
        [
            format!(
                r#""update":"Complete Manifest update initiated by user. No further acknowledgements required","user":"alice","manifestFingerprint":"{f}"}}"#
            ),
            format!(r#""update":"Complete Manifest updated","manifestFingerprint":"{f}"}}"#),
        ]
    );
}

#[tokio::test]
async fn a_proposal_that_could_not_be_applied_is_refused_at_once() {
    let world = World::new();
    world.coordinator.set_manifest(vector("updbase-multi.json")).await.unwrap();
    let error = world.coordinator.update(Some(&user("alice")), vector("multi-bad-template.json")).await.unwrap_err();
    assert!(error.message.starts_with("running manifest template dry run: "), "{error}");
    assert!(world.coordinator.pending_update().await.is_err());
    assert_eq!(world.log().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_several_proposals_at_once_exactly_one_wins() {
    let world = Arc::new(World::new());
    world.coordinator.set_manifest(vector("updbase-multi.json")).await.unwrap();
    let proposals: Vec<_> = ["alice", "bob", "carol", "alice", "bob", "carol"]
        .into_iter()
        .map(|who| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.coordinator.update(Some(&user(who)), vector("other-multi-1.json")).await })
        })
        .collect();
    let mut accepted = 0;
    for proposal in proposals {
        match proposal.await.unwrap() {
            Ok(_) => accepted += 1,
            Err(error) => assert_eq!(error.code, "update_in_progress"),
        }
    }
    assert_eq!(accepted, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn last_acknowledgements_at_once_apply_the_update_once() {
    let world = Arc::new(World::new());
    world.coordinator.set_manifest(vector("updbase-threshold2.json")).await.unwrap();
    world.coordinator.update(Some(&user("alice")), vector("other-multi-1.json")).await.unwrap();
    let last: Vec<_> = ["bob", "carol", "bob", "carol"]
        .into_iter()
        .map(|who| {
            let world = Arc::clone(&world);
            let file = vector("other-multi-1.json");
            tokio::spawn(async move { world.coordinator.acknowledge_update(Some(&user(who)), file).await })
        })
        .collect();
    let mut applied = 0;
    for acknowledgement in last {
        match acknowledgement.await.unwrap() {
            Ok(answer) => applied += i32::from(answer.missing_users.is_none()),
            Err(error) => assert_eq!(error.kind, ErrorKind::NotFound, "{error}"),
        }
    }
    assert_eq!(applied, 1);
    assert_eq!(said(&world).await.iter().filter(|line| line.contains("Complete Manifest updated")).count(), 1);
}

/// As upstream leaves it if it stops between the last acknowledgement and the update.
fn imported(missing: i64, acknowledged: &[&str]) -> World {
    let world = World::new();
    let mut draft = Draft::new(&world.coordinator.snapshot());
    let raw = vector("updbase-multi.json");
    let manifest = marblerun_manifest::Manifest::decode(&raw).unwrap();
    for (name, package) in manifest.packages {
        draft.record(Change::Package(name, Some(Arc::new(package)))).unwrap();
    }
    for (name, definition) in &manifest.secrets {
        let secret = marblerun_pki::Secret::from_definition(name, definition).unwrap();
        draft.record(Change::Secret(name.clone(), Some(Arc::new(secret)))).unwrap();
    }
    draft.record(Change::Manifest { raw: raw.into(), signature: vec![] }).unwrap();
    let owners = ["alice", "bob", "carol"];
    let required_users = owners.map(|name| (name.to_owned(), acknowledged.contains(&name))).into();
    let raw = vector("other-multi-1.json").into();
    let pending = PendingUpdate { raw, required_users, missing_acknowledgments: missing };
    draft.record(Change::PendingUpdate(Some(Arc::new(pending)))).unwrap();
    World::over(draft.into_parts().0)
}

#[tokio::test]
async fn an_imported_update_that_misses_nobody_is_applied_by_a_repeated_acknowledgement_or_cancelled() {
    let file = || vector("other-multi-1.json");
    for missing in [0, -1] {
        let world = imported(missing, &["alice", "bob", "carol"]);
        let other = world.coordinator.update(Some(&user("alice")), file()).await.unwrap_err();
        assert_eq!(other.code, "update_in_progress");
        let wrong = world.coordinator.acknowledge_update(Some(&user("bob")), vector("other-multi-1-ws.json")).await;
        assert_eq!(wrong.unwrap_err().code, "manifest_mismatch");
        let answer = world.coordinator.acknowledge_update(Some(&user("bob")), file()).await.unwrap();
        assert_eq!((answer.missing_users, answer.missing_acknowledgments), (None, 0));
        assert_eq!(world.coordinator.manifest().await.unwrap().unwrap().raw, file());
        assert!(world.coordinator.pending_update().await.is_err());

        let world = imported(missing, &["alice", "bob", "carol"]);
        world.coordinator.cancel_update(Some(&user("carol"))).await.unwrap();
        assert!(world.coordinator.pending_update().await.is_err());
        assert_eq!(world.coordinator.manifest().await.unwrap().unwrap().raw, vector("updbase-multi.json"));
    }
    let world = imported(1, &["alice", "bob"]);
    let answer = world.coordinator.acknowledge_update(Some(&user("carol")), file()).await.unwrap();
    assert_eq!(answer.missing_users, None, "one that misses somebody goes on where it was");
}

#[tokio::test]
async fn counts_of_activations_outlive_updates() {
    let world = World::new();
    world.coordinator.set_manifest(vector("updbase-single.json")).await.unwrap();
    world.activate("web", UUID).await.unwrap();
    assert!(world.activate("web", UUID).await.is_err(), "one is allowed");
    for update in ["updfull-remove-marble.json", "updbase-single.json"] {
        world.coordinator.update(Some(&user("alice")), vector(update)).await.unwrap();
    }
    world.coordinator.update(Some(&user("dave")), vector("upd-svn-higher.json")).await.unwrap();
    assert!(world.activate("web", UUID).await.is_err(), "and that one is spent");
}

#[tokio::test]
async fn a_user_whom_the_update_removes_is_a_stranger_afterwards() {
    let world = World::new();
    world.coordinator.set_manifest(vector("updbase-single.json")).await.unwrap();
    world.coordinator.update(Some(&user("alice")), vector("updfull-other-owner.json")).await.unwrap();
    let error = world.coordinator.update(Some(&user("alice")), vector("updbase-single.json")).await.unwrap_err();
    assert_ne!(error.code, "update_in_progress");
    assert!(matches!(error.kind, ErrorKind::Unauthorized | ErrorKind::Refused), "{error}");
}

#[tokio::test]
async fn a_manifest_that_asks_for_sealing_that_is_not_configured_is_refused() {
    let world = World::new();
    let manifest = json!({
        "Packages": {"app": {"Debug": true}},
        "Marbles": {"web": {"Package": "app"}},
        "Config": {"FeatureGates": ["AzureHSMSealing"]},
    });
    let error = world.coordinator.set_manifest(bytes(&manifest)).await.unwrap_err();
    assert!(error.message.starts_with("checking manifest: "), "{error}");
}

#[tokio::test]
async fn the_signature_and_the_quote_fit_the_root() {
    let world = World::new();
    world.coordinator.set_manifest(vector("updbase-single.json")).await.unwrap();
    let quote = world.coordinator.quote(&[1, 2, 3]).await.unwrap();
    assert_eq!(quote.quote, None, "simulation has no evidence");
    let chain = Certificate::load_pem_chain(quote.cert.as_bytes()).unwrap();
    let state = world.coordinator.snapshot();
    assert_eq!(chain[0].to_der().unwrap(), state.authority().intermediate_certificate);
    assert_eq!(chain[1].to_der().unwrap(), state.authority().root_certificate);
    let root = first_certificate(quote.cert.split_inclusive("-----END CERTIFICATE-----\n").nth(1).unwrap().as_bytes());
    let key = root.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes();
    for update in ["updbase-single.json", "updfull-rotate.json"] {
        world.coordinator.update(Some(&user("alice")), vector(update)).await.unwrap();
        let manifest = world.coordinator.manifest().await.unwrap().unwrap();
        assert_eq!(manifest.raw, vector(update));
        aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ECDSA_P384_SHA256_ASN1, key)
            .verify(&manifest.raw, &manifest.signature)
            .unwrap();
    }
    let _ = user_pem("alice");
}
