//! What Marbles see.

use std::collections::BTreeSet;
use std::sync::Arc;

use marblerun_coordinator::core::{ActivationCounts, ActivationError, OTHER};
use serde_json::{Value, json};

use crate::world::{START, UUID, World, csr, first_certificate, marble_peer, text, user, user_pem};

const OTHER_UUID: &str = "11111111-2222-4333-8444-555555555555";

fn manifest() -> Value {
    json!({
        "Packages": {"app": {"Debug": true}},
        "Marbles": {
            "frontend": {
                "Package": "app",
                "Parameters": {
                    "Argv": ["./app", "{{ not a template }}"],
                    "Files": {
                        "/etc/key": "{{ raw .Secrets.shared }}",
                        "/etc/cert": "{{ pem .Secrets.cert.Cert }}{{ pem .Secrets.cert.Private }}",
                        "/etc/plain": {"Data": "{{ raw", "NoTemplates": true},
                    },
                    "Env": {
                        "OWN": "{{ hex .Secrets.own }}",
                        "PREVIOUS": "{{ hex .Previous.Secrets.own }}",
                        "LEAF": "{{ pem .MarbleRun.MarbleCert.Cert }}",
                        "MARBLE_PREDEFINED_ROOT_CA": "mine",
                        "MARBLE_TTLS_CONFIG": "mine",
                    },
                },
            },
            "unbound": {"Package": "app", "DisableSecretBinding": true, "Parameters": {"Env": {"OWN": "{{ hex .Secrets.own }}"}}},
            "limited": {"Package": "app", "MaxActivations": 2, "Parameters": {"Env": {"USER": "{{ string .Secrets.user }}"}}},
            "crowded": {"Package": "app", "MaxActivations": 5},
        },
        "Secrets": {
            "shared": {"Type": "symmetric-key", "Size": 128, "Shared": true},
            "own": {"Type": "symmetric-key", "Size": 256},
            "cert": {"Type": "cert-ecdsa", "Size": 256},
            "user": {"Type": "plain", "UserDefined": true},
        },
        "Users": {"alice": {"Certificate": user_pem("alice"), "Roles": ["rw"]}},
        "Roles": {"rw": {"ResourceType": "Secrets", "ResourceNames": ["shared", "user"], "Actions": ["ReadSecret"]},
                  "w": {"ResourceType": "Secrets", "ResourceNames": ["user"], "Actions": ["WriteSecret"]}},
    })
}

#[tokio::test]
async fn a_marble_gets_what_its_manifest_says() {
    let world = World::with(&manifest()).await;
    let activated = world.activate("frontend", UUID).await.unwrap();
    assert_eq!(activated.uuid, UUID);
    assert_eq!(activated.argv, ["./app", "{{ not a template }}"]);
    assert_eq!(activated.files["/etc/plain"].as_slice(), b"{{ raw");
    let shared = world.read("alice", "shared").await.private.unwrap().0;
    assert_eq!(activated.files["/etc/key"].as_slice(), shared);
    assert!(activated.files["/etc/cert"].starts_with(b"-----BEGIN CERTIFICATE-----\n"));
    assert_eq!(text(&activated, "OWN").len(), 64);
    assert_eq!(text(&activated, "OWN"), text(&activated, "PREVIOUS"), "nothing was rotated yet");
    assert_eq!(text(&activated, "MARBLE_TTLS_CONFIG"), "mine", "without TLS tags the name is free");

    let state = world.coordinator.snapshot();
    let authority = state.authority();
    let chain = x509_cert::Certificate::load_pem_chain(
        text(&activated, "MARBLE_PREDEFINED_MARBLE_CERTIFICATE_CHAIN").as_bytes(),
    )
    .unwrap();
    assert_eq!(chain.len(), 2);
    use x509_cert::der::Encode as _;
    assert_eq!(chain[1].to_der().unwrap(), authority.intermediate_certificate);
    let root = first_certificate(text(&activated, "MARBLE_PREDEFINED_ROOT_CA").as_bytes());
    assert_eq!(
        root.to_der().unwrap(),
        authority.marble_root_certificate,
        "reserved names are not the manifest's to set"
    );
    let coordinator = first_certificate(text(&activated, "MARBLE_PREDEFINED_COORDINATOR_ROOT_CA").as_bytes());
    assert_eq!(coordinator.to_der().unwrap(), authority.root_certificate);
    assert!(text(&activated, "MARBLE_PREDEFINED_PRIVATE_KEY").starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert!(text(&activated, "MARBLE_PREDEFINED_MARBLE_CERTIFICATE_CHAIN").starts_with(text(&activated, "LEAF")));
}

#[tokio::test]
async fn a_marbles_own_key_stays_the_same_and_is_its_own() {
    let world = World::with(&manifest()).await;
    let own = async |marble: &str, uuid: &str| {
        let activated = world.activate(marble, uuid).await.unwrap();
        text(&activated, "OWN").to_owned()
    };
    let first = own("frontend", UUID).await;
    assert_eq!(own("frontend", UUID).await, first, "the same instance gets the same key");
    assert_ne!(own("frontend", OTHER_UUID).await, first, "another instance gets another");
    assert_ne!(own("unbound", UUID).await, first, "another type gets another");
}

#[tokio::test]
async fn every_spelling_of_a_uuid_is_the_same_instance() {
    let world = World::with(&manifest()).await;
    let canonical = world.activate("frontend", UUID).await.unwrap();
    for spelling in [UUID.to_uppercase(), format!("urn:uuid:{UUID}"), format!("{{{UUID}}}"), UUID.replace('-', "")] {
        let activated = world.activate("frontend", &spelling).await.unwrap();
        assert_eq!(activated.uuid, UUID);
        assert_eq!(text(&activated, "OWN"), text(&canonical, "OWN"), "{spelling}");
    }
}

#[tokio::test]
async fn refusals_come_in_the_order_marbles_know() {
    let world = World::new();
    let attempt = async |marble: &str, uuid: &str, csr: Vec<u8>| {
        world.activate_with(Some(&marble_peer()), marble, uuid, csr).await.err().unwrap()
    };
    let refused = |text: &str| ActivationError::Refused(format!("marble verification failed: {text}"));
    assert_eq!(
        attempt("nope", "nope", vec![]).await,
        ActivationError::WrongState("cannot accept marbles in current state".into())
    );
    world.coordinator.set_manifest(crate::world::json(&manifest())).await.unwrap();
    assert_eq!(
        world.activate_with(None, "nope", "nope", vec![]).await.err().unwrap(),
        ActivationError::NoCertificate("couldn't get marble TLS certificate".into())
    );
    assert_eq!(attempt("nope", "nope", vec![]).await, refused("unknown marble type requested"));
    assert_eq!(
        attempt("frontend", "nope", vec![]).await,
        ActivationError::BadRequest("invalid UUID: invalid UUID length: 4".into())
    );
    assert_eq!(
        attempt("frontend", &"z".repeat(36), vec![]).await,
        ActivationError::BadRequest("invalid UUID: invalid UUID format".into())
    );
    let nil = attempt("frontend", "00000000-0000-0000-0000-000000000000", csr()).await;
    assert!(matches!(nil, ActivationError::BadRequest(_)), "{nil:?}");
    let bad_csr = attempt("frontend", UUID, vec![]).await;
    assert!(bad_csr.message().starts_with("generating marble authentication secrets: parsing CSR: "), "{bad_csr:?}");
    let mut broken = csr();
    *broken.last_mut().unwrap() ^= 1;
    let broken = attempt("frontend", UUID, broken).await;
    assert!(matches!(broken, ActivationError::Internal(_)), "{broken:?}");

    world.activate("crowded", UUID).await.unwrap();
    for _ in 1..5 {
        world.activate("crowded", UUID).await.unwrap();
    }
    assert_eq!(
        attempt("crowded", "nope", vec![]).await,
        refused("reached max activations count (5) for marble type \"crowded\""),
        "a full budget hides everything after it"
    );
}

#[tokio::test]
async fn an_activation_that_fails_is_not_counted() {
    let mut manifest = manifest();
    manifest["Users"]["alice"]["Roles"] = json!(["rw", "w"]);
    let world = World::with(&manifest).await;
    for _ in 0..3 {
        let error = world.activate("limited", UUID).await.err().unwrap();
        assert!(error.message().starts_with("customizing marble parameters: "), "{error:?}");
    }
    let upload = serde_json::from_value(json!({"user": {"Key": "aGk="}})).unwrap();
    world.coordinator.write_secrets(Some(&user("alice")), upload).await.unwrap();
    for _ in 0..2 {
        assert_eq!(text(&world.activate("limited", UUID).await.unwrap(), "USER"), "hi");
    }
    assert!(matches!(world.activate("limited", UUID).await, Err(ActivationError::Refused(_))));
    assert_eq!(world.coordinator.snapshot().activations("limited"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_twenty_at_once_exactly_as_many_succeed_as_are_allowed() {
    let world = Arc::new(World::with(&manifest()).await);
    let attempts: Vec<_> = (0..20)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.activate("crowded", &uuid::Uuid::new_v4().to_string()).await.is_ok() })
        })
        .collect();
    let mut successes = 0;
    for attempt in attempts {
        successes += usize::from(attempt.await.unwrap());
    }
    assert_eq!(successes, 5);
    assert_eq!(world.coordinator.snapshot().activations("crowded"), 5);
}

#[tokio::test]
async fn only_what_a_marble_uses_is_made_for_it() {
    let mut manifest = manifest();
    for number in 0..300 {
        // Each of them takes minutes to make.
        manifest["Secrets"][format!("unused{number}")] = json!({"Type": "cert-rsa", "Size": 16384});
    }
    let world = World::with(&manifest).await;
    world.activate("frontend", UUID).await.unwrap();
}

#[tokio::test]
async fn ttls_configuration_is_as_runtimes_read_it_and_no_template() {
    let manifest = json!({
        "Packages": {"app": {"Debug": true}},
        "Marbles": {"web": {"Package": "app", "TLS": ["a", "b"]}, "late": {"Package": "app", "TLS": ["c"]}},
        "TLS": {
            "a": {"Outgoing": [{"Port": "{{ hex .Secrets.nope }}", "Addr": "<db>"}], "Incoming": [{"Port": "443"}]},
            "b": {"Incoming": [{"Port": "8443", "Cert": "cert", "DisableClientAuth": true}]},
            "c": {"Incoming": [{"Port": "1", "Cert": "unset", "DisableClientAuth": true}]},
        },
        "Secrets": {"cert": {"Type": "cert-ecdsa", "Size": 384, "Shared": true}, "unset": {"Type": "cert-rsa", "UserDefined": true}},
    });
    let world = World::with(&manifest).await;
    let activated = world.activate("web", UUID).await.unwrap();
    let raw = text(&activated, "MARBLE_TTLS_CONFIG");
    assert!(raw.starts_with(r#"{"tls":{"Incoming":{"*:443":{"cacrt":"-----BEGIN"#), "{raw}");
    assert!(raw.contains(r#""Outgoing":{"\u003cdb\u003e:{{ hex .Secrets.nope }}":{"cacrt":"#), "{raw}");
    let config: Value = serde_json::from_str(raw).unwrap();
    let root = text(&activated, "MARBLE_PREDEFINED_ROOT_CA");
    let key = text(&activated, "MARBLE_PREDEFINED_PRIVATE_KEY");
    let outgoing = &config["tls"]["Outgoing"]["<db>:{{ hex .Secrets.nope }}"];
    assert_eq!((&outgoing["cacrt"], &outgoing["clikey"]), (&json!(root), &json!(key)));
    assert_eq!(outgoing.get("clientAuth"), None);
    let own = &config["tls"]["Incoming"]["*:443"];
    assert_eq!((&own["clientAuth"], &own["clikey"]), (&json!(true), &json!(key)));
    let secret = &config["tls"]["Incoming"]["*:8443"];
    assert_eq!(secret["clientAuth"], json!(false));
    assert_ne!(secret["clikey"], json!(key));
    assert!(secret["clicrt"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----\n"));

    let error = world.activate("late", UUID).await.err().unwrap();
    assert!(error.message().starts_with("creating TTLS config: "), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_no_marble_could_take_is_refused_here() {
    let manifest = json!({
        "Packages": {"app": {"Debug": true}},
        "Marbles": {"web": {"Package": "app", "Parameters": {"Files": {"/big": "x".repeat(4 << 20)}}}},
    });
    let world = World::with(&manifest).await;
    let error = world.activate("web", UUID).await.err().unwrap();
    assert!(error.message().contains("accepts at most 4194304"), "{error:?}");
}

#[tokio::test]
async fn what_strangers_send_does_not_become_a_label() {
    let world = World::with(&manifest()).await;
    world.activate("frontend", UUID).await.unwrap();
    for n in 0..10 {
        assert!(world.activate(&format!("made-up-{n}"), &format!("made-up-{n}")).await.is_err());
    }
    let counts = world.coordinator.observer().activations();
    let labels: BTreeSet<(&str, &str)> = counts.iter().map(|((t, u), _)| (t.as_str(), u.as_str())).collect();
    assert_eq!(labels, BTreeSet::from([("frontend", UUID), (OTHER, OTHER)]));
    let of = |wanted: &str| counts.iter().find(|((t, _), _)| t == wanted).unwrap().1;
    assert_eq!(of("frontend"), ActivationCounts { attempts: 1, successes: 1 });
    assert_eq!(of(OTHER), ActivationCounts { attempts: 10, successes: 0 });
    let events = world.coordinator.observer().events();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].time.to_string().as_str(), events[0].uuid.as_str()), (START, UUID));
}
