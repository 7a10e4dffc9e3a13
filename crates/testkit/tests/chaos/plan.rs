//! Who decides what happens: a closure, or a plan by chance.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use marblerun_testkit::chaos::{Call, ChaosProxy, Fault, SeededPlan, Verb};
use marblerun_testkit::kube::{ControlPlane, Role};

use crate::scene::{STATE, Scene, value, with};

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
