//! Watches that end, stall or have missed something.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _};
use kube::api::{WatchEvent, WatchParams};
use marblerun_testkit::chaos::{Fault, Verb};

use crate::scene::{STATE, Scene, value};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_what_happens_until_it_ends_stalls_or_has_missed_something() {
    let scene = Scene::new().await;
    let mut newest = scene.put(&scene.get().await, "0").await.unwrap();
    let only = WatchParams::default().fields(&format!("metadata.name={STATE}"));
    let after = Duration::from_secs(3);
    let long = Duration::from_secs(60);
    for (fault, name) in [
        (Fault::EndWatch { after }, "end watch"),
        (Fault::StallWatch { after }, "stall watch"),
        (Fault::ExpireWatch { after }, "expire watch"),
        (Fault::Pass, "pass"),
    ] {
        scene.at(Verb::Watch, fault);
        let version = newest.metadata.resource_version.clone().unwrap();
        let mut events = Box::pin(scene.secrets.watch(&only, &version).await.unwrap());
        newest = scene.put(&newest, name).await.unwrap();
        let event = tokio::time::timeout(long, events.try_next()).await.expect(name).unwrap();
        assert!(matches!(event, Some(WatchEvent::Modified(secret)) if value(&secret) == name), "{name}");
        if fault == Fault::Pass {
            scene.proxy.break_connections();
        }
        let begun = Instant::now();
        let next = tokio::time::timeout(after * 2, events.next()).await;
        match fault {
            Fault::EndWatch { .. } => assert!(matches!(next, Ok(None)), "{next:?}"),
            Fault::ExpireWatch { .. } => {
                assert!(matches!(&next, Ok(Some(Ok(WatchEvent::Error(status)))) if status.code == 410), "{next:?}");
                assert!(events.next().await.is_none());
            }
            Fault::StallWatch { .. } => {
                // The client's own time-out is all that helps.
                assert!(!matches!(next, Ok(Some(Ok(_)))), "{next:?}");
                newest = scene.put(&newest, "unseen").await.unwrap();
                let next = tokio::time::timeout(after, events.next()).await;
                assert!(!matches!(next, Ok(Some(Ok(_)))), "{next:?}");
            }
            _ => assert!(matches!(next, Ok(None | Some(Err(_)))) && begun.elapsed() < after, "{next:?}"),
        }
    }
    assert_eq!(["end watch", "stall watch", "expire watch"].map(|name| scene.count(name)), [1; 3]);
}
