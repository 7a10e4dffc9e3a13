//! SGX in Gramine: report data is written to one pseudo file, the quote is read from another. The two belong together, so
//! only one thread of a process is between them.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Files, about, quote};
use crate::{Evidence, IssueError, Issuer, ReportData, Tee};

const REPORT_DATA: &str = "/dev/attestation/user_report_data";
const QUOTE: &str = "/dev/attestation/quote";
/// A quote that fills it was cut.
const BUFFER: usize = 8192;

/// The pseudo files belong to the process, and so does this, whoever makes issuers.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Issues what Gramine gives.
pub(crate) struct Gramine {
    files: Arc<dyn Files>,
}

impl Gramine {
    pub(crate) fn new(files: Arc<dyn Files>) -> Self {
        Self { files }
    }

    fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, String> {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        self.files.write(REPORT_DATA, &report_data.0).map_err(|error| about(REPORT_DATA, "writing", &error))?;
        let bytes = self.files.read(QUOTE, BUFFER).map_err(|error| about(QUOTE, "reading", &error))?;
        match bytes.len() {
            0 => Err(format!("{QUOTE} is empty")),
            BUFFER => Err(format!("{QUOTE} has {BUFFER} bytes or more, which no quote has")),
            _ => Ok(quote::sgx(&bytes, report_data)?.to_vec()),
        }
    }
}

impl Issuer for Gramine {
    fn tee(&self) -> Tee {
        Tee::Sgx
    }

    fn issue(&self, report_data: &ReportData) -> Result<Evidence, IssueError> {
        let refuse = |reason| IssueError { tee: Tee::Sgx, reason };
        let quote = self.quote(report_data).map_err(refuse)?;
        Evidence::from_wire(quote::framed(&quote)).map_err(|error| refuse(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::testing::{Scripted, sgx_quote};
    use super::super::{Root, files};
    use super::*;

    #[test]
    fn a_quote_is_framed_with_its_exact_length() {
        let asked = ReportData([5; 64]);
        for padding in [0, 3000] {
            let files = Scripted::default();
            files.on_read(QUOTE, [sgx_quote(&asked), vec![0; padding]].concat());
            files.on_write(REPORT_DATA);
            let evidence = Gramine::new(Arc::new(files)).issue(&asked).unwrap().into_bytes();
            let quote = sgx_quote(&asked);
            let header = [&[1, 0, 0, 0, 2, 0, 0, 0][..], &(quote.len() as u64).to_le_bytes()].concat();
            assert_eq!(evidence, [header, quote].concat());
        }
    }

    #[test]
    fn an_answer_that_is_no_whole_quote_is_an_error() {
        let asked = ReportData([5; 64]);
        for (quote, part) in [
            (vec![], "/dev/attestation/quote is empty"),
            (vec![3; BUFFER], "has 8192 bytes or more"),
            (sgx_quote(&asked)[..1000].to_vec(), "ends after 1000 bytes"),
            (sgx_quote(&ReportData([6; 64])), "other report data"),
            (b"report".to_vec(), "something else than an SGX quote"),
        ] {
            let files = Scripted::default();
            files.on_read(QUOTE, quote);
            files.on_write(REPORT_DATA);
            let error = Gramine::new(Arc::new(files)).issue(&asked).unwrap_err().to_string();
            assert!(error.starts_with("Intel SGX gives no evidence: ") && error.contains(part), "{error}");
        }
    }

    #[test]
    fn files_that_are_missing_or_take_nothing_are_named() {
        let root = tempfile::tempdir().unwrap();
        let gramine = Gramine::new(Arc::new(Root(root.path().to_owned())));
        let error = gramine.issue(&ReportData([1; 64])).unwrap_err().to_string();
        assert!(error.contains("writing /dev/attestation/user_report_data: No such file"), "{error}");
        std::fs::create_dir_all(root.path().join("dev/attestation")).unwrap();
        std::os::unix::fs::symlink("/dev/full", root.path().join("dev/attestation/user_report_data")).unwrap();
        let error = gramine.issue(&ReportData([1; 64])).unwrap_err().to_string();
        assert!(error.contains("writing /dev/attestation/user_report_data: No space left"), "{error}");
        std::fs::remove_file(root.path().join("dev/attestation/user_report_data")).unwrap();
        std::fs::write(root.path().join("dev/attestation/user_report_data"), b"").unwrap();
        let error = gramine.issue(&ReportData([1; 64])).unwrap_err().to_string();
        assert!(error.contains("reading /dev/attestation/quote: No such file"), "{error}");
    }

    /// Gramine: the quote is over what was written last, by whomever. Every issuer sees the same files.
    #[derive(Default)]
    struct Shared {
        report_data: Mutex<Option<[u8; 64]>>,
        reads: AtomicUsize,
    }

    impl files::Files for Arc<Shared> {
        fn read(&self, _: &str, _: usize) -> std::io::Result<Vec<u8>> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(std::time::Duration::from_millis(1));
            Ok(sgx_quote(&ReportData(self.report_data.lock().unwrap().unwrap())))
        }

        fn write(&self, _: &str, contents: &[u8]) -> std::io::Result<()> {
            *self.report_data.lock().unwrap() = Some(contents.try_into().unwrap());
            std::thread::sleep(std::time::Duration::from_millis(1));
            Ok(())
        }

        fn make_folder(&self, _: &str) -> std::io::Result<()> {
            unreachable!()
        }

        fn remove_folder(&self, _: &str) -> std::io::Result<()> {
            unreachable!()
        }

        fn is_folder(&self, _: &str) -> bool {
            unreachable!()
        }
    }

    #[test]
    fn issues_at_the_same_time_are_never_mixed_up() {
        let shared = Arc::new(Shared::default());
        let issuers = [(); 4].map(|()| Gramine::new(Arc::new(Arc::clone(&shared))));
        std::thread::scope(|scope| {
            for (number, issuer) in issuers.iter().enumerate() {
                scope.spawn(move || {
                    for round in 0..20u8 {
                        let mut asked = ReportData([u8::try_from(number).unwrap(); 64]);
                        asked.0[1] = round;
                        // The issuer itself would notice a quote over other report data.
                        issuer.issue(&asked).unwrap();
                    }
                });
            }
        });
        assert_eq!(shared.reads.load(Ordering::Relaxed), 80);
    }
}
