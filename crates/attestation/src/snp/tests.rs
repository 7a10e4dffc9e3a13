mod synthetic;

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::testing::amd::Kds;
use crate::{NoCollateral, Roots};

const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/quotes/snp");

/// 2026-01-01, and 2025-06-01: in the life of the VLEK.
const NOW: u64 = 1_767_225_600;
const EARLIER: u64 = 1_748_736_000;

/// Real reports with their keys' certificates; they are no part of the project.
fn fixture(name: &str) -> Option<Vec<u8>> {
    let read = std::fs::read(Path::new(SHARED).join(name)).ok();
    if read.is_none() {
        eprintln!("SKIPPED: {SHARED}/{name} is not there, so real SEV-SNP reports are not tested");
    }
    read
}

fn bundle(report: &str, certificate: &str) -> Option<Bundle> {
    Some(Bundle { tee: 3, report: fixture(report)?, certificates: vec![fixture(certificate)?], ..Bundle::default() })
}

fn judge(bundle: &Bundle, now: u64) -> Result<(EnclaveClaims, SnpFindings), String> {
    verify(bundle, &NoCollateral, &Roots::vendors().amd, now).map_err(|error| error.to_string())
}

#[test]
fn amds_roots_signed_what_is_built_in_below_them() {
    for root in Roots::vendors().amd {
        let ark = Certificate::from_der(&root.ark).unwrap();
        assert!(ark.is_issued_by(&ark, AMD_SIGNS), "{}", root.product);
        for below in [Some(root.ask), root.asvk].into_iter().flatten() {
            let below = Certificate::from_der(&below).unwrap();
            assert!(below.is_issued_by(&ark, AMD_SIGNS), "{}", root.product);
            assert!(!ark.is_issued_by(&below, AMD_SIGNS));
        }
    }
}

#[test]
fn real_reports_are_verified_whoever_certified_their_key() {
    for (report, certificate, now, key, vmpl, debug) in [
        ("trustee-milan.report", "trustee-milan.vcek.der", NOW, "VCEK", 0, false),
        // Its VM may be debugged.
        ("gsg-milan.report", "gsg-milan.vcek.der", NOW, "VCEK", 0, true),
        ("trustee-vlek.report", "trustee-vlek.vlek.der", EARLIER, "VLEK", 1, false),
    ] {
        let Some(mut bundle) = bundle(report, certificate) else { return };
        let roots = Roots::vendors().amd;
        let rest = roots.iter().flat_map(|root| [root.ask.clone(), root.ark.clone()]).take(4);
        bundle.certificates.splice(0..0, rest);
        let (claims, found) = judge(&bundle, now).unwrap();
        assert_eq!((found.key, found.product), (key, SnpProduct::Milan), "{report}");
        let Identity::Snp(vm) = claims.identity else { panic!("{report}") };
        assert_eq!((vm.vmpl, claims.debug), (vmpl, debug), "{report}");
        assert_eq!(vm.measurement[..], bundle.report[0x90..0xc0], "{report}");
        assert_eq!(claims.report_data.0[..], bundle.report[0x50..0x90], "{report}");
        assert!(vm.tcb.microcode > 0, "{report}");
        assert!(judge(&bundle, 2_200_000_000).unwrap_err().contains("has expired"), "{report}");
        assert!(judge(&bundle, 1_500_000_000).unwrap_err().contains("is not valid yet"), "{report}");
    }
}

#[test]
fn no_flipped_bit_of_a_report_is_believed_not_even_of_reserved_bytes() {
    let Some(bundle) = bundle("trustee-milan.report", "trustee-milan.vcek.der") else { return };
    let signature = (0x2a0..0x330).step_by(5);
    for (count, at) in (0..0x2a0).step_by(3).chain(signature).enumerate() {
        let mut flipped = bundle.clone();
        flipped.report[at] ^= 1 << (count % 8);
        assert!(judge(&flipped, NOW).is_err(), "byte {at}");
    }
}

#[test]
fn a_certificate_is_for_one_processor_and_one_firmware() {
    let Some(mut mixed) = bundle("trustee-milan.report", "gsg-milan.vcek.der") else { return };
    let text = judge(&mixed, NOW).unwrap_err();
    assert!(text.contains("for other firmware") || text.contains("for another processor"), "{text}");
    mixed.certificates = bundle("trustee-milan.report", "trustee-milan.vcek.der").unwrap().certificates;
    let mut other = mixed.clone();
    other.report[0x187] ^= 1;
    assert!(judge(&other, NOW).unwrap_err().contains("for other firmware"));
    let mut other = mixed.clone();
    other.report[0x1a0] ^= 1;
    assert!(judge(&other, NOW).unwrap_err().contains("for another processor"));
    let mut forged = mixed.clone();
    let last = forged.certificates[0].len() - 1;
    forged.certificates[0][last] ^= 1;
    assert!(judge(&forged, NOW).unwrap_err().contains("did not sign it"));
    let mut wrong_kind = mixed;
    wrong_kind.report[0x48] |= 4;
    let text = judge(&wrong_kind, NOW).unwrap_err();
    assert!(text.contains("only its cloud provider has one"), "a VCEK is no VLEK: {text}");
}

#[test]
fn what_the_evidence_does_not_bring_is_asked_for() {
    let Some(mut bundle) = bundle("trustee-milan.report", "trustee-milan.vcek.der") else { return };
    let vcek = Some(std::mem::take(&mut bundle.certificates[0]));
    let judge = |source: Kds| verify(&bundle, &source, &Roots::vendors().amd, NOW).map_err(|error| error.to_string());
    judge(Kds { vcek: vcek.clone(), list: None }).unwrap();
    let text = judge(Kds { vcek: None, list: None }).unwrap_err();
    assert!(text.contains("nobody knows Milan processor c38427a30d4c7af9.."), "{text}");
    let text = judge(Kds { vcek, list: Some(b"no list".to_vec()) }).unwrap_err();
    assert!(text.contains("AMD's revocation list of Milan is not taken"), "{text}");
}

#[test]
fn reports_of_another_form_are_refused_by_what_is_wrong() {
    let report = |change: fn(&mut Vec<u8>)| {
        let mut bytes = vec![0; 1184];
        (bytes[0], bytes[0x34]) = (2, 1);
        change(&mut bytes);
        Report::parse(&bytes).map(|_| ()).map_err(|error| error.to_string())
    };
    report(|_| ()).unwrap();
    for (change, part) in [
        ((|bytes| bytes.push(0)) as fn(&mut Vec<u8>), "1185 bytes instead of 1184"),
        (|bytes| bytes.truncate(100), "100 bytes instead"),
        (|bytes| bytes[0] = 1, "version is 1"),
        (|bytes| bytes[0] = 6, "version is 6"),
        (|bytes| bytes[0x34] = 2, "not signed with ECDSA P-384"),
        (|bytes| bytes[0x48] = 7 << 2, "it is not signed"),
        (|bytes| bytes[0x48] = 2 << 2, "unknown kind 2"),
        (|bytes| bytes[0x48] = 2, "MASK_CHIP_KEY"),
    ] {
        let text = report(change).unwrap_err();
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn the_firmware_of_turin_stands_in_another_order() {
    let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
    let milan = SnpTcbVersion::from_bytes(bytes, SnpProduct::Milan);
    assert_eq!(milan.to_string(), "Bootloader:1 TEE:2 SNP:7 Microcode:8");
    let turin = SnpTcbVersion::from_bytes(bytes, SnpProduct::Turin);
    assert_eq!(turin.to_string(), "Bootloader:2 TEE:3 SNP:4 Microcode:8 FMC:1");
    assert!(!turin.is_at_least(&milan) && milan.is_at_least(&milan));
}
