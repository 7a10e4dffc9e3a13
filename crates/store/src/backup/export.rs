//! Writing a state so that the Go Coordinator opens it: nobody is locked in.
//!
//! The data encryption key of the exported file is the recovery root, which is what the parties' secrets combine to
//! there; so the same secrets recover the file here and there. Pure but for the two files, which appear whole or not
//! at all.

use std::fs::DirBuilder;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use marblerun_manifest::model::SecretDefinition;
use marblerun_pki::{Secret, SecretDerivation, generate_per_marble};
use marblerun_recovery::RecoveryRoot;
use marblerun_sealing::SealMode;
use marblerun_state::State;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::BackupError;
use super::copy::Draft;
use super::create::{Reserved, beside};
use crate::format::{Layout, SEALED_DATA, SEALED_KEY, WriteError, read_front, upstream};

/// Length of a new data encryption key of the Go Coordinator.
const KEY: usize = 32;

/// What was exported, and where.
#[derive(Debug)]
pub struct Exported {
    /// The sealed state.
    pub sealed_data: PathBuf,
    /// The bare key, if it was written.
    pub sealed_key: Option<PathBuf>,
    /// What is not in it, and what to take care of; one sentence each.
    pub notes: Vec<String>,
}

/// Writes `sealed_data`, and with `bare_key` also `sealed_key`, into a folder, which is made if absent (mode 0700).
/// Both files have mode 0600; nothing is overwritten; what was written was read back before.
///
/// # Errors
/// [`BackupError::Exists`]; [`BackupError::NotExportable`] if the state has no such form, or nobody could open it;
/// [`BackupError::Io`].
pub fn export_to_upstream(state: &State, dir: &Path, bare_key: bool, now: Timestamp) -> Result<Exported, BackupError> {
    let files = Files::make(state, bare_key, now)?;
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(BackupError::io("creating", dir))?;
    let (data, key) = (dir.join(SEALED_DATA), dir.join(SEALED_KEY));
    // Both names, whether the key is written or not: with a key that is not its own the Go Coordinator does not start.
    let names = [Reserved::take(&data)?, Reserved::take(&key)?];
    let sealed_data = draft(&data, &files.sealed_data)?;
    let sealed_key = bare_key.then(|| draft(&key, &files.key)).transpose()?;
    let [data_name, key_name] = names;
    if let Some(draft) = sealed_key {
        draft.put_in_place(&key)?;
    }
    // The last: where it stands, all does.
    sealed_data.put_in_place(&data)?;
    data_name.keep();
    if bare_key {
        key_name.keep();
    }
    Ok(Exported { sealed_data: data, sealed_key: bare_key.then_some(key), notes: notes(state, bare_key) })
}

/// A state as several Go Coordinators keep it in Kubernetes.
#[derive(Debug)]
pub struct ExportedSecret {
    /// Value `sealed_data` of their Secret.
    pub sealed_data: Vec<u8>,
    /// Value `sealed_key` of it, if it was made.
    pub sealed_key: Option<Vec<u8>>,
    /// The entry of their ConfigMap, name and value, that opens it on any host without enclave.
    pub entry: Option<(String, Vec<u8>)>,
    /// What is not in it, and what to take care of; one sentence each.
    pub notes: Vec<String>,
}

/// As [`export_to_upstream`], for the Secret and the ConfigMap that several Go Coordinators share. With `bare_key` a
/// Coordinator without enclave opens it by itself; without, and in an enclave always, it is recovered.
///
/// # Errors
/// [`BackupError::NotExportable`].
pub fn export_to_upstreams_secret(
    state: &State,
    bare_key: bool,
    now: Timestamp,
) -> Result<ExportedSecret, BackupError> {
    let files = Files::make(state, bare_key, now)?;
    let mut notes = notes(state, false);
    let mut exported =
        ExportedSecret { sealed_data: files.sealed_data, sealed_key: None, entry: None, notes: Vec::new() };
    if bare_key {
        let refuse = |error: WriteError| BackupError::NotExportable(error.to_string());
        match upstream::seal_to_no_host(&exported.sealed_data, &files.key).map_err(refuse)? {
            Some(sealed) => {
                exported.sealed_key = Some(sealed.sealed_key);
                exported.entry = Some((upstream::NO_HOST.to_owned(), sealed.entry));
                notes.push(
                    "the entry of the ConfigMap opens sealed_key without any key: who reads Secret and ConfigMap reads \
                     every secret of the deployment. Move them over a protected channel, and delete them where they are \
                     not needed"
                        .to_owned(),
                );
            }
            None if state.recovery().is_empty() => {
                return Err(BackupError::NotExportable("its key does not fit into a sealed_key of a Secret".into()));
            }
            None => notes.push(
                "the key of this state has 16 bytes, for which sealed_key has no form in a Secret: it is opened by recovery \
                 alone"
                    .to_owned(),
            ),
        }
    }
    Ok(ExportedSecret { notes, ..exported })
}

/// The content of both files.
struct Files {
    sealed_data: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Files {
    fn make(state: &State, bare_key: bool, now: Timestamp) -> Result<Self, BackupError> {
        let refuse = |reason: String| BackupError::NotExportable(reason);
        if state.manifest().is_none() {
            return Err(refuse("the state has no manifest: the Go Coordinator stores none before there is one".into()));
        }
        let key = match state.recovery().first() {
            Some(entry) => Zeroizing::new(entry.root.expose().to_vec()),
            None if bare_key => {
                let mut key = Zeroizing::new(vec![0; KEY]);
                aws_lc_rs::rand::fill(&mut key).map_err(|_| refuse("the random source failed".into()))?;
                key
            }
            None => {
                return Err(refuse(
                    "the manifest names no recovery keys, so nobody could open it without sealed_key".into(),
                ));
            }
        };
        let header = marblerun_state::upstream::export_header(state).map_err(|error| refuse(error.to_string()))?;
        let placeholder = |name: &str, definition: &SecretDefinition| placeholder(state, name, definition, now);
        let plaintext = marblerun_state::upstream::export(state, &placeholder);
        let plaintext = plaintext.map_err(|error| refuse(error.to_string()))?;
        let sealed_data = upstream::seal(&header, &plaintext, &key).map_err(|error| refuse(error.to_string()))?;
        let files = Self { sealed_data, key };
        files.prove(state).map_err(refuse)?;
        Ok(files)
    }

    /// What is handed over opens, and is the state that was exported.
    fn prove(&self, state: &State) -> Result<(), String> {
        let Ok(Layout::Upstream(front)) = read_front(&self.sealed_data) else {
            return Err("the exported file is not recognised as one of the Go Coordinator".to_owned());
        };
        let plaintext = upstream::open(&self.sealed_data, &front, &self.key).map_err(|error| error.to_string())?;
        let root = RecoveryRoot::new(self.key.clone());
        let read = marblerun_state::upstream::import(&plaintext, &front.header, root, [0; 16], [0; 16]);
        let read = read.map_err(|error| error.to_string())?;
        read.validate().map_err(|error| error.to_string())?;
        let facts = |state: &State| {
            (state.authority().root_certificate.clone(), state.manifest().map(|active| active.fingerprint))
        };
        if facts(&read) == facts(state) { Ok(()) } else { Err("the exported file holds another state".to_owned()) }
    }
}

/// What the Go Coordinator stores for a secret that each Marble gets for its own: one made for a random Marble of no
/// type. Only its template is ever used.
fn placeholder(state: &State, name: &str, definition: &SecretDefinition, now: Timestamp) -> Result<Secret, String> {
    let uuid = Uuid::new_v4().to_string();
    let derivation = SecretDerivation { root_secret: &state.root_secret().0, uuid: &uuid, marble_type: "" };
    generate_per_marble(name, definition, state.authority(), derivation, now).map_err(|error| error.to_string())
}

fn draft(target: &Path, content: &[u8]) -> Result<Draft, BackupError> {
    let mut draft = Draft::create(beside(target))?;
    let written = draft.file.write_all(content).and_then(|()| draft.file.sync_all());
    written.map_err(BackupError::io("writing", target))?;
    Ok(draft)
}

fn notes(state: &State, bare_key: bool) -> Vec<String> {
    let mut notes = vec![format!(
        "the Go Coordinator has no place for: incarnation ({}), sequence and head of the state, the witness against older \
         copies, the audit trail",
        state.lineage().incarnation
    )];
    let mut note = |text: &str| notes.push(text.to_owned());
    let mut parties = state.recovery().iter().flat_map(|entry| &entry.set.parties);
    if parties.any(|party| !party.encrypted_secret.is_empty()) {
        note(
            "the encrypted recovery secrets, and whose secret is which, do not stand in the exported file: keep the recovery \
             data of the parties ('manifest set' answered it)",
        );
    }
    if state.recovery().is_empty() {
        note(
            "the manifest names no recovery keys: sealed_key alone opens the exported state, so a Coordinator in an SGX \
             enclave, which cannot use a bare key, never will",
        );
    }
    if state.recovery().len() > 1 {
        note("two sets of recovery secrets are in force; only those of the first open the exported state");
    }
    if !state.collateral_marks().is_empty() {
        note("which collateral was the newest is not exported: the original remembers none, and takes older again");
    }
    if bare_key {
        note(
            "sealed_key is the data encryption key in the clear: who reads it reads every secret of the deployment. Move \
             it over a protected channel, and delete it where it is not needed",
        );
    }
    let mode = state.manifest().and_then(|active| SealMode::from_name(&active.manifest.config.seal_mode));
    if mode == Some(SealMode::Disabled) {
        note(
            "the manifest has SealMode Disabled: the Go Coordinator loads the exported state, but stores no change to it",
        );
    }
    notes
}
