//! What a sealed file tells without a key. Nothing of it is proven, but what its signature covers.

use std::fs::File;
use std::path::{Path, PathBuf};

use marblerun_recovery::RecoverySet;
use marblerun_sealing::SlotKind;

use super::{BackupError, sealed_data_at};
use crate::digest::sha256;
use crate::format::{self, Head, Inspected, Layout, Refusal, SEALED_DATA, Signature, Source, read_front};

/// What one file is.
#[derive(Debug)]
pub struct Facts {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Whether it can be used.
    pub condition: Condition,
    /// What its header says; `None` for a file of the Go Coordinator, and for one that cannot be read.
    pub sealed: Option<Sealed>,
    /// What a file of the Go Coordinator tells; `None` for one of ours.
    pub upstream: Option<UpstreamLayout>,
    /// Who can recover it. Of a file of the Go Coordinator: hashes alone.
    pub recovery: Vec<RecoverySet>,
}

/// Whether a file can be used.
#[derive(Debug)]
pub enum Condition {
    /// Ours and whole.
    Whole,
    /// Ours and whole, with bytes behind that were never durable and will be dropped.
    Torn {
        /// How many.
        bytes: u64,
    },
    /// A file of the Go Coordinator. Only its key tells whether it is whole.
    Upstream,
    /// Not usable as it is.
    Refused(Refusal),
}

/// The layout of a file of the Go Coordinator. Nothing protects its header.
#[derive(Debug)]
pub struct UpstreamLayout {
    /// The readable header: `null`, or a map of SHA-256 of recovery secrets. Not JSON if it was damaged or lost.
    pub header: Vec<u8>,
    /// Bytes of nonce, ciphertext and tag behind it.
    pub sealed_bytes: u64,
}

/// What the header of a file of ours says.
#[derive(Debug)]
pub struct Sealed {
    /// Deployment.
    pub deployment_id: [u8; 16],
    /// Which life of it.
    pub incarnation: u64,
    /// Random name of that life.
    pub incarnation_id: [u8; 16],
    /// Sequence of the newest whole record (of the snapshot if there is none).
    pub sequence: u64,
    /// Its time, Unix milliseconds.
    pub time_ms: i64,
    /// Head after it, if the file is whole.
    pub head: Option<Head>,
    /// Number of whole records, if the file is whole.
    pub records: Option<u64>,
    /// SHA-256 of the root certificate.
    pub root_fingerprint: [u8; 32],
    /// Root certificate, DER.
    pub root_certificate: Vec<u8>,
    /// SHA-256 of the manifest in force at the snapshot.
    pub manifest_fingerprint: [u8; 32],
    /// Program and version that wrote the snapshot.
    pub writer: String,
    /// Whether the root key signed the header.
    pub signature: Signature,
    /// Kind (`None`: unknown) and label of each key slot.
    pub slots: Vec<(Option<SlotKind>, String)>,
}

impl Condition {
    /// Stable word for programs: `whole`, `torn`, `upstream`, or the code of the refusal.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Torn { .. } => "torn",
            Self::Upstream => "upstream",
            Self::Refused(refusal) => refusal.code(),
        }
    }
}

/// Tells what a backup (or the `sealed_data` of a seal directory) is. A file that is damaged is no error here.
///
/// # Errors
/// [`BackupError::NoState`], [`BackupError::Io`] if there is nothing to look at.
pub fn inspect(path: &Path) -> Result<Facts, BackupError> {
    let file = sealed_data_at(path);
    let source = match File::open(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && file != path => {
            return Err(BackupError::NoState { path: path.to_path_buf() });
        }
        opened => opened.map_err(BackupError::io("opening", &file))?,
    };
    if source.metadata().map_err(BackupError::io("reading", &file))?.is_dir() {
        return Err(BackupError::NoState { path: file });
    }
    facts(&source, &file)
}

/// As [`inspect`], of bytes that lie elsewhere, such as in a Secret. `name` stands for the path.
///
/// # Errors
/// None that bytes in memory could have.
pub fn inspect_bytes(bytes: &[u8], name: &Path) -> Result<Facts, BackupError> {
    facts(bytes, name)
}

/// Tells what lies under the name `sealed_key` in a seal directory: `missing`, `ours`, `upstream_bare` or `unusable`
/// (sealed by hardware or a program that is not this one, or damaged), and what there is to tell of it.
#[must_use]
pub fn inspect_key(dir: &Path) -> (&'static str, Vec<String>) {
    crate::file::offline::describe_key(dir)
}

/// The backups in a folder, oldest first: files of ours, by their first bytes, and those whose name says that they
/// are backups. Damaged ones are listed as such.
///
/// # Errors
/// [`BackupError::Io`] if the folder cannot be read.
pub fn list(dir: &Path) -> Result<Vec<Facts>, BackupError> {
    let mut found = Vec::new();
    for entry in dir.read_dir().map_err(BackupError::io("listing", dir))? {
        let path = entry.map_err(BackupError::io("listing", dir))?.path();
        if !path.is_file() {
            continue;
        }
        let Ok(facts) = inspect(&path) else { continue };
        let named = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(SEALED_DATA));
        let lock_or_unfinished = facts.bytes == 0;
        if facts.sealed.is_some() || (named && !lock_or_unfinished) {
            found.push(facts);
        }
    }
    found.sort_by(|a, b| {
        let key = |facts: &Facts| facts.sealed.as_ref().map(|sealed| (sealed.time_ms, sealed.sequence));
        key(a).cmp(&key(b)).then_with(|| a.path.cmp(&b.path))
    });
    Ok(found)
}

/// As [`inspect`], of an open file or of bytes.
pub(super) fn facts(source: &(impl Source + ?Sized), path: &Path) -> Result<Facts, BackupError> {
    let mut facts = Facts {
        path: path.to_path_buf(),
        bytes: source.length().map_err(BackupError::io("reading", path))?,
        condition: Condition::Upstream,
        sealed: None,
        upstream: None,
        recovery: Vec::new(),
    };
    match read_front(source) {
        Ok(Layout::Upstream(front)) => {
            facts.recovery.extend(RecoverySet::from_upstream_header(&front.header));
            let sealed_bytes = front.length.saturating_sub(front.sealed_at);
            facts.upstream = Some(UpstreamLayout { header: front.header, sealed_bytes });
        }
        Ok(Layout::Sealed(_)) => match format::inspect(source) {
            Ok(inspected) => describe(&mut facts, inspected),
            Err(refusal) => facts.condition = Condition::Refused(refusal),
        },
        Err(refusal) => facts.condition = Condition::Refused(refusal),
    }
    Ok(facts)
}

fn describe(facts: &mut Facts, inspected: Inspected) {
    let Inspected { front, signature, body, .. } = inspected;
    let header = front.header;
    let intact = match &body {
        Err(Refusal::Damaged { intact, .. } | Refusal::CutShort { intact, .. }) => *intact,
        _ => None,
    };
    let whole = body.as_ref().ok();
    let last = whole.map(|body| body.sequence).or(intact.map(|intact| intact.sequence));
    facts.sealed = Some(Sealed {
        deployment_id: header.lineage.deployment_id,
        incarnation: header.lineage.incarnation,
        incarnation_id: header.lineage.incarnation_id,
        sequence: last.unwrap_or(header.sequence),
        time_ms: whole.and_then(|body| i64::try_from(body.time_ms).ok()).unwrap_or(header.time_ms),
        head: whole.map(|body| body.head),
        records: whole.map(|body| body.records),
        root_fingerprint: sha256(&[&header.root_certificate]),
        root_certificate: header.root_certificate,
        manifest_fingerprint: header.manifest_sha256,
        writer: header.writer,
        signature,
        slots: header.slots.into_iter().map(|slot| (slot.kind(), slot.label)).collect(),
    });
    facts.recovery = header.recovery;
    facts.condition = match body {
        Ok(body) => body.torn.map_or(Condition::Whole, |torn| Condition::Torn { bytes: torn.length }),
        Err(refusal) => Condition::Refused(refusal),
    };
}
