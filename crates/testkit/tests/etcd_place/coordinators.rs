//! Coordinators with their state in etcd, who find each other there.

use std::path::Path;
use std::time::{Duration, Instant};

use marblerun_testkit::{Coordinator, TestUser};
use serde_json::json;

use crate::lab::EtcdLab;

const SOON: Duration = Duration::from_secs(60);

async fn start(lab: &EtcdLab, home: &Path, name: &str) -> Coordinator {
    start_sealed(lab, home, name, "host-key").await
}

async fn start_sealed(lab: &EtcdLab, home: &Path, name: &str, seal: &str) -> Coordinator {
    let passphrase = home.join("passphrase").display().to_string();
    let builder = Coordinator::builder(&home.join(name)).host_key(&home.join(format!("host of {name}")));
    let builder = builder.env("EDG_STORE_BACKEND", "etcd").env("MARBLERUN_KEY_ADDR", "127.0.0.1:0");
    let builder = builder.env("MARBLERUN_SEAL", seal).env("MARBLERUN_SEAL_PASSPHRASE_FILE", passphrase);
    let variables = lab.variables().into_iter();
    let builder = variables.fold(builder, |builder, (name, value)| builder.env(name, value));
    builder.start().await.expect("the Coordinator is to be built with `--features marblerun-coordinator/etcd`")
}

async fn is_at(coordinator: &Coordinator, status: i64) {
    let begun = Instant::now();
    while coordinator.status().await.ok() != Some(status) {
        assert!(begun.elapsed() < SOON, "not at {status}:\n{}", coordinator.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn coordinators_share_a_state_in_etcd_and_find_each_other_there() {
    let lab = EtcdLab::new();
    let home = tempfile::tempdir().unwrap();
    lab.runtime.block_on(async {
        let one = start(&lab, home.path(), "one").await;
        let two = start(&lab, home.path(), "two").await;
        for coordinator in [&one, &two] {
            is_at(coordinator, 2).await;
        }
        let user = TestUser::new("admin").unwrap();
        let manifest = json!({
            "Packages": {"app": {"Debug": true}},
            "Marbles": {"app": {"Package": "app"}},
            "Users": {"admin": {"Certificate": user.certificate_pem}},
        });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        one.client().await.unwrap().set_manifest(&manifest).await.unwrap();
        // Its key came from the other one, whom it found in etcd.
        is_at(&two, 3).await;
        let signature = async |coordinator: &Coordinator| {
            coordinator.client().await.unwrap().manifest().await.unwrap().manifest_signature_root_ecdsa
        };
        assert_eq!(signature(&one).await, signature(&two).await);

        one.kill().unwrap();
        two.terminate().await.unwrap();
        let again = start(&lab, home.path(), "one").await;
        is_at(&again, 3).await;
        let stranger = start(&lab, home.path(), "three").await;
        is_at(&stranger, 3).await;
        assert_eq!(signature(&again).await, signature(&stranger).await);
    });
}

#[test]
fn another_backend_takes_over_by_restarts_and_what_all_hosts_know_opens_the_state_on_a_new_one() {
    let lab = EtcdLab::new();
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("passphrase"), "correct horse battery staple").unwrap();
    lab.runtime.block_on(async {
        let one = start(&lab, home.path(), "one").await;
        is_at(&one, 2).await;
        let manifest = json!({"Packages": {"app": {"Debug": true}}, "Marbles": {"app": {"Package": "app"}}});
        let manifest = serde_json::to_vec(&manifest).unwrap();
        one.client().await.unwrap().set_manifest(&manifest).await.unwrap();
        let root = one.attest().await.unwrap().root;
        one.terminate().await.unwrap();
        for seal in ["passphrase,host-key", "passphrase"] {
            let one = start_sealed(&lab, home.path(), "one", seal).await;
            is_at(&one, 3).await;
            let begun = Instant::now();
            loop {
                let status = one.client().await.unwrap().v3().status().await.unwrap();
                if serde_json::to_string(&status).unwrap().contains("passphrase: passphrase") {
                    break;
                }
                assert!(begun.elapsed() < SOON, "the passphrase opens nothing: {status:?}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            one.kill().unwrap();
        }
        let stranger = start_sealed(&lab, home.path(), "two", "host-key,passphrase").await;
        is_at(&stranger, 3).await;
        assert_eq!(stranger.attest().await.unwrap().root, root);
    });
}
