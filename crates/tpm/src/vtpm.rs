//! Evidence of a VM below a paravisor (Azure): the paravisor's SEV-SNP report lies in the memory of the TPM that it plays,
//! and the TPM quotes its registers with the key that the report is bound to.
//!
//! Nothing here is secret, and all of it is signed or hashed; so sessions are plain, and whoever stands between this program
//! and the TPM gains nothing but evidence that is refused.

use std::sync::Arc;

use marblerun_attestation::{Backend, Evidence, HclReport, IssueError, Issuer, ReportData, Tee};
use tss_esapi::abstraction::nv;
use tss_esapi::constants::response_code::Tss2ResponseCodeKind as Code;
use tss_esapi::handles::{KeyHandle, NvIndexTpmHandle, PersistentTpmHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::NvAuth;
use tss_esapi::structures::{Attest, AttestInfo, Data, HashScheme, Signature, SignatureScheme};
use tss_esapi::traits::Marshall as _;
use tss_esapi::{Context, Error};

use crate::device::{Failure, OpenError, Stop, connect, doing, patiently, registers, turn};
use crate::pcrs::sha256;
use crate::{Config, PcrSet};

/// Where the paravisor leaves its report.
pub const HCL_REPORT_INDEX: u32 = 0x0140_0001;
/// The paravisor's attestation key.
pub const AK_HANDLE: u32 = 0x8100_0003;

/// How often registers are read that change before they are quoted.
const ATTEMPTS: usize = 5;

/// Issues evidence by a paravisor's TPM.
pub struct Vtpm {
    config: Config,
}

/// Why there is no evidence.
struct Refused(String);

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self(failure.explain())
    }
}

impl From<OpenError> for Stop<Refused> {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Failure(failure) => Self::Failure(failure),
            OpenError::Unreachable(reason) | OpenError::Another(reason) => Self::For(Refused(reason)),
        }
    }
}

impl Vtpm {
    /// By the TPM of the settings. Nothing is asked of it yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// The backend of a program whose VM runs below a paravisor; settings are read through `lookup`.
    ///
    /// # Errors
    /// If a variable cannot be used.
    pub fn backend(lookup: impl Fn(&str) -> Option<String>) -> Result<Backend, IssueError> {
        let config = Config::read(lookup).map_err(|error| refused(error.to_string()))?;
        Ok(Backend::with_issuer(Arc::new(Self::new(config))))
    }

    fn ask(&self, report_data: &ReportData) -> Result<Evidence, Stop<Refused>> {
        let _turn = turn(&self.config.tcti.to_string());
        let mut context = connect(&self.config)?;
        let report = read_report(&mut context)?;
        let report = HclReport::read(&report).map_err(|error| Stop::For(Refused(error.to_string())))?;
        let key = find_key(&mut context)?;
        for _ in 0..ATTEMPTS {
            let values = registers(&mut context, PcrSet::ALL).map_err(doing("reading the registers"))?.concat();
            let (attest, signature) = quote(&mut context, key, report_data).map_err(doing("quoting the registers"))?;
            // Programs may measure something meanwhile.
            let is_over_them = matches!(attest.attested(), AttestInfo::Quote { info }
                if info.pcr_digest().value() == sha256(&[&values]).as_slice());
            if !is_over_them {
                continue;
            }
            let quote = marshalled(&attest, &signature).map_err(doing("writing the quote"))?;
            let evidence = report.evidence(quote, values, report_data);
            return evidence.map_err(|error| Stop::For(Refused(error.to_string())));
        }
        Err(Stop::For(Refused("the TPM's registers changed each time between reading and quoting them".to_owned())))
    }
}

impl Issuer for Vtpm {
    fn tee(&self) -> Tee {
        Tee::SnpVtpm
    }

    fn issue(&self, report_data: &ReportData) -> Result<Evidence, IssueError> {
        patiently(|| self.ask(report_data)).map_err(|Refused(reason)| refused(reason))
    }
}

fn refused(reason: String) -> IssueError {
    IssueError { tee: Tee::SnpVtpm, reason }
}

fn read_report(context: &mut Context) -> Result<Vec<u8>, Stop<Refused>> {
    let index = NvIndexTpmHandle::new(HCL_REPORT_INDEX).map_err(doing("naming the paravisor's report"))?;
    let read = context.execute_with_nullauth_session(|context| nv::read_full(context, NvAuth::Owner, index));
    let read = read.map_err(doing("reading the paravisor's report"));
    let place = format!("at index {HCL_REPORT_INDEX:#010x}");
    read.map_err(|failure| missing(failure, "no report of a paravisor", place))
}

fn find_key(context: &mut Context) -> Result<KeyHandle, Stop<Refused>> {
    let handle = PersistentTpmHandle::new(AK_HANDLE).map_err(doing("naming the paravisor's key"))?;
    let found = context.execute_without_session(|context| context.tr_from_tpm_public(TpmHandle::Persistent(handle)));
    let found = found.map_err(doing("looking for the paravisor's key"));
    let place = format!("at handle {AK_HANDLE:#010x}");
    found.map(KeyHandle::from).map_err(|failure| missing(failure, "no attestation key of a paravisor", place))
}

/// Says what it means that something is not there.
fn missing(failure: Failure, what: &str, place: String) -> Stop<Refused> {
    if failure.code() == Some(Code::Handle) {
        let text = format!("the TPM has {what} ({place}): this is no VM of Azure with SEV-SNP");
        return Stop::For(Refused(text));
    }
    failure.into()
}

fn quote(context: &mut Context, key: KeyHandle, report_data: &ReportData) -> Result<(Attest, Signature), Error> {
    let wrong = Error::WrapperError(tss_esapi::WrapperErrorKind::WrongParamSize);
    let bound = Data::try_from(report_data.0.get(..32).ok_or(wrong)?.to_vec())?;
    // Whoever verifies chooses.
    let selection = PcrSet::ALL.selection()?;
    let scheme = SignatureScheme::RsaSsa { hash_scheme: HashScheme::new(HashingAlgorithm::Sha256) };
    context.execute_with_nullauth_session(|context| context.quote(key, bound, scheme, selection))
}

/// `TPM2B_ATTEST` and `TPMT_SIGNATURE`.
fn marshalled(attest: &Attest, signature: &Signature) -> Result<Vec<u8>, Error> {
    let attest = attest.marshall()?;
    let length =
        u16::try_from(attest.len()).map_err(|_| Error::WrapperError(tss_esapi::WrapperErrorKind::WrongParamSize))?;
    Ok([&length.to_be_bytes()[..], &attest, &signature.marshall()?].concat())
}
