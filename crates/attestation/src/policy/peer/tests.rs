use super::*;
use crate::{EnclaveClaims, ReportData};

fn identity(svn: u64) -> PeerIdentity {
    PeerIdentity {
        tee: Tee::Sgx,
        claims: EnclaveClaims {
            unique_id: [1; 32],
            signer_id: [2; 32],
            product_id: 3,
            security_version: svn,
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
        (|peer| peer.claims.signer_id[31] ^= 1, |refusal| matches!(refusal, PeerRefusal::Signer { .. })),
        (|peer| peer.claims.product_id = 0, |refusal| matches!(refusal, PeerRefusal::Product { own: 3, got: 0 })),
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
    let peer = other(|peer| peer.claims.unique_id = [9; 32]);
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
