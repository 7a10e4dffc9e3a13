//! From what a machine has to the issuer, over a root directory of a test's own.

use std::os::unix::net::UnixListener;
use std::path::Path;

use super::testing::sgx_quote;
use super::*;
use crate::{Format, Kernel, ReportData, TeeChoice, select};

fn file(root: &Path, name: &str, contents: &[u8]) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, contents).unwrap();
}

fn gramine() -> Kernel {
    let [name, release, version, machine] = ["Linux", "3.10.0", "1", "x86_64"].map(str::to_owned);
    Kernel { name, release, version, machine }
}

fn opened(root: &Path, kernel: &Kernel) -> Result<Arc<dyn Issuer>, String> {
    let devices = Devices::probe(root, kernel);
    let tee = select(TeeChoice::Auto, &devices).map_err(|error| error.to_string())?;
    let issuer = open(tee, &devices).map_err(|error| error.to_string())?;
    issuer.ok_or_else(|| "simulation".to_owned())
}

#[test]
fn a_process_in_gramine_issues_over_gramines_files() {
    let root = tempfile::tempdir().unwrap();
    let asked = ReportData([9; 64]);
    file(root.path(), "dev/attestation/user_report_data", b"");
    file(root.path(), "dev/attestation/quote", &sgx_quote(&asked));
    let issuer = opened(root.path(), &gramine()).unwrap();
    assert_eq!(issuer.tee(), Tee::Sgx);
    let evidence = issuer.issue(&asked).unwrap();
    assert_eq!(Format::of(evidence.as_bytes()), Ok(Format::SgxQuote(&sgx_quote(&asked))));
    let written = std::fs::read(root.path().join("dev/attestation/user_report_data")).unwrap();
    assert_eq!(written, asked.0, "all 64 bytes, whatever the file held before");
    // Files on a disk make no quote for others; that is noticed.
    assert!(issuer.issue(&ReportData([8; 64])).unwrap_err().to_string().contains("other report data"));
}

#[test]
fn a_machine_with_sgx_outside_an_enclave_is_told_where_to_run() {
    let root = tempfile::tempdir().unwrap();
    file(root.path(), "dev/sgx_enclave", b"");
    let error = opened(root.path(), &Kernel::default()).err().unwrap();
    assert!(error.contains("does not run in an enclave. Start it in Gramine or Occlum"), "{error}");
}

#[test]
fn a_tdx_device_alone_is_no_source_of_quotes() {
    let root = tempfile::tempdir().unwrap();
    file(root.path(), "dev/tdx_guest", b"");
    let error = opened(root.path(), &Kernel::default()).err().unwrap();
    assert!(error.contains("no /sys/kernel/config/tsm/report") && error.contains("Linux 6.7"), "{error}");
}

#[test]
fn an_snp_guest_uses_its_device_where_the_newer_interface_is_not_there_or_not_for_it() {
    let root = tempfile::tempdir().unwrap();
    // A file that refuses every request.
    std::fs::create_dir_all(root.path().join("dev")).unwrap();
    let _socket = UnixListener::bind(root.path().join("dev/sev-guest")).unwrap();
    let asked = |what: &str| {
        let issuer = opened(root.path(), &Kernel::default()).unwrap();
        assert_eq!(issuer.tee(), Tee::Snp);
        let error = issuer.issue(&ReportData([1; 64])).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    asked("asking /dev/sev-guest");
    std::fs::create_dir_all(root.path().join("sys/kernel/config/tsm/report")).unwrap();
    asked("asking /dev/sev-guest");
}

#[test]
fn a_machine_without_anything_has_no_issuer_at_all() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(opened(root.path(), &Kernel::default()).err().unwrap(), "simulation");
    // Whatever the machine has: in simulation there is nothing that could ask for a quote.
    file(root.path(), "dev/attestation/quote", &sgx_quote(&ReportData([9; 64])));
    let devices = Devices::probe(root.path(), &gramine());
    assert!(open(Tee::Simulation, &devices).unwrap().is_none());
}
