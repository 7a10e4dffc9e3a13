//! TDX: the kernel has a quote made for what it is given, and pads it.

use super::quote;
use super::tsm::Tsm;
use crate::{Evidence, IssueError, Issuer, ReportData, Tee};

/// Issues TDX quotes.
pub(crate) struct Tdx(Tsm);

impl Tdx {
    pub(crate) fn new(tsm: Tsm) -> Self {
        Self(tsm)
    }
}

impl Issuer for Tdx {
    fn tee(&self) -> Tee {
        Tee::Tdx
    }

    fn issue(&self, report_data: &ReportData) -> Result<Evidence, IssueError> {
        let refuse = |reason| IssueError { tee: Tee::Tdx, reason };
        let answer = self.0.report(report_data).map_err(refuse)?;
        let quote = quote::tdx(&answer.outblob, report_data).map_err(refuse)?;
        Evidence::from_wire(quote.to_vec()).map_err(|error| refuse(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing::{FakeTsm, tdx4_quote};
    use super::super::tsm::Provider;
    use super::*;
    use crate::Format;

    #[test]
    fn the_quote_is_sent_bare_and_without_padding() {
        let fake = FakeTsm::new("tdx_guest", |data| ([tdx4_quote(data), vec![0; 3000]].concat(), vec![]));
        let tdx = Tdx::new(Tsm::new(Arc::new(fake), Provider::Tdx));
        let evidence = tdx.issue(&ReportData([7; 64])).unwrap().into_bytes();
        assert_eq!(evidence, tdx4_quote(&ReportData([7; 64])));
        assert!(matches!(Format::of(&evidence), Ok(Format::TdxQuote(_))));
    }

    #[test]
    fn a_quote_for_somebody_else_is_an_error() {
        let fake = FakeTsm::new("tdx_guest", |_| (tdx4_quote(&ReportData([8; 64])), vec![]));
        let tdx = Tdx::new(Tsm::new(Arc::new(fake), Provider::Tdx));
        let error = tdx.issue(&ReportData([7; 64])).unwrap_err().to_string();
        assert!(error.starts_with("Intel TDX gives no evidence: ") && error.contains("other report data"), "{error}");
    }
}
