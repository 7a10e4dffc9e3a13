//! Evidence of a VM below a paravisor, by a TPM in software.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use marblerun_attestation::testing::amd::{self, Endorsement, Kds, NOW, Processor};
use marblerun_attestation::testing::paravisor;
use marblerun_attestation::{
    AnyTee, EnclaveClaims, Evidence, Identity, Issuer as _, ReportData, SnpIdentity, SnpProduct, Tee,
};
use marblerun_testkit::SoftTpm;
use marblerun_tpm::{Config, Vtpm};

fn verify(evidence: &Evidence, processor: &Processor) -> EnclaveClaims {
    let verifier = AnyTee::with_roots(Arc::new(Kds { vcek: Some(processor.certificate()), list: None }), amd::roots());
    verifier.examine(evidence, NOW).unwrap().claims
}

fn vtpm(tpm: &SoftTpm) -> Vtpm {
    Vtpm::new(Config::new(tpm.tcti().parse().unwrap()))
}

fn left(processor: &Processor, modulus: &[u8]) -> Vec<u8> {
    let data = paravisor::runtime_data(modulus, &[1, 0, 1]);
    paravisor::hcl_report(&processor.report(&processor.vm(), &ReportData::binding(&[&data])), &data)
}

#[test]
fn evidence_tells_the_vm_and_its_registers_over_reboots() {
    let processor = Processor::new(SnpProduct::Milan, 3, Endorsement::Vcek);
    let mut tpm = SoftTpm::start().unwrap();
    tpm.play_paravisor(|modulus| left(&processor, modulus)).unwrap();
    let registers = |tpm: &SoftTpm, nonce: u8| {
        let asked = ReportData::binding(&[&[nonce]]);
        let claims = verify(&vtpm(tpm).issue(&asked).unwrap(), &processor);
        assert_eq!((claims.report_data, claims.identity.tee()), (asked, Tee::SnpVtpm));
        let Identity::Snp(vm) = claims.identity else { unreachable!() };
        assert_eq!(SnpIdentity { pcrs: None, ..*vm }, processor.vm());
        vm.pcrs.unwrap()
    };
    let fresh = registers(&tpm, 1);
    assert_eq!((fresh.fields().count(), fresh.value(4)), (24, Some(&[0; 32])));
    tpm.extend_pcr(4).unwrap();
    let measured = registers(&tpm, 2);
    assert_ne!(measured.value(4), fresh.value(4));
    assert_eq!(measured.value(7), fresh.value(7));
    tpm.reboot().unwrap();
    assert_eq!(registers(&tpm, 3), fresh);
}

#[test]
fn a_tpm_that_is_no_paravisors_gives_no_evidence_and_says_what_it_lacks() {
    let refused = |tpm: &SoftTpm| vtpm(tpm).issue(&ReportData::binding(&[b"x"])).unwrap_err().to_string();
    let tpm = SoftTpm::start().unwrap();
    let text = refused(&tpm);
    assert!(text.contains("the TPM has no report of a paravisor (at index 0x01400001)"), "{text}");
    tpm.play_paravisor(|_| b"HCLA but nothing more".to_vec()).unwrap();
    assert!(refused(&tpm).contains("damaged report of a paravisor: it ends after 21 bytes"), "{}", refused(&tpm));

    let processor = Processor::new(SnpProduct::Milan, 3, Endorsement::Vcek);
    let other = SoftTpm::start().unwrap();
    other.play_paravisor(|_| left(&processor, &[0xab; 256])).unwrap();
    assert!(refused(&other).contains("not signed by the key that the runtime data name"), "{}", refused(&other));

    let gone = Vtpm::new(Config::new("swtpm:host=127.0.0.1,port=1".parse().unwrap()));
    let text = gone.issue(&ReportData::binding(&[b"x"])).unwrap_err().to_string();
    assert!(text.contains("swtpm:host=127.0.0.1,port=1: connecting to the TPM"), "{text}");
}
