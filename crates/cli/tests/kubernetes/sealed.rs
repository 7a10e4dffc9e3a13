//! States of deployments, as several Coordinators would keep them in a Secret.

use std::collections::BTreeMap;

use marblerun_sealing::SlotKind;
use marblerun_state::State;
use marblerun_store::backup::{VerifyWith, open_state};
use marblerun_store::cluster::Kek;
use marblerun_store::format::{Dek, DekId, FileSpec, FileWriter, KeyEntry, Layout, SealedKey, Slot, read_front};
use marblerun_testkit::{Coordinator, RecoveryKeyPair, TestUser, load};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use crate::person::Person;

/// A deployment: the state that a Coordinator made, and keys of a cluster for it.
pub struct Deployment {
    state: State,
    pub recovery_key: String,
    dek: Dek,
    dek_id: DekId,
    kek: Kek,
    /// As the Coordinator wrote it.
    pub file: Vec<u8>,
}

/// Values of a Secret.
pub type Values = BTreeMap<&'static str, Vec<u8>>;

/// The deployment of most tests.
pub async fn ours() -> &'static Deployment {
    static OURS: OnceCell<Deployment> = OnceCell::const_new();
    OURS.get_or_init(|| Deployment::new(0)).await
}

/// Somebody else's.
pub async fn another() -> &'static Deployment {
    static ANOTHER: OnceCell<Deployment> = OnceCell::const_new();
    ANOTHER.get_or_init(|| Deployment::new(0)).await
}

/// One whose Secret is too large for the annotation of `kubectl apply`.
pub async fn large() -> &'static Deployment {
    static LARGE: OnceCell<Deployment> = OnceCell::const_new();
    LARGE.get_or_init(|| Deployment::new(300_000)).await
}

impl Deployment {
    async fn new(padding: usize) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (user, key) = (TestUser::new("writer").unwrap(), RecoveryKeyPair::new().unwrap());
        let manifest = load::manifest(&user, &[("alice", key.public_pem().unwrap())], 1).unwrap();
        let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
        manifest["Marbles"]["app"]["Parameters"]["Files"]["/large"] = "x".repeat(padding).into();
        let coordinator = Coordinator::builder(&home.path().join("seal")).start().await.unwrap();
        coordinator.client().await.unwrap().set_manifest(manifest.to_string().as_bytes()).await.unwrap();
        coordinator.terminate().await.unwrap();
        let recovery_key = key.private_pem().unwrap();
        let private_keys = vec![Zeroizing::new(recovery_key.clone())];
        let path = home.path().join("seal/sealed_data");
        let state = open_state(&path, &VerifyWith { private_keys, ..VerifyWith::default() }, None).unwrap().state;
        Self {
            state,
            recovery_key,
            dek: Dek::generate().unwrap(),
            dek_id: DekId::generate().unwrap(),
            kek: Kek::generate().unwrap(),
            file: std::fs::read(path).unwrap(),
        }
    }

    /// The state as the commit of that number.
    pub fn values(&self, sequence: u64) -> Values {
        let spec = FileSpec {
            state: &self.state,
            sequence,
            time_ms: 1_800_000_000_000 + sequence,
            previous_head: [0; 32],
            dek: &self.dek,
            dek_id: self.dek_id,
            slots: Vec::new(),
            writer: "tests",
            recovery_in_header: true,
            marks: false,
        };
        let (sealed_data, _) = FileWriter::create(Vec::new(), &spec).unwrap().finish().unwrap();
        let id = self.kek.id().0;
        let slot = Slot::wrap(SlotKind::Cluster, self.kek.expose(), &self.dek, self.dek_id, "cluster", &id).unwrap();
        let entry = KeyEntry::new(self.dek_id, vec![slot], false, None, &self.dek);
        let sealed_key = SealedKey { entries: vec![entry] }.encode().unwrap();
        Values::from([("sealed_data", sealed_data), ("sealed_key", sealed_key)])
    }

    /// The same with the snapshot in two parts.
    pub fn in_parts(&self, sequence: u64) -> (Values, [Vec<u8>; 2]) {
        let mut values = self.values(sequence);
        let whole = values["sealed_data"].clone();
        let Ok(Layout::Sealed(front)) = read_front(&whole) else { panic!("not sealed") };
        let (head, snapshot) = whole.split_at(usize::try_from(front.records_at).unwrap());
        let (first, second) = snapshot.split_at(snapshot.len() / 2);
        values.insert("sealed_data", head.to_vec());
        values.insert("parts", format!("of {sequence}").into_bytes());
        (values, [first.to_vec(), second.to_vec()])
    }

    /// The entry in the ConfigMap of a host that has the key.
    pub fn entry(&self) -> String {
        format!("{}.{}.{}", "ab".repeat(16), hex::encode(self.kek.id().0), "cd".repeat(8))
    }

    /// Writes the recovery key where a person finds it.
    pub fn gives_key_to(&self, person: &Person) {
        std::fs::write(person.path("key.pem"), &self.recovery_key).unwrap();
    }
}

/// A Secret as an API server takes it.
pub fn object(name: &str, values: &Values) -> Value {
    let data: BTreeMap<&str, String> =
        values.iter().map(|(key, value)| (*key, marblerun_api::bytes::encode(value))).collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque", "data": data})
}

impl Person {
    /// Makes or replaces a Secret, as Coordinators do.
    #[track_caller]
    pub fn puts(&self, name: &str, values: &Values) {
        let there = if self.has(&format!("secret/{name}")) { "replace" } else { "create" };
        let put = self.namespace.kubectl_with_input([there, "-f", "-"], &object(name, values).to_string());
        put.unwrap().ok().unwrap();
    }

    /// The values of a Secret.
    #[track_caller]
    pub fn values(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let secret = self.get(&format!("secret/{name}"));
        let data = secret["data"].as_object().unwrap();
        data.iter()
            .map(|(key, value)| (key.clone(), marblerun_api::bytes::decode(value.as_str().unwrap()).unwrap()))
            .collect()
    }

    #[track_caller]
    pub fn has_values(&self, name: &str, expected: &Values) {
        let expected = expected.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        assert!(self.values(name) == expected, "Secret {name} holds something else");
    }

    pub fn uid(&self, object: &str) -> String {
        self.get(object)["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    /// The only file in a folder.
    pub fn only_file(&self, folder: &str) -> String {
        let mut files = std::fs::read_dir(self.path(folder)).unwrap();
        let file = files.next().unwrap().unwrap().path().display().to_string();
        assert!(files.next().is_none());
        file
    }

    /// Writes a file, and answers its path.
    pub fn writes(&self, name: &str, content: &[u8]) -> String {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name).display().to_string()
    }
}
