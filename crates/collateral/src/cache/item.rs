//! What is kept, and by what it is found.

use std::fmt;
use std::sync::Arc;

use marblerun_attestation::{IntelCollateral, IntelPlatform, SnpProduct, Tee, VcekRequest, Window};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Intel(IntelPlatform),
    Vcek(VcekRequest),
    AmdCrl(SnpProduct),
}

/// What is got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Intel(Arc<IntelCollateral>),
    /// A certificate or a list, and when it ends.
    Der {
        der: Arc<[u8]>,
        until: u64,
    },
}

impl Key {
    /// Its file in a folder.
    pub(crate) fn file_name(&self) -> String {
        match self {
            Self::Intel(IntelPlatform { tee, fmspc, ca }) => {
                let tee = if *tee == Tee::Tdx { "tdx" } else { "sgx" };
                format!("{tee}-{}-{}.json", hex::encode(fmspc), ca.as_str())
            }
            Self::Vcek(VcekRequest { product, chip_id, tcb }) => {
                let product = product.as_str().to_lowercase();
                format!("vcek-{product}-{}-{}.der", hex::encode(chip_id), hex::encode(tcb))
            }
            Self::AmdCrl(product) => format!("{}.crl", product.as_str().to_lowercase()),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intel(platform) => platform.fmt(f),
            Self::Vcek(request) => write!(f, "certificate of {request}"),
            Self::AmdCrl(product) => write!(f, "AMD's revocation list of {product}"),
        }
    }
}

impl Item {
    /// From what a service or a folder has; `None` if it is not what was asked for.
    pub(crate) fn from_bytes(key: &Key, bytes: &[u8]) -> Option<Self> {
        match key {
            Key::Intel(platform) => {
                let collateral = IntelCollateral::from_json(bytes).ok()?;
                Self::of_intel(platform, collateral)
            }
            // Which firmware a certificate is for never changes; when it ends is seen by who verifies.
            Key::Vcek(request) => {
                request.is_answered_by(bytes).then(|| Self::Der { der: bytes.into(), until: u64::MAX })
            }
            Key::AmdCrl(_) => Some(Self::Der { der: bytes.into(), until: Window::of_list(bytes)?.until }),
        }
    }

    pub(crate) fn of_intel(platform: &IntelPlatform, collateral: IntelCollateral) -> Option<Self> {
        let fits = collateral.subject() == Some((platform.tee, platform.fmspc)) && collateral.window().is_some();
        fits.then(|| Self::Intel(Arc::new(collateral)))
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Intel(collateral) => collateral.to_json(),
            Self::Der { der, .. } => der.to_vec(),
        }
    }

    /// Until when it is good.
    pub(crate) fn until(&self) -> u64 {
        match self {
            Self::Intel(collateral) => collateral.window().map_or(0, |window| window.until),
            Self::Der { until, .. } => *until,
        }
    }

    /// Whether the vendor knew less when he made it.
    pub(crate) fn is_older_than(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Intel(own), Self::Intel(other)) => {
                let age = |it: &IntelCollateral| (it.evaluation_number(), it.window().map(|window| window.from));
                age(own) < age(other)
            }
            (Self::Der { until: own, .. }, Self::Der { until: other, .. }) => own < other,
            _ => false,
        }
    }
}
