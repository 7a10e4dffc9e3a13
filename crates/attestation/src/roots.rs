//! Whom evidence is traced back to: the vendors' root keys, built in. Nothing that a process is started with can change
//! them; tests bring their own in process.

use crate::SnpProduct;

/// Root certificates of the vendors.
#[derive(Debug, Clone)]
pub struct Roots {
    /// DER of the root that SGX and TDX lead to.
    pub intel: Vec<u8>,
    /// The roots that SEV-SNP leads to.
    pub amd: Vec<AmdRoot>,
}

/// The certificates of one family of AMD's processors. Those below the root are trusted as they are; a test holds that
/// the root signed them.
#[derive(Debug, Clone)]
pub struct AmdRoot {
    /// The family.
    pub product: SnpProduct,
    /// DER of the root key's certificate (ARK).
    pub ark: Vec<u8>,
    /// DER of what signs keys of single processors (ASK).
    pub ask: Vec<u8>,
    /// DER of what signs keys of cloud providers (ASVK), if there is one.
    pub asvk: Option<Vec<u8>>,
}

impl Roots {
    /// The vendors'.
    #[must_use]
    pub fn vendors() -> Self {
        let amd = |product, ark: &[u8], ask: &[u8], asvk: Option<&[u8]>| AmdRoot {
            product,
            ark: ark.to_vec(),
            ask: ask.to_vec(),
            asvk: asvk.map(<[u8]>::to_vec),
        };
        Self {
            intel: include_bytes!("roots/intel.der").to_vec(),
            amd: vec![
                amd(
                    SnpProduct::Milan,
                    include_bytes!("roots/ark_milan.der"),
                    include_bytes!("roots/ask_milan.der"),
                    Some(include_bytes!("roots/asvk_milan.der")),
                ),
                amd(
                    SnpProduct::Genoa,
                    include_bytes!("roots/ark_genoa.der"),
                    include_bytes!("roots/ask_genoa.der"),
                    Some(include_bytes!("roots/asvk_genoa.der")),
                ),
                amd(
                    SnpProduct::Turin,
                    include_bytes!("roots/ark_turin.der"),
                    include_bytes!("roots/ask_turin.der"),
                    None,
                ),
            ],
        }
    }
}
