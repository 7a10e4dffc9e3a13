//! SGX in Occlum: one request of a device gives the quote.

use std::fs::File;
use std::io::Result;
use std::path::PathBuf;

use super::{about, quote};
use crate::{Evidence, IssueError, Issuer, ReportData, Tee};

pub(super) const DEVICE: &str = "/dev/sgx";

/// Asks the device.
type Ask = dyn Fn(&[u8; 64]) -> Result<Vec<u8>> + Send + Sync;

/// Issues what Occlum gives.
pub(crate) struct Occlum(Box<Ask>);

impl Occlum {
    pub(crate) fn of_device(path: PathBuf) -> Self {
        Self(Box::new(move |report_data| marblerun_tee_device::quote(&File::open(&path)?, report_data)))
    }
}

impl Issuer for Occlum {
    fn tee(&self) -> Tee {
        Tee::Sgx
    }

    fn issue(&self, report_data: &ReportData) -> std::result::Result<Evidence, IssueError> {
        let refuse = |reason| IssueError { tee: Tee::Sgx, reason };
        let bytes = self.0(&report_data.0).map_err(|error| refuse(about(DEVICE, "asking", &error)))?;
        let quote = quote::sgx(&bytes, report_data).map_err(refuse)?;
        Evidence::from_wire(quote::framed(quote)).map_err(|error| refuse(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::sgx_quote;
    use super::*;
    use crate::Format;

    #[test]
    fn what_occlum_pads_is_framed_with_its_exact_length() {
        let occlum = Occlum(Box::new(|data| Ok([sgx_quote(&ReportData(*data)), vec![0; 100]].concat())));
        let evidence = occlum.issue(&ReportData([5; 64])).unwrap().into_bytes();
        let quote = sgx_quote(&ReportData([5; 64]));
        assert_eq!(evidence.split_at(16).1, quote);
        assert_eq!(Format::of(&evidence), Ok(Format::SgxQuote(&quote)));
    }

    #[test]
    fn a_device_that_is_missing_or_another_is_named() {
        let error = |path: &str| Occlum::of_device(path.into()).issue(&ReportData([5; 64])).unwrap_err().to_string();
        assert!(error("/nowhere").contains("asking /dev/sgx: No such file"), "{}", error("/nowhere"));
        assert!(error("/dev/null").contains("asking /dev/sgx: Inappropriate ioctl"), "{}", error("/dev/null"));
    }
}
