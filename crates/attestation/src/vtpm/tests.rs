use std::sync::{Arc, LazyLock};

use super::*;
use crate::testing::amd::{self, Endorsement, NOW, Processor};
use crate::testing::paravisor::{self, Tpm};
use crate::{AnyTee, Evidence, NoCollateral, SnpIdentity, SnpProduct, Tee, Unverified};

const ASKED: ReportData = {
    let mut data = [0; 64];
    let mut at = 0;
    while at < 32 {
        data[at] = 7;
        at += 1;
    }
    ReportData(data)
};

static TPM: LazyLock<Tpm> = LazyLock::new(Tpm::default);
static PROCESSOR: LazyLock<Processor> = LazyLock::new(|| Processor::new(SnpProduct::Milan, 3, Endorsement::Vcek));
/// What a good VM sends.
static GOOD: LazyLock<Bundle> = LazyLock::new(|| TPM.bundle(&PROCESSOR, &PROCESSOR.vm(), &ASKED));

fn judge(bundle: &Bundle) -> Result<EnclaveClaims, String> {
    let verifier = AnyTee::with_roots(Arc::new(NoCollateral), amd::roots());
    let evidence = Evidence::from_wire(bundle.to_wire()).unwrap();
    verifier.examine(&evidence, NOW).map(|verified| verified.claims).map_err(|error| error.to_string())
}

fn changed(change: impl FnOnce(&mut Bundle)) -> String {
    let mut bundle = GOOD.clone();
    change(&mut bundle);
    judge(&bundle).unwrap_err()
}

/// A quote of other contents, signed by the same key.
fn quoting(attest: &[u8]) -> String {
    changed(|bundle| bundle.tpm_quote = TPM.sign(attest))
}

/// A report over other runtime data.
fn over(runtime_data: Vec<u8>) -> String {
    changed(|bundle| {
        bundle.report = PROCESSOR.report(&PROCESSOR.vm(), &ReportData::binding(&[&runtime_data]));
        bundle.runtime_data = runtime_data;
    })
}

#[test]
fn a_vm_below_a_paravisor_is_what_report_and_registers_say_and_bound_to_what_its_tpm_quotes() {
    let claims = judge(&GOOD).unwrap();
    assert_eq!((claims.report_data, claims.identity.tee()), (ASKED, Tee::SnpVtpm));
    let Identity::Snp(vm) = &claims.identity else { panic!("{claims:?}") };
    assert_eq!(SnpIdentity { pcrs: None, ..**vm }, PROCESSOR.vm());
    let pcrs = vm.pcrs.unwrap();
    assert_eq!((pcrs.value(4), pcrs.value(23), pcrs.value(24)), (Some(&[4; 32]), Some(&[23; 32]), None));
    let read = Unverified::read(&Evidence::from_wire(GOOD.to_wire()).unwrap()).unwrap();
    assert_eq!((read.report_data, read.identity), (ASKED, claims.identity));
    // Of some registers, the others are not known.
    let mask = 1 << 4 | 1 << 11;
    let mut some = GOOD.clone();
    some.tpm_quote = TPM.sign(&TPM.attest(&[7; 32], mask));
    some.pcrs = TPM.values(mask);
    let Identity::Snp(vm) = judge(&some).unwrap().identity else { panic!() };
    let names: Vec<&str> = vm.pcrs.as_ref().unwrap().fields().map(|(name, _)| name).collect();
    assert_eq!(names, ["PCRs.4", "PCRs.11"]);
}

#[test]
fn no_flipped_bit_of_report_runtime_data_quote_or_registers_is_believed() {
    let parts: [fn(&mut Bundle) -> &mut Vec<u8>; 4] = [
        |bundle| &mut bundle.report,
        |bundle| &mut bundle.runtime_data,
        |bundle| &mut bundle.tpm_quote,
        |bundle| &mut bundle.pcrs,
    ];
    for (number, part) in parts.into_iter().enumerate() {
        let length = part(&mut GOOD.clone()).len();
        // What follows the report's signature is not signed; that of the report is tested elsewhere.
        for at in (0..length.min(0x2a0 + 144)).step_by(3) {
            let mut flipped = GOOD.clone();
            part(&mut flipped)[at] ^= 1 << (at % 8);
            assert!(judge(&flipped).is_err(), "part {number}, byte {at}");
        }
    }
}

#[test]
fn parts_of_two_vms_do_not_hold_together() {
    let other = Tpm::default();
    let foreign = other.bundle(&PROCESSOR, &PROCESSOR.vm(), &ASKED);
    let text = changed(|bundle| bundle.tpm_quote = foreign.tpm_quote.clone());
    assert_eq!(text, "the TPM's quote was not signed by the key that the runtime data name");
    let unbound = "the report is not bound to the runtime data that came with it";
    assert_eq!(changed(|bundle| bundle.runtime_data = foreign.runtime_data.clone()), unbound);
    assert_eq!(changed(|bundle| bundle.report = foreign.report.clone()), unbound);
    let mut tail = ReportData::binding(&[&GOOD.runtime_data]);
    tail.0[63] = 1;
    assert_eq!(changed(|bundle| bundle.report = PROCESSOR.report(&PROCESSOR.vm(), &tail)), unbound);
}

#[test]
fn what_runs_above_the_paravisor_cannot_stand_in_for_it() {
    let vm = SnpIdentity { vmpl: 2, ..PROCESSOR.vm() };
    let text = judge(&TPM.bundle(&PROCESSOR, &vm, &ASKED)).unwrap_err();
    assert!(text.starts_with("the report was asked for at privilege level 2"), "{text}");
}

#[test]
fn evidence_is_of_one_kind_or_the_other() {
    let text = changed(|bundle| bundle.tee = 3);
    assert_eq!(text, "evidence of AMD SEV-SNP with a TPM's quote, which binds nothing there");
    let direct = PROCESSOR.bundle(PROCESSOR.report(&PROCESSOR.vm(), &ASKED));
    let text = judge(&Bundle { tee: 4, ..direct }).unwrap_err();
    assert_eq!(text, "the report is not bound to the runtime data that came with it");
}

#[test]
fn runtime_data_must_name_one_key_that_can_be_one() {
    let refused = |json: &str| {
        let text = over(json.as_bytes().to_vec());
        text.strip_prefix("the runtime data name no key to verify a quote with: ").unwrap_or(&text).to_owned()
    };
    let good = String::from_utf8(GOOD.runtime_data.clone()).unwrap();
    let key = good.split_once('[').unwrap().1.split_once("}]").unwrap().0;
    let one = "there is not exactly one called HCLAkPub";
    assert_eq!(refused(r#"{"keys":[]}"#), one);
    assert_eq!(refused(&good.replace("HCLAkPub", "HCLEkPub")), one);
    assert_eq!(refused(&format!(r#"{{"keys":[{key}}},{key}}}]}}"#)), one);
    assert!(refused(&good.replace("RSA", "EC")).contains("only RSA"));
    assert!(refused(&good.replace("AQAB", "Aw")).contains("exponent that is not 65537"));
    assert!(refused(&good.replace("AQAB", "===")).starts_with("HCLAkPub: Invalid"));
    assert!(refused(r#"{"keys":[{"kid":"HCLAkPub","kty":"RSA","n":"AQAB","e":"AQAB"}]}"#).contains("has 24 bits"));
    // Not JSON to its last byte: as a certificate that a report of another kind is bound to.
    assert!(refused(&format!("{good}x")).starts_with("trailing characters"));
    assert!(refused("\x30\x03abc").starts_with("invalid type: integer `0`"));
}

#[test]
fn a_quote_is_read_to_its_last_byte_and_says_what_it_should() {
    let attest = TPM.attest(&[7; 32], 0xff_ffff);
    let with = |at: usize, byte: u8| {
        let mut attest = attest.clone();
        attest[at] = byte;
        quoting(&attest)
    };
    let damaged = "damaged quote of a TPM: ";
    assert_eq!(with(0, 0), format!("{damaged}it is something else that was signed"));
    assert_eq!(with(5, 0x17), format!("{damaged}it is something else that was signed"));
    assert_eq!(quoting(&TPM.attest(&[7; 31], 1)), format!("{damaged}it is not bound to 32 bytes"));
    assert_eq!(quoting(&TPM.attest(&[], 1)), format!("{damaged}it is not bound to 32 bytes"));
    let selection = attest.len() - 34 - 10;
    let banks = format!("{damaged}it is over something else than one bank of SHA-256 registers");
    assert_eq!(with(selection + 3, 2), banks);
    assert_eq!(with(selection + 5, 4), banks);
    assert_eq!(with(selection + 6, 200), format!("{damaged}it ends too soon"));
    let registers = "the registers are not those that the TPM's quote is over";
    assert_eq!(with(selection + 7, 0xfe), registers);
    assert_eq!(quoting(&[&attest[..], &[0]].concat()), format!("{damaged}1 bytes follow its end"));
    for length in 0..attest.len() {
        assert!(quoting(&attest[..length]).starts_with(damaged), "{length}");
    }
    assert_eq!(changed(|bundle| bundle.pcrs.truncate(32)), registers);
    assert_eq!(changed(|bundle| bundle.pcrs.push(0)), registers);
    assert_eq!(changed(|bundle| bundle.tpm_quote.push(0)), format!("{damaged}1 bytes follow its end"));
    assert_eq!(changed(|bundle| bundle.tpm_quote.clear()), format!("{damaged}it ends too soon"));
    let scheme = GOOD.tpm_quote.len() - 256 - 2 - 4;
    assert!(changed(|bundle| bundle.tpm_quote[scheme + 1] = 0x18).contains("0x0018 and 0x000b, which are not known"));
    let signature = changed(|bundle| bundle.tpm_quote[scheme + 1] = 0x16);
    assert_eq!(signature, "the TPM's quote was not signed by the key that the runtime data name");
}

#[test]
fn what_a_paravisor_leaves_is_taken_apart_and_of_tdx_refused() {
    let left = paravisor::hcl_report(&GOOD.report, &GOOD.runtime_data);
    let read = HclReport { report: GOOD.report.clone(), runtime_data: GOOD.runtime_data.clone() };
    assert_eq!(HclReport::read(&left), Ok(read.clone()));
    assert_eq!(HclReport::read(&[&left[..], &[0; 500]].concat()), Ok(read));
    let made = |quote: &Bundle, asked| {
        let read = HclReport::read(&left).unwrap();
        read.evidence(quote.tpm_quote.clone(), quote.pcrs.clone(), asked).map_err(|error| error.to_string())
    };
    let expected = Bundle { certificates: Vec::new(), ..GOOD.clone() }.to_wire();
    assert_eq!(made(&GOOD, &ASKED).unwrap().into_bytes(), expected);
    assert!(made(&GOOD, &ReportData([0; 64])).unwrap_err().contains("not bound to what was asked for"));
    let other = Tpm::default().bundle(&PROCESSOR, &PROCESSOR.vm(), &ASKED);
    assert!(made(&other, &ASKED).unwrap_err().contains("not signed by the key"));
    let refused = |change: fn(&mut Vec<u8>)| {
        let mut bytes = left.clone();
        change(&mut bytes);
        HclReport::read(&bytes).unwrap_err().to_string()
    };
    assert!(refused(|bytes| bytes[0] = b'X').ends_with("it does not begin with HCLA"));
    assert!(refused(|bytes| bytes.truncate(1220)).ends_with("it ends after 1220 bytes"));
    assert!(refused(|bytes| bytes[1224] = 4).contains("SEPT_VE_DISABLE"));
    assert!(refused(|bytes| bytes[1228] = 2).ends_with("a report of kind 2, bound by a hash of kind 2"));
    assert!(refused(|bytes| bytes[1235] = 0xff).contains("bytes of runtime data and has"));
    assert!(refused(|bytes| bytes.push(1)).ends_with("1 bytes follow its end"));
}

proptest::proptest! {
    #[test]
    fn foreign_bytes_never_panic(bytes: Vec<u8>, start in 0usize..3) {
        let starts: [&[u8]; 3] = [&[], b"HCLA", &[0, 60, 0xff, b'T', b'C', b'G', 0x80, 0x18, 0, 0, 0, 32]];
        let bytes = [starts[start], &bytes].concat();
        let _ = HclReport::read(&bytes);
        let _ = unverified(&Bundle { tpm_quote: bytes.clone(), pcrs: vec![1; 32], ..Bundle::default() });
        let _ = AttestationKey::of(&bytes);
    }
}
