//! Who gets in, and who does not.

use serde_json::json;

use crate::support::{Identity, Server, manifest, wrapped};

#[tokio::test]
async fn a_user_is_the_leaf_certificate_and_nothing_else() {
    let server = Server::with_manifest(&manifest::base()).await;
    let (admin, stranger) = (manifest::admin(), manifest::stranger());
    let path = "/api/v2/secrets?s=symShared";
    assert_eq!(server.get_as(&admin, path).await.status, 200);
    assert_eq!(server.get_as(&stranger, path).await.status, 401);
    assert_eq!(server.get(path).await.status, 401);

    let extended = admin.with_chain([admin.chain(), stranger.chain()].concat());
    assert_eq!(server.get_as(&extended, path).await.status, 200, "what follows the leaf does no harm");
    let borrowed = stranger.with_chain([stranger.chain(), admin.chain()].concat());
    assert_eq!(server.get_as(&borrowed, path).await.status, 401, "a user's certificate behind the leaf proves nothing");
}

#[tokio::test]
async fn every_kind_of_certificate_can_be_a_user() {
    let kinds = [
        "rsa-2048",
        "ecdsa-p256",
        "ecdsa-p384",
        "ecdsa-p521",
        "ed25519",
        "x509-v1",
        "expired",
        "not-yet-valid",
        "long-serial",
    ];
    let mut with_all = manifest::base();
    let users = kinds.map(|kind| (kind, json!({ "Certificate": Identity::fixture(kind).pem(), "Roles": ["read"] })));
    with_all["Users"] = users.into_iter().collect();
    let server = Server::with_manifest(&with_all).await;
    for kind in kinds {
        let reply = server.get_as(&Identity::fixture(kind), "/api/v2/secrets?s=symShared").await;
        assert_eq!(reply.status, 200, "{kind}: {reply:?}");
    }
}

#[tokio::test]
async fn strangers_are_refused_before_anything_else_is_looked_at() {
    let server = Server::with_manifest(&manifest::base()).await;
    for (method, path) in [
        ("GET", "/secrets"),
        ("POST", "/secrets"),
        ("POST", "/update"),
        ("POST", "/update-manifest"),
        ("POST", "/update-cancel"),
    ] {
        for prefix in ["", "/api/v2"] {
            let reply = server.call(Some(&manifest::stranger()), method, &format!("{prefix}{path}"), b"not json").await;
            assert_eq!(reply.status, 401, "{method} {prefix}{path}");
        }
    }
}

#[tokio::test]
async fn a_user_does_what_the_roles_say_and_no_more() {
    let server = Server::with_manifest(&manifest::base()).await;
    let update = json!({ "Packages": { "frontend": { "SecurityVersion": 7 } } });
    for user in [manifest::reader(), manifest::nobody()] {
        assert_eq!(server.post_as(&user, "/api/v2/update", wrapped(&update)).await.status, 500);
        assert_eq!(server.post_as(&user, "/api/v2/update", wrapped(manifest::base())).await.status, 500);
        let secret = r#"{"secrets":{"plainUnset":{"Key":"aGk="}}}"#;
        assert_eq!(server.post_as(&user, "/api/v2/secrets", secret).await.status, 500);
    }
    assert_eq!(server.get_as(&manifest::reader(), "/secrets?s=symShared").await.status, 200);
    assert_eq!(server.get_as(&manifest::nobody(), "/secrets?s=symShared").await.status, 400);
    assert_eq!(server.get("/api/v2/update").await.data()["updateLog"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn one_forbidden_secret_stops_the_whole_upload() {
    let server = Server::with_manifest(&manifest::base()).await;
    let admin = manifest::admin();
    let body = r#"{"secrets":{"plainUnset":{"Key":"aGk="},"symShared":{"Key":"aGk="}}}"#;
    assert_eq!(server.post_as(&admin, "/api/v2/secrets", body).await.status, 500);
    let read = server.get_as(&admin, "/secrets?s=plainUnset").await.data();
    assert!(read["plainUnset"]["Private"].is_null());
}

#[tokio::test]
async fn a_user_whom_an_update_removes_is_a_stranger_on_the_next_request() {
    let server = Server::with_manifest(&manifest::base()).await;
    assert_eq!(server.get_as(&manifest::reader(), "/secrets?s=symShared").await.status, 200);
    let mut next = manifest::base();
    next["Users"].as_object_mut().unwrap().remove("reader");
    assert_eq!(server.post_as(&manifest::admin(), "/api/v2/update", wrapped(&next)).await.status, 200);
    assert_eq!(server.get_as(&manifest::reader(), "/secrets?s=symShared").await.status, 401);
}
