//! Marbles. Coordinators have their tests beside their rules.

use super::testing::{BINDING, enclave, sgx, signer, strings};
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
fn a_revoked_platform_is_refused_whatever_the_list_says() {
    let policy = Policy { accepted_tcb_statuses: strings(&["Revoked"]), ..signer() };
    let revoked = EnclaveClaims { tcb_status: TcbStatus::Revoked, ..enclave() };
    assert_eq!(decide(&policy, revoked).unwrap_err(), "TCB level invalid: Revoked");
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
    decide(&signer(), sgx(|s| s.signer_id = [0; 32])).unwrap_err();
}

#[test]
fn the_product_must_be_the_same_and_the_version_no_less() {
    decide(&signer(), sgx(|s| s.security_version = 8)).unwrap();
    let error = decide(&signer(), sgx(|s| s.security_version = 6)).unwrap_err();
    assert!(
        error.starts_with("PackageProperties not compliant: expected: {Debug:false UniqueID: SignerID:CDCD"),
        "{error}"
    );
    assert!(error.contains("SecurityVersion:7} got: {"), "{error}");
    assert!(error.ends_with("SecurityVersion:6}"), "{error}");
    decide(&signer(), sgx(|s| s.product_id = 4)).unwrap_err();
    let zero = Policy { product_id: Some(0), ..signer() };
    decide(&zero, enclave()).unwrap_err();
    decide(&zero, sgx(|s| s.product_id = 0)).unwrap();
}

#[test]
fn the_platform_is_judged_before_the_package() {
    let both = EnclaveClaims { tcb_status: TcbStatus::OutOfDate, ..sgx(|s| s.product_id = 9) };
    assert_eq!(decide(&signer(), both).unwrap_err(), "TCB level invalid: OutOfDate");
}

#[test]
fn simulation_is_accepted_as_what_it_is() {
    assert_eq!(signer().accepts_marble(&Claims::Simulation, &BINDING), Ok(Acceptance::Simulation));
}

mod vms {
    use marblerun_manifest::vm::SnpTcb;

    use super::*;
    use crate::testing::{snp, tdx};

    fn tdx_policy() -> Policy {
        let asked = TdxPackage { mrtd: "A1".repeat(48), rtmr1: "b1".repeat(48), ..TdxPackage::default() };
        Policy { tdx: Some(asked), ..Policy::default() }
    }

    fn snp_policy() -> Policy {
        let asked = SnpPackage { measurement: "A1".repeat(48), ..SnpPackage::default() };
        Policy { snp: Some(asked), security_version: Some(4), ..Policy::default() }
    }

    fn vtpm_policy() -> Policy {
        let mut policy = snp_policy();
        let pcrs = [("4", "04".repeat(32)), ("11", "0b".repeat(32))];
        policy.snp.as_mut().unwrap().pcrs =
            pcrs.into_iter().map(|(number, value)| (number.to_owned(), value)).collect();
        policy
    }

    /// Register n has the value n, but for one that the quote is not over.
    fn below_a_paravisor(vm: &mut crate::SnpIdentity) {
        let values = std::array::from_fn(|number| (number != 9).then_some([u8::try_from(number).unwrap(); 32]));
        vm.pcrs = Some(crate::Pcrs::new(values));
    }

    fn vm(identity: Identity) -> EnclaveClaims {
        EnclaveClaims { identity, ..enclave() }
    }

    /// The names of what does not fit, for Marbles and Coordinators.
    fn wrong(policy: &Policy, claims: &EnclaveClaims) -> String {
        let (as_marble, as_coordinator) = (
            policy.accepts_marble(&Claims::Enclave(claims.clone()), &BINDING),
            policy.accepts_coordinator(&Claims::Enclave(claims.clone()), &BINDING),
        );
        let names = |text: String, start: &str| text.strip_prefix(start).unwrap().to_owned();
        match (as_marble, as_coordinator) {
            (Ok(_), Ok(_)) => String::new(),
            (Err(marble), Err(coordinator)) => {
                assert_eq!(marble.details(), coordinator.details());
                let told = names(marble.to_string(), "PackageProperties not compliant: ");
                let start = "the Coordinator is not what the policy asks for: ";
                assert_eq!(names(coordinator.to_string(), start), told);
                told
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_family_is_accepted_by_a_policy_for_it_alone() {
        let all = [
            (signer(), enclave()),
            (tdx_policy(), vm(tdx(|_| ()))),
            (snp_policy(), vm(snp(|_| ()))),
            (vtpm_policy(), vm(snp(below_a_paravisor))),
        ];
        for (asked, (policy, _)) in all.iter().enumerate() {
            for (shown, (_, claims)) in all.iter().enumerate() {
                assert_eq!(wrong(policy, claims), if asked == shown { "" } else { "TEE" }, "{asked} {shown}");
            }
        }
        let both = Policy { snp: snp_policy().snp, ..tdx_policy() };
        assert_eq!(wrong(&both, &vm(tdx(|_| ()))), "TEE", "a policy of two families fits nothing");
    }

    #[test]
    fn each_field_of_a_tdx_vm_counts_if_it_is_asked() {
        let asked = tdx(|_| ());
        let Identity::Tdx(identity) = &asked else { panic!() };
        let text: Vec<String> = identity.fields().iter().map(|(_, value)| hex::encode(value)).collect();
        let mut policy = tdx_policy();
        let fields = policy.tdx.as_mut().unwrap();
        for (field, value) in [
            &mut fields.mrtd,
            &mut fields.rtmr0,
            &mut fields.rtmr1,
            &mut fields.rtmr2,
            &mut fields.rtmr3,
            &mut fields.mr_seam,
            &mut fields.mr_config_id,
            &mut fields.mr_owner,
            &mut fields.mr_owner_config,
            &mut fields.attributes,
            &mut fields.xfam,
        ]
        .into_iter()
        .zip(text)
        {
            *field = value;
        }
        assert_eq!(wrong(&policy, &vm(asked.clone())), "");
        let changes: [fn(&mut crate::TdxIdentity); 11] = [
            |vm| vm.mrtd[47] ^= 1,
            |vm| vm.rtmr[0][0] ^= 1,
            |vm| vm.rtmr[1][0] ^= 1,
            |vm| vm.rtmr[2][0] ^= 1,
            |vm| vm.rtmr[3][0] ^= 1,
            |vm| vm.mr_seam[0] ^= 1,
            |vm| vm.mr_config_id[0] ^= 1,
            |vm| vm.mr_owner[0] ^= 1,
            |vm| vm.mr_owner_config[0] ^= 1,
            |vm| vm.attributes[7] ^= 1,
            |vm| vm.xfam[0] ^= 1,
        ];
        for (change, (name, _)) in changes.into_iter().zip(identity.fields()) {
            assert_eq!(wrong(&policy, &vm(tdx(change))), name);
        }
        let debug = EnclaveClaims { debug: true, ..vm(asked) };
        assert_eq!(wrong(&policy, &debug), "Debug");
    }

    #[test]
    fn each_field_of_an_snp_vm_counts_if_it_is_asked() {
        let mut policy = snp_policy();
        let asked = policy.snp.as_mut().unwrap();
        asked.id_key_digest = "b1".repeat(48);
        asked.author_key_digest = "c1".repeat(48);
        asked.family_id = "d1".repeat(16);
        asked.image_id = "e1".repeat(16);
        asked.host_data = "f1".repeat(32);
        asked.policy = Some(0x30000);
        asked.vmpl = Some(1);
        asked.min_tcb = Some(SnpTcb { bootloader: Some(3), snp: Some(8), microcode: Some(115), ..SnpTcb::default() });
        asked.products = vec!["Milan".to_owned(), "Genoa".to_owned()];
        let base = |vm: &mut crate::SnpIdentity| vm.vmpl = 1;
        assert_eq!(wrong(&policy, &vm(snp(base))), "");
        type Case = (fn(&mut crate::SnpIdentity), &'static str);
        let cases: [Case; 14] = [
            (|vm| vm.measurement[0] ^= 1, "Measurement"),
            (|vm| vm.id_key_digest[0] ^= 1, "IDKeyDigest"),
            (|vm| vm.author_key_digest[0] ^= 1, "AuthorKeyDigest"),
            (|vm| vm.family_id[0] ^= 1, "FamilyID"),
            (|vm| vm.image_id[0] ^= 1, "ImageID"),
            (|vm| vm.host_data[0] ^= 1, "HostData"),
            (|vm| vm.guest_svn = 3, "SecurityVersion"),
            (|vm| vm.policy ^= 1 << 16, "Policy"),
            (|vm| vm.vmpl = 2, "VMPL"),
            (|vm| vm.tcb.bootloader = 2, "MinTCB.Bootloader"),
            (|vm| vm.tcb.snp = 7, "MinTCB.SNP"),
            (|vm| vm.tcb.microcode = 114, "MinTCB.Microcode"),
            (|vm| vm.product = crate::SnpProduct::Turin, "Products"),
            (|vm| (vm.tcb.snp, vm.tcb.microcode) = (9, 200), ""),
        ];
        for (change, name) in cases {
            let changed = snp(|vm| {
                base(vm);
                change(vm);
            });
            assert_eq!(wrong(&policy, &vm(changed)), name);
        }
    }

    #[test]
    fn below_a_paravisor_each_register_counts_if_it_is_asked() {
        let with = |number: &str, value: &str| {
            let mut policy = vtpm_policy();
            policy.snp.as_mut().unwrap().pcrs.insert(number.to_owned(), value.to_owned());
            wrong(&policy, &vm(snp(below_a_paravisor)))
        };
        assert_eq!(with("7", &"07".repeat(32)), "");
        assert_eq!(with("14", &"0E".repeat(32)), "");
        assert_eq!(with("4", &"05".repeat(32)), "PCRs.4");
        assert_eq!(with("11", &"0c".repeat(32)), "PCRs.11");
        assert_eq!(with("9", &"09".repeat(32)), "PCRs.9", "the quote is not over it");
        let measured = vm(snp(|vm| {
            below_a_paravisor(vm);
            vm.measurement[0] ^= 1;
        }));
        assert_eq!(wrong(&vtpm_policy(), &measured), "Measurement");
        let fields = vtpm_policy().compare(&vm(snp(below_a_paravisor)), Judged::Marble);
        let shown = fields.iter().filter(|field| field.field.starts_with("PCRs.")).count();
        assert_eq!(shown, 23, "who writes a package sees all that there are");
    }

    #[test]
    fn a_vm_that_may_be_moved_or_asks_from_another_level_must_be_meant() {
        assert_eq!(wrong(&snp_policy(), &vm(snp(|vm| vm.policy |= crate::SnpIdentity::POLICY_MIGRATION))), "Policy");
        assert_eq!(wrong(&snp_policy(), &vm(snp(|vm| vm.vmpl = 1))), "VMPL");
    }

    #[test]
    fn advisories_of_a_tdx_platform_count_with_every_status_but_up_to_date() {
        let policy = Policy {
            accepted_tcb_statuses: strings(&["OutOfDate"]),
            accepted_advisories: strings(&["INTEL-SA-1"]),
            ..tdx_policy()
        };
        let with = |tcb_status, advisory| {
            let advisories = Some(strings(&[advisory]));
            decide(&policy, EnclaveClaims { tcb_status, advisories, ..vm(tdx(|_| ())) }).is_ok()
        };
        assert!(with(TcbStatus::OutOfDate, "intel-sa-1") && !with(TcbStatus::OutOfDate, "INTEL-SA-2"));
        assert!(with(TcbStatus::UpToDate, "INTEL-SA-2"));
    }

    #[test]
    fn the_log_is_told_each_field_expected_and_got_and_the_peer_is_not() {
        let refusal =
            tdx_policy().accepts_marble(&Claims::Enclave(vm(tdx(|vm| vm.rtmr[1] = [7; 48]))), &BINDING).unwrap_err();
        assert_eq!(refusal.to_string(), "PackageProperties not compliant: RTMR1");
        let details = refusal.details().unwrap();
        assert_eq!(details, format!("RTMR1: expected {}, got {}", "b1".repeat(48), "07".repeat(48)));
    }
}
