//! Reports of processors that never were, of each family and form: they are verified as real ones are, but for the roots.

use super::*;
use crate::testing::amd::{self, Endorsement, NOW, Processor};
use crate::{AnyTee, CollateralError, IntelCollateral, IntelPlatform, ReportData, Verifier as _};

const DATA: ReportData = ReportData([7; 64]);
/// A list's life with `NOW` in it.
const LIFE: (u64, u64) = (NOW - 1000, NOW + 1000);

fn judge(bundle: &Bundle, source: &Kds, now: u64) -> Result<(EnclaveClaims, SnpFindings), String> {
    verify(bundle, source, &amd::roots().amd, now).map_err(|error| error.to_string())
}

fn nothing() -> Kds {
    Kds { vcek: None, list: None }
}

fn refusal(bundle: &Bundle) -> String {
    judge(bundle, &nothing(), NOW).unwrap_err()
}

fn milan() -> Processor {
    Processor::new(SnpProduct::Milan, 3, Endorsement::Vcek)
}

#[test]
fn reports_of_each_family_form_and_key_say_what_was_measured() {
    let families = [(SnpProduct::Milan, 2), (SnpProduct::Genoa, 3), (SnpProduct::Turin, 5)];
    let cases = families.into_iter().chain([(SnpProduct::Milan, 4), (SnpProduct::Genoa, 2), (SnpProduct::Turin, 3)]);
    for (product, version) in cases {
        for endorsement in [Endorsement::Vcek, Endorsement::Vlek] {
            let processor = Processor::new(product, version, endorsement);
            let mut vm = processor.vm();
            (vm.guest_svn, vm.vmpl, vm.committed_tcb.snp) = (9, 2, 7);
            let bundle = processor.bundle(processor.report(&vm, &DATA));
            let judged = judge(&bundle, &nothing(), NOW);
            if product == SnpProduct::Turin && endorsement == Endorsement::Vlek {
                assert!(judged.unwrap_err().contains("no certificate of the key that signed it (VLEK)"));
                continue;
            }
            let (claims, found) = judged.unwrap();
            assert_eq!(claims.identity, Identity::Snp(Box::new(vm)), "{product} {version}");
            assert_eq!((claims.report_data, claims.debug, claims.tcb_status), (DATA, false, TcbStatus::UpToDate));
            let key = if endorsement == Endorsement::Vcek { "VCEK" } else { "VLEK" };
            assert_eq!((found.product, found.key, found.report_version), (product, key, version));
            assert_eq!((found.valid_until, found.crl.is_some()), (processor.life.1, false));
        }
    }
}

#[test]
fn no_flipped_bit_of_what_is_signed_or_of_a_signature_is_believed() {
    let processor = milan();
    let bundle = processor.bundle(processor.report(&processor.vm(), &DATA));
    let roots: Vec<AmdRoot> = amd::roots().amd.into_iter().take(1).collect();
    let is_believed = |bundle: &Bundle| verify(bundle, &NoCollateral, &roots, NOW).is_ok();
    assert!(is_believed(&bundle));
    // Each byte that is signed, reserved ones too, and both numbers of the signature with what fills them up.
    for at in 0..0x2a0 + 144 {
        let mut flipped = bundle.clone();
        flipped.report[at] ^= 1 << (at % 8);
        assert!(!is_believed(&flipped), "byte {at}");
    }
}

#[test]
fn a_vm_that_may_be_debugged_is_genuine_and_is_told() {
    let processor = milan();
    let vm = SnpIdentity { policy: 0x30000 | SnpIdentity::POLICY_DEBUG, ..processor.vm() };
    let bundle = processor.bundle(processor.report(&vm, &DATA));
    assert!(judge(&bundle, &nothing(), NOW).unwrap().0.debug);
}

#[test]
fn a_certificate_is_for_the_processor_and_firmware_of_the_report() {
    let processor = Processor::new(SnpProduct::Turin, 5, Endorsement::Vcek);
    let told = |change: fn(&mut SnpIdentity)| {
        let mut vm = processor.vm();
        change(&mut vm);
        judge(&processor.bundle(processor.report(&vm, &DATA)), &nothing(), NOW).map(|_| ())
    };
    told(|_| ()).unwrap();
    let text = told(|vm| vm.tcb.fmc = Some(2)).unwrap_err();
    let versions = "Bootloader:3 TEE:0 SNP:8 Microcode:115";
    let both = format!("expected {versions} FMC:2, got {versions} FMC:1");
    assert_eq!(text, format!("the certificate is for other firmware than the report: {both}"));
    let firmware: [fn(&mut SnpIdentity); 4] =
        [|vm| vm.tcb.bootloader = 4, |vm| vm.tcb.tee = 1, |vm| vm.tcb.snp = 7, |vm| vm.tcb.microcode = 114];
    for change in firmware {
        assert!(told(change).unwrap_err().starts_with("the certificate is for other firmware than the report"));
    }
    // Another id, and one that only begins like it.
    for change in [(|vm| vm.chip_id[7] ^= 1) as fn(&mut SnpIdentity), |vm| vm.chip_id[8] = 1] {
        let text = told(change).unwrap_err();
        assert!(text.starts_with("the certificate is for another processor than the report: expected 01"), "{text}");
    }
    // A provider's key is no processor's.
    let rented = Processor::new(SnpProduct::Genoa, 3, Endorsement::Vlek);
    let vm = SnpIdentity { chip_id: [0; 64], ..rented.vm() };
    judge(&rented.bundle(rented.report(&vm, &DATA)), &nothing(), NOW).unwrap();
}

#[test]
fn a_key_that_amd_did_not_certify_signs_nothing() {
    let (processor, other) = (milan(), milan());
    let report = processor.report(&processor.vm(), &DATA);
    let with = |certificate| Bundle { certificates: vec![certificate], ..processor.bundle(report.clone()) };
    // As if for the same processor, but another key.
    assert_eq!(refusal(&with(other.certificate())), "the signature of the SEV-SNP report is not its key's");
    let forged = {
        let mut certificate = processor.certificate();
        *certificate.last_mut().unwrap() ^= 1;
        certificate
    };
    let text = "the VCEK certificate names AMD's key of Milan, but that key did not sign it";
    assert_eq!(refusal(&with(forged)), text);
    // Whom the test certified, AMD did not, under whatever name.
    let text = verify(&with(processor.certificate()), &NoCollateral, &Roots::vendors().amd, NOW).unwrap_err();
    assert_eq!(text.to_string(), "the VCEK certificate names AMD's key of Milan, but that key did not sign it");
    // A certificate of the other kind is none.
    let rented = Processor::new(SnpProduct::Milan, 3, Endorsement::Vlek);
    assert!(refusal(&with(rented.certificate())).contains("nobody knows Milan processor 0102030405060708"));
    // One that lacks what AMD says.
    let mut turin = Processor::new(SnpProduct::Genoa, 3, Endorsement::Vcek);
    turin.product = SnpProduct::Turin;
    let report = turin.report(&turin.vm(), &DATA);
    let text = refusal(&turin.bundle(report));
    assert_eq!(text, "AMD's certificate of the key lacks the version 1.3.6.1.4.1.3704.1.3.9");
}

#[test]
fn certificates_are_good_from_a_day_to_a_day() {
    let processor = milan();
    let bundle = processor.bundle(processor.report(&processor.vm(), &DATA));
    let (from, until) = processor.life;
    for (now, words) in
        [(from - 1, Some("is not valid yet")), (from, None), (until, None), (until + 1, Some("has expired"))]
    {
        let refused = judge(&bundle, &nothing(), now).err();
        let expected = words.map(|words| {
            format!(
                "AMD's certificate of the key that the report leads to {words}, or the clock of this machine is wrong"
            )
        });
        assert_eq!(refused, expected, "{now}");
    }
    let mut ancient = milan();
    ancient.life = (0, u64::from(u32::MAX));
    let bundle = ancient.bundle(ancient.report(&ancient.vm(), &DATA));
    for (now, words) in [
        (1_500_000_000, "issuer that the report leads to is not valid yet"),
        (2_500_000_000, "issuer that the report leads to has expired"),
    ] {
        assert!(judge(&bundle, &nothing(), now).unwrap_err().contains(words), "{now}");
    }
}

#[test]
fn what_amd_revoked_is_refused_and_a_list_that_is_not_amds_is_no_list() {
    let with = |endorsement, list: Vec<u8>| {
        let processor = Processor::new(SnpProduct::Milan, 3, endorsement);
        let bundle = processor.bundle(processor.report(&processor.vm(), &DATA));
        judge(&bundle, &Kds { vcek: None, list: Some(list) }, NOW).map(|(_, found)| found.crl.is_some())
    };
    let list = |revoked: &[&[u8]], life| amd::revocation_list(SnpProduct::Milan, revoked, life);
    let (vcek, vlek) = (Endorsement::Vcek, Endorsement::Vlek);
    let revoked = Err("AMD revoked the certificate of Milan that the evidence leads to".to_owned());
    assert_eq!(with(vcek, list(&[], LIFE)), Ok(true));
    assert_eq!(with(vcek, list(&[amd::SERIAL_OF_ASVK, &[9]], LIFE)), Ok(true));
    assert_eq!(with(vcek, list(&[&[9], amd::SERIAL_OF_ASK], LIFE)), revoked);
    assert_eq!(with(vcek, list(&[amd::SERIAL_OF_VEK], LIFE)), revoked);
    assert_eq!(with(vlek, list(&[amd::SERIAL_OF_ASK], LIFE)), Ok(true));
    assert_eq!(with(vlek, list(&[amd::SERIAL_OF_ASVK], LIFE)), revoked);
    for (list, words) in [
        (list(&[], (NOW - 9, NOW - 1)), "it is not valid now"),
        (list(&[], (NOW + 1, NOW + 9)), "it is not valid now"),
        (
            {
                let mut list = list(&[], LIFE);
                *list.last_mut().unwrap() ^= 1;
                list
            },
            "its issuer did not sign it",
        ),
        (b"no list".to_vec(), ""),
    ] {
        let text = with(vcek, list).unwrap_err();
        assert!(text.starts_with("AMD's revocation list of Milan is not taken: ") && text.contains(words), "{text}");
    }
}

#[test]
fn a_certificate_is_asked_for_where_the_evidence_brings_none() {
    for (product, version) in [(SnpProduct::Genoa, 2), (SnpProduct::Turin, 5)] {
        let processor = Processor::new(product, version, Endorsement::Vcek);
        assert!(processor.request().is_answered_by(&processor.certificate()));
        let bare = Bundle { certificates: vec![], ..processor.bundle(processor.report(&processor.vm(), &DATA)) };
        let source = Kds { vcek: Some(processor.certificate()), list: None };
        assert_eq!(judge(&bare, &source, NOW).unwrap().1.product, product);
        assert!(refusal(&bare).contains("nobody knows"));
        let other = Kds { vcek: Some(amd::roots().amd[0].ask.clone()), list: None };
        assert_eq!(judge(&bare, &other, NOW).unwrap_err(), "what was got as a VCEK is not certified by AMD");
    }
    let processor = milan();
    let hidden = processor.report(&SnpIdentity { chip_id: [0; 64], ..processor.vm() }, &DATA);
    let bare = Bundle { certificates: vec![], ..processor.bundle(hidden) };
    assert!(refusal(&bare).contains("MASK_CHIP_ID"));
    let mut unknown = processor.report(&processor.vm(), &DATA);
    unknown[0x188] = 0x17;
    let bare = Bundle { certificates: vec![], ..processor.bundle(unknown) };
    assert_eq!(refusal(&bare), "the processor that made the report is of no known family");
}

/// Has an older list at hand than it gets when it asks anew.
struct Behind {
    at_hand: Vec<u8>,
    anew: Vec<u8>,
}

impl CollateralSource for Behind {
    fn intel(&self, _: &IntelPlatform, _: u64) -> Result<Arc<IntelCollateral>, CollateralError> {
        Err(CollateralError("none".to_owned()))
    }

    fn vcek(&self, _: &VcekRequest, _: u64) -> Result<Arc<[u8]>, CollateralError> {
        Err(CollateralError("none".to_owned()))
    }

    fn amd_crl(&self, _: SnpProduct, _: u64) -> Result<Option<Arc<[u8]>>, CollateralError> {
        Ok(Some(self.at_hand.clone().into()))
    }

    fn newer_amd_crl(&self, _: SnpProduct, _: u64) -> Result<Option<Arc<[u8]>>, CollateralError> {
        Ok(Some(self.anew.clone().into()))
    }
}

#[test]
fn a_list_older_than_one_that_was_believed_is_refused_also_after_a_restart_unless_a_newer_one_is_to_be_had() {
    let processor = milan();
    let evidence = processor.evidence(&processor.vm(), &DATA);
    let list = |from| amd::revocation_list(SnpProduct::Milan, &[], (from, NOW + 1000));
    let verifier =
        |at_hand, anew| AnyTee::with_roots(Arc::new(Behind { at_hand: list(at_hand), anew: list(anew) }), amd::roots());
    let (older, newer) = (NOW - 1000, NOW - 10);
    let before = verifier(newer, newer);
    before.verify(&evidence, NOW).unwrap();
    let marks = before.high_water().unwrap().marks();
    assert_eq!((marks["amd/Milan/crl-date"], marks["time"]), (newer, newer));
    for (at_hand, anew, is_taken) in [(older, older, false), (older, newer, true), (newer, older, true)] {
        let restarted = verifier(at_hand, anew);
        restarted.verify(&evidence, NOW).unwrap();
        let restarted = verifier(at_hand, anew);
        restarted.high_water().unwrap().raise(&marks);
        let verified = restarted.verify(&evidence, NOW).map(drop).map_err(|error| error.to_string());
        let reason = format!(
            "the collateral is older than what was seen before: its list of revoked authorities has date {older}, and \
             {newer} was seen"
        );
        assert_eq!(verified, if is_taken { Ok(()) } else { Err(reason) });
        assert_eq!(restarted.high_water().unwrap().marks()["amd/Milan/crl-date"], newer);
    }
}
