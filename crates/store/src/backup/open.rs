//! Opening a state offline: with the recovery keys at hand, or a seal directory with the key of its host.
//!
//! Reads only, also beside a running Coordinator. Who can read the files and has a key may look; what a Coordinator
//! demands beyond that before it *serves* a state (signatures, the witness) is told, not enforced.

use std::fs::File;
use std::path::{Path, PathBuf};

use marblerun_recovery::{RecoveryRoot, Upload};
use marblerun_sealing::Sealers;
use marblerun_state::State;

use super::facts::{Facts, facts};
use super::keys::Secrets;
use super::{BackupError, Condition, VerifyWith, sealed_data_at};
use crate::file::offline;
use crate::format::{
    Dek, Layout, OpenOptions, Refusal, Source, Verdict, Witness, check_witness, open, read_front, upstream,
};

/// A state that was opened.
#[derive(Debug)]
pub struct OpenedState {
    /// What the file says without a key.
    pub facts: Facts,
    /// What is inside.
    pub state: State,
    /// Sequence of the newest state; `None` for a file of the Go Coordinator, which has none.
    pub sequence: Option<u64>,
    /// Its time, Unix milliseconds; likewise.
    pub time_ms: Option<u64>,
    /// The readable header is not the one inside. A Coordinator goes by the one inside, and repairs it.
    pub header_altered: bool,
    /// What opened it.
    pub opened_by: OpenedBy,
    /// What an operator should know of it, one sentence each.
    pub notes: Vec<String>,
}

/// What opened a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenedBy {
    /// The secrets of the recovery parties.
    RecoveryKeys,
    /// `sealed_key`, beside it.
    SealedKey,
}

/// Opens a state: a file (a backup), or the one in a seal directory. With recovery keys if any are given; else, in a
/// seal directory, with its `sealed_key` as far as `host` can open that.
///
/// # Errors
/// [`BackupError::NoState`], [`BackupError::Io`], [`BackupError::NotWhole`]; [`BackupError::BadKey`],
/// [`BackupError::NotOpened`], [`BackupError::HostKey`] if what is at hand does not open it; [`BackupError::NotAsExpected`] if what is inside is no state,
/// or has another root certificate than the one asked for.
pub fn open_state(path: &Path, with: &VerifyWith, host: Option<&Sealers>) -> Result<OpenedState, BackupError> {
    let has_keys = !with.private_keys.is_empty() || !with.device_keys.is_empty() || !with.secrets.is_empty();
    match host {
        _ if has_keys => Ok(Candidate::find(path)?.open_with_keys(with)?.opened),
        Some(host) if path.is_dir() => {
            // A Coordinator that runs may change its key between the reading of the one file and of the other.
            let open = || Candidate::find(path)?.open_with_host(path, host, with);
            open().or_else(|error| if matches!(error, BackupError::HostKey(_)) { open() } else { Err(error) })
        }
        _ => Err(BackupError::BadKey(
            "say what opens it: the recovery key of each party that is needed, or decrypted recovery secrets".into(),
        )),
    }
}

/// As [`open_state`], of bytes that lie elsewhere, such as in a Secret; with recovery keys. `name` stands for the path.
///
/// # Errors
/// As [`open_state`].
pub fn open_bytes(bytes: Vec<u8>, name: &Path, with: &VerifyWith) -> Result<OpenedState, BackupError> {
    Ok(Candidate::of_bytes(bytes, name)?.open_with_keys(with)?.opened)
}

/// A file, or the bytes of one, that may be opened.
pub(super) struct Candidate {
    path: PathBuf,
    file: Box<dyn Source>,
    facts: Facts,
}

/// A state opened with recovery keys.
pub(super) struct WithKeys {
    pub(super) opened: OpenedState,
    /// The secrets that were combined, with every signature over them; none if one has none.
    pub(super) uploads: Vec<Upload>,
}

impl Candidate {
    pub(super) fn find(path: &Path) -> Result<Self, BackupError> {
        let file_path = sealed_data_at(path);
        let file = match File::open(&file_path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && file_path != path => {
                return Err(BackupError::NoState { path: path.to_path_buf() });
            }
            opened => opened.map_err(BackupError::io("opening", &file_path))?,
        };
        if file.metadata().map_err(BackupError::io("reading", &file_path))?.is_dir() {
            return Err(BackupError::NoState { path: file_path });
        }
        Self::new(Box::new(file), file_path)
    }

    pub(super) fn of_bytes(bytes: Vec<u8>, name: &Path) -> Result<Self, BackupError> {
        Self::new(Box::new(bytes), name.to_path_buf())
    }

    fn new(file: Box<dyn Source>, path: PathBuf) -> Result<Self, BackupError> {
        let facts = facts(&*file, &path)?;
        if let Condition::Refused(refusal) = facts.condition {
            return Err(BackupError::NotWhole { path, refusal });
        }
        Ok(Self { path, file, facts })
    }

    pub(super) fn open_with_keys(self, with: &VerifyWith) -> Result<WithKeys, BackupError> {
        if self.facts.sealed.is_some() && self.facts.recovery.is_empty() {
            return Err(BackupError::NotOpened(
                "it names no recovery keys, so only the sealed_key of its own host opens it. Add RecoveryKeys to the \
                 manifest, and back up again"
                    .into(),
            ));
        }
        let secrets = Secrets::gather(&self.facts.recovery, with)?;
        let sets = &self.facts.recovery;
        let (content, used) = match read_front(&*self.file).map_err(BackupError::not_whole(&self.path))? {
            Layout::Sealed(front) => {
                let (root, used) = secrets.combine(sets, &|root| front.dek_from_recovery_root(root).is_some())?;
                let dek = front.dek_from_recovery_root(root.expose());
                let dek = dek.ok_or_else(|| BackupError::NotOpened("the recovery slot does not open".into()))?;
                (self.sealed(&dek, None)?, used)
            }
            Layout::Upstream(front) => {
                let opens = |root: &[u8]| upstream::open(&*self.file, &front, root).is_ok();
                let (root, used) = secrets.combine(sets, &opens)?;
                (self.upstream(&front, root)?, used)
            }
        };
        let opened = content.checked(self.facts, OpenedBy::RecoveryKeys, with)?;
        Ok(WithKeys { opened, uploads: secrets.signed(&used) })
    }

    fn open_with_host(self, dir: &Path, host: &Sealers, with: &VerifyWith) -> Result<OpenedState, BackupError> {
        let content = match read_front(&*self.file).map_err(BackupError::not_whole(&self.path))? {
            Layout::Sealed(front) => {
                let (dek, witness) = offline::unlock(dir, host, &front).map_err(BackupError::HostKey)?;
                self.sealed(&dek, Some(witness.as_ref()))?
            }
            Layout::Upstream(front) => {
                let key = offline::upstream_key(dir).map_err(BackupError::HostKey)?;
                if let Err(Refusal::WrongKey) = upstream::open(&*self.file, &front, &key) {
                    return Err(BackupError::HostKey(Refusal::WrongKey));
                }
                self.upstream(&front, RecoveryRoot::new(key))?
            }
        };
        content.checked(self.facts, OpenedBy::SealedKey, with)
    }

    /// `witness`: what this host vouches for, if it was asked.
    fn sealed(&self, dek: &Dek, witness: Option<Option<&Witness>>) -> Result<Content, BackupError> {
        let head_at = witness.flatten().map(|witness| witness.sequence);
        let opened = open(&*self.file, dek, OpenOptions { head_at, stop_after: None });
        let opened = opened.map_err(BackupError::not_whole(&self.path))?;
        let mut notes = Vec::new();
        if let Some(torn) = opened.torn {
            notes.push(format!(
                "{} bytes behind the last durable record were never durable and are left out",
                torn.length
            ));
        }
        if opened.header_altered {
            notes.push("the readable header is not the one inside; a Coordinator goes by the one inside".to_owned());
        }
        notes.extend(witness.and_then(|witness| told(check_witness(&opened, witness))).map(str::to_owned));
        Ok(Content {
            sequence: Some(opened.tail.sequence),
            time_ms: Some(opened.time_ms),
            header_altered: opened.header_altered,
            state: opened.state,
            notes,
        })
    }

    fn upstream(&self, front: &upstream::UpstreamFront, root: RecoveryRoot) -> Result<Content, BackupError> {
        let plaintext =
            upstream::open(&*self.file, front, root.expose()).map_err(BackupError::not_whole(&self.path))?;
        let state = marblerun_state::upstream::import(&plaintext, &front.header, root, [0; 16], [0; 16]);
        let state = state.and_then(|state| state.validate().map(|()| state));
        let state = state.map_err(|error| BackupError::NotAsExpected(format!("the state inside: {error}")))?;
        Ok(Content { sequence: None, time_ms: None, header_altered: false, state, notes: Vec::new() })
    }
}

/// What was found inside.
struct Content {
    sequence: Option<u64>,
    time_ms: Option<u64>,
    header_altered: bool,
    state: State,
    notes: Vec<String>,
}

impl Content {
    fn checked(self, facts: Facts, opened_by: OpenedBy, with: &VerifyWith) -> Result<OpenedState, BackupError> {
        let root = &self.state.authority().root_certificate;
        if with.root_certificate.as_ref().is_some_and(|expected| expected != root) {
            return Err(BackupError::NotAsExpected(format!(
                "the backup opens, but belongs to another deployment: its root certificate has the fingerprint {}",
                hex::encode(crate::digest::sha256(&[root]))
            )));
        }
        let Self { sequence, time_ms, header_altered, state, notes } = self;
        Ok(OpenedState { facts, state, sequence, time_ms, header_altered, opened_by, notes })
    }
}

/// What the host knows of a newer state. A Coordinator may refuse to serve such a one.
fn told(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Fine => None,
        Verdict::NoWitness => Some("sealed_key holds no valid witness: whether this is the newest state is not known"),
        Verdict::OlderThanWitness => Some("this host has seen a newer state than the one in sealed_data"),
        Verdict::Forked => Some("sealed_data is not a continuation of the state that this host has seen last"),
    }
}
