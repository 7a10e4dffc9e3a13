//! `marblerun quote explain`: what evidence says, whether it is genuine, and whether it is what was asked for.

mod report;

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use jiff::Timestamp;
use marblerun_client::attestation::{AnyTee, Bundle, Format, Judged, Tee, Unverified, Verified};
use marblerun_client::{EraConfig, Evidence, Policy};
use marblerun_manifest::Manifest;

use crate::args::{Global, QuoteCommand, QuoteExplainArgs};
use crate::failure::{Failure, Kind};
use crate::output::Output;
use crate::{files, manifest_file, policy};
use report::{Compared, Report};

/// Bytes of a report of SEV-SNP.
const SNP_REPORT: usize = 1184;

/// Runs one of them.
pub async fn run(global: &Global, output: &Output<'_>, command: QuoteCommand) -> Result<()> {
    match command {
        QuoteCommand::Explain(args) => explain(global, output, args).await,
    }
}

async fn explain(global: &Global, output: &Output<'_>, args: QuoteExplainArgs) -> Result<()> {
    let time = match &args.at {
        None => Timestamp::now(),
        Some(text) => text.parse().map_err(|error| Failure::usage(format!("--at {text:?}: {error}")))?,
    };
    let asked = asked(global, args.package.as_deref())?;
    let evidence = read(&args.file, args.vek.as_deref())?;
    let format = Format::of(evidence.as_bytes()).with_context(|| format!("reading {}", args.file.display()))?;
    let kind = format.kind();

    let verifier = AnyTee::new(policy::collateral(global)?);
    let (now, judged) = (u64::try_from(time.as_second()).unwrap_or_default(), evidence.clone());
    let verified = tokio::task::spawn_blocking(move || verifier.examine(&judged, now)).await?;

    let compared = match (&asked, &verified) {
        (Some(asked), Ok(verified)) => Some(compare(asked, verified)),
        _ => None,
    };
    let unverified = if verified.is_err() { Unverified::read(&evidence).ok() } else { None };
    let report = Report { file: args.file, kind, time, verified, unverified, compared };
    if !report.is_accepted() {
        output.set_code(if global.exit_code { Kind::Trust.exit_code() } else { 1 });
    }
    output.result(&report.document(), || report.text())
}

/// What evidence is compared with.
struct Asked {
    source: String,
    policy: Policy,
    judged: Judged,
}

fn asked(global: &Global, package: Option<&str>) -> Result<Option<Asked>> {
    match (package, &global.era_config) {
        (Some(_), Some(_)) => Err(Failure::usage("--package and --era-config exclude each other")),
        (Some(named), None) => {
            let (file, name) = named
                .rsplit_once('#')
                .ok_or_else(|| Failure::usage(format!("--package {named:?}: expected MANIFEST#PACKAGE")))?;
            let raw = manifest_file::load(Path::new(file))?;
            let manifest = Manifest::decode(&raw).with_context(|| format!("reading {file}"))?;
            let package = manifest.packages.get(name).ok_or_else(|| {
                let known: Vec<&str> = manifest.packages.keys().map(String::as_str).collect();
                anyhow!("{file} has no package {name:?}; it has: {}", known.join(", "))
            })?;
            Ok(Some(Asked { source: named.to_owned(), policy: package.into(), judged: Judged::Marble }))
        }
        (None, Some(path)) => {
            let era =
                EraConfig::from_json(&files::read(path)?).with_context(|| format!("reading {}", path.display()))?;
            let source = path.display().to_string();
            Ok(Some(Asked { source, policy: era.policy(), judged: Judged::Coordinator }))
        }
        (None, None) => Ok(None),
    }
}

fn compare(asked: &Asked, verified: &Verified) -> Compared {
    Compared {
        source: asked.source.clone(),
        fields: asked.policy.compare(&verified.claims, asked.judged),
        platform: asked.policy.accepts_platform(&verified.claims).map_err(|refusal| refusal.to_string()),
    }
}

/// Evidence of a file. A bare report of SEV-SNP is put together with its key's certificate.
fn read(file: &Path, vek: Option<&Path>) -> Result<Evidence> {
    let bytes = files::read_at_most(file, 1 << 20)?;
    let is_report = bytes.len() == SNP_REPORT && matches!(bytes.as_slice(), [2..=5, 0, 0, 0, ..]);
    let bytes = match (is_report, vek) {
        (true, vek) => {
            let certificates = vek.map(files::read).transpose()?.into_iter().collect();
            let tee = Bundle::number(Tee::Snp).unwrap_or_default();
            Bundle { tee, report: bytes, certificates, ..Bundle::default() }.to_wire()
        }
        (false, Some(_)) => return Err(Failure::usage("--vek is for bare reports of SEV-SNP")),
        (false, None) => bytes,
    };
    Ok(Evidence::from_wire(bytes)?)
}
