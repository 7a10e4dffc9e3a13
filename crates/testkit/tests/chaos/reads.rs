//! What was, shown or made true again.

use kube::api::ListParams;
use marblerun_testkit::chaos::{Fault, Verb};

use crate::scene::{STATE, Scene, code, value};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_read_shows_what_was_and_a_rollback_makes_it_so() {
    let scene = Scene::new().await;
    let mut newest = scene.get().await;
    for version in ["1", "2", "3"] {
        newest = scene.put(&newest, version).await.unwrap();
        assert_eq!(value(&scene.get().await), version);
    }
    scene.at(Verb::Get, Fault::Stale { back: 2 });
    assert_eq!(value(&scene.get().await), "1");
    assert_eq!(value(&scene.get().await), "1", "what is shown again is no new answer");
    scene.at(Verb::Get, Fault::Stale { back: 9 });
    assert_eq!(value(&scene.get().await), "3", "there is no answer that old");
    assert_eq!(scene.count("stale"), 2);

    scene.at(Verb::Get, Fault::RollBack { back: 1 });
    let rolled_back = scene.get().await;
    assert_eq!((value(&rolled_back), scene.truth().as_str()), ("2", "2"));
    assert_eq!(rolled_back.metadata.uid, newest.metadata.uid);
    assert_ne!(rolled_back.metadata.resource_version, newest.metadata.resource_version);
    scene.proxy.calm();
    assert_eq!(code(&scene.put(&newest, "4").await.unwrap_err()), Some(409), "its base is gone");
    assert_eq!(scene.count("roll back"), 1);

    // A list of the one object is about it, too.
    let only = ListParams::default().fields(&format!("metadata.name={STATE}"));
    scene.at(Verb::List, Fault::RollBack { back: 1 });
    let versions: Vec<Option<String>> = scene
        .secrets
        .list_metadata(&only)
        .await
        .unwrap()
        .items
        .into_iter()
        .map(|s| s.metadata.resource_version)
        .collect();
    assert_eq!(versions, [scene.get().await.metadata.resource_version]);
    assert_eq!(scene.count("roll back"), 2);
}
