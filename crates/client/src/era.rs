//! What a Coordinator must be, as its vendor publishes it: the era configuration (`coordinator-era.json`).
//!
//! The file decides whom secrets are given to, so what it says must be meant: a file can neither switch verification
//! off nor accept any enclave of anybody, and an identity that is none is told when the file is read.

use marblerun_attestation::Policy;
use marblerun_manifest::gojson::{self, NoteKind};
use marblerun_manifest::vm::{SnpPackage, TdxPackage};

/// Largest file that is read. Real ones have a few hundred bytes.
const MAX_SIZE: usize = 1 << 20;

/// A policy for Coordinators, with upstream's field names. Names match in any case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EraConfig {
    /// Hex MRENCLAVE; empty = not asked.
    pub unique_id: String,
    /// Hex MRSIGNER; empty = not asked.
    pub signer_id: String,
    /// Least security version; 0 = not asked.
    pub security_version: u64,
    /// Product id; 0 = not asked.
    pub product_id: u16,
    /// Debug enclaves are accepted too.
    pub debug: bool,
    /// Statuses accepted besides `UpToDate`; empty = `SWHardeningNeeded` alone.
    pub accepted_tcb_statuses: Vec<String>,
    /// Advisories accepted with status `SWHardeningNeeded`; empty = all.
    pub accepted_advisories: Vec<String>,
    /// Mixed into the evidence; empty = none.
    pub nonce: Vec<u8>,
    /// The Coordinator is a VM in Intel TDX.
    pub tdx: Option<TdxPackage>,
    /// The Coordinator is a VM in AMD SEV-SNP.
    pub snp: Option<SnpPackage>,
    /// Fields of the file that mean nothing here, each with the likely name if there is one.
    pub unknown_fields: Vec<String>,
}

/// Why an era configuration is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EraConfigError {
    /// It is no such file.
    #[error("it is larger than {MAX_SIZE} bytes")]
    TooLarge,
    /// Not JSON, or a field of another type.
    #[error("{0}")]
    Json(String),
    /// An identity that no enclave has.
    #[error("{0} must be 64 hexadecimal digits")]
    Identity(&'static str),
    /// A file that lies about must not switch verification off.
    #[error("it says InsecureSkipVerify: a file cannot skip verification, only the user can, and knowingly")]
    InsecureSkipVerify,
    /// More than one family of hardware.
    #[error(
        "it names more than one of an SGX enclave (UniqueID, SignerID, ProductID), TDX and SNP; a Coordinator is one"
    )]
    SeveralFamilies,
    /// What it says of a VM names none.
    #[error("{0}: {1}")]
    Vm(&'static str, String),
    /// Any enclave of anybody would pass.
    #[error("it contains neither UniqueID nor SignerID: any enclave of anybody would be accepted")]
    NoIdentity,
}

#[derive(Default)]
struct Fields {
    insecure_skip_verify: bool,
    unique_id: String,
    signer_id: String,
    security_version: u64,
    product_id: u16,
    debug: bool,
    accepted_tcb_statuses: Vec<String>,
    accepted_advisories: Vec<String>,
    nonce: Vec<u8>,
    tdx: Option<TdxPackage>,
    snp: Option<SnpPackage>,
}

marblerun_manifest::decode_object!(Fields as "VerifyOptions" {
    "InsecureSkipVerify" => insecure_skip_verify,
    "UniqueID" => unique_id,
    "SignerID" => signer_id,
    "SecurityVersion" => security_version,
    "ProductID" => product_id,
    "Debug" => debug,
    "AcceptedTCBStatuses" => accepted_tcb_statuses,
    "AcceptedAdvisories" => accepted_advisories,
    "Nonce" => nonce,
    "TDX" => tdx,
    "SNP" => snp,
});

impl EraConfig {
    /// Reads the file.
    ///
    /// ```
    /// use marblerun_client::{EraConfig, EraConfigError};
    ///
    /// let era = EraConfig::from_json(
    ///     br#"{"SecurityVersion": 3, "ProductID": 3, "SignerID": "43361affedeb75affee9baec7e054a5e14883213e5a121b67d74a0e12e9d2b7a"}"#,
    /// )?;
    /// assert_eq!(era.policy().security_version, Some(3));
    ///
    /// let anybody = EraConfig::from_json(br#"{"SecurityVersion": 3, "ProductID": 3}"#);
    /// assert_eq!(anybody, Err(EraConfigError::NoIdentity));
    /// # Ok::<(), EraConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`EraConfigError`].
    pub fn from_json(json: &[u8]) -> Result<Self, EraConfigError> {
        if json.len() > MAX_SIZE {
            return Err(EraConfigError::TooLarge);
        }
        let decoded =
            gojson::from_slice::<Fields>(json).map_err(|errors| EraConfigError::Json(errors.first().to_string()))?;
        let fields = decoded.value;
        if fields.insecure_skip_verify {
            return Err(EraConfigError::InsecureSkipVerify);
        }
        for (name, id) in [("UniqueID", &fields.unique_id), ("SignerID", &fields.signer_id)] {
            if !id.is_empty() && !hex::decode(id).is_ok_and(|bytes| bytes.len() == 32) {
                return Err(EraConfigError::Identity(name));
            }
        }
        let has_enclave = !(fields.unique_id.is_empty() && fields.signer_id.is_empty());
        match [has_enclave || fields.product_id != 0, fields.tdx.is_some(), fields.snp.is_some()] {
            [false, false, false] => return Err(EraConfigError::NoIdentity),
            [true, false, false] if !has_enclave => return Err(EraConfigError::NoIdentity),
            [true, false, false] | [false, true, false] | [false, false, true] => {}
            _ => return Err(EraConfigError::SeveralFamilies),
        }
        if fields.tdx.is_some() && fields.security_version != 0 {
            return Err(EraConfigError::Vm("SecurityVersion", "TDX VMs have none".to_owned()));
        }
        let problem = fields.tdx.as_ref().and_then(TdxPackage::problem);
        if let Some((field, text)) = problem.or_else(|| fields.snp.as_ref().and_then(SnpPackage::problem)) {
            return Err(EraConfigError::Vm(field, text));
        }
        let unknown_fields = decoded.notes.into_iter().filter_map(|note| match note.kind {
            NoteKind::UnknownField(Some(likely)) => Some(format!("{} (did you mean {likely}?)", note.path)),
            NoteKind::UnknownField(None) => Some(note.path),
            _ => None,
        });
        Ok(Self {
            unknown_fields: unknown_fields.collect(),
            unique_id: fields.unique_id,
            signer_id: fields.signer_id,
            security_version: fields.security_version,
            product_id: fields.product_id,
            debug: fields.debug,
            accepted_tcb_statuses: fields.accepted_tcb_statuses,
            accepted_advisories: fields.accepted_advisories,
            nonce: fields.nonce,
            tdx: fields.tdx,
            snp: fields.snp,
        })
    }

    /// What it asks of an enclave.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            debug: self.debug,
            unique_id: self.unique_id.clone(),
            signer_id: self.signer_id.clone(),
            product_id: Some(u64::from(self.product_id)).filter(|id| *id != 0),
            security_version: Some(self.security_version).filter(|version| *version != 0),
            accepted_tcb_statuses: self.accepted_tcb_statuses.clone(),
            accepted_advisories: self.accepted_advisories.clone(),
            tdx: self.tdx.clone(),
            snp: self.snp.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNER: &str = "43361affedeb75affee9baec7e054a5e14883213e5a121b67d74a0e12e9d2b7a";

    fn read(json: &str) -> Result<EraConfig, String> {
        EraConfig::from_json(json.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_file_of_a_build_is_read_with_names_in_any_case() {
        let era = read(&format!(
            "{{\n\t\"securityversion\": 3,\n\t\"PRODUCTID\": 3,\n\t\"UniqueID\": \"\",\n\t\"SignerID\": \"{SIGNER}\",\n\t\"Debug\": true,
               \"AcceptedTCBStatuses\": [\"OutOfDate\"], \"AcceptedAdvisories\": null, \"Nonce\": \"AAE=\"}}"
        ))
        .unwrap();
        assert_eq!((era.nonce.as_slice(), era.unknown_fields.as_slice()), (&[0, 1][..], &[][..]));
        let policy = era.policy();
        assert_eq!((policy.security_version, policy.product_id, policy.debug), (Some(3), Some(3), true));
        assert_eq!((policy.signer_id.as_str(), policy.accepted_tcb_statuses.len()), (SIGNER, 1));
    }

    #[test]
    fn zero_is_not_asked() {
        let policy = read(&format!(r#"{{"UniqueID":"{SIGNER}","SecurityVersion":0,"ProductID":0}}"#)).unwrap().policy();
        assert_eq!((policy.security_version, policy.product_id), (None, None));
    }

    #[test]
    fn a_file_cannot_switch_verification_off() {
        for name in ["InsecureSkipVerify", "insecureskipverify"] {
            let text = read(&format!(r#"{{"SignerID":"{SIGNER}","{name}":true}}"#)).unwrap_err();
            assert!(text.contains("InsecureSkipVerify"), "{text}");
        }
        read(&format!(r#"{{"SignerID":"{SIGNER}","InsecureSkipVerify":false}}"#)).unwrap();
    }

    #[test]
    fn a_file_cannot_accept_anybody() {
        for json in ["{}", "null", r#"{"SecurityVersion":3,"ProductID":3}"#, r#"{"SignerID":"","UniqueID":null}"#] {
            assert!(read(json).unwrap_err().contains("neither UniqueID nor SignerID"), "{json}");
        }
    }

    #[test]
    fn what_is_no_such_file_is_told() {
        for (json, part) in [
            ("", "unexpected end of JSON input"),
            ("[]", "cannot unmarshal array"),
            (r#"{"SecurityVersion":"3"}"#, "SecurityVersion"),
            (r#"{"ProductID":65536}"#, "ProductID"),
            (r#"{"SignerID":"abcd"}"#, "SignerID must be 64 hexadecimal digits"),
            (r#"{"UniqueID":"xyz"}"#, "UniqueID must be 64 hexadecimal digits"),
        ] {
            let text = read(json).unwrap_err();
            assert!(text.contains(part), "{json}: {text}");
        }
        assert_eq!(EraConfig::from_json(&vec![b' '; MAX_SIZE + 1]), Err(EraConfigError::TooLarge));
    }

    #[test]
    fn a_misspelt_restriction_is_named() {
        let era = read(&format!(r#"{{"UniqueID":"{SIGNER}","SignerIDs":"x","TPM":{{}}}}"#)).unwrap();
        assert_eq!(era.unknown_fields, ["SignerIDs (did you mean SignerID?)", "TPM"]);
    }

    #[test]
    fn a_coordinator_in_a_vm_is_named_by_one_family_and_completely() {
        let digest = "ab".repeat(48);
        let policy = read(&format!(r#"{{"TDX": {{"MRTD": "{digest}"}}}}"#)).unwrap().policy();
        assert_eq!(policy.tdx.unwrap().mrtd, digest);
        let policy =
            read(&format!(r#"{{"SNP": {{"measurement": "{digest}"}}, "SecurityVersion": 2}}"#)).unwrap().policy();
        assert_eq!((policy.snp.unwrap().measurement, policy.security_version), (digest.clone(), Some(2)));
        for (json, part) in [
            (r#"{"TDX": {}}"#.to_owned(), "MRTD: it is missing"),
            (r#"{"SNP": {"HostData": "00"}}"#.to_owned(), "Measurement: it is missing"),
            (format!(r#"{{"TDX": {{"MRTD": "{digest}"}}, "SecurityVersion": 1}}"#), "TDX VMs have none"),
            (format!(r#"{{"TDX": {{"MRTD": "{digest}"}}, "SignerID": "{SIGNER}"}}"#), "more than one"),
            (format!(r#"{{"TDX": {{"MRTD": "{digest}"}}, "SNP": {{"Measurement": "{digest}"}}}}"#), "more than one"),
            (r#"{"ProductID": 3, "SecurityVersion": 3}"#.to_owned(), "neither UniqueID nor SignerID"),
        ] {
            let error = read(&json).unwrap_err();
            assert!(error.contains(part), "{json}: {error}");
        }
    }
}
