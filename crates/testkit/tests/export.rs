//! No lock-in: a state that upstream wrote comes back out as it went in, and one of ours goes out and comes back
//! with everything in it. The exported files are read by a small decoder of this test's own.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use marblerun_api::bytes::Base64;
use marblerun_api::v2::UserSecret;
use marblerun_client::{Client, Identity};
use marblerun_testkit::{Coordinator, FakeMarble, RecoveryKeyPair, TestUser, binary, fixtures, load};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

const UUID: &str = "33333333-3333-4333-8333-333333333333";

/// What an import and an export necessarily change: with no recovery keys the key of the file is nobody's, and is
/// not kept. (The nonce is new in every file ever written.)
const NEW_KEY: [&str; 1] = ["no-recovery-keys"];

/// A file of upstream, taken apart: length, header, nonce, ciphertext, tag.
struct Decoded {
    header: Vec<u8>,
    plaintext: Vec<u8>,
}

impl Decoded {
    fn read(dir: &Path, key: &[u8]) -> Self {
        let file = fs::read(dir.join("sealed_data")).unwrap();
        let length = u32::from_le_bytes(file[..4].try_into().unwrap()) as usize;
        let (header, sealed) = file[4..].split_at(length);
        let (nonce, sealed) = sealed.split_at(12);
        let algorithm = if key.len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key).unwrap());
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).unwrap();
        let plaintext = key.open_in_place(nonce, Aad::empty(), &mut sealed).unwrap().to_vec();
        Self { header: header.to_vec(), plaintext }
    }

    fn with_own_key(dir: &Path) -> Self {
        Self::read(dir, &fs::read(dir.join("sealed_key")).unwrap())
    }

    /// Store keys with their values.
    fn map(&self) -> BTreeMap<String, Vec<u8>> {
        let map: BTreeMap<String, String> = serde_json::from_slice(&self.plaintext).unwrap();
        map.into_iter().map(|(name, value)| (name, marblerun_api::bytes::decode(&value).unwrap())).collect()
    }
}

fn marblerun(args: &[&str], paths: &[&Path]) -> Value {
    let output = Command::new(binary("marblerun"))
        .args(args)
        .args(paths)
        .args(["--format", "json"])
        .env_remove("MARBLERUN_SIMULATION_HOST_KEY")
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn export(source: &Path, to: &Path) -> Value {
    marblerun(&["state", "export", "--to", "upstream", "-o", &to.display().to_string()], &[source])
}

/// Imports a directory of upstream with the real Coordinator, exports it, and compares.
async fn goes_through_unchanged(name: &str, fixture: &Path) {
    let home = tempfile::tempdir().unwrap();
    let (seal, out) = (home.path().join("seal"), home.path().join("out"));
    fs::create_dir(&seal).unwrap();
    for file in ["sealed_data", "sealed_key"] {
        fs::copy(fixture.join(file), seal.join(file)).unwrap();
    }
    let coordinator = Coordinator::builder(&seal).start().await.unwrap();
    assert_eq!(coordinator.status().await.unwrap(), 3, "{name}: {}", coordinator.log());
    coordinator.terminate().await.unwrap();
    assert!(fs::read(seal.join("sealed_data")).unwrap().starts_with(b"MRSEAL"), "{name} is in our format now");

    let told = export(&seal, &out);
    let (before, after) = (Decoded::with_own_key(fixture), Decoded::with_own_key(&out));
    assert_eq!(after.header, before.header, "{name}: recovery hash map");
    for (key, value) in &before.map() {
        assert_eq!(after.map().get(key), Some(value), "{name}: value of {key}");
    }
    assert!(after.plaintext == before.plaintext, "{name}: the whole text, order and escapes too");
    let same_key = fs::read(fixture.join("sealed_key")).unwrap() == fs::read(out.join("sealed_key")).unwrap();
    assert_eq!(same_key, !NEW_KEY.contains(&name), "{name}: the key");
    assert_eq!(told["openedBy"], "sealed_key");
}

#[tokio::test]
async fn a_state_of_upstream_is_exported_as_it_was_imported_to_the_byte() {
    for (name, fixture) in fixtures::upstream_states() {
        goes_through_unchanged(name, &fixture).await;
    }
}

#[tokio::test]
async fn the_richest_state_of_upstream_is_exported_as_it_was_imported() {
    if let Some(rich) = fixtures::rich_upstream_state() {
        goes_through_unchanged("rich", &rich).await;
    }
}

/// A deployment of ours with something of everything a state can hold.
struct Deployment {
    home: tempfile::TempDir,
    user: TestUser,
    keys: Vec<(String, RecoveryKeyPair)>,
    recovery_secrets: BTreeMap<String, Base64>,
    marble: Identity,
}

/// What a deployment is to those who use it.
#[derive(Debug, PartialEq)]
struct Seen {
    root: Vec<u8>,
    fingerprint: String,
    secrets: BTreeMap<String, marblerun_api::v2::Secret>,
    log: Vec<String>,
    pending: marblerun_api::v2::PendingUpdate,
    derived: String,
    counter: u64,
}

const READABLE: [&str; 9] =
    ["s0", "unset", "userSymmetric", "userCert", "shared", "web", "sharedRsa", "sharedEd", "sharedCert"];

impl Deployment {
    async fn new(parties: usize, threshold: u64) -> Self {
        let home = tempfile::tempdir().unwrap();
        let users = ["writer", "boss", "deputy"].map(|name| TestUser::new(name).unwrap());
        let [user, boss, deputy] = &users;
        let keys: Vec<(String, RecoveryKeyPair)> =
            (0..parties).map(|index| (format!("party{index}"), RecoveryKeyPair::new().unwrap())).collect();
        let pems: Vec<(&str, String)> =
            keys.iter().map(|(name, key)| (name.as_str(), key.public_pem().unwrap())).collect();
        let mut manifest: Value = serde_json::from_slice(&load::manifest(user, &pems, 1).unwrap()).unwrap();
        enrich(&mut manifest, [boss, deputy], threshold);

        let coordinator = Coordinator::builder(&home.path().join("seal")).start().await.unwrap();
        let recovery_secrets =
            coordinator.client().await.unwrap().set_manifest(manifest.to_string().as_bytes()).await.unwrap();
        let [writer, boss, deputy] = [user, boss, deputy].map(|user| user.identity().unwrap());
        let [writer, boss, deputy] =
            [client(&coordinator, writer).await, client(&coordinator, boss).await, client(&coordinator, deputy).await];

        let certificate = CertificateDer::from_pem_slice(user.certificate_pem.as_bytes()).unwrap();
        let private = PrivatePkcs8KeyDer::from_pem_slice(user.key_pem.as_bytes()).unwrap();
        let uploaded = UserSecret {
            cert: Some(certificate.as_ref().into()),
            private: Some(private.secret_pkcs8_der().into()),
            key: None,
        };
        let secrets = [
            ("s0".to_owned(), load::plain(b"plain <&> value")),
            ("userSymmetric".to_owned(), load::plain(&[7; 16])),
            ("userCert".to_owned(), uploaded),
        ];
        writer.set_secrets(secrets.into()).await.unwrap();

        // A full update that rotates, so that there are previous generations; then one of a package alone.
        manifest["Config"]["RotateRootSecret"] = true.into();
        let rotated = manifest.to_string();
        boss.apply_update(rotated.as_bytes()).await.unwrap();
        deputy.acknowledge_update(rotated.as_bytes()).await.unwrap();
        writer.apply_update(br#"{"Packages": {"other": {"SecurityVersion": 3}}}"#).await.unwrap();

        FakeMarble::new().unwrap().activate(coordinator.mesh_addr, "app", UUID).await.unwrap();
        let marble = load::marble_identity(&coordinator, 1).await.unwrap();
        client(&coordinator, marble.clone()).await.set_monotonic_counter("steps", 7).await.unwrap();

        // And one that waits.
        manifest["Marbles"]["app"]["MaxActivations"] = 99.into();
        boss.apply_update(manifest.to_string().as_bytes()).await.unwrap();
        let [user, ..] = users;
        let deployment = Self { home, user, keys, recovery_secrets, marble };
        assert_eq!(deployment.seen(&coordinator).await.counter, 7);
        coordinator.terminate().await.unwrap();
        deployment
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    async fn seen(&self, coordinator: &Coordinator) -> Seen {
        let anyone = coordinator.client().await.unwrap();
        let names = READABLE.map(str::to_owned);
        let activation = FakeMarble::new().unwrap().activate(coordinator.mesh_addr, "app", UUID).await.unwrap();
        Seen {
            root: coordinator.attest().await.unwrap().root,
            fingerprint: anyone.manifest().await.unwrap().manifest_fingerprint,
            secrets: client(coordinator, self.user.identity().unwrap()).await.secrets(&names).await.unwrap(),
            log: anyone.update_log().await.unwrap(),
            pending: anyone.pending_update().await.unwrap(),
            derived: activation.text("OWN").unwrap(),
            // A value that is not above changes nothing, and the one there is is answered.
            counter: client(coordinator, self.marble.clone()).await.set_monotonic_counter("steps", 1).await.unwrap(),
        }
    }

    async fn start(&self, name: &str) -> Coordinator {
        Coordinator::builder(&self.path(name)).start().await.unwrap()
    }

    /// The parties' recovery secrets, decrypted and signed.
    fn uploads(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.keys.iter().map(|(name, key)| key.open(name, &self.recovery_secrets).unwrap())
    }

    /// What is inside a directory, without what names the life of a deployment here.
    fn contents(&self, name: &str) -> Value {
        let mut told = marblerun(&["state", "inspect", "--sealed-key"], &[&self.path(name)]);
        let contents = told["contents"].as_object_mut().unwrap();
        contents.remove("deploymentId").unwrap();
        contents.remove("incarnation").unwrap();
        // Exported placeholders are kept by an import; and each look at it is one more activation.
        contents.remove("keptStoreKeys").unwrap();
        contents.remove("marbles").unwrap();
        told["contents"].take()
    }
}

async fn client(coordinator: &Coordinator, identity: Identity) -> Client {
    coordinator.client_builder().await.unwrap().identity(identity).build().unwrap()
}

/// Secrets of every kind, users of every permission, a limit of activations.
fn enrich(manifest: &mut Value, [boss, deputy]: [&TestUser; 2], threshold: u64) {
    let cert = json!({"Subject": {"CommonName": "from & <the> template"}, "DNSNames": ["one.example"]});
    for (name, definition) in [
        ("unset", json!({"Type": "plain", "UserDefined": true})),
        ("userSymmetric", json!({"Type": "symmetric-key", "Size": 128, "UserDefined": true})),
        ("userCert", json!({"Type": "cert-ecdsa", "Size": 384, "UserDefined": true})),
        ("sharedRsa", json!({"Type": "cert-rsa", "Size": 2048, "Shared": true, "ValidFor": 30})),
        ("sharedEd", json!({"Type": "cert-ed25519", "Shared": true})),
        ("sharedCert", json!({"Type": "cert-ecdsa", "Size": 256, "Shared": true, "Cert": cert})),
        ("ownRsa", json!({"Type": "cert-rsa", "Size": 2048, "ValidFor": 7})),
        ("ownEd", json!({"Type": "cert-ed25519", "Cert": cert})),
        ("ownEc", json!({"Type": "cert-ecdsa", "Size": 224})),
    ] {
        manifest["Secrets"][name] = definition;
    }
    manifest["Roles"]["read"]["ResourceNames"] = json!(READABLE);
    manifest["Roles"]["write"]["ResourceNames"] = json!(["s0", "userSymmetric", "userCert"]);
    manifest["Roles"]["update"] = json!({"ResourceType": "Manifest", "Actions": ["UpdateManifest"]});
    manifest["Roles"]["patch"] =
        json!({"ResourceType": "Packages", "ResourceNames": ["other"], "Actions": ["UpdateSecurityVersion"]});
    manifest["Users"]["writer"]["Roles"] = json!(["write", "read", "patch"]);
    for (name, user) in [("boss", boss), ("deputy", deputy)] {
        manifest["Users"][name] = json!({"Certificate": user.certificate_pem, "Roles": ["update"]});
    }
    manifest["Packages"]["other"] =
        json!({"SignerID": "1f".repeat(32), "ProductID": 3, "SecurityVersion": 1, "Debug": true});
    manifest["Marbles"]["app"]["MaxActivations"] = 50.into();
    manifest["Marbles"]["second"] = json!({"Package": "other", "TLS": ["tag"], "DisableSecretBinding": true});
    manifest["TLS"] = json!({"tag": {"Outgoing": [{"Port": "8080", "Addr": "localhost"}]}});
    manifest["Config"]["RecoveryThreshold"] = threshold.into();
}

/// Out, in by a Coordinator that has never seen it, out again, and in by recovery.
async fn leaves_and_comes_back(parties: usize, threshold: u64, needed: usize) {
    let deployment = Deployment::new(parties, threshold).await;
    let coordinator = deployment.start("seal").await;
    let before = deployment.seen(&coordinator).await;
    coordinator.terminate().await.unwrap();
    let contents = deployment.contents("seal");
    export(&deployment.path("seal"), &deployment.path("out"));
    let exported = Decoded::with_own_key(&deployment.path("out"));
    assert_has_everything(&exported.map(), parties);

    let copy = |name: &str, files: &[&str]| {
        fs::create_dir(deployment.path(name)).unwrap();
        for file in files {
            fs::copy(deployment.path("out").join(file), deployment.path(name).join(file)).unwrap();
        }
    };
    copy("imported", &["sealed_data", "sealed_key"]);
    let coordinator = deployment.start("imported").await;
    assert_eq!(coordinator.status().await.unwrap(), 3, "{}", coordinator.log());
    coordinator.terminate().await.unwrap();
    assert_eq!(deployment.contents("imported"), contents);
    export(&deployment.path("imported"), &deployment.path("out-again"));
    let again = Decoded::with_own_key(&deployment.path("out-again"));
    assert!(again.plaintext == exported.plaintext && again.header == exported.header, "an import changes nothing");
    let coordinator = deployment.start("imported").await;
    assert_eq!(deployment.seen(&coordinator).await, before);
    coordinator.terminate().await.unwrap();

    if parties == 0 {
        return;
    }
    // Without its key: the holders' secrets are good there as here.
    copy("recovered", &["sealed_data"]);
    let coordinator = deployment.start("recovered").await;
    assert_eq!(coordinator.status().await.unwrap(), 1, "{}", coordinator.log());
    let anyone = coordinator.client().await.unwrap();
    for (index, (secret, signature)) in deployment.uploads().skip(parties - needed).enumerate() {
        let answer = anyone.recover(&secret, &signature).await.unwrap();
        assert_eq!(answer.remaining, (needed - index - 1) as i64);
    }
    assert_eq!(deployment.seen(&coordinator).await, before);
    coordinator.terminate().await.unwrap();

    // Offline, from sealed_data alone, as it is after the loss of a host.
    for (name, key) in &deployment.keys {
        fs::write(deployment.path(name), key.private_pem().unwrap()).unwrap();
    }
    let files: Vec<String> =
        deployment.keys.iter().take(needed).map(|(name, _)| deployment.path(name).display().to_string()).collect();
    let out = deployment.path("out-by-keys").display().to_string();
    let mut args = vec!["state", "export", "--to", "upstream", "--no-sealed-key", "-o", &out];
    files.iter().for_each(|file| args.extend(["--key", file.as_str()]));
    let told = marblerun(&args, &[&deployment.path("seal").join("sealed_data")]);
    assert_eq!((&told["openedBy"], &told["sealedKey"]), (&"recovery keys".into(), &Value::Null));
    assert!(!deployment.path("out-by-keys").join("sealed_key").exists());
    let key = fs::read(deployment.path("out").join("sealed_key")).unwrap();
    let by_keys = Decoded::read(&deployment.path("out-by-keys"), &key).map();
    let differing: Vec<String> = exported
        .map()
        .into_iter()
        .filter(|(name, value)| by_keys.get(name) != Some(value))
        .map(|(name, _)| name)
        .collect();
    let is_placeholder = |name: &String| name.starts_with("secret:own") || name.starts_with("previousSecret:own");
    assert!(differing.iter().filter(|name| *name != "activations:app").all(is_placeholder), "{differing:?}");
}

/// Every kind of store key that upstream knows.
fn assert_has_everything(map: &BTreeMap<String, Vec<u8>>, parties: usize) {
    let value = |key: &str| -> Value { serde_json::from_slice(&map[key]).unwrap() };
    assert_eq!(map["state"], b"3");
    for key in [
        "manifest",
        "manifestSignature",
        "certificate:coordinatorRootCert",
        "certificate:coordinatorIntermediateCert",
        "certificate:marbleRootCert",
        "privateKey:coordinatorRootKey",
        "privateKey:coordinatorIntermediateKey",
        "rootSecret",
        "previousRootSecret",
        "updateLog",
        "activations:app",
        "marble:second",
        "TLS:tag",
        "user:writer",
        "user:deputy",
        "package:app",
    ] {
        assert!(!map[key].is_empty(), "{key}");
    }
    assert_ne!(map["rootSecret"], map["previousRootSecret"]);
    assert_eq!(value("package:other")["SecurityVersion"], 3);
    assert_eq!(value("pendingUpdate")["requiredUsers"], json!({"boss": true, "deputy": false}));
    let counter = map.iter().find(|(name, _)| name.starts_with("monotonicCounter:")).unwrap();
    assert_eq!(counter.1, &7u64.to_le_bytes());
    for name in ["ownRsa", "ownEd", "ownEc", "own"] {
        let (now, before) = (value(&format!("secret:{name}")), value(&format!("previousSecret:{name}")));
        assert!(now["Private"].is_string() && before["Private"].is_string(), "{name} has a placeholder");
        assert_eq!(now["Cert"].is_null(), name == "own");
    }
    assert!(value("secret:unset")["Private"].is_null());
    let names: Value = serde_json::from_slice::<Value>(&map["manifest"]).unwrap()["RecoveryKeys"].take();
    assert_eq!(names.as_object().map_or(0, serde_json::Map::len), parties);
}

#[tokio::test]
async fn a_state_without_recovery_keys_leaves_and_comes_back() {
    leaves_and_comes_back(0, 0, 0).await;
}

#[tokio::test]
async fn a_state_with_one_recovery_key_leaves_and_comes_back() {
    leaves_and_comes_back(1, 0, 1).await;
}

#[tokio::test]
async fn a_state_that_all_of_two_recover_leaves_and_comes_back() {
    leaves_and_comes_back(2, 0, 2).await;
}

#[tokio::test]
async fn a_state_that_any_two_of_three_recover_leaves_and_comes_back() {
    leaves_and_comes_back(3, 2, 2).await;
}
