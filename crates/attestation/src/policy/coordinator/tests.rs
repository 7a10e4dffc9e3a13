use super::super::testing::{BINDING, SGX, enclave, sgx, signer, strings};
use super::*;
use crate::{EnclaveClaims, SgxIdentity};

fn decide(policy: &Policy, enclave: EnclaveClaims) -> Result<TcbStatus, String> {
    policy.accepts_coordinator(&Claims::Enclave(enclave), &BINDING).map_err(|refusal| refusal.to_string())
}

#[test]
fn the_coordinator_that_is_meant_is_accepted_by_signer_or_by_program() {
    assert_eq!(decide(&signer(), enclave()), Ok(TcbStatus::UpToDate));
    decide(&signer(), sgx(|s| s.security_version = 8)).unwrap();
    let program = Policy { unique_id: "AB".repeat(32), ..Policy::default() };
    decide(&program, enclave()).unwrap();
    decide(
        &program,
        sgx(|s| {
            s.product_id = 0;
            s.security_version = 0;
        }),
    )
    .unwrap();
    // Unlike of a package: debug enclaves are allowed, not demanded.
    let debug = Policy { debug: true, ..signer() };
    decide(&debug, enclave()).unwrap();
    decide(&debug, EnclaveClaims { debug: true, ..enclave() }).unwrap();
}

/// Everything is wrong; then one thing after the other is put right, and each time the next is told.
#[test]
fn the_first_thing_that_does_not_fit_is_told_in_upstreams_order() {
    let mut policy = Policy { accepted_tcb_statuses: strings(&["UpToDate"]), ..Policy::default() };
    let mut claims = EnclaveClaims {
        report_data: ReportData([0; 64]),
        debug: true,
        tcb_status: TcbStatus::SwHardeningNeeded,
        advisories: Some(strings(&["INTEL-SA-1", "intel-sa-2", "INTEL-SA-3"])),
        ..enclave()
    };
    let told = |policy: &Policy, claims: &EnclaveClaims| decide(policy, claims.clone()).unwrap_err();
    assert_eq!(told(&policy, &claims), "report data does not match the certificate's hash");
    claims.report_data = BINDING;
    assert_eq!(told(&policy, &claims), "missing SecurityVersion in config");
    policy.security_version = Some(8);
    assert_eq!(told(&policy, &claims), "missing ProductID in config");
    policy.product_id = Some(4);
    assert_eq!(told(&policy, &claims), "invalid SecurityVersion");
    claims.identity = Identity::Sgx(SgxIdentity { security_version: 8, ..SGX });
    assert_eq!(told(&policy, &claims), "invalid ProductID");
    claims.identity = Identity::Sgx(SgxIdentity { security_version: 8, product_id: 4, ..SGX });
    assert_eq!(told(&policy, &claims), "debug enclave not allowed");
    claims.debug = false;
    policy.unique_id = "00".repeat(32);
    policy.signer_id = "00".repeat(32);
    assert_eq!(told(&policy, &claims), "invalid UniqueID");
    policy.unique_id.clear();
    assert_eq!(told(&policy, &claims), "invalid SignerID");
    policy.signer_id.clear();
    assert!(told(&policy, &claims).contains("neither UniqueID nor SignerID"));
    policy.signer_id = "cd".repeat(32);
    assert_eq!(told(&policy, &claims), "invalid TCB status: SWHardeningNeeded");
    policy.accepted_tcb_statuses = strings(&["SWHardeningNeeded"]);
    policy.accepted_advisories = strings(&["INTEL-SA-2"]);
    assert_eq!(
        told(&policy, &claims),
        "invalid TCB status: SWHardeningNeeded: advisories not accepted by configuration: [INTEL-SA-1 INTEL-SA-3]"
    );
    let unreadable = EnclaveClaims { advisories: None, ..claims.clone() };
    assert!(told(&policy, &unreadable).contains("advisories that apply to the platform are not known"));
    policy.accepted_advisories = strings(&["intel-sa-1", "INTEL-SA-2", "Intel-SA-3"]);
    assert_eq!(decide(&policy, claims), Ok(TcbStatus::SwHardeningNeeded));
}

#[test]
fn zero_is_the_same_as_not_given() {
    for (field, text) in [("version", "missing SecurityVersion in config"), ("product", "missing ProductID in config")]
    {
        let mut policy = signer();
        *(if field == "version" { &mut policy.security_version } else { &mut policy.product_id }) = Some(0);
        assert_eq!(decide(&policy, enclave()).unwrap_err(), text);
        policy.unique_id = "ab".repeat(32);
        decide(&policy, enclave()).unwrap();
    }
}

#[test]
fn every_status_passes_exactly_if_it_is_listed_but_up_to_date_always_and_revoked_never() {
    use TcbStatus::*;
    let all = [
        UpToDate,
        OutOfDate,
        Revoked,
        ConfigurationNeeded,
        OutOfDateConfigurationNeeded,
        SwHardeningNeeded,
        ConfigurationAndSwHardeningNeeded,
        Unknown,
    ];
    let lists = [&[][..], &["UpToDate", "SWHardeningNeeded"], &["OutOfDate"], &["Revoked"], &["nonsense"]];
    for status in all {
        for list in lists {
            let policy = Policy { accepted_tcb_statuses: strings(list), ..signer() };
            let passes = status == UpToDate
                || (list.contains(&status.as_str()) && status != Revoked)
                || (list.is_empty() && status == SwHardeningNeeded);
            let decided = decide(&policy, EnclaveClaims { tcb_status: status, ..enclave() });
            let expected = if passes { Ok(status) } else { Err(format!("invalid TCB status: {status}")) };
            assert_eq!(decided, expected, "{status} with {list:?}");
        }
    }
}

#[test]
fn advisories_count_with_sw_hardening_needed_alone() {
    let policy = Policy {
        accepted_tcb_statuses: strings(&["SWHardeningNeeded", "OutOfDate"]),
        accepted_advisories: strings(&["INTEL-SA-1"]),
        ..signer()
    };
    let with = |tcb_status, advisories: &[&str]| {
        decide(&policy, EnclaveClaims { tcb_status, advisories: Some(strings(advisories)), ..enclave() })
    };
    with(TcbStatus::SwHardeningNeeded, &[]).unwrap();
    with(TcbStatus::SwHardeningNeeded, &["INTEL-SA-2"]).unwrap_err();
    with(TcbStatus::OutOfDate, &["INTEL-SA-2"]).unwrap();
    with(TcbStatus::UpToDate, &["INTEL-SA-2"]).unwrap();
}

#[test]
fn all_64_bytes_of_the_binding_count() {
    for changed in [0, 31, 32, 63] {
        let mut data = BINDING.0;
        data[changed] ^= 1;
        decide(&signer(), EnclaveClaims { report_data: ReportData(data), ..enclave() }).unwrap_err();
    }
}

#[test]
fn simulation_proves_no_coordinator() {
    let refusal = signer().accepts_coordinator(&Claims::Simulation, &BINDING).unwrap_err();
    assert_eq!((refusal.to_string().as_str(), refusal.details()), ("empty report", None));
}

#[test]
fn details_tell_what_was_asked_and_found() {
    let older = sgx(|s| s.security_version = 2);
    let refusal = signer().accepts_coordinator(&Claims::Enclave(older), &BINDING).unwrap_err();
    let details = refusal.details().unwrap();
    assert_eq!(details, "the Coordinator has SecurityVersion 2, the policy asks for 7 or more");
}
