//! SEV-SNP: a report and, if the host has them, the certificates of the key that signed it. Without them whoever verifies
//! gets them from AMD by what stands in the report.

use std::fs::File;
use std::io::Result;
use std::path::PathBuf;

use super::tsm::Tsm;
use super::{about, certificate_table, quote};
use crate::{Bundle, Evidence, IssueError, Issuer, ReportData, Tee};

pub(super) const DEVICE: &str = "/dev/sev-guest";

/// Asks for a report and the table of certificates.
type Ask = dyn Fn(&ReportData) -> std::result::Result<(Vec<u8>, Vec<u8>), String> + Send + Sync;

/// Issues reports of SEV-SNP in bundles.
pub(crate) struct Snp(Box<Ask>);

impl Snp {
    /// By the kernel's common interface.
    pub(crate) fn of_tsm(tsm: Tsm) -> Self {
        Self(Box::new(move |data| tsm.report(data).map(|answer| (answer.outblob, answer.auxblob))))
    }

    /// By the device file.
    pub(crate) fn of_device(path: PathBuf) -> Self {
        let ask = move |data: &ReportData| -> Result<_> {
            let device = File::options().read(true).write(true).open(&path)?;
            let answer = marblerun_tee_device::extended_report(&device, &data.0)?;
            Ok((answer.report, answer.certificates))
        };
        Self(Box::new(move |data| ask(data).map_err(|error| about(DEVICE, "asking", &error))))
    }
}

impl Issuer for Snp {
    fn tee(&self) -> Tee {
        Tee::Snp
    }

    fn issue(&self, report_data: &ReportData) -> std::result::Result<Evidence, IssueError> {
        let refuse = |reason| IssueError { tee: Tee::Snp, reason };
        let (report, table) = self.0(report_data).map_err(refuse)?;
        let bundle = Bundle {
            tee: Bundle::number(Tee::Snp).unwrap_or_default(),
            report: quote::snp(&report, report_data).map_err(refuse)?.to_vec(),
            certificates: certificate_table::read(&table).map_err(refuse)?,
            ..Bundle::default()
        };
        Evidence::from_wire(bundle.to_wire()).map_err(|error| refuse(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing::{FakeTsm, snp_report, table};
    use super::super::tsm::Provider;
    use super::*;

    const ASKED: ReportData = ReportData([7; 64]);

    fn by_tsm(aux: Vec<u8>) -> Snp {
        let fake = FakeTsm::new("sev_guest", move |data| (snp_report(data), aux.clone()));
        Snp::of_tsm(Tsm::new(Arc::new(fake), Provider::Snp))
    }

    #[test]
    fn the_report_travels_with_the_certificates_that_the_host_has() {
        let leaf = &[0x30, 0x03, 1, 2, 3];
        for (aux, certificates) in
            [(table(&[("VCEK", leaf)]), vec![leaf.to_vec()]), (vec![], vec![]), (vec![0; 4096], vec![])]
        {
            let evidence = by_tsm(aux).issue(&ASKED).unwrap();
            let bundle = Bundle::from_wire(evidence.as_bytes()).unwrap();
            assert_eq!((bundle.made_by(), bundle.report), (Some(Tee::Snp), snp_report(&ASKED)));
            assert_eq!(bundle.certificates, certificates);
        }
    }

    #[test]
    fn a_report_for_somebody_else_is_an_error() {
        let snp = Snp(Box::new(|_| Ok((snp_report(&ReportData([8; 64])), vec![]))));
        assert!(snp.issue(&ASKED).unwrap_err().to_string().contains("other report data"));
    }

    #[test]
    fn a_device_that_is_another_is_named() {
        let error = Snp::of_device("/dev/null".into()).issue(&ASKED).unwrap_err().to_string();
        assert!(error.contains("AMD SEV-SNP gives no evidence: asking /dev/sev-guest: Inappropriate ioctl"), "{error}");
    }
}
