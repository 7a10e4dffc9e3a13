//! What becomes of secrets when the whole manifest is replaced, as users and Marbles see it.

use serde_json::{Value, json};

use crate::world::{UUID, World, json as bytes, text, user, user_pem};

fn manifest() -> Value {
    let names = ["sym", "cert", "days", "dated", "plain"];
    json!({
        "Packages": {"app": {"Debug": true}},
        "Marbles": {"web": {"Package": "app", "Parameters": {"Env": {
            "OWN": "{{ hex .Secrets.own }}",
            "OLD_OWN": "{{ hex .Previous.Secrets.own }}",
            "OLD_SYM": "{{ hex .Previous.Secrets.sym }}",
            "OLD_CERT": "{{ pem .Previous.Secrets.cert.Cert }}",
            "OLD_DAYS": "{{ pem .Previous.Secrets.days.Cert }}",
        }}}},
        "Secrets": {
            "sym": {"Type": "symmetric-key", "Size": 128, "Shared": true},
            "own": {"Type": "symmetric-key", "Size": 128},
            "cert": {"Type": "cert-ecdsa", "Size": 256, "Shared": true},
            "days": {"Type": "cert-ed25519", "ValidFor": 9, "Shared": true},
            "dated": {"Type": "cert-ed25519", "Shared": true, "Cert": {"NotAfter": "2040-01-01T00:00:00Z"}},
            "plain": {"Type": "plain", "UserDefined": true},
        },
        "Users": {"alice": {"Certificate": user_pem("alice"), "Roles": ["owner", "rw", "r"]}},
        "Roles": {
            "owner": {"ResourceType": "Manifest", "Actions": ["UpdateManifest"]},
            "r": {"ResourceType": "Secrets", "ResourceNames": names, "Actions": ["ReadSecret"]},
            "rw": {"ResourceType": "Secrets", "ResourceNames": ["plain"], "Actions": ["WriteSecret"]},
        },
    })
}

async fn update(world: &World, manifest: &Value) {
    let answer = world.coordinator.update(Some(&user("alice")), bytes(manifest)).await.unwrap();
    assert_eq!(answer.missing_users, None);
}

async fn key(world: &World, name: &str) -> Vec<u8> {
    world.read("alice", name).await.private.unwrap().0
}

async fn pem(world: &World, name: &str) -> String {
    let der = world.read("alice", name).await.cert.unwrap().0;
    marblerun_pki::pem::encode("CERTIFICATE", &der).unwrap().to_string()
}

async fn see(world: &World, variable: &str) -> String {
    text(&world.activate("web", UUID).await.unwrap(), variable).to_owned()
}

#[tokio::test]
async fn without_rotation_keys_stay_and_certificates_are_renewed_with_their_past() {
    let world = World::with(&manifest()).await;
    let upload = serde_json::from_value(json!({"plain": {"Key": "aGk="}})).unwrap();
    world.coordinator.write_secrets(Some(&user("alice")), upload).await.unwrap();
    let (sym, own) = (key(&world, "sym").await, see(&world, "OWN").await);
    let (cert, days) = (pem(&world, "cert").await, pem(&world, "days").await);
    assert_eq!(see(&world, "OLD_CERT").await, cert, "at first, previous is current");

    update(&world, &manifest()).await;
    assert_eq!(key(&world, "sym").await, sym);
    assert_eq!(key(&world, "plain").await, b"hi");
    assert_eq!(see(&world, "OWN").await, own);
    assert_eq!(see(&world, "OLD_OWN").await, own);
    assert_eq!(see(&world, "OLD_SYM").await, hex::encode(&sym));
    for (name, variable, before) in [("cert", "OLD_CERT", cert), ("days", "OLD_DAYS", days)] {
        assert_ne!(pem(&world, name).await, before, "{name} is under the new authority");
        assert_eq!(see(&world, variable).await, before, "{name} names its days or not: its past is kept");
    }
}

#[tokio::test]
async fn rotation_shifts_every_key_by_one_generation() {
    let world = World::with(&manifest()).await;
    let mut rotating = manifest();
    rotating["Config"] = json!({"RotateRootSecret": true});
    let mut before = (key(&world, "sym").await, see(&world, "OWN").await);
    for _ in 0..2 {
        update(&world, &rotating).await;
        let now = (key(&world, "sym").await, see(&world, "OWN").await);
        assert_ne!(now.0, before.0);
        assert_ne!(now.1, before.1);
        assert_eq!(see(&world, "OLD_SYM").await, hex::encode(&before.0));
        assert_eq!(see(&world, "OLD_OWN").await, before.1);
        before = now;
    }
    update(&world, &manifest()).await;
    assert_eq!((key(&world, "sym").await, see(&world, "OWN").await), before, "without the word nothing rotates");
}

#[tokio::test]
async fn a_changed_definition_is_a_new_secret() {
    let world = World::with(&manifest()).await;
    let upload = serde_json::from_value(json!({"plain": {"Key": "aGk="}})).unwrap();
    world.coordinator.write_secrets(Some(&user("alice")), upload).await.unwrap();
    let (sym, own) = (key(&world, "sym").await, see(&world, "OWN").await);
    let cert = pem(&world, "cert").await;
    let mut changed = manifest();
    changed["Secrets"]["sym"]["Size"] = json!(256);
    changed["Secrets"]["own"]["Size"] = json!(256);
    changed["Secrets"]["plain"]["Size"] = json!(8);
    changed["Secrets"]["cert"]["ValidFor"] = json!(7);
    update(&world, &changed).await;
    let new = key(&world, "sym").await;
    assert_eq!(new.len(), 32);
    assert_ne!(new[..16], sym[..]);
    assert_eq!(see(&world, "OLD_SYM").await, hex::encode(&sym), "what was encrypted before can be read");
    assert_eq!(see(&world, "OLD_CERT").await, cert);
    assert!(see(&world, "OWN").await.starts_with(&own), "derived keys of other sizes begin alike");
    assert_eq!(see(&world, "OLD_OWN").await, own);
    assert_eq!(world.read("alice", "plain").await.private, None, "the value belonged to the old definition");
    let past = world.coordinator.snapshot().previous_secret("plain").cloned().unwrap();
    assert_eq!(past.private.as_ref().unwrap().as_slice(), b"hi");
}

#[tokio::test]
async fn a_secret_of_another_kind_has_no_past() {
    let world = World::with(&manifest()).await;
    let mut changed = manifest();
    changed["Secrets"]["sym"] = json!({"Type": "cert-ed25519", "Shared": true});
    changed["Marbles"]["web"]["Parameters"]["Env"]["OLD_SYM"] = json!("{{ pem .Previous.Secrets.sym.Cert }}");
    update(&world, &changed).await;
    assert_eq!(see(&world, "OLD_SYM").await, pem(&world, "sym").await, "what templates of the new kind can use");
}

#[tokio::test]
async fn after_a_rotation_a_changed_key_of_each_marble_has_no_past_but_its_own() {
    let world = World::with(&manifest()).await;
    let mut rotating = manifest();
    rotating["Config"] = json!({"RotateRootSecret": true});
    update(&world, &rotating).await;
    let mut changed = manifest();
    changed["Secrets"]["own"]["Size"] = json!(256);
    update(&world, &changed).await;
    assert_eq!(see(&world, "OLD_OWN").await.len(), 64, "of the new size: the key before it cannot be derived any more");
}

#[tokio::test]
async fn an_upload_makes_the_value_before_it_the_previous_one() {
    let mut with_previous = manifest();
    with_previous["Marbles"]["web"]["Parameters"]["Env"]["OLD_PLAIN"] = json!("{{ string .Previous.Secrets.plain }}");
    let world = World::with(&with_previous).await;
    let upload = async |key: &str| {
        let upload = serde_json::from_value(json!({"plain": {"Key": key}})).unwrap();
        world.coordinator.write_secrets(Some(&user("alice")), upload).await.unwrap();
    };
    upload("aGk=").await;
    assert_eq!(see(&world, "OLD_PLAIN").await, "hi", "at first, previous is current");
    upload("eW91").await;
    assert_eq!(see(&world, "OLD_PLAIN").await, "hi");
    upload("eW91").await;
    assert_eq!(see(&world, "OLD_PLAIN").await, "hi", "the same value again is no change");
    update(&world, &with_previous).await;
    assert_eq!((see(&world, "OLD_PLAIN").await.as_str(), key(&world, "plain").await.as_slice()), ("hi", &b"you"[..]));
    upload("YWxs").await;
    assert_eq!(see(&world, "OLD_PLAIN").await, "you");
}

#[tokio::test]
async fn a_removed_secret_is_gone_with_its_past() {
    let world = World::with(&manifest()).await;
    let sym = key(&world, "sym").await;
    let mut without = manifest();
    without["Secrets"].as_object_mut().unwrap().remove("sym");
    without["Roles"]["r"]["ResourceNames"] = json!(["cert"]);
    without["Marbles"]["web"]["Parameters"]["Env"].as_object_mut().unwrap().remove("OLD_SYM");
    update(&world, &without).await;
    let state = world.coordinator.snapshot();
    assert!(state.secret("sym").is_none() && state.previous_secret("sym").is_none());
    drop(state);
    update(&world, &manifest()).await;
    assert_ne!(key(&world, "sym").await, sym);
    assert_eq!(see(&world, "OLD_SYM").await, hex::encode(key(&world, "sym").await));
}

#[tokio::test]
async fn a_date_in_the_manifest_is_the_date_in_the_certificate() {
    use x509_cert::der::Decode as _;
    let world = World::with(&manifest()).await;
    world.pass_days(100);
    update(&world, &manifest()).await;
    let ends = async |name: &str| {
        let der = world.read("alice", name).await.cert.unwrap().0;
        let certificate = x509_cert::Certificate::from_der(&der).unwrap();
        let validity = certificate.tbs_certificate().validity();
        let [from, until] = [validity.not_before, validity.not_after].map(|time| time.to_unix_duration().as_secs());
        (until, (until - from) / 86_400)
    };
    assert_eq!(ends("dated").await.0, 2_208_988_800);
    assert_eq!(ends("days").await.1, 9);
    assert_eq!(ends("cert").await.1, 365);
}
