//! The bytes of a report, and what they mean (AMD, SEV Secure Nested Paging Firmware ABI, `ATTESTATION_REPORT`).

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

use crate::{SnpIdentity, SnpProduct, SnpTcbVersion, VerifyError};

/// Bytes of a report.
const LENGTH: usize = 1184;
/// Bytes of it that are signed.
const SIGNED: usize = 0x2a0;
/// Bytes of each of the two numbers of a signature, little endian; P-384 needs 48.
const NUMBER: usize = 72;

/// Who signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// The processor's own key.
    Vcek,
    /// A key of its cloud provider.
    Vlek,
}

impl Key {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
        }
    }
}

/// A report of the right form.
pub(crate) struct Report<'a> {
    bytes: &'a [u8],
    pub(crate) version: u32,
    pub(crate) key: Key,
    pub(crate) report_data: [u8; 64],
    pub(crate) reported_tcb: [u8; 8],
    pub(crate) chip_id: [u8; 64],
}

impl<'a> Report<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, VerifyError> {
        let refuse = |reason: String| VerifyError(format!("damaged SEV-SNP report: {reason}"));
        if bytes.len() != LENGTH {
            return Err(refuse(format!("it has {} bytes instead of {LENGTH}", bytes.len())));
        }
        let number = |at| u32::from_le_bytes(fixed(bytes, at));
        let version = number(0);
        if !(2..=5).contains(&version) {
            return Err(refuse(format!("its version is {version}; 2 to 5 are known")));
        }
        if number(0x34) != 1 {
            return Err(refuse("it is not signed with ECDSA P-384 and SHA-384".to_owned()));
        }
        let key_info = number(0x48);
        let key = match (key_info >> 2) & 7 {
            0 => Key::Vcek,
            1 => Key::Vlek,
            7 => return Err(refuse("it is not signed".to_owned())),
            other => return Err(refuse(format!("it is signed with a key of unknown kind {other}"))),
        };
        if key_info & 2 != 0 {
            return Err(refuse("its host hides the signature (MASK_CHIP_KEY)".to_owned()));
        }
        Ok(Self {
            bytes,
            version,
            key,
            report_data: fixed(bytes, 0x50),
            reported_tcb: fixed(bytes, 0x180),
            chip_id: fixed(bytes, 0x1a0),
        })
    }

    /// The families that may have made it.
    pub(crate) fn products(&self) -> &'static [SnpProduct] {
        if self.version < 3 {
            return &[SnpProduct::Milan, SnpProduct::Genoa];
        }
        let [family, model] = fixed(self.bytes, 0x188);
        match (family, model) {
            (0x19, 0x00..=0x0f) => &[SnpProduct::Milan],
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => &[SnpProduct::Genoa],
            (0x1a, 0x00..=0x1f) => &[SnpProduct::Turin],
            _ => &[],
        }
    }

    /// Whether this key signed it.
    pub(crate) fn check_signature(&self, key: &[u8]) -> Result<(), VerifyError> {
        let refuse = || VerifyError("the signature of the SEV-SNP report is not its key's".to_owned());
        let mut signature = Vec::with_capacity(96);
        for at in [SIGNED, SIGNED + NUMBER] {
            let number: [u8; NUMBER] = fixed(self.bytes, at);
            let (low, high) = number.split_at(48);
            if high.iter().any(|byte| *byte != 0) {
                return Err(refuse());
            }
            signature.extend(low.iter().rev());
        }
        let signed = self.bytes.get(..SIGNED).unwrap_or_default();
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key).verify(signed, &signature).map_err(|_| refuse())
    }

    /// What was measured.
    pub(crate) fn identity(&self, product: SnpProduct, tcb: SnpTcbVersion) -> SnpIdentity {
        let bytes = self.bytes;
        SnpIdentity {
            measurement: fixed(bytes, 0x90),
            id_key_digest: fixed(bytes, 0xe0),
            author_key_digest: fixed(bytes, 0x110),
            family_id: fixed(bytes, 0x10),
            image_id: fixed(bytes, 0x20),
            guest_svn: u32::from_le_bytes(fixed(bytes, 4)),
            host_data: fixed(bytes, 0xc0),
            policy: u64::from_le_bytes(fixed(bytes, 8)),
            vmpl: u32::from_le_bytes(fixed(bytes, 0x30)),
            tcb,
            committed_tcb: SnpTcbVersion::from_bytes(fixed(bytes, 0x1e0), product),
            chip_id: self.chip_id,
            product,
            pcrs: None,
        }
    }
}

impl SnpTcbVersion {
    /// From the bytes of a report, which Turin orders otherwise.
    pub(crate) fn from_bytes(bytes: [u8; 8], product: SnpProduct) -> Self {
        let [a, b, c, d, _, _, g, h] = bytes;
        match product {
            SnpProduct::Milan | SnpProduct::Genoa => Self { bootloader: a, tee: b, snp: g, microcode: h, fmc: None },
            SnpProduct::Turin => Self { fmc: Some(a), bootloader: b, tee: c, snp: d, microcode: h },
        }
    }
}

/// Bytes of a report at a place; the length was checked.
fn fixed<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}
