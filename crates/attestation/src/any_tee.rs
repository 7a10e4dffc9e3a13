//! The verifier of hardware evidence, whatever hardware it is from: what clients use, which have no TEE of their own, and
//! every Coordinator in one.

use std::sync::Arc;

use crate::collateral::Anew;
use crate::dcap::{Certified, IntelFindings};
use crate::snp::SnpFindings;
use crate::{
    Bundle, Claims, CollateralSource, EnclaveClaims, Evidence, Format, HighWater, Identity, NoCollateral, ReportData,
    Roots, Tee, Verifier, VerifyError, dcap, snp, vtpm,
};

/// Verifies evidence of SGX, TDX and SEV-SNP, with collateral from a source; see [`crate::CollateralSource`]. It never
/// answers [`Claims::Simulation`].
///
/// It remembers the newest collateral it has believed and refuses older: see [`HighWater`].
pub struct AnyTee {
    collateral: Arc<dyn CollateralSource>,
    roots: Roots,
    high_water: HighWater,
}

/// Evidence that was verified, with all that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What it says.
    pub claims: EnclaveClaims,
    /// What was found about its platform.
    pub findings: Findings,
}

/// What verification finds besides claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Findings {
    /// Of SGX and TDX.
    Intel(IntelFindings),
    /// Of SEV-SNP.
    Snp(SnpFindings),
}

impl AnyTee {
    /// With collateral from there, and the vendors' roots.
    #[must_use]
    pub fn new(collateral: Arc<dyn CollateralSource>) -> Self {
        Self { collateral, roots: Roots::vendors(), high_water: HighWater::default() }
    }

    /// With other roots. Programs are built without the feature `testing`, so none of them has this.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn with_roots(collateral: Arc<dyn CollateralSource>, roots: Roots) -> Self {
        Self { roots, ..Self::new(collateral) }
    }

    /// Verifies evidence and tells all that was found. May take a while; not for async threads.
    ///
    /// # Errors
    /// If it is not genuine or cannot be judged.
    pub fn examine(&self, evidence: &Evidence, now: u64) -> Result<Verified, VerifyError> {
        let format = Format::of(evidence.as_bytes()).map_err(|error| VerifyError(error.to_string()))?;
        self.high_water.check_clock(now)?;
        match format {
            Format::SgxQuote(quote) | Format::TdxQuote(quote) => self.examine_quote(quote, now),
            Format::Bundle(bundle) => self.examine_bundle(bundle, now),
        }
    }

    fn examine_quote(&self, quote: &[u8], now: u64) -> Result<Verified, VerifyError> {
        let certified = Certified::new(quote, &self.roots.intel)?;
        self.up_to_date(|source| {
            let collateral = source.intel(&certified.platform, now);
            let collateral = collateral.map_err(|error| VerifyError::no_collateral(&error))?;
            let (claims, findings) = certified.verify(&collateral, &self.roots.intel, now)?;
            let passed = self.high_water.pass_intel(&findings);
            Ok((Verified { claims, findings: Findings::Intel(findings) }, passed))
        })
    }

    /// Judges with what the source has; and if that is older than what was believed before, with what it gets when it asks
    /// anew: another verifier, whose marks were learned here, may only have asked later.
    fn up_to_date(
        &self,
        judge: impl Fn(&dyn CollateralSource) -> Result<(Verified, Result<(), VerifyError>), VerifyError>,
    ) -> Result<Verified, VerifyError> {
        let source = self.collateral.as_ref();
        if let (verified, Ok(())) = judge(source)? {
            return Ok(verified);
        }
        let (verified, passed) = judge(&Anew(source))?;
        passed.map(|()| verified)
    }

    fn examine_bundle(&self, bundle: &[u8], now: u64) -> Result<Verified, VerifyError> {
        let bundle = Bundle::from_wire(bundle).map_err(|error| VerifyError(error.to_string()))?;
        let tee = match bundle.made_by() {
            Some(tee @ (Tee::Snp | Tee::SnpVtpm)) => tee,
            Some(other) => {
                return Err(VerifyError(format!("a bundle of {other} cannot be verified: its quote is sent bare")));
            }
            None => return Err(VerifyError(format!("a bundle of unknown hardware (number {})", bundle.tee))),
        };
        // Of a VM that asks the processor itself nobody looks at them, so nobody must think that somebody did.
        if tee == Tee::Snp && !(bundle.runtime_data.is_empty() && bundle.tpm_quote.is_empty()) {
            return Err(VerifyError(format!("evidence of {tee} with a TPM's quote, which binds nothing there")));
        }
        self.up_to_date(|source| {
            let (mut claims, findings) = snp::verify(&bundle, source, &self.roots.amd, now)?;
            if tee == Tee::SnpVtpm {
                vtpm::bind(&bundle, &mut claims)?;
            }
            let passed = self.high_water.pass_amd(&findings);
            Ok((Verified { claims, findings: Findings::Snp(findings) }, passed))
        })
    }
}

/// What evidence says that was not verified: anybody can make it. For people who look for a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unverified {
    /// What it says it is.
    pub identity: Identity,
    /// Whether it says that it can be read from outside.
    pub debug: bool,
    /// What it says it is bound to.
    pub report_data: ReportData,
}

impl Unverified {
    /// Reads evidence without believing anything. The family of an SEV-SNP processor is a guess where its report does not
    /// tell.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(evidence: &Evidence) -> Result<Self, VerifyError> {
        let (identity, debug, report_data) = match Format::of(evidence.as_bytes()) {
            Err(error) => return Err(VerifyError(error.to_string())),
            Ok(Format::SgxQuote(quote) | Format::TdxQuote(quote)) => dcap::unverified(quote)?,
            Ok(Format::Bundle(bundle)) => {
                let bundle = Bundle::from_wire(bundle).map_err(|error| VerifyError(error.to_string()))?;
                let (mut identity, debug, mut report_data) = snp::unverified(&bundle.report)?;
                if let (Some(Tee::SnpVtpm), Identity::Snp(snp)) = (bundle.made_by(), &mut identity) {
                    let (bound, pcrs) = vtpm::unverified(&bundle)?;
                    (report_data, snp.pcrs) = (bound, Some(pcrs));
                }
                (identity, debug, report_data)
            }
        };
        Ok(Self { identity, debug, report_data })
    }
}

impl Default for AnyTee {
    /// Without a source of collateral: SGX and TDX are refused, SEV-SNP needs its certificates in the evidence.
    fn default() -> Self {
        Self::new(Arc::new(NoCollateral))
    }
}

impl std::fmt::Debug for AnyTee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnyTee").finish_non_exhaustive()
    }
}

impl Verifier for AnyTee {
    fn verify(&self, evidence: &Evidence, now: u64) -> Result<Claims, VerifyError> {
        self.examine(evidence, now).map(|verified| Claims::Enclave(verified.claims))
    }

    fn high_water(&self) -> Option<&HighWater> {
        Some(&self.high_water)
    }
}

#[cfg(test)]
mod tests;
