//! Requests and answers that are lost, late, refused or repeated.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use marblerun_testkit::chaos::{Fault, Verb};

use crate::scene::{STATE, Scene, code};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_faults_everything_passes_as_the_clients_own_request() {
    let scene = Scene::new().await;
    let log = scene.namespace.control_plane().audit_log().from_now().unwrap();
    let written = scene.put(&scene.get().await, "1").await.unwrap();
    let error = scene
        .put(
            &Secret {
                metadata: ObjectMeta { resource_version: Some("1".into()), ..written.metadata.clone() },
                ..written
            },
            "2",
        )
        .await
        .unwrap_err();
    assert_eq!(code(&error), Some(409), "the API server's own answers pass");
    assert_eq!(scene.truth(), "1");

    let told = log.requests_of(&scene.account.user).unwrap();
    let told: Vec<(&str, Option<u16>)> = told.iter().map(|request| (request.verb.as_str(), request.code)).collect();
    assert_eq!(told, [("get", Some(200)), ("update", Some(200)), ("update", Some(409))]);
    let calls = scene.proxy.calls();
    let last = calls.last().unwrap();
    assert_eq!((last.call.verb, last.call.name.as_str(), last.status), (Verb::Update, STATE, Some(409)));
    assert_eq!(scene.proxy.counts().into_keys().collect::<Vec<_>>(), ["pass"]);

    // And over HTTP/2, as kubectl speaks.
    let through = scene.proxy.kubeconfig(&scene.account).unwrap();
    let through = scene.account.clone().with_kubeconfig(through);
    let read = through.kubectl(["get", "secret", STATE, "--output=jsonpath={.data.k}"]).unwrap();
    assert_eq!(read.ok().unwrap(), "MQ==");
    assert!(through.kubectl(["get", "pods"]).unwrap().stderr.contains("Forbidden"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_request_changes_nothing_and_a_lost_answer_hides_a_change() {
    let scene = Scene::new().await;
    let base = scene.put(&scene.get().await, "0").await.unwrap();
    scene.at(Verb::Update, Fault::LoseRequest);
    assert_eq!(code(&scene.put(&base, "lost").await.unwrap_err()), None);
    assert_eq!(scene.truth(), "0");

    scene.at(Verb::Update, Fault::LoseAnswer);
    assert_eq!(code(&scene.put(&base, "1").await.unwrap_err()), None);
    assert_eq!(scene.truth(), "1");

    scene.at(Verb::Update, Fault::Hide { status: 504 });
    assert_eq!(code(&scene.put(&scene.get().await, "2").await.unwrap_err()), Some(504));
    assert_eq!(scene.truth(), "2");

    for refused in [409, 429, 503, 504] {
        scene.at(Verb::Update, Fault::Refuse { status: refused, retry_after: Some(1) });
        assert_eq!(code(&scene.put(&scene.get().await, "refused").await.unwrap_err()), Some(refused));
    }
    assert_eq!(scene.truth(), "2");

    // What a repetition below the client makes of a success.
    scene.at(Verb::Update, Fault::Repeat);
    assert_eq!(code(&scene.put(&scene.get().await, "3").await.unwrap_err()), Some(409));
    assert_eq!(scene.truth(), "3");

    let (begun, delay) = (Instant::now(), Duration::from_millis(300));
    scene.at(Verb::Update, Fault::Delay(delay));
    scene.put(&scene.get().await, "4").await.unwrap();
    assert!(begun.elapsed() >= delay);
    let names = ["lose request", "lose answer", "hide", "refuse", "repeat", "delay"];
    assert_eq!(names.map(|name| scene.count(name)), [1, 1, 1, 4, 1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_request_lands_after_its_client_gave_it_up_unless_another_was_faster() {
    let scene = Scene::new().await;
    let base = scene.put(&scene.get().await, "0").await.unwrap();
    let after = Duration::from_secs(5);
    scene.at(Verb::Update, Fault::LandLate { after, answer: Some(504) });
    assert_eq!(code(&scene.put(&base, "late").await.unwrap_err()), Some(504));
    assert_eq!(scene.truth(), "0");
    assert!(scene.proxy.settle(Duration::ZERO).is_err(), "it is on its way");
    scene.proxy.settle(Duration::from_secs(60)).unwrap();
    assert_eq!(scene.truth(), "late");

    let base = scene.get().await;
    scene.at(Verb::Update, Fault::LandLate { after, answer: None });
    assert_eq!(code(&scene.put(&base, "too late").await.unwrap_err()), None);
    scene.proxy.calm();
    scene.put(&base, "faster").await.unwrap();
    scene.proxy.settle(Duration::from_secs(60)).unwrap();
    assert_eq!(scene.truth(), "faster");
}
