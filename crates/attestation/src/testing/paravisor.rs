//! A paravisor, played: what it leaves in the TPM, and a TPM that quotes. What it leaves is also for a TPM in software.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::Uint;

use super::amd::Processor;
use crate::{Bundle, ReportData, SnpIdentity, Tee};

/// Runtime data that name a key (modulus and exponent) as the TPM's, as short as they can be and still are.
#[must_use]
pub fn runtime_data(n: &[u8], e: &[u8]) -> Vec<u8> {
    let [n, e] = [n, e].map(|number| URL_SAFE_NO_PAD.encode(number));
    format!(
        r#"{{"keys":[{{"kid":"HCLAkPub","key_ops":["sign"],"kty":"RSA","e":"{e}","n":"{n}"}}],"vm-configuration":{{"secure-boot":true,"tpm-enabled":true}},"user-data":""}}"#
    )
    .into_bytes()
}

/// What a paravisor leaves at index `0x01400001`: a report bound to the runtime data, and these.
#[must_use]
pub fn hcl_report(report: &[u8], runtime_data: &[u8]) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    // HCLA, version, size, kind of request, status, and three that are reserved.
    let header = [*b"HCLA", number(2), number(report.len()), number(2), [0; 4], [0; 4], [0; 4], [0; 4]].concat();
    // Size, version, a report of SEV-SNP, SHA-256, length.
    let length = runtime_data.len();
    let data = [number(20 + length), number(1), number(2), number(1), number(length)].concat();
    [&header, report, &data, runtime_data].concat()
}

/// A TPM with an attestation key.
pub struct Tpm {
    key: KeyPair,
    /// Its registers.
    pub pcrs: [[u8; 32]; 24],
}

impl Default for Tpm {
    fn default() -> Self {
        Self { key: KeyPair::generate(KeySize::Rsa2048).unwrap(), pcrs: std::array::from_fn(|n| [n as u8; 32]) }
    }
}

impl Tpm {
    /// The runtime data that name its key.
    #[must_use]
    pub fn runtime_data(&self) -> Vec<u8> {
        // RFC 8017, A.1.1: modulus and exponent.
        let numbers = Vec::<Uint>::from_der(self.key.public_key().as_ref()).unwrap();
        runtime_data(numbers[0].as_bytes(), numbers[1].as_bytes())
    }

    /// `TPMS_ATTEST` of a quote over registers by mask, bound to that.
    #[must_use]
    pub fn attest(&self, bound: &[u8], mask: u32) -> Vec<u8> {
        let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
        let [a, b, c, _] = mask.to_le_bytes();
        let registers = digest(&SHA256, &self.values(mask));
        [
            &[0xff, b'T', b'C', b'G', 0x80, 0x18][..],
            &sized(&[&[0, 0x0b][..], &[0x77; 32]].concat()),
            &sized(bound),
            &[0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2, 1],
            &[1, 2, 3, 4, 5, 6, 7, 8],
            &[0, 0, 0, 1, 0, 0x0b, 3, a, b, c],
            &sized(registers.as_ref()),
        ]
        .concat()
    }

    /// What follows a command to quote: that, signed.
    #[must_use]
    pub fn sign(&self, attest: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), attest, &mut signature).unwrap();
        let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_be_bytes();
        [&length(attest)[..], attest, &[0, 0x14, 0, 0x0b], &length(&signature), &signature].concat()
    }

    /// The values of registers by mask.
    #[must_use]
    pub fn values(&self, mask: u32) -> Vec<u8> {
        (0..24).filter(|number| mask & (1 << number) != 0).flat_map(|number| self.pcrs[number as usize]).collect()
    }

    /// What a VM on that processor sends, below a paravisor, bound to that.
    #[must_use]
    pub fn bundle(&self, processor: &Processor, vm: &SnpIdentity, report_data: &ReportData) -> Bundle {
        let runtime_data = self.runtime_data();
        let mask = 0x00ff_ffff;
        let report = processor.report(vm, &ReportData::binding(&[&runtime_data]));
        Bundle {
            tee: Bundle::number(Tee::SnpVtpm).unwrap(),
            runtime_data,
            tpm_quote: self.sign(&self.attest(&report_data.0[..32], mask)),
            pcrs: self.values(mask),
            ..processor.bundle(report)
        }
    }
}
