//! Everything at once: lost requests, lost answers, late landings, conflict storms, stalled watches, API server
//! restarts, kill -9, while clients read and write through all instances. Their histories must be those of one object.
//!
//! `MARBLERUN_CHAOS_SECONDS` makes it longer, `MARBLERUN_CHAOS_SEED` repeats a plan.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use marblerun_client::{Client, ClientError, Trust};
use marblerun_testkit::chaos::{Fault, SeededPlan};
use marblerun_testkit::kube::ControlPlane;
use marblerun_testkit::linearizable::{Before, Counter, Recorder, Register, RegisterAnswer, RegisterCall, Set, check};
use marblerun_testkit::load;

use crate::{Story, until};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn plan(seed: u64) -> SeededPlan {
    SeededPlan::new(seed)
        .with(0.03, Fault::LoseRequest)
        .with(0.03, Fault::LoseAnswer)
        .with(0.02, Fault::LandLate { after: Duration::from_millis(700), answer: Some(504) })
        .with(0.02, Fault::Hide { status: 504 })
        .with(0.02, Fault::Repeat)
        .with(0.02, Fault::Refuse { status: 429, retry_after: Some(1) })
        .with(0.02, Fault::Refuse { status: 503, retry_after: None })
        .with(0.2, Fault::StallWatch { after: Duration::from_millis(500) })
        .storm(0.01, 20, Fault::CONFLICT)
}

/// Whether it is certain that a refused call had no effect.
fn had_no_effect(error: &ClientError) -> bool {
    let text = error.to_string();
    error.code().is_some() && !text.contains("not known") && !text.contains("unknown")
}

/// A client of whichever instance; another one after each failure.
struct Caller {
    clients: Vec<Client>,
    at: usize,
}

impl Caller {
    fn client(&self) -> (&Client, String) {
        let at = self.at % self.clients.len();
        (&self.clients[at], format!("instance-{at}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_network_does_the_state_is_one_object_and_nothing_acknowledged_is_lost() {
    let seconds = number("MARBLERUN_CHAOS_SECONDS", 25);
    let seed = number("MARBLERUN_CHAOS_SEED", 1);
    let plane = ControlPlane::builder().start().unwrap();
    let mut story = Story::begin_on(plane, &["alice"], 0, |builder| builder.through_proxies()).await;
    let root = story.cluster.get(0).unwrap().attest().await.unwrap().root;
    let endpoints = story.cluster.endpoints().unwrap();
    let mut marbles = Vec::new();
    for marble in 0..4 {
        marbles.push(load::marble_identity(story.cluster.get(0).unwrap(), marble).await.unwrap());
    }
    for proxy in 0..3 {
        let plan = plan(seed * 10 + proxy as u64);
        story.cluster.proxy(proxy).unwrap().set_policy(plan.policy());
    }

    let registers: Arc<Recorder<RegisterCall, RegisterAnswer>> = Arc::new(Recorder::new());
    let counters: Arc<Recorder<Set, Before>> = Arc::new(Recorder::new());
    let stop = Arc::new(AtomicBool::new(false));
    let values = Arc::new(AtomicU64::new(1));
    let mut tasks = Vec::new();
    for client in 0..16_usize {
        let identity = story.user.identity().unwrap();
        let clients = endpoints.iter().map(|endpoint| {
            let builder = Client::builder(endpoint.clone()).trust(Trust::Pinned(root.clone()));
            builder.identity(identity.clone()).build().unwrap()
        });
        let mut caller = Caller { clients: clients.collect(), at: client };
        let (recorder, stop, values) = (Arc::clone(&registers), Arc::clone(&stop), Arc::clone(&values));
        tasks.push(tokio::spawn(async move {
            let mut round = client;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                let name = format!("s{}", round % 4);
                let (http, instance) = caller.client();
                let failed = if round % 2 == 0 {
                    let value = values.fetch_add(1, Ordering::Relaxed);
                    let pending = recorder.call(&name, &instance, RegisterCall::Write(value));
                    let secrets = BTreeMap::from([(name, load::plain(value.to_string().as_bytes()))]);
                    match http.set_secrets(secrets).await {
                        Ok(()) => {
                            pending.answered(RegisterAnswer::Written);
                            false
                        }
                        Err(error) if had_no_effect(&error) => {
                            pending.refused();
                            true
                        }
                        Err(_) => {
                            pending.unknown();
                            true
                        }
                    }
                } else {
                    let pending = recorder.call(&name, &instance, RegisterCall::Read);
                    match crate::read(http, &name).await {
                        Ok(value) => {
                            let value = value.map_or(0, |text| text.parse().unwrap());
                            pending.answered(RegisterAnswer::Value(value));
                            false
                        }
                        Err(_) => {
                            pending.refused();
                            true
                        }
                    }
                };
                if failed {
                    caller.at += 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }));
    }
    for (marble, identity) in marbles.into_iter().enumerate() {
        let clients = endpoints.iter().map(|endpoint| {
            let builder = Client::builder(endpoint.clone()).trust(Trust::Pinned(root.clone()));
            builder.identity(identity.clone()).build().unwrap()
        });
        let mut caller = Caller { clients: clients.collect(), at: marble };
        let (recorder, stop) = (Arc::clone(&counters), Arc::clone(&stop));
        tasks.push(tokio::spawn(async move {
            let mut value = 0;
            while !stop.load(Ordering::Relaxed) {
                value += 1;
                let (http, instance) = caller.client();
                let pending = recorder.call(&format!("marble-{marble}"), &instance, Set(value));
                match http.set_monotonic_counter("n", value).await {
                    Ok(before) => pending.answered(Before(before)),
                    Err(error) => {
                        if had_no_effect(&error) {
                            pending.refused();
                        } else {
                            pending.unknown();
                        }
                        caller.at += 1;
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        }));
    }

    let begun = Instant::now();
    let mut victim = 0;
    while begun.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(Duration::from_secs(4)).await;
        victim += 1;
        story.cluster.kill(victim % 3).unwrap();
        if victim % 3 == 0 {
            story.plane.restart_api_server().unwrap();
        }
        if victim % 2 == 0 {
            story.kubectl(&["delete", "configmap", "marblerun-sealed-kek", "--ignore-not-found"]);
            // One that runs writes its own anew; the one that is dead asks it.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        story.cluster.start(victim % 3).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    for proxy in 0..3 {
        let proxy = story.cluster.proxy(proxy).unwrap();
        proxy.calm();
        proxy.settle(Duration::from_secs(10)).unwrap();
    }
    story.everyone_is_at(3).await;
    for (_, coordinator) in story.cluster.running() {
        assert_eq!(coordinator.attest().await.unwrap().root, root, "no fresh identity ever");
    }
    // What is there in the end is part of the history.
    for name in 0..4 {
        for instance in 0..3 {
            let name = format!("s{name}");
            let pending = registers.call(&name, &format!("instance-{instance}"), RegisterCall::Read);
            let client = story.client(instance).await;
            // The API server may have asked for a pause.
            until("reads are back", || async { crate::read(&client, &name).await.is_ok() }).await;
            let value = story.read(instance, &name).await.map_or(0, |text| text.parse().unwrap());
            pending.answered(RegisterAnswer::Value(value));
        }
    }
    check(&Register, &registers.history()).unwrap();
    check(&Counter, &counters.history()).unwrap();
    let written = values.load(Ordering::Relaxed);
    assert!(written > 50, "only {written} writes were tried");
}
