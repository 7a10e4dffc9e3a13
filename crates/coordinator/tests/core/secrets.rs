//! Secrets that users read and write.

use marblerun_coordinator::core::SecretUpload;
use marblerun_coordinator::error::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::world::{UUID, World, text, user, user_pem};

const UNKNOWN: &str = "unauthorized user: client certificate did not match any MarbleRun users";

fn manifest() -> Value {
    let readable = ["sym", "plain", "cert", "shared", "used", "preset", "generated"];
    json!({
        "Packages": {"app": {"Debug": true}},
        "Marbles": {"web": {"Package": "app", "Parameters": {"Env": {"USED": "{{ string .Secrets.used }}"}}}},
        "Secrets": {
            "sym": {"Type": "symmetric-key", "Size": 128, "UserDefined": true},
            "plain": {"Type": "plain", "UserDefined": true},
            "cert": {"Type": "cert-ecdsa", "Size": 256, "UserDefined": true},
            "used": {"Type": "plain", "UserDefined": true},
            "preset": {"Type": "plain", "UserDefined": true, "Private": "aGk=", "Public": "aGk="},
            "shared": {"Type": "symmetric-key", "Size": 256, "Shared": true},
            "generated": {"Type": "cert-ed25519", "Shared": true},
            "own": {"Type": "symmetric-key", "Size": 256},
        },
        "Users": {
            "alice": {"Certificate": user_pem("alice"), "Roles": ["read", "write"]},
            "bob": {"Certificate": user_pem("bob"), "Roles": ["read"]},
        },
        "Roles": {
            "read": {"ResourceType": "Secrets", "ResourceNames": readable, "Actions": ["readsecret"]},
            "write": {"ResourceType": "Secrets", "ResourceNames": ["sym", "plain", "cert", "used"], "Actions": ["WriteSecret"]},
        },
    })
}

fn upload(value: Value) -> SecretUpload {
    serde_json::from_value(value).unwrap()
}

async fn write(world: &World, who: &str, value: Value) -> Result<(), Error> {
    world.coordinator.write_secrets(Some(&user(who)), upload(value)).await
}

fn certificate() -> String {
    marblerun_api::bytes::encode(&user("carol").0)
}

#[tokio::test]
async fn secrets_are_read_in_the_form_that_clients_know() {
    let world = World::with(&manifest()).await;
    let shared = world.read("bob", "shared").await;
    assert_eq!(
        (shared.r#type.as_str(), shared.size, shared.shared, shared.user_defined, shared.valid_for),
        ("symmetric-key", 256, true, false, 0)
    );
    assert_eq!(shared.private, shared.public);
    assert_eq!(shared.private.unwrap().0.len(), 32);
    assert_eq!(shared.cert, None);
    let generated = world.read("bob", "generated").await;
    assert_eq!((generated.r#type.as_str(), generated.valid_for), ("cert-ed25519", 365), "the default is filled in");
    assert!(generated.cert.is_some() && generated.private.is_some() && generated.public.is_some());
    let unset = world.read("bob", "plain").await;
    assert_eq!((unset.cert, unset.private, unset.public), (None, None, None));
    assert_eq!(world.read("bob", "preset").await.private.unwrap().0, b"hi", "a value in the manifest is there at once");
}

#[tokio::test]
async fn reading_is_refused_as_a_whole() {
    let world = World::with(&manifest()).await;
    let read = async |who: Option<&str>, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        world.coordinator.read_secrets(who.map(user).as_ref(), &names).await.unwrap_err()
    };
    for stranger in [None, Some("mallory")] {
        let error = read(stranger, &[]).await;
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Unauthorized, UNKNOWN));
    }
    let error = read(Some("bob"), &[]).await;
    assert_eq!(error.message, "invalid query: endpoint requires at least one query parameter");
    assert_eq!(error.kind, ErrorKind::BadRequest);
    assert_eq!(read(Some("bob"), &["sym", ""]).await.message, "malformed query string: empty query parameter");
    for hidden in ["own", "no-such-secret"] {
        assert_eq!(
            read(Some("bob"), &["sym", hidden]).await.message,
            format!("user bob is not allowed to read one or more secrets of: [sym {hidden}]")
        );
    }
}

#[tokio::test]
async fn uploaded_values_are_read_back_logged_and_delivered() {
    let world = World::with(&manifest()).await;
    write(
        &world,
        "alice",
        json!({
            "sym": {"Cert": null, "Private": null, "Key": "AAECAwQFBgcICQoLDA0ODw=="},
            "used": {"Key": "aGk="},
            "cert": {"Cert": certificate(), "Private": "AQI="},
        }),
    )
    .await
    .unwrap();
    assert_eq!(world.read("bob", "sym").await.private.unwrap().0, (0..16).collect::<Vec<u8>>());
    let cert = world.read("bob", "cert").await;
    assert_eq!(cert.cert.unwrap().0, *user("carol").0);
    assert_eq!(cert.private.unwrap().0, [1, 2]);
    assert_eq!(cert.public.unwrap().0, marblerun_pki::public_key_of(&user("carol").0).unwrap());
    let lines: Vec<String> =
        world.log().await.into_iter().skip(1).map(|line| line.split_once("Z\",").unwrap().1.to_owned()).collect();
    assert_eq!(
        lines,
        [
            r#""update":"Secret set","user":"alice","secret":"cert","type":"cert-ecdsa"}"#,
            r#""update":"Secret set","user":"alice","secret":"sym","type":"symmetric-key"}"#,
            r#""update":"Secret set","user":"alice","secret":"used","type":"plain"}"#,
        ]
    );
    assert_eq!(text(&world.activate("web", UUID).await.unwrap(), "USED"), "hi");
}

#[tokio::test]
async fn each_rule_of_an_upload_has_its_answer() {
    let world = World::with(&manifest()).await;
    for (value, text) in [
        (json!({}), "parsing new secrets: no new secrets defined"),
        (json!({"sym": {"Key": "AAEC"}}), "parsing new secrets: declared size and actual size don't match: sym"),
        (json!({"sym": {}}), "parsing new secrets: declared size and actual size don't match: sym"),
        (
            json!({"sym": {"Key": "AAECAwQFBgcICQoLDA0ODw==", "Private": ""}}),
            "parsing new secrets: secret sym is set to be of type symmetric-key but specified values for a certificate",
        ),
        (
            json!({"plain": {"Key": "AA==", "Cert": certificate()}}),
            "parsing new secrets: secret plain is set to be of type plain but specified values for a certificate",
        ),
        (
            json!({"cert": {"Key": "", "Cert": certificate()}}),
            "parsing new secrets: secret cert is set to be of type cert-ecdsa but specified values for a symmetric-key",
        ),
        (json!({"cert": {"Private": "AA=="}}), "parsing new secrets: x509: unsupported public key type: <nil>"),
        (json!({"shared": {"Key": "AA=="}}), "user alice is not allowed to update secret: shared"),
        (json!({"no-such-secret": {"Key": "AA=="}}), "user alice is not allowed to update secret: no-such-secret"),
        (json!({"used": {"Key": "AA=="}}), "running manifest template dry run: in Marble web: env variable USED: "),
        (json!({"used": {"Key": ""}}), "running manifest template dry run: in Marble web: env variable USED: "),
    ] {
        let error = write(&world, "alice", value.clone()).await.unwrap_err();
        assert!(error.message.starts_with(text), "{value}: {error}");
        assert_eq!(error.kind, ErrorKind::Refused, "{value}");
    }
    for malformed in ["AAEC", ""] {
        let error = write(&world, "alice", json!({"cert": {"Cert": malformed}})).await.unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::BadRequest, "x509: malformed certificate"));
    }
    assert_eq!(world.log().await.len(), 1, "nothing of it left a trace");
    for accepted in [json!({"plain": {"Key": ""}}), json!({"plain": {}}), json!({"cert": {"Cert": certificate()}})] {
        write(&world, "alice", accepted.clone()).await.unwrap_or_else(|error| panic!("{accepted}: {error}"));
    }
}

#[tokio::test]
async fn an_upload_is_all_or_nothing() {
    let world = World::with(&manifest()).await;
    let error = write(&world, "alice", json!({"plain": {"Key": "aGk="}, "shared": {"Key": "AA=="}})).await.unwrap_err();
    assert_eq!(error.code, "not_allowed");
    assert_eq!(world.read("alice", "plain").await.private, None);
    for (who, text) in [("bob", "user bob is not allowed to update secret: plain"), ("mallory", UNKNOWN)] {
        assert_eq!(write(&world, who, json!({"plain": {"Key": "aGk="}})).await.unwrap_err().message, text);
    }
}

#[tokio::test]
async fn without_a_manifest_there_are_no_users() {
    let world = World::new();
    assert_eq!(world.coordinator.authenticate_user(Some(&user("alice"))).await.unwrap_err().message, UNKNOWN);
    assert_eq!(write(&world, "alice", json!({})).await.unwrap_err().message, UNKNOWN);
    assert_eq!(world.coordinator.update(Some(&user("alice")), vec![]).await.unwrap_err().message, UNKNOWN);
    assert_eq!(world.coordinator.update_log().await.unwrap_err().message, "server is not in expected state");
    assert_eq!(world.coordinator.pending_update().await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_lose_nothing() {
    let world = std::sync::Arc::new(World::with(&manifest()).await);
    let writers: Vec<_> = (0..64u8)
        .map(|n| {
            let world = std::sync::Arc::clone(&world);
            let key = marblerun_api::bytes::encode(&[n; 16]);
            tokio::spawn(async move { write(&world, "alice", json!({"sym": {"Key": key}})).await })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    assert_eq!(world.log().await.len(), 65);
}

#[tokio::test]
async fn after_the_end_writes_are_refused_and_reads_go_on() {
    let world = World::with(&manifest()).await;
    world.coordinator.close().await;
    let error = write(&world, "alice", json!({"plain": {"Key": "aGk="}})).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert_eq!(world.read("alice", "plain").await.private, None);
    assert!(world.activate("web", UUID).await.is_err(), "its secret was never uploaded");
}
