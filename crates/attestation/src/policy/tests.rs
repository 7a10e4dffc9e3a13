//! Marbles. Coordinators have their tests beside their rules.

use super::testing::{BINDING, enclave, signer, strings};
use super::*;
use crate::{Claims, ReportData};

fn decide(policy: &Policy, enclave: EnclaveClaims) -> Result<Acceptance, String> {
    policy.accepts_marble(&Claims::Enclave(enclave), &BINDING).map_err(|refusal| refusal.to_string())
}

#[test]
fn up_to_date_passes_whatever_the_list_says() {
    for listed in [&[][..], &["OutOfDate"], &["nonsense"]] {
        let policy = Policy { accepted_tcb_statuses: strings(listed), ..signer() };
        assert_eq!(decide(&policy, enclave()), Ok(Acceptance::Enclave(TcbStatus::UpToDate)));
    }
}

#[test]
fn other_statuses_pass_exactly_if_they_are_listed() {
    use TcbStatus::*;
    let all = [
        OutOfDate,
        Revoked,
        ConfigurationNeeded,
        OutOfDateConfigurationNeeded,
        SwHardeningNeeded,
        ConfigurationAndSwHardeningNeeded,
        Unknown,
    ];
    for status in all {
        let enclave = EnclaveClaims { tcb_status: status, ..enclave() };
        let with = |listed: &[&str]| {
            decide(&Policy { accepted_tcb_statuses: strings(listed), ..signer() }, enclave.clone()).is_ok()
        };
        assert_eq!(with(&[]), status == SwHardeningNeeded, "{status}: SWHardeningNeeded is the default list");
        assert!(with(&[status.as_str()]), "{status}");
        assert!(with(&["UpToDate", status.as_str()]), "{status}");
        assert!(!with(&["UpToDate"]), "{status}: a list replaces the default");
        assert!(!with(&[&status.as_str().to_lowercase()]), "{status}: case matters");
        let error = decide(&Policy { accepted_tcb_statuses: strings(&["UpToDate"]), ..signer() }, enclave.clone());
        assert_eq!(error.unwrap_err(), format!("TCB level invalid: {status}"));
    }
}

#[test]
fn advisories_count_with_sw_hardening_needed_alone() {
    let policy = Policy {
        accepted_tcb_statuses: strings(&["SWHardeningNeeded", "ConfigurationAndSWHardeningNeeded"]),
        accepted_advisories: strings(&["INTEL-SA-00334"]),
        ..signer()
    };
    let with = |tcb_status, advisories: Option<&[&str]>| {
        decide(&policy, EnclaveClaims { tcb_status, advisories: advisories.map(strings), ..enclave() })
    };
    let hardening = TcbStatus::SwHardeningNeeded;
    with(hardening, Some(&["intel-sa-00334"])).unwrap();
    with(hardening, Some(&[])).unwrap();
    assert_eq!(
        with(hardening, Some(&["INTEL-SA-00334", "INTEL-SA-00615"])).unwrap_err(),
        r#"TCB status SWHardeningNeeded contains advisories not accepted by configuration: ["INTEL-SA-00615"]"#
    );
    assert!(with(hardening, None).unwrap_err().contains("not known"));
    with(TcbStatus::ConfigurationAndSwHardeningNeeded, Some(&["INTEL-SA-00615"])).unwrap();
    with(TcbStatus::ConfigurationAndSwHardeningNeeded, None).unwrap();
    with(TcbStatus::UpToDate, Some(&["INTEL-SA-00615"])).unwrap();
    // An empty list accepts all.
    let lax = Policy { accepted_advisories: Vec::new(), ..policy.clone() };
    let enclave = EnclaveClaims { tcb_status: hardening, advisories: None, ..enclave() };
    decide(&lax, enclave).unwrap();
}

#[test]
fn evidence_for_another_certificate_is_refused() {
    for changed in [0, 31, 32, 63] {
        let mut data = BINDING.0;
        data[changed] ^= 1;
        let error = decide(&signer(), EnclaveClaims { report_data: ReportData(data), ..enclave() }).unwrap_err();
        assert!(error.starts_with("hash(cert) != report.Data: "), "{error}");
    }
}

#[test]
fn debug_must_be_equal_both_ways() {
    let debug = Policy { debug: true, ..Policy::default() };
    decide(&debug, EnclaveClaims { debug: true, ..enclave() }).unwrap();
    decide(&debug, enclave()).unwrap_err();
    decide(&signer(), EnclaveClaims { debug: true, ..enclave() }).unwrap_err();
}

#[test]
fn identities_are_compared_if_asked_in_any_case_of_hex() {
    let unique = |id: &str| Policy { unique_id: id.to_owned(), ..Policy::default() };
    decide(&unique(&"ab".repeat(32)), enclave()).unwrap();
    decide(&unique(&"AB".repeat(32)), enclave()).unwrap();
    decide(&unique(&"ac".repeat(32)), enclave()).unwrap_err();
    decide(&unique("ab"), enclave()).unwrap_err();
    decide(&unique("not hex"), enclave()).unwrap_err();
    decide(&signer(), EnclaveClaims { signer_id: [0; 32], ..enclave() }).unwrap_err();
}

#[test]
fn the_product_must_be_the_same_and_the_version_no_less() {
    decide(&signer(), EnclaveClaims { security_version: 8, ..enclave() }).unwrap();
    let error = decide(&signer(), EnclaveClaims { security_version: 6, ..enclave() }).unwrap_err();
    assert!(
        error.starts_with("PackageProperties not compliant: expected: {Debug:false UniqueID: SignerID:CDCD"),
        "{error}"
    );
    assert!(error.contains("SecurityVersion:7} got: {"), "{error}");
    assert!(error.ends_with("SecurityVersion:6}"), "{error}");
    decide(&signer(), EnclaveClaims { product_id: 4, ..enclave() }).unwrap_err();
    let zero = Policy { product_id: Some(0), ..signer() };
    decide(&zero, enclave()).unwrap_err();
    decide(&zero, EnclaveClaims { product_id: 0, ..enclave() }).unwrap();
}

#[test]
fn the_platform_is_judged_before_the_package() {
    let both = EnclaveClaims { tcb_status: TcbStatus::OutOfDate, product_id: 9, ..enclave() };
    assert_eq!(decide(&signer(), both).unwrap_err(), "TCB level invalid: OutOfDate");
}

#[test]
fn simulation_is_accepted_as_what_it_is() {
    assert_eq!(signer().accepts_marble(&Claims::Simulation, &BINDING), Ok(Acceptance::Simulation));
}
