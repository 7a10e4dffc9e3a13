//! What is told about evidence, as text and as a document.

use std::path::PathBuf;

use jiff::Timestamp;
use marblerun_client::attestation::{Comparison, Findings, Unverified, Verified};
use marblerun_client::{Measured, ReportData, VerifyError};
use serde_json::{Value, json};

/// All of it.
pub struct Report {
    pub file: PathBuf,
    pub kind: &'static str,
    pub time: Timestamp,
    pub verified: Result<Verified, VerifyError>,
    /// What it says, if that is not believed.
    pub unverified: Option<Unverified>,
    pub compared: Option<Compared>,
}

/// Evidence beside what was asked for.
pub struct Compared {
    pub source: String,
    pub fields: Vec<Comparison>,
    pub platform: Result<(), String>,
}

impl Compared {
    fn fits(&self) -> bool {
        self.platform.is_ok() && self.fields.iter().all(|field| field.fits)
    }
}

impl Report {
    /// Genuine, and what was asked for, if something was.
    pub fn is_accepted(&self) -> bool {
        self.verified.is_ok() && self.compared.as_ref().is_none_or(Compared::fits)
    }

    /// What evidence says, by name.
    fn claims(&self) -> Vec<(&'static str, String)> {
        match (&self.verified, &self.unverified) {
            (Ok(verified), _) => {
                let claims = &verified.claims;
                fields(&claims.identity, claims.debug, &claims.report_data)
            }
            (Err(_), Some(said)) => fields(&said.identity, said.debug, &said.report_data),
            (Err(_), None) => Vec::new(),
        }
    }

    /// The document.
    pub fn document(&self) -> Value {
        let object = |pairs: Vec<(&'static str, String)>| {
            Value::Object(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
        };
        let verified = self.verified.as_ref().ok();
        let compared = self.compared.as_ref().map(|compared| {
            let fields = compared.fields.iter().map(
                |field| json!({"field": field.field, "expected": field.expected, "got": field.got, "fits": field.fits}),
            );
            json!({
                "with": compared.source,
                "fits": compared.fits(),
                "fields": fields.collect::<Vec<_>>(),
                "platform": compared.platform.as_ref().err(),
            })
        });
        json!({
            "file": self.file,
            "kind": self.kind,
            "time": self.time.to_string(),
            "verified": verified.is_some(),
            "accepted": self.is_accepted(),
            "error": self.verified.as_ref().err().map(ToString::to_string),
            "claims": object(self.claims()),
            "platform": verified.map(|verified| object(platform(verified))),
            "advisories": verified.and_then(|verified| verified.claims.advisories.as_ref()),
            "compared": compared,
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut lines = vec![format!("{}: evidence of {}, judged at {}", self.file.display(), self.kind, self.time)];
        match &self.verified {
            Ok(_) => lines.push("Genuine.".to_owned()),
            Err(error) => lines.push(format!("NOT GENUINE: {error}")),
        }
        let claims = self.claims();
        if !claims.is_empty() {
            lines.push(String::new());
            lines.push(match self.verified {
                Ok(_) => "What it says".to_owned(),
                Err(_) => "What it says; anybody could have made that up".to_owned(),
            });
            lines.extend(claims.iter().map(|(name, value)| format!("  {name:<17} {value}")));
        }
        if let Ok(verified) = &self.verified {
            lines.push(String::new());
            lines.push("Its platform".to_owned());
            lines.extend(platform(verified).iter().map(|(name, value)| format!("  {name:<17} {value}")));
            let advisories = verified.claims.advisories.as_deref().unwrap_or_default();
            if !advisories.is_empty() {
                lines.push(format!("  {:<17} {}", "Advisories", advisories.join(" ")));
            }
        }
        if let Some(compared) = &self.compared {
            lines.push(String::new());
            lines.push(format!(
                "Compared with {}: {}",
                compared.source,
                if compared.fits() { "it fits" } else { "IT DOES NOT FIT" }
            ));
            for field in &compared.fields {
                lines.extend(line(field));
            }
            lines.push(match &compared.platform {
                Ok(()) => "  ok       platform".to_owned(),
                Err(reason) => format!("  REFUSED  platform: {reason}"),
            });
        } else if self.verified.is_ok() {
            lines.push(String::new());
            lines.push(
                "Genuine evidence of what? Compare it with a package (--package) or a policy (--era-config)."
                    .to_owned(),
            );
        }
        lines.join("\n")
    }
}

fn line(field: &Comparison) -> Vec<String> {
    let Comparison { field: name, expected, got, fits } = field;
    match (expected, fits) {
        (None, _) => vec![format!("  any      {name}")],
        (Some(_), true) => vec![format!("  ok       {name}: {got}")],
        (Some(expected), false) => {
            vec![
                format!("  REFUSED  {name}: expected {expected}"),
                format!("           {:width$}  got      {got}", "", width = name.len()),
            ]
        }
    }
}

fn fields(identity: &Measured, debug: bool, report_data: &ReportData) -> Vec<(&'static str, String)> {
    let mut fields = match identity {
        Measured::Sgx(sgx) => vec![
            ("UniqueID", hex::encode(sgx.unique_id)),
            ("SignerID", hex::encode(sgx.signer_id)),
            ("ProductID", sgx.product_id.to_string()),
            ("SecurityVersion", sgx.security_version.to_string()),
        ],
        Measured::Tdx(tdx) => tdx.fields().into_iter().map(|(name, value)| (name, hex::encode(value))).collect(),
        Measured::Snp(snp) => {
            let mut fields: Vec<_> = snp.fields().into_iter().map(|(name, value)| (name, hex::encode(value))).collect();
            fields.push(("SecurityVersion", snp.guest_svn.to_string()));
            fields.push(("Policy", format!("{:#x}", snp.policy)));
            fields.push(("VMPL", snp.vmpl.to_string()));
            fields.push(("TCB", snp.tcb.to_string()));
            fields.push(("CommittedTCB", snp.committed_tcb.to_string()));
            fields.push(("ChipID", hex::encode(snp.chip_id)));
            fields
                .extend(snp.pcrs.iter().flat_map(|pcrs| pcrs.fields()).map(|(name, value)| (name, hex::encode(value))));
            fields
        }
    };
    fields.push(("Debug", debug.to_string()));
    fields.push(("ReportData", hex::encode(report_data.0)));
    fields
}

fn platform(verified: &Verified) -> Vec<(&'static str, String)> {
    match &verified.findings {
        Findings::Intel(found) => vec![
            ("TCBStatus", verified.claims.tcb_status.to_string()),
            ("PlatformStatus", found.platform_status.clone()),
            ("TCBDate", date(found.tcb_date)),
            ("QEStatus", found.qe_status.clone()),
            ("QEAdvisories", found.qe_advisories.join(" ")),
            ("FMSPC", hex::encode(found.platform.fmspc)),
            ("CA", found.platform.ca.as_str().to_owned()),
            ("EvaluationNumber", found.evaluation_number.to_string()),
            ("Collateral", format!("{} to {}", date(found.issued), date(found.valid_until))),
        ],
        Findings::Snp(found) => vec![
            ("Product", found.product.to_string()),
            ("Key", found.key.to_owned()),
            ("ReportVersion", found.report_version.to_string()),
            ("CertifiedUntil", date(found.valid_until)),
            ("RevocationList", if found.crl.is_some() { "checked" } else { "not at hand" }.to_owned()),
        ],
    }
}

fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| seconds.to_string(), |time| time.to_string())
}
