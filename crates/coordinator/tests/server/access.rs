//! The authorisation matrix: every route of every API version, as every kind of client, in every phase.
//!
//! Requests are made so that nothing but authorisation can refuse them early; what a route says to those it lets
//! through is in the table, too, so that "let through" cannot be taken for "refused".

use std::collections::BTreeMap;

use marblerun_coordinator::server::{Limits, client_api_routes};
use marblerun_state::{AuditKind, Phase};
use marblerun_testkit::{Activation, FakeMarble};
use serde_json::json;

use crate::support::{Identity, Reply, Server, manifest, wrapped};

/// Who asks, in the order of the columns.
const WHO: [&str; 14] = [
    "none",     // no certificate
    "stranger", // a certificate that is nobody's
    "nobody",   // a user without roles
    "reader",   // ReadSecret
    "writer",   // WriteSecret
    "raiser",   // UpdateSecurityVersion
    "owner",    // UpdateManifest
    "expired",  // all of these, by a certificate that has expired
    "extended", // the owner's certificate, then a stranger's
    "borrowed", // a stranger's certificate, then the owner's and a Marble's
    "marble",   // activated under the root in force
    "retired",  // activated before the last update, and up since
    "replaced", // activated before the last update, and again since
    "forged",   // a certificate that names a Marble, of another Coordinator
];

/// Route, what anybody gets in recovery and without a manifest, and what each of [`WHO`] gets while it runs.
///
/// `ok` 200; `deny` the user lacks a permission; `state` the phase is wrong; `in` let in, and refused for what the
/// request says; numbers: that status.
const TABLE: &str = "
route                               rec    set    none  stra  nobo  read  writ  rais  owne  expi  exte  borr  marb  reti  repl  forg
GET  /status                        ok     ok     ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
GET  /api/v2/status                 ok     ok     ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
GET  /manifest                      ok     ok     ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
GET  /api/v2/manifest               500    500    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
POST /manifest                      in     in     state state state state state state state state state state state state state state
POST /api/v2/manifest               in     in     state state state state state state state state state state state state state state
GET  /quote                         ok     ok     ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
GET  /api/v2/quote                  ok     ok     ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
POST /recover                       410    410    410   410   410   410   410   410   410   410   410   410   410   410   410   410
POST /api/v2/recover                in     state  state state state state state state state state state state state state state state
GET  /api/v2/recover/public-key     ok     state  state state state state state state state state state state state state state state
GET  /secrets                       401    401    401   401   deny  ok    deny  deny  deny  ok    deny  401   401   401   401   401
GET  /api/v2/secrets                401    401    401   401   deny  ok    deny  deny  deny  ok    deny  401   401   401   401   401
POST /secrets                       401    401    401   401   deny  deny  ok    deny  deny  ok    deny  401   401   401   401   401
POST /api/v2/secrets                401    401    401   401   deny  deny  ok    deny  deny  ok    deny  401   401   401   401   401
GET  /update                        state  state  ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
GET  /api/v2/update                 state  state  ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
POST /update                        401    401    401   401   deny  deny  deny  ok    deny  ok    deny  401   401   401   401   401
POST /api/v2/update                 401    401    401   401   deny  deny  deny  ok    deny  ok    deny  401   401   401   401   401
POST /update full                   401    401    401   401   deny  deny  deny  deny  ok    ok    ok    401   401   401   401   401
POST /api/v2/update full            401    401    401   401   deny  deny  deny  deny  ok    ok    ok    401   401   401   401   401
GET  /update-manifest               404    404    404   404   404   404   404   404   404   404   404   404   404   404   404   404
GET  /api/v2/update-manifest        404    404    404   404   404   404   404   404   404   404   404   404   404   404   404   404
POST /update-manifest               401    401    401   401   404   404   404   404   404   404   404   401   401   401   401   401
POST /api/v2/update-manifest        401    401    401   401   404   404   404   404   404   404   404   401   401   401   401   401
POST /update-manifest pending       -      -      401   401   deny  deny  deny  deny  ok    ok    ok    401   401   401   401   401
POST /api/v2/update-manifest pending -     -      401   401   deny  deny  deny  deny  ok    ok    ok    401   401   401   401   401
POST /update-cancel                 401    401    401   401   deny  deny  deny  deny  404   404   404   401   401   401   401   401
POST /api/v2/update-cancel          401    401    401   401   deny  deny  deny  deny  404   404   404   401   401   401   401   401
POST /update-cancel pending         -      -      401   401   deny  deny  deny  deny  ok    ok    ok    401   401   401   401   401
POST /api/v2/update-cancel pending  -      -      401   401   deny  deny  deny  deny  ok    ok    ok    401   401   401   401   401
POST /api/v2/sign-quote             403    403    in    in    in    in    in    in    in    in    in    in    in    in    in    in
POST /api/v2/monotonic-counter      403    403    401   401   401   401   401   401   401   401   401   401   ok    ok    401   401
GET  /api/v3/healthz                ok     ok     ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
GET  /api/v3/readyz                 ok     ok     ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
GET  /api/v3/status                 ok     ok     ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
GET  /api/v3/attestation            in     in     in    in    in    in    in    in    in    in    in    in    in    in    in    in
POST /api/v3/manifest/check         ok     ok     ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
GET  /api/v3/recovery               ok     ok     ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
GET  /api/v3/recovery/secrets       401    401    401   401   403   403   403   403   ok    ok    ok    401   401   401   401   401
GET  /api/v3/packages               ok     ok     ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
GET  /api/v3/audit                  401    401    401   401   ok    ok    ok    ok    ok    ok    ok    401   401   401   401   401
GET  /api/v3/audit/head             401    401    401   401   ok    ok    ok    ok    ok    ok    ok    401   401   401   401   401
GET  /api/v3/backup                 401    401    401   401   403   403   403   403   409   409   409   401   401   401   401   401
POST /api/v3/update                 401    401    401   401   409   409   409   ok    409   ok    409   401   401   401   401   401
POST /api/v3/update full            401    401    401   401   409   409   409   409   ok    ok    ok    401   401   401   401   401
POST /api/v3/update/acknowledge     401    401    401   401   404   404   404   404   404   404   404   401   401   401   401   401
POST /api/v3/update/acknowledge pending -      -      401   401   409   409   409   409   ok    ok    ok    401   401   401   401   401
GET  /api/v3/cluster                409    409    409   409   409   409   409   409   409   409   409   409   409   409   409   409
POST /api/v3/restore/accept         401    401    401   401   409   409   409   409   409   409   409   401   401   401   401   401
POST /api/v3/restore/reject         401    401    401   401   409   409   409   409   409   409   409   401   401   401   401   401
POST /api/v3/kek/rotate             401    401    401   401   409   409   409   409   409   409   409   401   401   401   401   401
GET  /api/v3/seal/slots             401    401    401   401   403   403   403   403   409   409   409   401   401   401   401   401
POST /api/v3/seal/slots             401    401    401   401   403   403   403   403   409   409   409   401   401   401   401   401
DELETE /api/v3/seal/slots           401    401    401   401   403   403   403   403   409   409   409   401   401   401   401   401
POST /api/v3/seal/slots/test        401    401    401   401   403   403   403   403   409   409   409   401   401   401   401   401
POST /api/v3/seal/slots/rotate      401    401    401   401   403   403   403   403   409   409   409   401   401   401   401   401
GET  /api/v3/openapi.json           ok     ok     ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
";

/// A line of the table.
struct Row {
    method: &'static str,
    path: &'static str,
    /// What else is to be told of the request or the state.
    variant: &'static str,
    recovery: &'static str,
    unset: &'static str,
    running: Vec<&'static str>,
}

fn rows() -> Vec<Row> {
    let lines = TABLE.lines().skip(2).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .map(|words| {
            let split = words.len() - WHO.len() - 2;
            Row {
                method: words[0],
                path: words[1],
                variant: if split == 3 { words[2] } else { "" },
                recovery: words[split],
                unset: words[split + 1],
                running: words[split + 2..].to_vec(),
            }
        })
        .collect()
}

fn manifest_in_force() -> serde_json::Value {
    let roles = |roles: &[&str]| json!(roles);
    let user =
        |kind: &str, roles: serde_json::Value| json!({"Certificate": Identity::fixture(kind).pem(), "Roles": roles});
    let mut manifest = manifest::with_features(&["MonotonicCounter", "SignQuoteEndpoint"]);
    manifest["Config"]["UpdateThreshold"] = json!(1);
    manifest["Users"] = json!({
        "nobody": user("ed25519", roles(&[])),
        "reader": user("rsa-2048", roles(&["read"])),
        "writer": user("ecdsa-p384", roles(&["write"])),
        "raiser": user("x509-v1", roles(&["packages"])),
        "owner": user("ecdsa-p256", roles(&["updater"])),
        "expired": user("expired", roles(&["read", "write", "packages", "updater"])),
        "another": user("not-yet-valid", roles(&["updater"])),
    });
    manifest
}

/// The same, with two of three owners to agree.
fn manifest_for_two() -> serde_json::Value {
    let mut manifest = manifest_in_force();
    manifest["Config"]["UpdateThreshold"] = json!(2);
    manifest
}

fn marble(activation: &Activation) -> Identity {
    Identity::from_pem(
        &activation.text("MARBLE_PREDEFINED_MARBLE_CERTIFICATE_CHAIN").unwrap(),
        &activation.text("MARBLE_PREDEFINED_PRIVATE_KEY").unwrap(),
    )
}

const UUIDS: [&str; 3] = [
    "1d1a5c34-0b4c-4b0e-9d31-0b2bb8a0a1e7",
    "2d1a5c34-0b4c-4b0e-9d31-0b2bb8a0a1e7",
    "3d1a5c34-0b4c-4b0e-9d31-0b2bb8a0a1e7",
];

/// A Coordinator that runs, with Marbles of before and after an update.
struct Running {
    server: Server,
    identities: BTreeMap<&'static str, Option<Identity>>,
}

impl Running {
    async fn new(variant: &str) -> Self {
        let waits = variant == "pending";
        let server = Server::with_manifest(&if waits { manifest_for_two() } else { manifest_in_force() }).await;
        let activate = async |server: &Server, uuid: usize| {
            marble(&FakeMarble::new().unwrap().activate(server.addresses.mesh, "web", UUIDS[uuid]).await.unwrap())
        };
        let retired = activate(&server, 0).await;
        let replaced = activate(&server, 1).await;
        let raised = json!({"Packages": {"frontend": {"SecurityVersion": 4}}}).to_string();
        assert_eq!(server.post_as(&Identity::fixture("x509-v1"), "/update", raised).await.status, 200);
        activate(&server, 1).await;
        let current = activate(&server, 2).await;
        if waits {
            let proposed = manifest_for_two().to_string();
            let proposer = Identity::fixture("not-yet-valid");
            assert_eq!(server.post_as(&proposer, "/update", proposed).await.status, 200);
        }

        let other = Server::with_manifest(&manifest_in_force()).await;
        let forged = activate(&other, 2).await;
        let (owner, stranger) = (Identity::fixture("ecdsa-p256"), Identity::fixture("ecdsa-p521"));
        let behind = [stranger.chain(), owner.chain(), current.chain()].concat();
        let identities = BTreeMap::from([
            ("none", None),
            ("stranger", Some(stranger.clone())),
            ("nobody", Some(Identity::fixture("ed25519"))),
            ("reader", Some(Identity::fixture("rsa-2048"))),
            ("writer", Some(Identity::fixture("ecdsa-p384"))),
            ("raiser", Some(Identity::fixture("x509-v1"))),
            ("owner", Some(owner.clone())),
            ("expired", Some(Identity::fixture("expired"))),
            ("extended", Some(owner.with_chain([owner.chain(), stranger.chain()].concat()))),
            ("borrowed", Some(stranger.with_chain(behind))),
            ("marble", Some(current)),
            ("retired", Some(retired)),
            ("replaced", Some(replaced)),
            ("forged", Some(forged)),
        ]);
        Self { server, identities }
    }
}

/// A request that a client with every permission could make.
async fn ask(server: &Server, row: &Row, identity: Option<&Identity>) -> Reply {
    let full = if row.variant == "pending" { manifest_for_two() } else { manifest_in_force() };
    let raise = json!({"Packages": {"frontend": {"SecurityVersion": 5}}});
    let is_v2 = row.path.starts_with("/api/v2");
    let posted = |manifest: &serde_json::Value| if is_v2 { wrapped(manifest) } else { manifest.to_string() };
    let secret = json!({"plainUnset": {"Key": "aGk="}});
    let (mut path, mut body) = (row.path.to_owned(), String::new());
    match row.path.trim_start_matches("/api/v2").trim_start_matches("/api/v3") {
        "/secrets" if row.method == "GET" => path.push_str("?s=symShared"),
        "/secrets" => body = if is_v2 { json!({"secrets": secret}).to_string() } else { secret.to_string() },
        "/update" if row.variant == "full" => body = posted(&full),
        "/update" => body = posted(&raise),
        "/update-manifest" | "/update/acknowledge" => body = posted(&full),
        "/manifest" => body = posted(&json!({})),
        "/recover" => body = json!({"recoverySecret": "AAAA", "recoverySecretSignature": "AAAA"}).to_string(),
        "/sign-quote" => body = json!({"sgxQuote": "AAAA"}).to_string(),
        "/monotonic-counter" => body = json!({"name": "n", "value": 1}).to_string(),
        "/seal/slots" if row.method == "DELETE" => path.push_str("?slot=plain"),
        "/seal/slots" => body = json!({"backend": "plain"}).to_string(),
        _ => body = "{}".to_owned(),
    }
    let body = if row.method != "POST" { String::new() } else { body };
    server.call(identity, row.method, &path, body.as_bytes()).await
}

/// What an answer means, in the words of the table.
fn outcome(reply: &Reply) -> String {
    if reply.status == 200 {
        return "ok".to_owned();
    }
    if ![400, 500].contains(&reply.status) {
        return reply.status.to_string();
    }
    let message = reply.json()["message"].as_str().unwrap_or_default().to_owned();
    match () {
        () if message.contains("is not allowed to") => "deny".to_owned(),
        () if message.ends_with("server is not in expected state") => "state".to_owned(),
        () if message == "requested value not set" => reply.status.to_string(),
        () => "in".to_owned(),
    }
}

#[test]
fn every_route_has_a_line_in_the_table() {
    let mut listed: Vec<(String, String)> =
        rows().iter().map(|row| (row.method.to_owned(), row.path.to_owned())).collect();
    listed.sort();
    listed.dedup();
    assert_eq!(listed, client_api_routes());
    assert!(rows().iter().all(|row| row.running.len() == WHO.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn before_there_is_a_manifest_nobody_is_anybody() {
    let known = Running::new("").await;
    for (phase, name) in [(Phase::Recovery, "recovery"), (Phase::AcceptingManifest, "without a manifest")] {
        let server = Server::start_with(phase, Limits::default()).await;
        for row in rows() {
            let expected = if phase == Phase::Recovery { row.recovery } else { row.unset };
            for who in WHO.iter().filter(|_| expected != "-") {
                let reply = ask(&server, &row, known.identities[who].as_ref()).await;
                assert_eq!(outcome(&reply), expected, "{} {} as {who}, {name}: {reply:?}", row.method, row.path);
            }
        }
        assert_eq!(server.coordinator.snapshot().phase(), phase, "nothing came of it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_runs_each_may_do_what_the_table_says() {
    let plain = Running::new("").await;
    let mut wrong = Vec::new();
    for row in rows() {
        // What nobody can change needs no Coordinator of its own.
        let own = match row.method {
            "POST" if row.running.contains(&"ok") => Some(Running::new(row.variant).await),
            _ => None,
        };
        let mut running = own;
        // Those who are refused first, on one Coordinator; they must not change anything.
        let mut order: Vec<(&str, &str)> = WHO.into_iter().zip(row.running.iter().copied()).collect();
        order.sort_by_key(|(_, expected)| *expected == "ok");
        let mut is_used = false;
        for (who, expected) in order {
            let changes = running.is_some() && expected == "ok" && row.path != "/api/v2/monotonic-counter";
            if changes && is_used {
                running = Some(Running::new(row.variant).await);
            }
            is_used |= changes;
            let deployment = running.as_ref().unwrap_or(&plain);
            let coordinator = &deployment.server.coordinator;
            let read = || {
                let refusals = coordinator.snapshot().audit(AuditKind::Refusals).head().sequence;
                (coordinator.store_status().sequence, refusals)
            };
            // Both of the same commit.
            let stored = || loop {
                let first = read();
                std::thread::sleep(std::time::Duration::from_millis(1));
                if read() == first {
                    return first;
                }
            };
            let (before, refusals) = stored();
            let reply = ask(&deployment.server, &row, deployment.identities[who].as_ref()).await;
            let got = outcome(&reply);
            if got != expected {
                let what = format!("{} {} {} as {who}", row.method, row.path, row.variant);
                wrong.push(format!("{what}: {expected} was expected, {got} came: {reply:?}"));
            }
            let (after, refusals_after) = stored();
            // Now and then what was refused is written down, which is a commit of its own.
            let written_down = u64::from(refusals_after != refusals);
            if got != "ok" && before + written_down != after {
                wrong.push(format!("{} {} as {who} was refused and changed the state", row.method, row.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
