//! What vendors say about platforms, which evidence is judged with: Intel's TCB info, QE identity and revocation lists;
//! AMD's certificates of single processors and its revocation lists. All of it is signed and is checked with the
//! evidence, so wherever it comes from need not be trusted. Getting it is somebody else's business.

use std::sync::Arc;

use dcap_qvl::QuoteCollateralV3;
use serde::Deserialize;

use crate::{SnpProduct, SnpTcbVersion, Tee, snp, x509};

/// Where collateral comes from.
pub trait CollateralSource: Send + Sync {
    /// What Intel says about a platform, good at `now` (seconds since the epoch) as far as is known. May take a while;
    /// not for async threads.
    ///
    /// # Errors
    /// If there is none.
    fn intel(&self, platform: &IntelPlatform, now: u64) -> Result<Arc<IntelCollateral>, CollateralError>;

    /// As [`CollateralSource::intel`], for who was given something older than others have: asks anew where that is possible.
    ///
    /// # Errors
    /// If there is none.
    fn newer_intel(&self, platform: &IntelPlatform, now: u64) -> Result<Arc<IntelCollateral>, CollateralError> {
        self.intel(platform, now)
    }

    /// DER of the certificate of a processor's key (VCEK), for evidence that does not bring it. May take a while; not
    /// for async threads.
    ///
    /// # Errors
    /// If there is none.
    fn vcek(&self, request: &VcekRequest, now: u64) -> Result<Arc<[u8]>, CollateralError>;

    /// DER of AMD's revocation list of a family; `None` if this source has none, and goes on without.
    ///
    /// # Errors
    /// If there should be one.
    fn amd_crl(&self, product: SnpProduct, now: u64) -> Result<Option<Arc<[u8]>>, CollateralError>;

    /// As [`CollateralSource::amd_crl`], for who was given something older than others have: asks anew where that is possible.
    ///
    /// # Errors
    /// If there should be one.
    fn newer_amd_crl(&self, product: SnpProduct, now: u64) -> Result<Option<Arc<[u8]>>, CollateralError> {
        self.amd_crl(product, now)
    }
}

/// A source that is asked for the newest there is.
pub(crate) struct Anew<'s>(pub(crate) &'s dyn CollateralSource);

impl CollateralSource for Anew<'_> {
    fn intel(&self, platform: &IntelPlatform, now: u64) -> Result<Arc<IntelCollateral>, CollateralError> {
        self.0.newer_intel(platform, now)
    }

    fn vcek(&self, request: &VcekRequest, now: u64) -> Result<Arc<[u8]>, CollateralError> {
        self.0.vcek(request, now)
    }

    fn amd_crl(&self, product: SnpProduct, now: u64) -> Result<Option<Arc<[u8]>>, CollateralError> {
        self.0.newer_amd_crl(product, now)
    }
}

/// Collateral that is not to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CollateralError(pub String);

/// No source at all: SGX and TDX cannot be verified, SEV-SNP only with certificates in the evidence.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCollateral;

impl CollateralSource for NoCollateral {
    fn intel(&self, platform: &IntelPlatform, _now: u64) -> Result<Arc<IntelCollateral>, CollateralError> {
        Err(CollateralError(format!("no source of collateral is configured, and evidence of {platform} needs some")))
    }

    fn vcek(&self, request: &VcekRequest, _now: u64) -> Result<Arc<[u8]>, CollateralError> {
        Err(CollateralError(format!(
            "the evidence has no certificate of the key that signed it, and no source of collateral is configured to \
             get it from ({request})"
        )))
    }

    fn amd_crl(&self, _product: SnpProduct, _now: u64) -> Result<Option<Arc<[u8]>>, CollateralError> {
        Ok(None)
    }
}

/// The same for every platform, and nothing of AMD's: for who has just one. It is checked as any other.
impl CollateralSource for Arc<IntelCollateral> {
    fn intel(&self, _platform: &IntelPlatform, _now: u64) -> Result<Arc<IntelCollateral>, CollateralError> {
        Ok(Self::clone(self))
    }

    fn vcek(&self, request: &VcekRequest, now: u64) -> Result<Arc<[u8]>, CollateralError> {
        NoCollateral.vcek(request, now)
    }

    fn amd_crl(&self, product: SnpProduct, now: u64) -> Result<Option<Arc<[u8]>>, CollateralError> {
        NoCollateral.amd_crl(product, now)
    }
}

/// Which of Intel's authorities certified a platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PckCa {
    /// For platforms of one processor.
    Processor,
    /// For platforms of several.
    Platform,
}

impl PckCa {
    /// The name in requests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Processor => "processor",
            Self::Platform => "platform",
        }
    }
}

/// What Intel's collateral is about: all machines of a model in one kind of TEE, certified by one authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IntelPlatform {
    /// SGX or TDX.
    pub tee: Tee,
    /// The model (FMSPC).
    pub fmspc: [u8; 6],
    /// Who certified it.
    pub ca: PckCa,
}

impl std::fmt::Display for IntelPlatform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} FMSPC {} ({} CA)", self.tee, hex::encode(self.fmspc), self.ca.as_str())
    }
}

/// What a VCEK certificate is asked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VcekRequest {
    /// The family, as far as the report tells.
    pub product: SnpProduct,
    /// The processor.
    pub chip_id: [u8; 64],
    /// Its firmware: raw bytes of the report.
    pub tcb: [u8; 8],
}

impl VcekRequest {
    /// The versions of the firmware.
    #[must_use]
    pub fn versions(&self) -> SnpTcbVersion {
        SnpTcbVersion::from_bytes(self.tcb, self.product)
    }

    /// Whether a certificate (DER) says that it is for this processor and firmware. Who signed it is not looked at.
    #[must_use]
    pub fn is_answered_by(&self, der: &[u8]) -> bool {
        snp::states(der, self)
    }
}

impl std::fmt::Display for VcekRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let chip = hex::encode(self.chip_id.get(..8).unwrap_or_default());
        write!(f, "{} processor {chip}.., TCB {}", self.product, self.versions())
    }
}

/// Intel's collateral of one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntelCollateral(QuoteCollateralV3);

/// The parts of [`IntelCollateral`]. Texts of JSON are kept byte for byte: they are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntelParts {
    /// PEM: who signed the list of revoked platforms.
    pub pck_crl_issuer_chain: String,
    /// DER: authorities that the root revoked.
    pub root_ca_crl: Vec<u8>,
    /// DER: platforms that their authority revoked.
    pub pck_crl: Vec<u8>,
    /// PEM: who signed the TCB info.
    pub tcb_info_issuer_chain: String,
    /// JSON, as it was signed.
    pub tcb_info: String,
    /// r and s, 32 bytes each.
    pub tcb_info_signature: Vec<u8>,
    /// PEM: who signed the identity of the quoting enclave.
    pub qe_identity_issuer_chain: String,
    /// JSON, as it was signed.
    pub qe_identity: String,
    /// r and s, 32 bytes each.
    pub qe_identity_signature: Vec<u8>,
}

/// When collateral is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The newest of its beginnings, in seconds since the epoch.
    pub from: u64,
    /// The first of its ends.
    pub until: u64,
}

impl Window {
    /// Of a list of revoked certificates (DER), which is not checked. `None` if it is none, or never ends.
    #[must_use]
    pub fn of_list(der: &[u8]) -> Option<Self> {
        let (from, until) = x509::list_validity(der)?;
        Some(Self { from, until: until? })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dated {
    issue_date: String,
    next_update: String,
    #[serde(default)]
    tcb_evaluation_data_number: u32,
}

#[derive(Deserialize)]
struct Subject {
    id: String,
    fmspc: String,
}

impl IntelCollateral {
    /// From its parts.
    #[must_use]
    pub fn new(parts: IntelParts) -> Self {
        Self(QuoteCollateralV3 {
            pck_crl_issuer_chain: parts.pck_crl_issuer_chain,
            root_ca_crl: parts.root_ca_crl,
            pck_crl: parts.pck_crl,
            tcb_info_issuer_chain: parts.tcb_info_issuer_chain,
            tcb_info: parts.tcb_info,
            tcb_info_signature: parts.tcb_info_signature,
            qe_identity_issuer_chain: parts.qe_identity_issuer_chain,
            qe_identity: parts.qe_identity,
            qe_identity_signature: parts.qe_identity_signature,
            pck_certificate_chain: None,
        })
    }

    /// Reads the JSON form: an object with the fields of [`IntelParts`], bytes in hex.
    ///
    /// # Errors
    /// If it is none.
    pub fn from_json(json: &[u8]) -> Result<Self, CollateralError> {
        serde_json::from_slice(json)
            .map(Self)
            .map_err(|error| CollateralError(format!("it is no collateral in JSON: {error}")))
    }

    /// Writes the JSON form.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).unwrap_or_default()
    }

    /// The TEE and model it is about, as its TCB info says. Nothing is checked.
    #[must_use]
    pub fn subject(&self) -> Option<(Tee, [u8; 6])> {
        let subject: Subject = serde_json::from_str(&self.0.tcb_info).ok()?;
        let tee = match subject.id.as_str() {
            "SGX" => Tee::Sgx,
            "TDX" => Tee::Tdx,
            _ => return None,
        };
        Some((tee, hex::decode(subject.fmspc).ok()?.try_into().ok()?))
    }

    /// The state of Intel's knowledge, which only grows. Nothing is checked.
    #[must_use]
    pub fn evaluation_number(&self) -> Option<u32> {
        let dated: Dated = serde_json::from_str(&self.0.tcb_info).ok()?;
        Some(dated.tcb_evaluation_data_number)
    }

    /// When all parts with a date are good; `None` if one cannot be read. Nothing is checked.
    #[must_use]
    pub fn window(&self) -> Option<Window> {
        let mut window = Window { from: 0, until: u64::MAX };
        for json in [&self.0.tcb_info, &self.0.qe_identity] {
            let dated: Dated = serde_json::from_str(json).ok()?;
            window.from = window.from.max(seconds(&dated.issue_date)?);
            window.until = window.until.min(seconds(&dated.next_update)?);
        }
        for list in [&self.0.root_ca_crl, &self.0.pck_crl] {
            let (from, until) = x509::list_validity(list)?;
            window.from = window.from.max(from);
            window.until = window.until.min(until?);
        }
        Some(window)
    }

    pub(crate) fn as_qvl(&self) -> &QuoteCollateralV3 {
        &self.0
    }
}

fn seconds(time: &str) -> Option<u64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    u64::try_from(time.as_second()).ok()
}
