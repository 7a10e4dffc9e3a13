//! SGX and TDX quotes: everything that Intel's rules ask is checked by `dcap-qvl`, which stays behind this module.
//!
//! Before collateral is asked for, the platform's certificates are followed to the root: what a stranger makes up must not
//! make this process ask others.

mod crypto;

use aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1;
use crypto::AwsLc;
use dcap_qvl::config::{ParsedCert as _, X509Codec as _};
use dcap_qvl::quote::{EnclaveReport, Quote, Report, TDReport10};
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::x509::X509CertBackend;
use dcap_qvl::{QuoteClaims, QuotePolicy};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::x509::Certificate;
use crate::{
    EnclaveClaims, Identity, IntelCollateral, IntelPlatform, PckCa, ReportData, SgxIdentity, TcbStatus, TdxIdentity,
    Tee, VerifyError,
};

/// What verification found besides the claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntelFindings {
    /// The platform.
    pub platform: IntelPlatform,
    /// Status of the platform alone.
    pub platform_status: String,
    /// Status of the enclave that made the quote.
    pub qe_status: String,
    /// Advisories about the enclave that made the quote. They do not count for packages, as upstream.
    pub qe_advisories: Vec<String>,
    /// Date of the platform's TCB level, in seconds since the epoch.
    pub tcb_date: u64,
    /// State of Intel's knowledge.
    pub evaluation_number: u32,
    /// Number of the list of revoked platforms.
    pub pck_crl_number: u32,
    /// Number of the list of revoked authorities.
    pub root_crl_number: u32,
    /// The newest date in the collateral.
    pub issued: u64,
    /// Until when the collateral is good.
    pub valid_until: u64,
}

/// A quote whose platform is certified by the root. Nothing else about it is known yet.
pub(crate) struct Certified<'a> {
    quote: &'a [u8],
    pub(crate) platform: IntelPlatform,
}

const LONGEST_CERTIFICATION: usize = 32 << 10;
const MOST_CERTIFICATES: usize = 10;

impl<'a> Certified<'a> {
    /// Follows the certificates in a quote to the root.
    pub(crate) fn new(quote: &'a [u8], root: &[u8]) -> Result<Self, VerifyError> {
        let refuse = |reason: &str| VerifyError(format!("damaged quote: {reason}"));
        let parsed = Quote::parse(quote).map_err(|error| refuse(&error.to_string()))?;
        let pem = parsed.raw_cert_chain().map_err(|error| {
            VerifyError(format!("the quote does not bring the certificates of its platform (PCK chain): {error}"))
        })?;
        if pem.len() > LONGEST_CERTIFICATION {
            return Err(refuse("its certificates are too long"));
        }
        let chain: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(pem)
            .take(MOST_CERTIFICATES + 1)
            .collect::<Result<_, _>>()
            .map_err(|_| refuse("its certificates cannot be read"))?;
        let [leaf, issuer, ..] = chain.as_slice() else {
            return Err(refuse("it does not have the certificates of its platform and of who certified it"));
        };
        if chain.len() > MOST_CERTIFICATES {
            return Err(refuse("it has too many certificates"));
        }
        let read = |der: &[u8]| Certificate::from_der(der).map_err(|error| refuse(&format!("certificate: {error}")));
        let (platform, authority, root) = (read(leaf)?, read(issuer)?, read(root)?);
        let algorithm = &ECDSA_P256_SHA256_ASN1;
        if !authority.is_issued_by(&root, algorithm) || !platform.is_issued_by(&authority, algorithm) {
            return Err(VerifyError(
                "the platform is not certified by Intel: its certificates do not lead to the root".to_owned(),
            ));
        }
        let pck = dcap_qvl::intel::parse_pck_extension_with::<AwsLc>(leaf)
            .map_err(|error| refuse(&format!("certificate of the platform: {error:#}")))?;
        let ca = X509CertBackend::from_der(leaf).ok().and_then(|parsed| parsed.pck_ca()).map(|ca| match ca {
            dcap_qvl::config::PckCa::Processor => PckCa::Processor,
            dcap_qvl::config::PckCa::Platform => PckCa::Platform,
        });
        let ca = ca.ok_or_else(|| refuse("its platform was certified by an authority of unknown name"))?;
        let tee = if parsed.report.is_sgx() { Tee::Sgx } else { Tee::Tdx };
        Ok(Self { quote, platform: IntelPlatform { tee, fmspc: pck.fmspc, ca } })
    }

    /// Checks everything else.
    pub(crate) fn verify(
        &self,
        collateral: &IntelCollateral,
        root: &[u8],
        now: u64,
    ) -> Result<(EnclaveClaims, IntelFindings), VerifyError> {
        // Whether a debug enclave will do is for the policy: a package may ask for one.
        let verifier = QuoteVerifier::<AwsLc>::new_with_config(root.to_vec()).allow_debug(true);
        let found = verifier
            .verify_with_policy(self.quote, collateral.as_qvl(), now, &QuotePolicy::claims_only(now))
            .map_err(|error| refusal(&format!("{error:#}")))?;
        let status = |name: String| name.parse::<TcbStatus>().unwrap_or(TcbStatus::Unknown);
        let (identity, debug, report_data) = identity(&found.report)?;
        let claims = EnclaveClaims {
            identity,
            debug,
            report_data,
            tcb_status: status(found.tcb.status.to_string()),
            advisories: Some(found.platform.tcb_level.advisory_ids.clone()),
        };
        Ok((claims, self.findings(&found)))
    }

    fn findings(&self, found: &QuoteClaims) -> IntelFindings {
        IntelFindings {
            platform: self.platform,
            platform_status: found.platform.tcb_level.tcb_status.to_string(),
            qe_status: found.qe.tcb_level.tcb_status.to_string(),
            qe_advisories: found.qe.tcb_level.advisory_ids.clone(),
            tcb_date: found.platform.tcb_date_tag,
            evaluation_number: found.tcb.eval_data_number,
            pck_crl_number: found.platform.pck_crl_num,
            root_crl_number: found.platform.root_ca_crl_num,
            issued: found.latest_issue_date,
            valid_until: found.earliest_expiration_date,
        }
    }
}

/// A refusal, with what to do where the library's text leaves one alone.
fn refusal(text: &str) -> VerifyError {
    let more = if text.contains("SEPT_VE_DISABLE") {
        ": the VM's attributes let its host inject exceptions. Azure's TDX VMs are like that, and cannot be verified yet"
    } else if text.contains("No matching TCB level") {
        ": the platform is older than anything Intel knows a status of"
    } else if text.contains("UnknownRevocationStatus") {
        ": the collateral is for another platform or authority"
    } else if text.contains("issue date is in the future") {
        ": the clock of this machine may be wrong"
    } else if text.ends_with("expired") || text.contains("CrlExpired") || text.contains("CertExpired") {
        ": newer collateral is needed, or the clock of this machine is wrong"
    } else if text.contains("Invalid MR service TD") {
        ": the VM is bound to a service VM, which could move it elsewhere"
    } else {
        ""
    };
    VerifyError(format!("{text}{more}"))
}

/// What a quote says, without a look at who made it.
pub(crate) fn unverified(quote: &[u8]) -> Result<(Identity, bool, ReportData), VerifyError> {
    let parsed = Quote::parse(quote).map_err(|error| VerifyError(format!("damaged quote: {error}")))?;
    identity(&parsed.report)
}

/// What was measured, whether it is debuggable, and what it is bound to.
fn identity(report: &Report) -> Result<(Identity, bool, ReportData), VerifyError> {
    if let Some(report) = report.as_sgx() {
        let EnclaveReport { mr_enclave, mr_signer, isv_prod_id, isv_svn, attributes, report_data, .. } = *report;
        let sgx = SgxIdentity {
            unique_id: mr_enclave,
            signer_id: mr_signer,
            product_id: isv_prod_id.into(),
            security_version: isv_svn.into(),
        };
        let [flags, ..] = attributes;
        return Ok((Identity::Sgx(sgx), flags & 2 != 0, ReportData(report_data)));
    }
    let Some(report) = report.as_td10() else { return Err(VerifyError("a report of unknown kind".to_owned())) };
    let TDReport10 { td_attributes, report_data, .. } = *report;
    let [flags, ..] = td_attributes;
    let tdx = TdxIdentity {
        mrtd: report.mr_td,
        rtmr: [report.rt_mr0, report.rt_mr1, report.rt_mr2, report.rt_mr3],
        mr_seam: report.mr_seam,
        mr_config_id: report.mr_config_id,
        mr_owner: report.mr_owner,
        mr_owner_config: report.mr_owner_config,
        attributes: td_attributes,
        xfam: report.xfam,
    };
    // All bits of the first byte make a VM debuggable, or are reserved for more of that kind.
    Ok((Identity::Tdx(Box::new(tdx)), flags != 0, ReportData(report_data)))
}
