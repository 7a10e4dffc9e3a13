//! The proxy between a client and a real API server does to requests what it says, and nothing else.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Error};
use marblerun_testkit::chaos::{Call, ChaosProxy, Fault, Link, SeededPlan, Verb};
use marblerun_testkit::kube::{ControlPlane, Namespace, Role, ServiceAccount};

const STATE: &str = "marblerun-state";

/// A proxy, and a Secret behind it.
struct Scene {
    proxy: ChaosProxy,
    secrets: Api<Secret>,
    account: ServiceAccount,
    namespace: Namespace,
}

impl Scene {
    async fn new() -> Self {
        let namespace = ControlPlane::shared().unwrap().namespace().unwrap();
        let account = namespace.service_account(Role::Ours).unwrap();
        let proxy = ChaosProxy::start(namespace.control_plane()).unwrap();
        let secrets = Api::default_namespaced(client(&proxy.kubeconfig(&account).unwrap()).await);
        let scene = Self { proxy, secrets, account, namespace };
        let empty = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": STATE}});
        scene.secrets.patch(STATE, &PatchParams::apply("test"), &Patch::Apply(empty)).await.unwrap();
        scene
    }

    /// Every call of that verb suffers that; the others do not.
    fn at(&self, verb: Verb, fault: Fault) {
        self.proxy.set_policy(move |call| if call.verb == verb { fault } else { Fault::Pass });
    }

    /// A write as a Coordinator does it: of what it has read.
    async fn put(&self, base: &Secret, value: &str) -> Result<Secret, Error> {
        self.secrets.replace(STATE, &PostParams::default(), &with(base, value)).await
    }

    async fn get(&self) -> Secret {
        self.secrets.get(STATE).await.unwrap()
    }

    /// What is really there.
    fn truth(&self) -> String {
        let words = ["get", "secret", STATE, "--output=go-template={{.data.k | base64decode}}"];
        self.namespace.kubectl(words).unwrap().ok().unwrap()
    }

    fn count(&self, name: &str) -> usize {
        self.proxy.counts().get(name).copied().unwrap_or(0)
    }
}

/// As a Coordinator's: nothing is repeated below it, nothing waits for ever.
async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    config.read_timeout = Some(Duration::from_secs(2));
    Client::try_from(config).unwrap()
}

fn with(base: &Secret, value: &str) -> Secret {
    let data = BTreeMap::from([("k".to_owned(), ByteString(value.as_bytes().to_vec()))]);
    Secret { data: Some(data), ..base.clone() }
}

fn value(secret: &Secret) -> &str {
    std::str::from_utf8(&secret.data.as_ref().unwrap()["k"].0).unwrap()
}

fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Api(status) => Some(status.code),
        _ => None,
    }
}

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
    let after = Duration::from_millis(1500);
    scene.at(Verb::Update, Fault::LandLate { after, answer: Some(504) });
    assert_eq!(code(&scene.put(&base, "late").await.unwrap_err()), Some(504));
    assert_eq!(scene.truth(), "0");
    assert!(scene.proxy.settle(Duration::ZERO).is_err(), "it is on its way");
    scene.proxy.settle(Duration::from_secs(20)).unwrap();
    assert_eq!(scene.truth(), "late");

    let base = scene.get().await;
    scene.at(Verb::Update, Fault::LandLate { after, answer: None });
    assert_eq!(code(&scene.put(&base, "too late").await.unwrap_err()), None);
    scene.proxy.calm();
    scene.put(&base, "faster").await.unwrap();
    scene.proxy.settle(Duration::from_secs(20)).unwrap();
    assert_eq!(scene.truth(), "faster");
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_what_happens_until_it_ends_stalls_or_has_missed_something() {
    let scene = Scene::new().await;
    let mut newest = scene.put(&scene.get().await, "0").await.unwrap();
    let only = WatchParams::default().fields(&format!("metadata.name={STATE}"));
    let after = Duration::from_millis(1500);
    let long = Duration::from_secs(20);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_link_refuses_or_is_silent_and_a_mended_one_serves() {
    let scene = Scene::new().await;
    let base = scene.put(&scene.get().await, "0").await.unwrap();
    for (link, patience) in [(Link::Down, Duration::from_millis(1500)), (Link::Silent, Duration::from_secs(6))] {
        scene.proxy.set_link(link);
        let begun = Instant::now();
        assert_eq!(code(&scene.put(&base, "cut off").await.unwrap_err()), None, "{link:?}");
        assert!(begun.elapsed() < patience && (link == Link::Down || begun.elapsed() > Duration::from_millis(1500)));
        scene.proxy.set_link(Link::Up);
        let mended = Instant::now();
        while scene.secrets.get(STATE).await.is_err() {
            assert!(mended.elapsed() < Duration::from_secs(20), "{link:?} is not mended");
        }
        assert_eq!(scene.truth(), "0", "what was on its way is lost");
    }

    // The API server's own absence passes through as such.
    let plane = ControlPlane::builder().start().unwrap();
    let account = plane.namespace().unwrap();
    let account = account.service_account(Role::Ours).unwrap();
    let proxy = ChaosProxy::start(&plane).unwrap();
    let secrets: Api<Secret> = Api::default_namespaced(client(&proxy.kubeconfig(&account).unwrap()).await);
    assert_eq!(code(&secrets.get(STATE).await.unwrap_err()), Some(404));
    plane.stop_api_server().unwrap();
    assert_eq!(code(&secrets.get(STATE).await.unwrap_err()), None);
    plane.start_api_server().unwrap();
    let started = Instant::now();
    while secrets.get(STATE).await.is_ok_and(|_| true) || code(&secrets.get(STATE).await.unwrap_err()) != Some(404) {
        assert!(started.elapsed() < Duration::from_secs(20), "the proxy does not find the API server again");
    }
}

/// What the proxy is for, in small: a counter kept by compare-and-swap, whose writers read back what they are in doubt of,
/// counts right through everything that a plan throws at it; one that believes every answer does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doubts_resolved_by_reading_back_survive_a_seeded_plan_and_believing_answers_does_not() {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 25;
    let plan = |seed| {
        SeededPlan::new(seed)
            .only("secrets")
            .with(0.05, Fault::LoseRequest)
            .with(0.1, Fault::LoseAnswer)
            .with(0.05, Fault::Hide { status: 504 })
            .with(0.05, Fault::Repeat)
            .with(0.05, Fault::Refuse { status: 503, retry_after: Some(1) })
            .with(0.05, Fault::LandLate { after: Duration::from_millis(300), answer: None })
            .storm(0.1, 10, Fault::CONFLICT)
    };
    for resolve in [true, false] {
        let scene = Scene::new().await;
        scene.put(&scene.get().await, "0").await.unwrap();
        scene.proxy.set_policy(plan(11).policy());
        let writers = (0..WRITERS).map(|writer| {
            let secrets = scene.secrets.clone();
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    increment(&secrets, &format!("{writer}.{round}"), resolve).await;
                }
            })
        });
        futures_util::future::try_join_all(writers).await.unwrap();
        scene.proxy.settle(Duration::from_secs(20)).unwrap();
        let counted: usize = scene.truth().split(' ').next().unwrap().parse().unwrap();
        let counts = scene.proxy.counts();
        assert_eq!(counted == WRITERS * ROUNDS, resolve, "{counted} counted; {counts:?}");
        for fault in ["lose request", "lose answer", "hide", "repeat", "refuse", "land late"] {
            assert!(counts.contains_key(fault), "{fault}: {counts:?}");
        }
    }
}

/// The value is the count, and the names of all increments so far.
async fn increment(secrets: &Api<Secret>, name: &str, resolve: bool) {
    loop {
        let Ok(base) = secrets.get(STATE).await else { continue };
        let text = value(&base);
        if resolve && text.split(' ').skip(1).any(|done| done == name) {
            return;
        }
        let (count, done) = text.split_once(' ').unwrap_or((text, ""));
        let next = format!("{} {done} {name}", count.parse::<u64>().unwrap() + 1);
        if secrets.replace(STATE, &PostParams::default(), &with(&base, &next)).await.is_ok() {
            return;
        }
    }
}

#[test]
fn a_policy_sees_every_request_as_the_api_server_understands_it() {
    let namespace = ControlPlane::shared().unwrap().namespace().unwrap();
    let account = namespace.service_account(Role::Ours).unwrap();
    let proxy = ChaosProxy::start(namespace.control_plane()).unwrap();
    let through = account.clone().with_kubeconfig(proxy.kubeconfig(&account).unwrap());
    let (tell, told) = std::sync::mpsc::channel::<Call>();
    proxy.set_policy(move |call| {
        let _ = tell.send(call.clone());
        if call.resource == "endpointslices" { Fault::Refuse { status: 503, retry_after: None } } else { Fault::Pass }
    });
    assert!(!through.kubectl(["get", "endpointslices"]).unwrap().is_ok());
    through.kubectl(["get", "configmap", "marblerun-sealed-kek"]).unwrap();
    let told: Vec<(Verb, String, String)> = told
        .try_iter()
        .filter(|call| call.namespace == namespace.name())
        .map(|call| (call.verb, call.resource, call.name))
        .collect();
    assert!(told.contains(&(Verb::List, "endpointslices".into(), String::new())), "{told:?}");
    assert!(told.contains(&(Verb::Get, "configmaps".into(), "marblerun-sealed-kek".into())), "{told:?}");
}
