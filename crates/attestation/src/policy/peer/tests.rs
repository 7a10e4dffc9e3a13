use super::*;
use crate::{EnclaveClaims, ReportData};

fn identity(svn: u64) -> PeerIdentity {
    PeerIdentity {
        tee: Tee::Sgx,
        claims: EnclaveClaims {
            identity: Identity::Sgx(SgxIdentity {
                unique_id: [1; 32],
                signer_id: [2; 32],
                product_id: 3,
                security_version: svn,
            }),
            debug: false,
            report_data: ReportData([0; 64]),
            tcb_status: TcbStatus::UpToDate,
            advisories: None,
        },
    }
}

fn policy(svn: u64) -> PeerPolicy {
    PeerPolicy { own: identity(svn), any_measurement: true, least_giver: None }
}

fn other(change: impl Fn(&mut PeerIdentity)) -> PeerIdentity {
    let mut peer = identity(5);
    change(&mut peer);
    peer
}

fn sgx(peer: &mut PeerIdentity) -> &mut SgxIdentity {
    match &mut peer.claims.identity {
        Identity::Sgx(sgx) => sgx,
        _ => panic!("no enclave"),
    }
}

#[test]
fn an_equal_gives_and_receives() {
    for any_measurement in [true, false] {
        let policy = PeerPolicy { any_measurement, ..policy(5) };
        assert_eq!(policy.accepts_giver(&identity(5)), Ok(()));
        assert_eq!(policy.accepts_receiver(&identity(5)), Ok(()));
    }
}

#[test]
fn what_is_asked_of_both_sides_is_asked_in_both_roles() {
    type Case = (fn(&mut PeerIdentity), fn(&PeerRefusal) -> bool);
    let cases: [Case; 7] = [
        (|peer| peer.tee = Tee::Simulation, |refusal| matches!(refusal, PeerRefusal::Tee { .. })),
        (|peer| peer.tee = Tee::Tdx, |refusal| matches!(refusal, PeerRefusal::Tee { .. })),
        (|peer| peer.claims.debug = true, |refusal| matches!(refusal, PeerRefusal::Debug { got: true })),
        (|peer| sgx(peer).signer_id[31] ^= 1, |refusal| matches!(refusal, PeerRefusal::Signer { .. })),
        (|peer| sgx(peer).product_id = 0, |refusal| matches!(refusal, PeerRefusal::Product { own: 3, got: 0 })),
        (
            |peer| peer.claims.tcb_status = TcbStatus::SwHardeningNeeded,
            |refusal| matches!(refusal, PeerRefusal::TcbStatus { .. }),
        ),
        (
            |peer| peer.claims.tcb_status = TcbStatus::Revoked,
            |refusal| matches!(refusal, PeerRefusal::TcbStatus { .. }),
        ),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        let (policy, peer) = (policy(5), other(change));
        for refused in [policy.accepts(&peer), policy.accepts_giver(&peer), policy.accepts_receiver(&peer)] {
            assert!(expected(&refused.clone().unwrap_err()), "{number}: {refused:?}");
        }
    }
}

#[test]
fn another_build_will_do_only_where_sealing_is_bound_to_the_product() {
    let peer = other(|peer| sgx(peer).unique_id = [9; 32]);
    assert_eq!(policy(5).accepts_receiver(&peer), Ok(()));
    let strict = PeerPolicy { any_measurement: false, ..policy(5) };
    assert!(matches!(strict.accepts_giver(&peer), Err(PeerRefusal::Measurement { .. })));
    assert!(matches!(strict.accepts_receiver(&peer), Err(PeerRefusal::Measurement { .. })));
}

#[test]
fn a_platform_that_lacks_what_ones_own_lacks_will_do() {
    let mut policy = policy(5);
    policy.own.claims.tcb_status = TcbStatus::SwHardeningNeeded;
    assert_eq!(policy.accepts(&other(|peer| peer.claims.tcb_status = TcbStatus::SwHardeningNeeded)), Ok(()));
    assert_eq!(policy.accepts(&identity(5)), Ok(()));
    assert!(policy.accepts(&other(|peer| peer.claims.tcb_status = TcbStatus::OutOfDate)).is_err());
}

#[test]
fn secrets_go_to_the_same_version_or_a_newer_one() {
    for (svn, accepted) in [(4, false), (5, true), (6, true)] {
        assert_eq!(policy(5).accepts_receiver(&identity(svn)).is_ok(), accepted, "{svn}");
    }
}

#[test]
fn secrets_are_taken_from_the_version_before_too_unless_another_limit_is_set() {
    for (own, limit, svn, accepted) in [
        (5, None, 3, false),
        (5, None, 4, true),
        (5, None, 9, true),
        (0, None, 0, true),
        (5, Some(2), 2, true),
        (5, Some(2), 1, false),
        (5, Some(6), 5, false),
    ] {
        let policy = PeerPolicy { least_giver: limit, ..policy(own) };
        assert_eq!(policy.accepts_giver(&identity(svn)).is_ok(), accepted, "{own} {limit:?} {svn}");
    }
}

#[test]
fn a_rolling_upgrade_goes_one_way() {
    let (old, new) = (policy(4), policy(5));
    assert_eq!(new.accepts_giver(&old.own), Ok(()), "the new one takes of the old one");
    assert_eq!(old.accepts_receiver(&new.own), Ok(()), "which gives");
    assert!(new.accepts_receiver(&old.own).is_err(), "and gives nothing back to what it replaces");
}

mod vms {
    use super::*;
    use crate::testing::{snp, tdx};

    fn vm(identity: Identity) -> PeerIdentity {
        let tee = identity.tee();
        PeerIdentity { tee, claims: EnclaveClaims { identity, ..super::identity(0).claims } }
    }

    fn field(refused: Result<(), PeerRefusal>) -> &'static str {
        match refused {
            Ok(()) => "",
            Err(PeerRefusal::Vm { field, .. }) => field,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn of_tdx_the_same_vm_will_do_on_any_module() {
        for any_measurement in [true, false] {
            let policy = PeerPolicy { own: vm(tdx(|_| ())), any_measurement, least_giver: None };
            let decide = |change: fn(&mut TdxIdentity)| field(policy.accepts(&vm(tdx(change))));
            assert_eq!(decide(|_| ()), "");
            assert_eq!(decide(|vm| vm.mr_seam = [0; 48]), "");
            assert_eq!(decide(|vm| vm.mrtd[0] ^= 1), "MRTD");
            assert_eq!(decide(|vm| vm.rtmr[3][0] ^= 1), "RTMR3");
            assert_eq!(decide(|vm| vm.attributes[7] ^= 1), "Attributes");
            assert_eq!(policy.accepts_giver(&vm(tdx(|_| ()))), Ok(()));
            assert_eq!(policy.accepts_receiver(&vm(tdx(|_| ()))), Ok(()));
        }
    }

    #[test]
    fn of_snp_another_build_will_do_only_if_keys_say_whose_it_is() {
        let policy = |any_measurement, own| PeerPolicy { own: vm(own), any_measurement, least_giver: None };
        let other = vm(snp(|vm| vm.measurement = [0; 48]));
        assert_eq!(field(policy(true, snp(|_| ())).accepts(&other)), "");
        assert_eq!(field(policy(false, snp(|_| ())).accepts(&other)), "Measurement");
        let keyless = |vm: &mut SnpIdentity| (vm.id_key_digest, vm.author_key_digest) = ([0; 48], [0; 48]);
        let other = vm(snp(|vm| {
            keyless(vm);
            vm.measurement = [0; 48];
        }));
        assert_eq!(field(policy(true, snp(keyless)).accepts(&other)), "Measurement");
        for (change, name) in [
            ((|vm| vm.image_id[0] ^= 1) as fn(&mut SnpIdentity), "ImageID"),
            (|vm| vm.id_key_digest[0] ^= 1, "IDKeyDigest"),
            (|vm| vm.policy ^= 1 << 16, "Policy"),
            (|vm| vm.vmpl = 1, "VMPL"),
        ] {
            assert_eq!(field(policy(true, snp(|_| ())).accepts(&vm(snp(change)))), name);
        }
    }

    #[test]
    fn below_a_paravisor_peers_have_started_the_same_system() {
        let started = |changed: Option<usize>| {
            vm(snp(|vm| {
                let value = |number| if Some(number) == changed { [0xff; 32] } else { [7; 32] };
                vm.pcrs = Some(crate::Pcrs::new(std::array::from_fn(|number| Some(value(number)))));
            }))
        };
        let policy = PeerPolicy { own: started(None), any_measurement: true, least_giver: None };
        for number in 0..24 {
            let expected = if PEER_PCRS.contains(&number) { crate::Pcrs::NAMES[number] } else { "" };
            assert_eq!(field(policy.accepts(&started(Some(number)))), expected, "register {number}");
        }
        assert!(matches!(policy.accepts(&vm(snp(|_| ()))), Err(PeerRefusal::Tee { .. })));
    }

    #[test]
    fn a_rolling_upgrade_of_snp_vms_goes_one_way_and_firmware_does_not_go_back() {
        let version =
            |svn| PeerPolicy { own: vm(snp(|vm| vm.guest_svn = svn)), any_measurement: true, least_giver: None };
        let (old, new) = (version(4), version(5));
        assert_eq!(new.accepts_giver(&old.own), Ok(()));
        assert_eq!(old.accepts_receiver(&new.own), Ok(()));
        assert!(matches!(new.accepts_receiver(&old.own), Err(PeerRefusal::ReceiverTooOld { least: 5, got: 4 })));
        let older = vm(snp(|vm| vm.tcb.microcode = 114));
        assert!(matches!(old.accepts(&older), Err(PeerRefusal::Firmware { .. })));
        let other = vm(snp(|vm| vm.product = SnpProduct::Genoa));
        assert!(matches!(old.accepts(&other), Err(PeerRefusal::Processor { .. })));
    }
}
