//! What a report needs beside it to be judged, in one message: the evidence of SEV-SNP, of cloud VMs and of TPMs. Hardware
//! of that kind makes a bare report; who signed it, and what it is bound to, comes from elsewhere. Nothing in a bundle is
//! believed because it is in there.

use prost::Message;

use crate::{Evidence, Tee};

/// First bytes on the wire, with the version of the form.
const MAGIC: [u8; 8] = *b"MREV\x01\0\0\0";

/// A report and what belongs to it. What does not apply is empty.
///
/// On the wire: `MREV`, the version as a little-endian `u32`, then this message of Protocol Buffers.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Bundle {
    /// Who made the report, by the numbers of [`Bundle::number`].
    #[prost(uint32, tag = "1")]
    pub tee: u32,
    /// What the hardware made.
    #[prost(bytes = "vec", tag = "2")]
    pub report: Vec<u8>,
    /// DER certificates that the report or the quote is checked with, in any order: VCEK or VLEK and above, AK.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub certificates: Vec<Vec<u8>>,
    /// What a cloud's report is bound to: it names the AK of the VM's TPM.
    #[prost(bytes = "vec", tag = "4")]
    pub runtime_data: Vec<u8>,
    /// Quote of a TPM, by its AK: `TPM2B_ATTEST` and `TPMT_SIGNATURE`, as `TPM2_Quote` answers them.
    #[prost(bytes = "vec", tag = "5")]
    pub tpm_quote: Vec<u8>,
    /// The registers that the quote is over: their values in ascending order, 32 bytes each.
    #[prost(bytes = "vec", tag = "6")]
    pub pcrs: Vec<u8>,
    /// What was measured into them.
    #[prost(bytes = "vec", tag = "7")]
    pub event_log: Vec<u8>,
    /// What the vendor says about the platform, as the prover got it.
    #[prost(bytes = "vec", tag = "8")]
    pub collateral: Vec<u8>,
}

/// Bytes that are no bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Another form, or another version of it.
    #[error("it does not begin like a bundle of version 1")]
    Magic,
    /// More than anybody needs.
    #[error("a bundle of {0} bytes is longer than the {max} that are accepted", max = Evidence::MAX_LEN)]
    TooLong(usize),
    /// Not this message.
    #[error("damaged bundle: {0}")]
    Damaged(String),
    /// Work for whoever looks through them.
    #[error("{0} certificates are more than the {max} that are accepted", max = Bundle::MAX_CERTIFICATES)]
    Certificates(usize),
    /// As above.
    #[error("{0} bytes of certificates are more than the {max} that are accepted", max = Bundle::MAX_CERTIFICATE_BYTES)]
    CertificateBytes(usize),
    /// There is nothing to judge.
    #[error("a bundle without a report")]
    NoReport,
}

impl Bundle {
    /// The most certificates that are looked at.
    pub const MAX_CERTIFICATES: usize = 10;
    /// The most bytes that they may have together.
    pub const MAX_CERTIFICATE_BYTES: usize = 32 << 10;

    /// The number of a TEE in bundles; SGX and simulation make none.
    #[must_use]
    pub fn number(tee: Tee) -> Option<u32> {
        match tee {
            Tee::Simulation | Tee::Sgx => None,
            Tee::Tdx => Some(2),
            Tee::Snp => Some(3),
            Tee::SnpVtpm => Some(4),
        }
    }

    /// Who made the report; `None` for a number that names nobody.
    #[must_use]
    pub fn made_by(&self) -> Option<Tee> {
        [Tee::Tdx, Tee::Snp, Tee::SnpVtpm].into_iter().find(|tee| Self::number(*tee) == Some(self.tee))
    }

    /// The bytes to send.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        [&MAGIC[..], &self.encode_to_vec()].concat()
    }

    /// Reads one, within its bounds.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn from_wire(bytes: &[u8]) -> Result<Self, BundleError> {
        let message = bytes.strip_prefix(&MAGIC).ok_or(BundleError::Magic)?;
        if bytes.len() > Evidence::MAX_LEN {
            return Err(BundleError::TooLong(bytes.len()));
        }
        let bundle = Self::decode(message).map_err(|error| BundleError::Damaged(error.to_string()))?;
        if bundle.certificates.len() > Self::MAX_CERTIFICATES {
            return Err(BundleError::Certificates(bundle.certificates.len()));
        }
        let length = bundle.certificates.iter().map(Vec::len).sum();
        if length > Self::MAX_CERTIFICATE_BYTES {
            return Err(BundleError::CertificateBytes(length));
        }
        if bundle.report.is_empty() && bundle.tpm_quote.is_empty() {
            return Err(BundleError::NoReport);
        }
        Ok(bundle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Bundle {
        Bundle { tee: 3, report: b"report".to_vec(), certificates: vec![b"leaf".to_vec()], ..Bundle::default() }
    }

    #[test]
    fn the_bytes_are_those_of_the_message() {
        let expected = [b"MREV\x01\0\0\0\x08\x03\x12\x06report\x1a\x04leaf".as_slice()].concat();
        assert_eq!(bundle().to_wire(), expected);
        assert_eq!(Bundle::from_wire(&expected), Ok(bundle()));
        assert_eq!(bundle().made_by(), Some(Tee::Snp));
        assert_eq!(Bundle { tee: 1, ..bundle() }.made_by(), None);
    }

    #[test]
    fn other_forms_and_versions_are_not_taken() {
        for bytes in [&b""[..], b"MREV", b"MREV\x02\0\0\0\x12\x01a", b"MRSM\x01\0\0\0\x12\x01a"] {
            assert_eq!(Bundle::from_wire(bytes), Err(BundleError::Magic));
        }
        assert_eq!(Bundle::from_wire(&MAGIC), Err(BundleError::NoReport));
    }

    #[test]
    fn bounds_are_kept() {
        let many = Bundle { certificates: vec![vec![1]; 11], ..bundle() };
        assert_eq!(Bundle::from_wire(&many.to_wire()), Err(BundleError::Certificates(11)));
        let large = Bundle { certificates: vec![vec![1; 16 << 10], vec![1; (16 << 10) + 1]], ..bundle() };
        assert_eq!(Bundle::from_wire(&large.to_wire()), Err(BundleError::CertificateBytes((32 << 10) + 1)));
        let long = Bundle { event_log: vec![1; 64 << 10], ..bundle() };
        assert!(matches!(Bundle::from_wire(&long.to_wire()), Err(BundleError::TooLong(_))));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Bundle::from_wire(&[&MAGIC[..], &bytes].concat());
        }

        #[test]
        fn what_is_cut_is_never_the_same(cut in 1usize..20) {
            let mut wire = bundle().to_wire();
            wire.truncate(wire.len() - cut);
            proptest::prop_assert_ne!(Bundle::from_wire(&wire), Ok(bundle()));
        }
    }
}
