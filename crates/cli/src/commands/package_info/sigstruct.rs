//! SIGSTRUCT: what the signer of an SGX enclave states about it (Intel SDM, volume 3D, "Enclave Signature Structure").

use aws_lc_rs::digest::{SHA256, digest};

/// Size of the structure.
const SIZE: usize = 1808;
const HEADER1: [u8; 16] = [6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
const HEADER2: [u8; 16] = [1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0];
const HEADER2_AT: usize = 24;

/// The identity in a SIGSTRUCT.
#[derive(Debug, PartialEq, Eq)]
pub struct SigStruct {
    /// MRENCLAVE.
    pub unique_id: [u8; 32],
    /// MRSIGNER: SHA-256 of the signer's modulus.
    pub signer_id: [u8; 32],
    /// ISVPRODID.
    pub product_id: u16,
    /// ISVSVN.
    pub security_version: u16,
}

/// Why no SIGSTRUCT was found.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SigStructError {
    /// Nothing looks like one.
    #[error("could not find SIGSTRUCT header in given file")]
    NotFound,
    /// It is cut short.
    #[error("SGX metadata/SIGSTRUCT appears to be too small")]
    TooSmall,
    /// The first of the two constants is there, the second is not where it must be.
    #[error("found first SIGSTRUCT header, but cannot find second one")]
    NoSecondHeader,
}

impl SigStruct {
    /// The first one in the bytes. Constants that happen to look like its beginning are passed over.
    pub fn find(bytes: &[u8]) -> Result<Self, SigStructError> {
        let mut failure = SigStructError::NotFound;
        for (start, _) in bytes.windows(HEADER1.len()).enumerate().filter(|(_, window)| *window == HEADER1) {
            match Self::parse(bytes.get(start..).unwrap_or_default()) {
                Ok(found) => return Ok(found),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn parse(bytes: &[u8]) -> Result<Self, SigStructError> {
        let bytes: &[u8; SIZE] = bytes.first_chunk().ok_or(SigStructError::TooSmall)?;
        if field(bytes, HEADER2_AT) != Some(HEADER2) {
            return Err(SigStructError::NoSecondHeader);
        }
        let modulus: [u8; 384] = field(bytes, 128).ok_or(SigStructError::TooSmall)?;
        let signer_id = digest(&SHA256, &modulus).as_ref().try_into().map_err(|_| SigStructError::TooSmall)?;
        Ok(Self {
            unique_id: field(bytes, 960).ok_or(SigStructError::TooSmall)?,
            signer_id,
            product_id: u16::from_le_bytes(field(bytes, 1024).ok_or(SigStructError::TooSmall)?),
            security_version: u16::from_le_bytes(field(bytes, 1026).ok_or(SigStructError::TooSmall)?),
        })
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
