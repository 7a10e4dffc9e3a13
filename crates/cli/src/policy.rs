//! What a Coordinator must be to be believed, as the global options say it: the era configuration, and the flags for
//! what changes with time (statuses, advisories, nonce).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use marblerun_client::collateral::{Place, Qcnl, Settings};
use marblerun_client::{AttestError, ClientError, CollateralSource, EnclaveClaims, EraConfig, Policy, TcbStatus};

use crate::args::Global;
use crate::failure::Failure;
use crate::files;
use crate::output::{note, warn};

/// The file that is looked for where none is named.
const DEFAULT_FILE: &str = "era-config.json";

/// Names AMD's key service, or a mirror of it, or `none`.
const KDS_URL: &str = "MARBLERUN_KDS_URL";

/// Reads the policy, so that a bad one is told before anything is sent. Never downloads one: what may be trusted would
/// then be decided by whoever answers the download. `named`: the file, if flags or a context name one.
pub fn load(global: &Global, named: Option<PathBuf>) -> Result<Policy> {
    let path = match named {
        Some(path) => path,
        None if Path::new(DEFAULT_FILE).exists() => {
            note("Reusing existing config file");
            PathBuf::from(DEFAULT_FILE)
        }
        None => {
            return Err(Failure::trust(format!(
                "there is no attestation policy: name the era configuration of the Coordinator with --era-config FILE, or put it \
             here as {DEFAULT_FILE}. It is published with the Coordinator that you run (coordinator-era.json) and is not \
             downloaded by itself. For a test deployment in simulation, --insecure skips verification"
            )));
        }
    };
    let json = files::read(&path)?;
    let era = EraConfig::from_json(&json).with_context(|| format!("reading {}", path.display()))?;
    for field in &era.unknown_fields {
        warn(&format!("{}: {field} means nothing here", path.display()));
    }
    if !era.accepted_tcb_statuses.is_empty() || !era.accepted_advisories.is_empty() || !era.nonce.is_empty() {
        warn(&format!(
            "{}: AcceptedTCBStatuses, AcceptedAdvisories and Nonce have no effect here; say --accepted-tcb-statuses, \
             --accepted-advisories and --nonce",
            path.display()
        ));
    }
    let accepted_tcb_statuses = names(&global.accepted_tcb_statuses);
    for name in accepted_tcb_statuses.iter().filter(|name| name.parse::<TcbStatus>().is_err()) {
        warn(&format!("--accepted-tcb-statuses: {name:?} is no TCB status (case matters)"));
    }
    Ok(Policy { accepted_tcb_statuses, accepted_advisories: names(&global.accepted_advisories), ..era.policy() })
}

/// Where collateral comes from, as the options and the machine say. Nothing is asked for yet.
pub fn collateral(global: &Global) -> Result<Arc<dyn CollateralSource>> {
    let named = global.collateral.as_deref().filter(|text| !text.is_empty());
    let place = named.map(str::parse::<Place>).transpose()?;
    let amd = std::env::var(KDS_URL).ok().filter(|url| !url.is_empty());
    Ok(Settings::resolve(place, amd, Path::new(Qcnl::PATH))?.open()?)
}

/// The values of a flag that takes comma separated lists, already split: quotes as CSV has them go, and so do empty
/// values, so that an empty list can be given.
fn names(values: &[String]) -> Vec<String> {
    let unquoted = |value: &String| {
        let value = value.trim();
        value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value).to_owned()
    };
    values.iter().map(unquoted).filter(|name| !name.is_empty()).collect()
}

/// A failed attestation, after what its text (which is upstream's) leaves out was told.
pub fn explain(error: ClientError) -> anyhow::Error {
    if let ClientError::Attestation(attestation) = &error
        && let AttestError::Refused(refusal) = attestation.as_ref()
        && let Some(details) = refusal.details()
    {
        warn(&details);
    }
    anyhow!(error)
}

/// Tells that the platform of an accepted Coordinator is not up to date.
pub fn tell_platform(claims: &EnclaveClaims) {
    for line in platform_lines(claims) {
        note(&line);
    }
}

fn platform_lines(claims: &EnclaveClaims) -> Vec<String> {
    let status = claims.tcb_status;
    let first = match status {
        TcbStatus::UpToDate => return Vec::new(),
        TcbStatus::SwHardeningNeeded => format!("TCB level accepted by configuration: {status}"),
        _ => format!("Warning: TCB level invalid, but accepted by configuration: {status}"),
    };
    let second = match &claims.advisories {
        Some(advisories) => format!("TCB Advisories: [{}]", advisories.join(" ")),
        None => "Error: TCB Advisories: the list could not be read".to_owned(),
    };
    vec![first, second]
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use marblerun_client::{Measured, SgxIdentity};

    use super::*;
    use crate::args::Cli;

    const SIGNER: &str = "43361affedeb75affee9baec7e054a5e14883213e5a121b67d74a0e12e9d2b7a";

    fn policy(json: &str, flags: &[&str]) -> Result<Policy> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("era.json");
        std::fs::write(&file, json).unwrap();
        let command = ["marblerun", "status", "localhost", "--era-config", file.to_str().unwrap()];
        let global = Cli::try_parse_from(command.iter().chain(flags)).unwrap().global;
        load(&global, global.era_config.clone())
    }

    fn era(more: &str) -> String {
        format!(r#"{{"SignerID":"{SIGNER}","ProductID":3,"SecurityVersion":3{more}}}"#)
    }

    #[test]
    fn lists_are_comma_separated_repeated_and_may_be_empty() {
        let lists = |flags: &[&str]| {
            let policy = policy(&era(""), flags).unwrap();
            (policy.accepted_tcb_statuses, policy.accepted_advisories)
        };
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let default = owned(&["UpToDate", "SWHardeningNeeded"]);
        assert_eq!(lists(&[]), (default, owned(&[])));
        let flags = ["--accepted-tcb-statuses", "OutOfDate", "--accepted-advisories=A,B", "--accepted-advisories", "C"];
        assert_eq!(
            lists(&flags),
            (owned(&["OutOfDate"]), owned(&["A", "B", "C"])),
            "the first use replaces the default"
        );
        let quoted = ["--accepted-advisories", "\"A\", \"B\""];
        assert_eq!(lists(&quoted).1, owned(&["A", "B"]));
        // An empty list of statuses means the default of the policy, one of advisories accepts all.
        assert_eq!(lists(&["--accepted-tcb-statuses", "", "--accepted-advisories="]), (owned(&[]), owned(&[])));
    }

    #[test]
    fn the_flags_count_and_not_the_lists_of_the_file() {
        let json = era(r#","AcceptedTCBStatuses":["Revoked"],"AcceptedAdvisories":["A"],"Nonce":"AAE=""#);
        let policy = policy(&json, &["--accepted-advisories", "B"]).unwrap();
        assert_eq!(policy.accepted_tcb_statuses, ["UpToDate", "SWHardeningNeeded"]);
        assert_eq!(policy.accepted_advisories, ["B"]);
        assert_eq!((policy.signer_id.as_str(), policy.product_id, policy.security_version), (SIGNER, Some(3), Some(3)));
    }

    #[test]
    fn a_file_that_switches_verification_off_or_takes_anybody_is_refused() {
        let text = |json: &str| format!("{:#}", policy(json, &[]).unwrap_err());
        assert!(text(&era(r#","InsecureSkipVerify":true"#)).contains("InsecureSkipVerify"));
        assert!(text("{}").contains("neither UniqueID nor SignerID"));
        assert!(text("no json").contains("era.json"), "the file is named");
    }

    #[test]
    fn a_platform_that_is_not_up_to_date_is_told_in_upstreams_words() {
        let with = |tcb_status, advisories: Option<&[&str]>| {
            platform_lines(&EnclaveClaims {
                identity: Measured::Sgx(SgxIdentity {
                    unique_id: [0; 32],
                    signer_id: [0; 32],
                    product_id: 3,
                    security_version: 3,
                }),
                debug: false,
                report_data: marblerun_client::ReportData([0; 64]),
                tcb_status,
                advisories: advisories.map(|names| names.iter().map(|&name| name.to_owned()).collect()),
            })
        };
        assert!(with(TcbStatus::UpToDate, Some(&["A"])).is_empty());
        assert_eq!(
            with(TcbStatus::SwHardeningNeeded, Some(&["A", "B"])),
            ["TCB level accepted by configuration: SWHardeningNeeded", "TCB Advisories: [A B]"]
        );
        let worse = with(TcbStatus::OutOfDate, None);
        assert_eq!(worse[0], "Warning: TCB level invalid, but accepted by configuration: OutOfDate");
        assert!(worse[1].starts_with("Error: TCB Advisories: "));
    }
}
