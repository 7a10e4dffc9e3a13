//! Nothing gets through, and then it does again.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _};
use kube::api::WatchParams;
use marblerun_testkit::chaos::Link;

use crate::scene::{PATIENCE, STATE, Scene, code};

/// Longer than anything should take on a machine that runs other tests too.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_link_refuses_or_is_silent_and_a_mended_one_serves() {
    let scene = Scene::new().await;
    let base = scene.put(&scene.get().await, "0").await.unwrap();
    for link in [Link::Down, Link::Silent] {
        scene.proxy.set_link(link);
        let begun = Instant::now();
        assert_eq!(code(&scene.put(&base, "cut off").await.unwrap_err()), None, "{link:?}");
        assert_eq!(begun.elapsed() > PATIENCE / 2, link == Link::Silent, "{link:?}: {:?}", begun.elapsed());
        scene.proxy.set_link(Link::Up);
        let mended = Instant::now();
        while scene.secrets.get(STATE).await.is_err() {
            assert!(mended.elapsed() < LONG, "{link:?} is not mended");
        }
        assert_eq!(scene.truth(), "0", "what was on its way is lost");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_over_a_silent_link_tells_nothing_and_breaks_when_the_silence_does() {
    let scene = Scene::new().await;
    let version = scene.get().await.metadata.resource_version.unwrap();
    let only = WatchParams::default().fields(&format!("metadata.name={STATE}"));
    let mut events = Box::pin(scene.secrets.watch(&only, &version).await.unwrap());
    scene.proxy.set_link(Link::Silent);
    let change = "--patch={\"data\":{\"k\":\"MQ==\"}}";
    scene.namespace.kubectl(["patch", "secret", STATE, change]).unwrap().ok().unwrap();
    assert!(tokio::time::timeout(PATIENCE / 2, events.try_next()).await.is_err(), "an event got through");
    scene.proxy.set_link(Link::Up);
    let end = tokio::time::timeout(LONG, events.next()).await.unwrap();
    assert!(matches!(end, None | Some(Err(_))), "{end:?}");
}
