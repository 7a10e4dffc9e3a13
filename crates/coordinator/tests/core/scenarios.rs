//! Updates from all sides, as data: each file of `tests/fixtures/updates` says what is done to a deployment, and below
//! the line what has become of it, down to what Marbles see that stay up and those that activate again.
//!
//! `MARBLERUN_UPDATE_SCENARIOS=1` writes what is below the line anew. Read the difference before it is committed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1, UnparsedPublicKey};
use marblerun_coordinator::core::{Activated, PeerCertificate, UpdateAnswer};
use marblerun_coordinator::error::Error;
use marblerun_pki::Secret;
use marblerun_state::State;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

use crate::world::{World, text, user, user_pem, vectors};

/// Marble types of the base manifest, each with an instance of its own.
const MARBLES: [(&str, &str); 3] = [
    ("tool", "10000000-0c4e-4a8c-9c9b-5a3d1a2b3c4d"),
    ("web", "20000000-0c4e-4a8c-9c9b-5a3d1a2b3c4d"),
    ("worker", "30000000-0c4e-4a8c-9c9b-5a3d1a2b3c4d"),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/updates")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_update_leads_where_its_file_says() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    assert!(files.len() >= 40, "only {} scenarios were found", files.len());
    let is_update = std::env::var_os("MARBLERUN_UPDATE_SCENARIOS").is_some();
    let mut wrong = Vec::new();
    for path in files {
        let file = std::fs::read_to_string(&path).unwrap();
        let (given, expected) = file.split_once("\n---\n").unwrap_or((file.trim_end(), ""));
        let (promise, script) = given.split_once('\n').unwrap();
        assert!(promise.starts_with("# "), "{} begins with what it promises", path.display());
        let script: Value = serde_json::from_str(script).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let got = play(&script).await;
        if is_update {
            std::fs::write(&path, format!("{given}\n---\n{got}")).unwrap();
        } else if got != expected {
            wrong.push(format!("{}\n{}", path.display(), difference(expected, &got)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn difference(expected: &str, got: &str) -> String {
    let missing =
        expected.lines().filter(|line| !got.lines().any(|other| other == *line)).map(|line| format!("- {line}"));
    let added =
        got.lines().filter(|line| !expected.lines().any(|other| other == *line)).map(|line| format!("+ {line}"));
    missing.chain(added).collect::<Vec<_>>().join("\n")
}

/// What happens to the deployment of one file.
struct Stage {
    home: TempDir,
    flags: Vec<String>,
    /// `None` only while it restarts.
    world: Option<World>,
    base: Value,
    /// Every manifest that was posted, with the step that posted it.
    posted: BTreeMap<String, String>,
    last_posted: Vec<u8>,
    before: Arc<State>,
    up: BTreeMap<&'static str, Activated>,
    report: String,
}

async fn play(script: &Value) -> String {
    let home = TempDir::new().unwrap();
    let grace = script["grace"].as_str().map(|grace| format!("--marble-grace={grace}"));
    let flags: Vec<String> = grace.into_iter().collect();
    let world = World::stored(home.path(), &flags).await;
    let mut base: Value = serde_json::from_slice(&std::fs::read(folder().join("base.json")).unwrap()).unwrap();
    merge(&mut base, &script["base"]);
    let raw = filled_in(&base);
    world.coordinator.set_manifest(raw.clone()).await.unwrap();
    let upload = serde_json::from_value(json!({"userPlain": {"Key": "YmVmb3Jl"}})).unwrap();
    world.coordinator.write_secrets(Some(&user("alice")), upload).await.unwrap();
    let mut up = BTreeMap::new();
    for (marble, uuid) in MARBLES {
        up.insert(marble, world.activate(marble, uuid).await.unwrap());
    }
    assert_eq!(count(&world, &peer(&up["web"]), 7).await, "counted from 0");

    let before = world.coordinator.snapshot();
    let posted = BTreeMap::from([(fingerprint(&raw), "the first".to_owned())]);
    let report = String::new();
    let mut stage = Stage { home, flags, world: Some(world), base, posted, last_posted: raw, before, up, report };
    for (number, step) in script["steps"].as_array().unwrap().iter().enumerate() {
        let (what, outcome) = stage.step(number + 1, step).await;
        writeln!(stage.report, "step {}: {what}: {outcome}", number + 1).unwrap();
    }
    stage.observe().await;
    stage.report
}

impl Stage {
    fn world(&self) -> &World {
        self.world.as_ref().unwrap()
    }

    async fn step(&mut self, number: usize, step: &Value) -> (String, String) {
        let kind = step["do"].as_str().unwrap();
        let who = step["as"].as_str().unwrap_or("nobody");
        let peer_of_user = step["as"].as_str().map(user);
        let said = format!("{kind} by {who}");
        match kind {
            "update" => {
                let mut manifest = self.base.clone();
                merge(&mut manifest, &step["patch"]);
                (said, self.post(number, filled_in(&manifest), peer_of_user.as_ref()).await)
            }
            "raise" => {
                let set = step["packages"].as_object().unwrap().iter();
                let packages: serde_json::Map<_, _> = set
                    .map(|(name, version)| {
                        let entry =
                            if version.is_object() { version.clone() } else { json!({"SecurityVersion": version}) };
                        (name.clone(), entry)
                    })
                    .collect();
                let mut update = json!({"Packages": packages});
                merge(&mut update, &step["more"]);
                (said, self.post(number, update.to_string().into_bytes(), peer_of_user.as_ref()).await)
            }
            "acknowledge" => {
                let mut raw = self.last_posted.clone();
                raw.extend(step["append"].as_str().unwrap_or_default().bytes());
                let result = self.world().coordinator.acknowledge_update(peer_of_user.as_ref(), raw).await;
                (said, answered(result))
            }
            "cancel" => {
                let result = self.world().coordinator.cancel_update(peer_of_user.as_ref()).await;
                (said, result.map_or_else(|error| refused(&error), |()| "cancelled".to_owned()))
            }
            "upload" => {
                let upload = serde_json::from_value(step["secrets"].clone()).unwrap();
                let result = self.world().coordinator.write_secrets(peer_of_user.as_ref(), upload).await;
                (said, result.map_or_else(|error| refused(&error), |()| "stored".to_owned()))
            }
            "activate" => {
                let marble = step["marble"].as_str().unwrap();
                let uuid = MARBLES.iter().find(|(name, _)| *name == marble).unwrap().1;
                let result = self.world().activate(marble, uuid).await;
                (
                    format!("activate {marble}"),
                    result.map_or_else(|error| error.message().to_owned(), |_| "activated".into()),
                )
            }
            "hours" => {
                let hours = step["hours"].as_i64().unwrap();
                self.world().pass_hours(hours);
                (format!("{hours} hours pass"), "ok".to_owned())
            }
            "restart" => {
                let world = self.world.take().unwrap();
                self.world = Some(world.restarted(self.home.path(), &self.flags).await);
                let mode = self.world().coordinator.store_status().mode;
                (kind.to_owned(), format!("status {}, {mode:?}", self.world().coordinator.status().0))
            }
            other => panic!("unknown step {other}"),
        }
    }

    async fn post(&mut self, number: usize, raw: Vec<u8>, peer: Option<&PeerCertificate>) -> String {
        self.posted.entry(fingerprint(&raw)).or_insert_with(|| format!("that of step {number}"));
        self.last_posted.clone_from(&raw);
        answered(self.world().coordinator.update(peer, raw).await)
    }

    async fn observe(&mut self) {
        let after = self.world().coordinator.snapshot();
        self.observe_state(&after);
        let mut log = self.world().log().await;
        log.drain(..self.before.update_log().count());
        for line in log {
            let mut line = line.split_once("Z\",").unwrap().1.trim_end_matches('}').to_owned();
            for (fingerprint, name) in &self.posted {
                line = line.replace(fingerprint, name);
            }
            writeln!(self.report, "log {line}").unwrap();
        }
        let root = after.authority().marble_root_certificate.clone();
        for (marble, _) in MARBLES {
            let leaf = peer(&self.up[marble]);
            let under = if signed_by(&leaf.0, &root) { "the root in force" } else { "a replaced root" };
            let counted = count(self.world(), &leaf, 8).await;
            writeln!(self.report, "stays up: {marble}: certificate of {under}, {counted}").unwrap();
            assert_chain(&self.up[marble], &after);
        }
        for (marble, uuid) in MARBLES {
            let seen = self.activate_again(marble, uuid, &root).await;
            writeln!(self.report, "activates: {marble}: {seen}").unwrap();
        }
    }

    fn observe_state(&mut self, after: &State) {
        let before = Arc::clone(&self.before);
        let out = &mut self.report;
        let in_force = fingerprint(&after.manifest().unwrap().raw);
        writeln!(out, "manifest: {}", self.posted[&in_force]).unwrap();
        let pending = after.pending_update().map(|pending| self.posted[&fingerprint(&pending.raw)].as_str());
        writeln!(out, "pending: {}", pending.unwrap_or("none")).unwrap();
        let authority = before.authority();
        assert_eq!(authority.root_certificate, after.authority().root_certificate, "the root never changes");
        let renewed = authority.intermediate_certificate != after.authority().intermediate_certificate;
        writeln!(out, "authority below the root: {}", if renewed { "new" } else { "kept" }).unwrap();
        writeln!(out, "replaced roots kept: {}", after.retired_roots().len()).unwrap();
        let rotated = before.root_secret() != after.root_secret();
        writeln!(out, "root secret: {}", if rotated { "new" } else { "kept" }).unwrap();
        let epochs = |state: &State| state.recovery().iter().map(|entry| entry.set.epoch).collect::<Vec<_>>();
        let kept = if epochs(&before) == epochs(after) { "kept" } else { "new" };
        writeln!(out, "recovery: {kept}, {} in force", after.recovery().len()).unwrap();
        let users: Vec<&str> = after.manifest().unwrap().users.keys().map(String::as_str).collect();
        writeln!(out, "users: {}", users.join(" ")).unwrap();
        let packages = |state: &State| -> Vec<String> {
            let shown = |version: Option<u64>| version.map_or("-".to_owned(), |version| version.to_string());
            state.packages().map(|(name, package)| format!("{name} {}", shown(package.security_version))).collect()
        };
        writeln!(out, "packages: {} -> {}", packages(&before).join(", "), packages(after).join(", ")).unwrap();
        writeln!(out, "activations of tool: {} -> {}", before.activations("tool"), after.activations("tool")).unwrap();
        let mut names: Vec<&str> = before.secrets().chain(after.secrets()).map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            writeln!(out, "secret {name}: {}", fate(name, &before, after)).unwrap();
        }
    }

    /// What a Marble gets that starts again.
    async fn activate_again(&self, marble: &str, uuid: &str, root: &[u8]) -> String {
        let again = match self.world().activate(marble, uuid).await {
            Ok(again) => again,
            Err(error) => return error.message().to_owned(),
        };
        let new = peer(&again);
        let under = if signed_by(&new.0, root) { "the root in force" } else { "another root" };
        let mut seen = format!("certificate of {under}");
        assert_chain(&again, &self.world().coordinator.snapshot());
        let old = &self.up[marble];
        for (variable, what) in [("OWN", "own key"), ("SHARED", "shared key"), ("USER", "user's value")] {
            if let (Some(before), Some(now)) = (old.env.get(variable), again.env.get(variable)) {
                write!(seen, ", {what} {}", if before == now { "kept" } else { "new" }).unwrap();
            }
        }
        for (variable, of, what) in [("OLD_OWN", "OWN", "own key"), ("OLD_SHARED", "SHARED", "shared key")] {
            let (Some(previous), Some(before), Some(now)) =
                (again.env.get(variable), old.env.get(of), again.env.get(of))
            else {
                continue;
            };
            let which = match () {
                () if previous == now => "the same",
                () if previous == before => "the one before",
                () => "another",
            };
            write!(seen, ", previous {what} {which}").unwrap();
        }
        write!(seen, ", {}", count(self.world(), &new, 9).await).unwrap();
        write!(seen, "; with the old certificate {}", count(self.world(), &peer(old), 9).await).unwrap();
        seen
    }
}

/// What became of a secret: its value, and the one before.
fn fate(name: &str, before: &State, after: &State) -> String {
    let Some(now) = after.secret(name) else {
        let past = if after.previous_secret(name).is_none() { "with" } else { "without" };
        return format!("removed {past} its past");
    };
    let has_value = |secret: &Secret| secret.public.is_some();
    let current = match before.secret(name) {
        None => "new",
        Some(old) if old == now => "kept",
        Some(old) if has_value(old) && !now.shared && !now.user_defined => "now of each Marble",
        Some(old) if has_value(old) && !has_value(now) => "emptied",
        Some(_) if has_value(now) => "renewed",
        Some(_) => "defined anew",
    };
    let previous = after.previous_secret(name);
    let past = match previous {
        None => "nothing",
        previous if previous == Some(now) => "itself",
        previous if previous == before.secret(name) => "the one before",
        previous if previous == before.previous_secret(name) => "kept",
        Some(_) => "another",
    };
    let is_issued = now.kind.is_certificate() && now.shared && !now.user_defined;
    let issuer = now.certificate.as_deref().filter(|_| is_issued).map(|certificate| {
        match signed_by(certificate, &after.authority().marble_root_certificate) {
            true => ", issued by the root in force",
            false => ", issued by a replaced root",
        }
    });
    format!("{current}, before it {past}{}", issuer.unwrap_or_default())
}

fn answered(result: Result<UpdateAnswer, Error>) -> String {
    let answer = match result {
        Ok(answer) => answer,
        Err(error) => return refused(&error),
    };
    let mut said = match answer.missing_users {
        None => "applied".to_owned(),
        Some(users) => format!("{} more of {}", answer.missing_acknowledgments, users.join(", ")),
    };
    if let Some(secrets) = answer.recovery_secrets {
        let names: Vec<String> = secrets.into_keys().collect();
        write!(said, ", recovery secrets for {}", if names.is_empty() { "nobody".into() } else { names.join(", ") })
            .unwrap();
    }
    said
}

fn refused(error: &Error) -> String {
    let text: String = error.message.lines().next().unwrap_or_default().chars().take(150).collect();
    format!("refused ({}): {text}", error.code)
}

/// Raises the counter `foo` of the Marble behind a certificate.
async fn count(world: &World, peer: &PeerCertificate, value: u64) -> String {
    if let Err(error) = world.coordinator.require_feature("MonotonicCounter").await {
        return format!("no counter ({})", error.code);
    }
    match world.coordinator.authenticate_marble(Some(peer)).await {
        Ok(marble) => match world.coordinator.set_counter(marble, "foo".to_owned(), value).await {
            Ok(before) => format!("counted from {before}"),
            Err(error) => format!("not counted ({})", error.code),
        },
        Err(error) => format!("a stranger ({})", error.code),
    }
}

fn peer(activated: &Activated) -> PeerCertificate {
    PeerCertificate(Arc::new(chain(activated)[0].to_der().unwrap()))
}

fn chain(activated: &Activated) -> Vec<Certificate> {
    Certificate::load_pem_chain(text(activated, "MARBLE_PREDEFINED_MARBLE_CERTIFICATE_CHAIN").as_bytes()).unwrap()
}

/// A Marble's chain leads to the root of the deployment, whatever was updated since.
fn assert_chain(activated: &Activated, state: &State) {
    let [leaf, intermediate] = chain(activated).try_into().unwrap();
    let [leaf, intermediate] = [leaf, intermediate].map(|certificate| certificate.to_der().unwrap());
    assert!(signed_by(&leaf, &intermediate) && signed_by(&intermediate, &state.authority().root_certificate));
}

fn signed_by(certificate: &[u8], issuer: &[u8]) -> bool {
    let certificate = Certificate::from_der(certificate).unwrap();
    let issuer = Certificate::from_der(issuer).unwrap();
    let key = issuer.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes();
    let signed = certificate.tbs_certificate().to_der().unwrap();
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, key).verify(&signed, certificate.signature().raw_bytes()).is_ok()
}

fn fingerprint(raw: &[u8]) -> String {
    hex::encode(Sha256::digest(raw))
}

/// JSON merge patch (RFC 7396).
fn merge(target: &mut Value, patch: &Value) {
    match patch {
        Value::Null => {}
        Value::Object(fields) => {
            if !target.is_object() {
                *target = json!({});
            }
            let target = target.as_object_mut().unwrap();
            for (name, value) in fields {
                if value.is_null() {
                    target.remove(name);
                } else {
                    merge(target.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        other => *target = other.clone(),
    }
}

/// `@NAME` stands for the certificate of a user, or for a recovery key.
fn filled_in(manifest: &Value) -> Vec<u8> {
    fn fill(value: &mut Value) {
        match value {
            Value::String(text) if text.starts_with("@recovery") => *text = key(Path::new(&text[1..])),
            Value::String(text) if text.starts_with('@') => *text = user_pem(&text[1..]),
            Value::Object(fields) => fields.values_mut().for_each(fill),
            Value::Array(items) => items.iter_mut().for_each(fill),
            _ => {}
        }
    }
    fn key(name: &Path) -> String {
        std::fs::read_to_string(vectors().join("keys").join(name).with_extension("pub.pem")).unwrap()
    }
    let mut manifest = manifest.clone();
    fill(&mut manifest);
    manifest.to_string().into_bytes()
}
