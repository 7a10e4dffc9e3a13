//! `marblerun audit log|verify`: of a Coordinator, of a file that `audit log -o` wrote, or of a backup.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use marblerun_api::bytes::Base64;
use marblerun_api::v3::AuditHead;
use marblerun_client::{AuditProof, AuditSegment, AuditTrail, Trust, verify_audit};
use marblerun_state::{AuditKind, State};
use marblerun_store::backup;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::args::{AtHand, AuditCommand, AuditKeys, ClientCert, Global};
use crate::output::{Output, warn};
use crate::{files, trust};

/// Largest export that is read: a hundred thousand entries of the longest kind.
const MAX_EXPORT: u64 = 256 << 20;

/// Runs one of them.
pub async fn run(global: &Global, output: &Output<'_>, command: AuditCommand) -> Result<()> {
    match command {
        AuditCommand::Log { source, after, refused, root, keys } => {
            let source = global.coordinator_or(source.as_deref())?;
            let trail = if refused { AuditTrail::Refusals } else { AuditTrail::Changes };
            let found = Found::read(global, &source, Some(trail), after, root.as_deref(), &keys).await?;
            log(output, &source, &found)
        }
        AuditCommand::Verify { mut sources, root, keys } => {
            if sources.is_empty() {
                sources.push(global.coordinator_or(None)?);
            }
            verify(global, output, &sources, root.as_deref(), &keys).await
        }
    }
}

/// What a source holds, and the root certificate that it must be held against.
struct Found {
    segments: Vec<AuditSegment>,
    root: Vec<u8>,
}

impl Found {
    /// Reads a source. `trail`: `None` for all there is.
    async fn read(
        global: &Global,
        source: &str,
        trail: Option<AuditTrail>,
        after: u64,
        root: Option<&Path>,
        keys: &AuditKeys,
    ) -> Result<Self> {
        let expected = root.map(read_root).transpose()?;
        let path = Path::new(source);
        if is_export(path) {
            let segment = read_export(path)?;
            if after > 0 || trail.is_some_and(|trail| trail != segment.trail && trail == AuditTrail::Refusals) {
                bail!("{source} is an export: it holds what was written to it, {}", segment.trail.as_str());
            }
            let root = match expected {
                Some(root) => root,
                None => root_in_use(global)?,
            };
            return Ok(Self { segments: vec![segment], root });
        }
        let trails = trail.map_or(vec![AuditTrail::Changes, AuditTrail::Refusals], |trail| vec![trail]);
        if path.exists() {
            return Self::of_backup(path, &trails, after, root, keys);
        }
        let identity = super::identity(global, source, &keys.of_user()?)?;
        let client = trust::connect(global, source, Some(identity)).await?;
        let root = match expected {
            Some(root) => root,
            None => cached_root(global, source)?,
        };
        let mut segments = Vec::new();
        for trail in trails {
            segments.push(client.audit_segment(trail, after).await.context("reading the audit trail")?);
        }
        Ok(Self { segments, root })
    }

    /// The sealed state authenticates its trail; the head is signed with the root key inside, so that an export of it can
    /// be verified like any other.
    fn of_backup(
        path: &Path,
        trails: &[AuditTrail],
        after: u64,
        root: Option<&Path>,
        keys: &AuditKeys,
    ) -> Result<Self> {
        if keys.cert.is_some() {
            bail!("{} is a file or folder, which is opened with recovery keys: --cert has no use", path.display());
        }
        let at_hand = keys.of_backup(root);
        if at_hand.is_empty() {
            bail!(
                "say what opens {}: --key FILE for each party that is needed, --pkcs11-config FILE, or --secret FILE",
                path.display()
            );
        }
        let (proof, state) = backup::open(path, &at_hand.read()?)?;
        if root.is_none() {
            let fingerprint = hex::encode(proof.root_fingerprint);
            warn(&format!(
                "the root certificate is the one inside ({fingerprint}); hold it against one you know with --root"
            ));
        }
        let time_ms = proof.time_ms.unwrap_or_default();
        let segments = trails.iter().map(|trail| segment_of(&state, *trail, after, time_ms)).collect::<Result<_>>()?;
        Ok(Self { segments, root: state.authority().root_certificate.clone() })
    }
}

impl AuditKeys {
    /// Those of recovery parties, for a backup.
    fn of_backup(&self, root: Option<&Path>) -> AtHand {
        AtHand {
            key: self.key.clone(),
            token: self.token.clone(),
            recoverydata: self.recoverydata.clone(),
            secret: self.secret.clone(),
            root: root.map(Path::to_path_buf),
        }
    }

    /// Those of a user, for a Coordinator.
    fn of_user(&self) -> Result<ClientCert> {
        let key = match self.key.as_slice() {
            [] => None,
            [key] => Some(key.clone()),
            _ => bail!("a Coordinator is asked with the one key of a user; several --key are for backups"),
        };
        Ok(ClientCert {
            cert: self.cert.clone(),
            key,
            pkcs11_config: self.token.pkcs11_config.clone(),
            pkcs11_key_id: self.token.pkcs11_key_id.clone(),
            pkcs11_key_label: self.token.pkcs11_key_label.clone(),
            pkcs11_cert_id: self.pkcs11_cert_id.clone(),
            pkcs11_cert_label: self.pkcs11_cert_label.clone(),
        })
    }
}

fn segment_of(state: &State, trail: AuditTrail, after: u64, time_ms: u64) -> Result<AuditSegment> {
    let kind = match trail {
        AuditTrail::Changes => AuditKind::Changes,
        AuditTrail::Refusals => AuditKind::Refusals,
    };
    let (start, lines) = state.audit(kind).lines(after);
    let head = state.sign_audit_head(time_ms)?;
    Ok(AuditSegment {
        trail,
        after: start.sequence,
        previous: hex::encode(start.hash),
        entries: lines.collect(),
        head: AuditHead { statement: head.statement, signature: Base64(head.signature) },
    })
}

/// Prints or exports one trail. What does not verify is neither printed nor written.
fn log(output: &Output<'_>, source: &str, found: &Found) -> Result<()> {
    let [segment] = found.segments.as_slice() else { bail!("{source} holds no audit trail") };
    verify_audit(&found.segments, &found.root).with_context(|| format!("the audit trail of {source} is broken"))?;
    if output.file().is_some() {
        let count = segment.entries.len();
        return output.data(segment.to_text().as_bytes(), |path| {
            Some(format!("{count} entries and the signed head saved to: {path}"))
        });
    }
    let entries = segment.entries.iter().map(|line| serde_json::from_str(line)).collect::<Result<Vec<Value>, _>>()?;
    let statement: Value = serde_json::from_str(&segment.head.statement)?;
    let value = json!({"trail": segment.trail, "after": segment.after, "entries": entries, "head": statement});
    output.result(&value, || match entries.as_slice() {
        [] => "no entries".to_owned(),
        entries => entries.iter().map(as_text).collect::<Vec<_>>().join("\n"),
    })
}

async fn verify(
    global: &Global,
    output: &Output<'_>,
    sources: &[String],
    root: Option<&Path>,
    keys: &AuditKeys,
) -> Result<()> {
    let mut proofs: Vec<AuditProof> = Vec::new();
    if let [source] = sources {
        let found = Found::read(global, source, None, 0, root, keys).await?;
        for segment in found.segments {
            let trail = segment.trail.as_str();
            let proof = verify_audit(&[segment], &found.root);
            proofs.push(proof.with_context(|| format!("BROKEN: {source}, {trail}"))?);
        }
    } else {
        let root = match root {
            Some(root) => read_root(root)?,
            None => root_in_use(global)?,
        };
        let mut segments = Vec::new();
        for source in sources {
            if !is_export(Path::new(source)) {
                bail!(
                    "{source} is not a file that 'marblerun audit log -o' wrote; several can only be verified together if all are"
                );
            }
            segments.push(read_export(Path::new(source))?);
        }
        proofs.push(verify_audit(&segments, &root).with_context(|| format!("BROKEN: {}", sources.join(", ")))?);
    }
    output.result(&json!({"ok": true, "trails": proofs}), || {
        proofs.iter().map(proof_as_text).collect::<Vec<_>>().join("\n")
    })
}

fn proof_as_text(proof: &AuditProof) -> String {
    let trail = proof.trail.as_str();
    let entries = match proof.last.checked_sub(proof.first) {
        None => format!("no entries after {}", proof.last),
        Some(0) => format!("entry {} chains", proof.last),
        Some(_) => format!("entries {} to {} chain", proof.first, proof.last),
    };
    format!(
        "OK: {trail}: {entries}, and the head is signed by the root {} (incarnation {}, {})",
        proof.root_fingerprint, proof.incarnation, proof.time
    )
}

/// One line for people: number, time, what, who, about what, from what to what.
fn as_text(entry: &Value) -> String {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| entry.get(name).and_then(Value::as_u64).unwrap_or_default();
    // Names are other people's texts: no control character reaches the terminal.
    let shown = |name: &str| text(name).chars().flat_map(shown_character).collect::<String>();
    let mut line = format!(
        "{:>6}  {}  {:<19} {}  {}",
        number("sequence"),
        text("time"),
        text("event"),
        shown("actor"),
        shown("subject")
    );
    match (text("before").is_empty(), text("after").is_empty()) {
        (true, true) => {}
        (true, false) => line += &format!("  {}", shown("after")),
        _ => line += &format!("  {} -> {}", shown("before"), shown("after")),
    }
    if !text("reason").is_empty() {
        line += &format!("  ({})", shown("reason"));
    }
    if number("count") > 1 {
        line += &format!("  x{}", number("count"));
    }
    line
}

fn shown_character(character: char) -> Vec<char> {
    if character.is_control() { character.escape_default().collect() } else { vec![character] }
}

/// Whether this is a file that `audit log -o` wrote.
fn is_export(path: &Path) -> bool {
    use std::io::Read as _;

    const START: &[u8] = b"{\"marblerun\":\"audit\"";
    let mut start = Vec::new();
    let file = std::fs::File::open(path).ok().filter(|file| file.metadata().is_ok_and(|found| found.is_file()));
    file.is_some_and(|file| file.take(START.len() as u64).read_to_end(&mut start).is_ok()) && start == START
}

fn read_export(path: &Path) -> Result<AuditSegment> {
    let bytes = files::read_at_most(path, MAX_EXPORT)?;
    let text = String::from_utf8(bytes).ok().with_context(|| format!("{} is not text", path.display()))?;
    AuditSegment::from_text(&text).with_context(|| format!("BROKEN: {}", path.display()))
}

fn read_root(path: &Path) -> Result<Vec<u8>> {
    let der = CertificateDer::from_pem_slice(&files::read(path)?)
        .with_context(|| format!("{} holds no certificate", path.display()))?;
    Ok(der.to_vec())
}

/// The root that an earlier command attested, or that the context pins. With an export no address is named; then it is
/// that of the context in use.
fn root_in_use(global: &Global) -> Result<Vec<u8>> {
    let address = global.chosen()?.map(|chosen| chosen.context.address.clone()).unwrap_or_default();
    cached_root(global, &address)
}

/// As [`root_in_use`], of the Coordinator at that address.
fn cached_root(global: &Global, coordinator: &str) -> Result<Vec<u8>> {
    const NONE: &str = "no root certificate to hold the signature against: give --root FILE";
    match trust::cached_trust(global, coordinator).context(NONE)? {
        Trust::Pinned(root) => Ok(root),
        Trust::Anyone => bail!(NONE),
    }
}
