//! SEV-SNP reports. The bytes are verified as they came: nothing is written anew before its signature is checked.
//!
//! In this order: form of the report; which key signed it, and whether AMD certified that key for this processor and
//! firmware, now; whether that certificate was revoked; the signature. Nothing of the report is believed before.

mod report;
mod vek;

use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA384, VerificationAlgorithm};
use report::Report;
use vek::Vek;
pub(crate) use vek::states;

use crate::roots::AmdRoot;
use crate::x509::{Certificate, RevocationList};
use crate::{
    Bundle, CollateralSource, EnclaveClaims, Identity, ReportData, SnpIdentity, SnpProduct, SnpTcbVersion, TcbStatus,
    VcekRequest, VerifyError,
};

/// How AMD signs certificates and lists.
static AMD_SIGNS: &dyn VerificationAlgorithm = &RSA_PSS_2048_8192_SHA384;

/// What verification found besides the claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpFindings {
    /// Family of the processor.
    pub product: SnpProduct,
    /// `VCEK`: the processor's own key. `VLEK`: its cloud provider's.
    pub key: &'static str,
    /// Version of the report's form.
    pub report_version: u32,
    /// Until when the key is certified, in seconds since the epoch.
    pub valid_until: u64,
    /// The revocation list that was looked at, if one was.
    pub crl: Option<CrlFindings>,
}

/// Which of AMD's revocation lists of a family it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrlFindings {
    /// Its number, if it has one.
    pub number: Option<u64>,
    /// When it was made, in seconds since the epoch.
    pub issued: u64,
}

/// Verifies the report in a bundle.
pub(crate) fn verify(
    bundle: &Bundle,
    source: &dyn CollateralSource,
    roots: &[AmdRoot],
    now: u64,
) -> Result<(EnclaveClaims, SnpFindings), VerifyError> {
    let report = Report::parse(&bundle.report)?;
    let vek = match Vek::find(&bundle.certificates, &report, roots)? {
        Some(vek) => vek,
        None => fetch(&report, source, roots, now)?,
    };
    vek.check_dates(now)?;
    let crl = check_revocation(&vek, source, now)?;
    let tcb = vek.certifies(&report)?;
    report.check_signature(vek.key())?;

    let identity = report.identity(vek.product(), tcb);
    let debug = identity.policy & SnpIdentity::POLICY_DEBUG != 0;
    let claims = EnclaveClaims {
        debug,
        report_data: ReportData(report.report_data),
        identity: Identity::Snp(Box::new(identity)),
        tcb_status: TcbStatus::UpToDate,
        advisories: Some(Vec::new()),
    };
    let findings = SnpFindings {
        product: vek.product(),
        key: report.key.as_str(),
        report_version: report.version,
        valid_until: vek.valid_until(),
        crl,
    };
    Ok((claims, findings))
}

/// What a report says, without a look at who made it.
pub(crate) fn unverified(report: &[u8]) -> Result<(Identity, bool, ReportData), VerifyError> {
    let report = Report::parse(report)?;
    let product = report.products().first().copied().unwrap_or(SnpProduct::Milan);
    let identity = report.identity(product, SnpTcbVersion::from_bytes(report.reported_tcb, product));
    let debug = identity.policy & SnpIdentity::POLICY_DEBUG != 0;
    Ok((Identity::Snp(Box::new(identity)), debug, ReportData(report.report_data)))
}

/// Gets the certificate of the processor's key from elsewhere. Older reports do not tell the family of the processor: all
/// that made such reports are asked for.
fn fetch(report: &Report<'_>, source: &dyn CollateralSource, roots: &[AmdRoot], now: u64) -> Result<Vek, VerifyError> {
    if report.key == report::Key::Vlek {
        return Err(VerifyError(
            "the evidence has no certificate of the key that signed it (VLEK), and only its cloud provider has one"
                .to_owned(),
        ));
    }
    if report.chip_id == [0; 64] {
        return Err(VerifyError(
            "the evidence has no certificate of the key that signed it, and the host hides which processor it is \
             (MASK_CHIP_ID), so nobody can be asked for one"
                .to_owned(),
        ));
    }
    let mut failure = None;
    for product in report.products() {
        let request = VcekRequest { product: *product, chip_id: report.chip_id, tcb: report.reported_tcb };
        match source.vcek(&request, now) {
            Ok(certificate) => {
                let found = Vek::find(&[certificate.to_vec()], report, roots)?;
                return found.ok_or_else(|| VerifyError("what was got as a VCEK is not certified by AMD".to_owned()));
            }
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(match failure {
        Some(error) => VerifyError::no_collateral(&error),
        None => VerifyError("the processor that made the report is of no known family".to_owned()),
    })
}

/// That the key's issuer is not on AMD's list, if there is a list; which one it was.
fn check_revocation(vek: &Vek, source: &dyn CollateralSource, now: u64) -> Result<Option<CrlFindings>, VerifyError> {
    let product = vek.product();
    let list = source.amd_crl(product, now).map_err(|error| VerifyError::no_collateral(&error))?;
    let Some(list) = list else { return Ok(None) };
    let refuse = |reason: &str| VerifyError(format!("AMD's revocation list of {product} is not taken: {reason}"));
    let root = Certificate::from_der(vek.root()).map_err(|error| refuse(&error))?;
    let list = RevocationList::from_der(&list, &root, AMD_SIGNS).map_err(|error| refuse(&error))?;
    let (from, until) = list.validity();
    if now < from || until.is_none_or(|until| now > until) {
        return Err(refuse("it is not valid now"));
    }
    if vek.certificates().any(|certificate| list.revokes(certificate)) {
        return Err(VerifyError(format!("AMD revoked the certificate of {product} that the evidence leads to")));
    }
    Ok(Some(CrlFindings { number: list.number(), issued: from }))
}

#[cfg(test)]
mod tests;
