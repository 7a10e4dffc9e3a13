//! A shared state as Kubernetes keeps it and `kubectl get secret -o yaml` writes it: one Secret, and where its snapshot
//! does not fit, parts beside it. Pure.
//!
//! What the API server adds to an object (uid, resourceVersion, managedFields, ..) is never kept: with it the file could
//! not be applied to another cluster, nor over a state that went on.

mod read;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use marblerun_store::backup::{self, Facts};
use marblerun_store::format::{SEALED_DATA, SEALED_KEY};

/// Value that names the parts.
pub const PARTS: &str = "parts";
/// Value of a part.
const PART: &str = "part";
/// Banks of parts, and how many parts a bank may have.
pub const BANKS: [char; 3] = ['a', 'b', 'c'];
/// Most parts of a bank.
pub const PARTS_OF_A_BANK: u8 = 15;
/// What `kubectl apply` notes on the object: an old copy of the whole state.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Where MarbleRun is if nobody says otherwise.
const NAMESPACE: &str = "marblerun";
/// What an API server takes as annotations of one object, names and values.
pub const MOST_ANNOTATIONS: usize = 262_144;
/// What an API server takes as values of one Secret.
pub const MOST_VALUES: usize = 1 << 20;

/// A Secret with a state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateSecret {
    /// Its name.
    pub name: String,
    /// Where it was.
    pub namespace: Option<String>,
    /// Anybody's.
    pub labels: BTreeMap<String, String>,
    /// Anybody's, and ours for people.
    pub annotations: BTreeMap<String, String>,
    /// All values.
    pub data: BTreeMap<String, Vec<u8>>,
    /// What lies beside it.
    pub parts: BTreeMap<Part, Vec<u8>>,
}

/// Which part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// Of [`BANKS`].
    pub bank: char,
    /// From 1.
    pub number: u8,
}

impl Part {
    /// All there can be.
    pub fn all() -> impl Iterator<Item = Self> {
        BANKS.into_iter().flat_map(|bank| (1..=PARTS_OF_A_BANK).map(move |number| Self { bank, number }))
    }

    /// Name of its Secret.
    pub fn name(self, state: &str) -> String {
        format!("{}-{}{}", base_name(state), self.bank, self.number)
    }

    fn of_name(name: &str, state: &str) -> Option<Self> {
        Self::all().find(|part| part.name(state) == name)
    }
}

/// Name of the state that an archive is of.
fn base_name(name: &str) -> &str {
    archived(name).unwrap_or(name)
}

/// The state of which that is an archive, by its name.
fn archived(name: &str) -> Option<&str> {
    let (base, number) = name.rsplit_once("-archive-")?;
    number.parse::<u8>().is_ok().then_some(base)
}

impl StateSecret {
    /// Of an object as the API server answered.
    pub fn of(secret: Secret) -> Self {
        let mut annotations = secret.metadata.annotations.unwrap_or_default();
        annotations.remove(LAST_APPLIED);
        Self {
            name: secret.metadata.name.unwrap_or_default(),
            namespace: secret.metadata.namespace,
            labels: secret.metadata.labels.unwrap_or_default(),
            annotations,
            data: secret.data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect(),
            parts: BTreeMap::new(),
        }
    }

    /// Of the bytes of a backup file.
    pub fn of_file(sealed_data: Vec<u8>, name: &str) -> Self {
        let data = BTreeMap::from([(SEALED_DATA.to_owned(), sealed_data)]);
        Self { name: name.to_owned(), data, ..Self::default() }
    }

    /// The object to create: nothing in it is of the object that it once was.
    pub fn object(&self, name: &str) -> Secret {
        let some = |map: &BTreeMap<String, String>| Some(map.clone()).filter(|map| !map.is_empty());
        Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: some(&self.labels),
                annotations: some(&self.annotations),
                ..ObjectMeta::default()
            },
            data: Some(self.data.iter().map(|(key, value)| (key.clone(), ByteString(value.clone()))).collect()),
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        }
    }

    /// The object of a part.
    pub fn part_object(part: Part, state: &str, bytes: &[u8]) -> Secret {
        Secret {
            metadata: ObjectMeta { name: Some(part.name(state)), ..ObjectMeta::default() },
            data: Some(BTreeMap::from([(PART.to_owned(), ByteString(bytes.to_vec()))])),
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        }
    }

    /// The value of a part's object.
    pub fn part_of(secret: Secret) -> Option<Vec<u8>> {
        secret.data?.remove(PART).map(|value| value.0)
    }

    /// A value; an empty one is none.
    pub fn value(&self, key: &str) -> Option<&[u8]> {
        self.data.get(key).map(Vec::as_slice).filter(|value| !value.is_empty())
    }

    /// Whether there is a state in it: an empty Secret is as good as none.
    pub fn has_state(&self) -> bool {
        self.value(SEALED_DATA).is_some()
    }

    /// Whether its snapshot lies in parts.
    pub fn is_in_parts(&self) -> bool {
        self.value(SEALED_DATA).is_some_and(backup::lacks_snapshot)
    }

    /// `sealed_key`, if it is for the state.
    pub fn fitting_key(&self) -> Option<&[u8]> {
        let data = self.value(SEALED_DATA)?;
        self.value(SEALED_KEY).filter(|key| backup::is_key_for(key, data))
    }

    /// The whole file. Parts that it does not take are dropped.
    pub fn assemble(&mut self) -> Result<Vec<u8>> {
        let head = self.value(SEALED_DATA).ok_or_else(|| anyhow!("Secret {} holds no sealed_data", self.name))?;
        // A snapshot in the Secret itself counts, whatever is said of parts.
        if !self.is_in_parts() {
            let head = head.to_vec();
            self.parts.clear();
            return Ok(head);
        }
        let found = BANKS.iter().find_map(|bank| {
            let parts: Vec<Vec<u8>> =
                self.parts.iter().filter(|(part, _)| part.bank == *bank).map(|(_, bytes)| bytes.clone()).collect();
            backup::assemble(head, &parts).map(|assembled| (*bank, assembled))
        });
        let Some((bank, assembled)) = found else {
            return Err(anyhow!(
                "the snapshot of Secret {} lies in parts (Secrets {}, ..), and those at hand do not fit it; a backup must \
                 hold the Secret and its parts",
                self.name,
                Part { bank: 'a', number: 1 }.name(&self.name)
            ));
        };
        self.parts.retain(|part, _| part.bank == bank && usize::from(part.number) <= assembled.parts);
        Ok(assembled.sealed_data)
    }

    /// Bytes of all values.
    pub fn bytes(&self) -> usize {
        self.data.values().map(Vec::len).sum()
    }

    /// Bytes of all annotations after a `kubectl apply`, which notes the whole object in one of them. The API server takes
    /// [`MOST_ANNOTATIONS`].
    pub fn annotations_when_applied(&self) -> usize {
        let mut object = serde_json::to_value(self.object(&self.name)).unwrap_or_default();
        if let Some(metadata) = object.get_mut("metadata").and_then(serde_json::Value::as_object_mut) {
            // `kubectl` always writes both.
            metadata.insert("namespace".to_owned(), self.namespace.as_deref().unwrap_or(NAMESPACE).into());
            metadata.insert("annotations".to_owned(), serde_json::to_value(&self.annotations).unwrap_or_default());
        }
        // And a line end.
        let noted = object.to_string().len() + 1;
        let others: usize = self.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
        LAST_APPLIED.len() + noted + others
    }

    /// Whether `kubectl apply` can write it. `kubectl replace --force` always can.
    pub fn can_be_applied(&self) -> bool {
        self.annotations_when_applied() <= MOST_ANNOTATIONS
    }
}

/// What a user names as a backup.
#[derive(Debug)]
pub enum Source {
    /// A file with a sealed state, or a seal directory.
    File(PathBuf),
    /// A file with a Secret.
    Secret(Sealed),
}

/// A Secret and the state in it.
#[derive(Debug)]
pub struct Sealed {
    /// Where it is: a file, or `secret/NAME`.
    pub place: PathBuf,
    /// The Secret.
    pub secret: StateSecret,
    /// The whole state.
    pub sealed_data: Vec<u8>,
}

impl Source {
    /// Finds out what lies there. What is neither is left to who opens it.
    pub fn find(path: &Path) -> Result<Self> {
        match read::text(path)?.as_deref().and_then(read::documents) {
            Some(documents) => Ok(Self::Secret(Sealed::new(path, read::secret(path, documents)?)?)),
            None => Ok(Self::File(path.to_path_buf())),
        }
    }

    /// The Secret in a text that is to be the file `path`.
    pub fn of_text(path: &Path, text: &str) -> Result<Sealed> {
        let documents = read::documents(text).ok_or_else(|| anyhow!("{} would hold no objects", path.display()))?;
        Sealed::new(path, read::secret(path, documents)?)
    }

    /// What it tells without a key.
    pub fn inspect(&self) -> Result<Facts> {
        match self {
            Self::File(path) => Ok(backup::inspect(path)?),
            Self::Secret(sealed) => sealed.inspect(),
        }
    }

    /// Where it is, for people.
    pub fn place(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Secret(sealed) => &sealed.place,
        }
    }

    /// The Secret, if it is one.
    pub fn secret(&self) -> Option<&StateSecret> {
        match self {
            Self::File(_) => None,
            Self::Secret(sealed) => Some(&sealed.secret),
        }
    }
}

impl Sealed {
    /// Puts it together.
    pub fn new(place: &Path, mut secret: StateSecret) -> Result<Self> {
        let sealed_data = secret.assemble()?;
        Ok(Self { place: place.to_path_buf(), secret, sealed_data })
    }

    /// What it tells without a key.
    pub fn inspect(&self) -> Result<Facts> {
        Ok(backup::inspect_bytes(&self.sealed_data, &self.place)?)
    }
}

#[cfg(test)]
mod tests;
