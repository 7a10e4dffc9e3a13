//! Which platform configuration registers (PCRs, SHA-256 bank) a key is bound to, and the policy that follows from
//! their values. Pure: the digests are computed here as the TPM computes them, so that what a slot is bound to is known
//! without asking a device.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{self, SHA256};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::structures::{PcrSelectionList, PcrSlot};

/// PCRs of the PC client profile.
const COUNT: u8 = 24;
/// `TPM_CC_PolicyPCR`.
const POLICY_PCR: u32 = 0x0000_017f;
/// `TPM_ALG_SHA256`.
const ALGORITHM_SHA256: u16 = 0x000b;

/// A value of a register.
pub type PcrValue = [u8; 32];

/// A set of registers, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcrSet(u32);

impl PcrSet {
    /// All that a PC has.
    pub const ALL: Self = Self((1 << COUNT) - 1);
    /// 7: the state of Secure Boot, its keys, and who signed what was started. It outlives updates of signed boot
    /// loaders and kernels.
    pub const SECURE_BOOT: Self = Self(1 << 7);
    /// 4, 7, 8, 9: beside Secure Boot, the boot loader or unified kernel image itself, GRUB's commands with the
    /// kernel's command line, and the files it read, kernel and initial RAM disk. Every update changes them.
    pub const BOOT_CHAIN: Self = Self(1 << 4 | 1 << 7 | 1 << 8 | 1 << 9);

    /// From a bit mask, bit n for PCR n. `None` if it is empty or names what no PC has.
    #[must_use]
    pub fn from_mask(mask: u32) -> Option<Self> {
        (mask != 0 && mask >> COUNT == 0).then_some(Self(mask))
    }

    /// Bit n for PCR n.
    #[must_use]
    pub fn mask(self) -> u32 {
        self.0
    }

    /// Whether all of another set are in it.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Its numbers, ascending.
    pub fn numbers(self) -> impl Iterator<Item = u8> + Clone {
        (0..COUNT).filter(move |number| self.0 & (1 << number) != 0)
    }

    /// How many.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Never.
    #[must_use]
    pub fn is_empty(self) -> bool {
        false
    }

    /// The set as the TPM library wants it.
    pub(crate) fn selection(self) -> Result<PcrSelectionList, tss_esapi::Error> {
        let slots: Vec<PcrSlot> =
            self.numbers().map(|number| PcrSlot::try_from(1_u32 << number)).collect::<Result<_, _>>()?;
        PcrSelectionList::builder().with_selection(HashingAlgorithm::Sha256, &slots).build()
    }

    /// `TPML_PCR_SELECTION` of it.
    fn marshalled(self) -> Vec<u8> {
        let [a, b, c, _] = self.0.to_le_bytes();
        [&1_u32.to_be_bytes()[..], &ALGORITHM_SHA256.to_be_bytes(), &[3, a, b, c]].concat()
    }
}

impl fmt::Display for PcrSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, number) in self.numbers().enumerate() {
            write!(f, "{}{number}", if position == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// A list of PCRs that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{list:?} is no list of PCRs: {reason}. An example is 4,7,9")]
pub struct PcrListError {
    list: String,
    reason: String,
}

impl FromStr for PcrSet {
    type Err = PcrListError;

    /// Reads numbers with commas between them.
    fn from_str(list: &str) -> Result<Self, PcrListError> {
        let error = |reason: String| PcrListError { list: list.to_owned(), reason };
        let mut mask = 0;
        for word in list.split(',').map(str::trim) {
            let number = word.parse().ok().filter(|number| *number < COUNT);
            let number = number.ok_or_else(|| error(format!("{word:?} is no number from 0 to {}", COUNT - 1)))?;
            if matches!(number, 16 | 23) {
                return Err(error(format!("any program can reset PCR {number}, so it proves nothing")));
            }
            mask |= 1 << number;
        }
        Self::from_mask(mask).ok_or_else(|| error("it is empty".to_owned()))
    }
}

/// Registers with their values: one boot state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootState {
    set: PcrSet,
    values: Vec<PcrValue>,
}

impl BootState {
    /// Values in the order of the set's numbers. `None` if there are more or fewer.
    #[must_use]
    pub fn new(set: PcrSet, values: Vec<PcrValue>) -> Option<Self> {
        (values.len() == set.len()).then_some(Self { set, values })
    }

    /// Which registers.
    #[must_use]
    pub fn set(&self) -> PcrSet {
        self.set
    }

    /// Their values.
    #[must_use]
    pub fn values(&self) -> &[PcrValue] {
        &self.values
    }

    /// What `PolicyPCR` compares: SHA-256 of all values.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        sha256(&[&self.values.concat()])
    }

    /// Digest of the policy "these registers have these values now".
    #[must_use]
    pub fn policy(&self) -> [u8; 32] {
        sha256(&[&[0; 32], &POLICY_PCR.to_be_bytes(), &self.set.marshalled(), &self.digest()])
    }

    /// The registers that differ.
    #[must_use]
    pub fn changed(&self, now: &Self) -> Option<PcrSet> {
        let differs = |number: &u8| self.value(*number) != now.value(*number);
        PcrSet::from_mask(self.set.numbers().filter(differs).fold(0, |mask, number| mask | 1 << number))
    }

    fn value(&self, wanted: u8) -> Option<&PcrValue> {
        self.set.numbers().zip(&self.values).find(|(number, _)| *number == wanted).map(|(_, value)| value)
    }
}

/// SHA-256 of parts.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        assert_eq!("7".parse(), Ok(PcrSet::SECURE_BOOT));
        assert_eq!("9, 4,8,7,7".parse(), Ok(PcrSet::BOOT_CHAIN));
        assert_eq!(PcrSet::BOOT_CHAIN.to_string(), "4,7,8,9");
        assert_eq!(PcrSet::BOOT_CHAIN.len(), 4);
        assert!(PcrSet::BOOT_CHAIN.includes(PcrSet::SECURE_BOOT) && !PcrSet::SECURE_BOOT.includes(PcrSet::BOOT_CHAIN));
    }

    #[test]
    fn lists_that_bind_to_nothing_are_refused_with_the_reason() {
        for (list, reason) in [
            ("", "\"\" is no number"),
            ("7,", "\"\" is no number"),
            ("24", "from 0 to 23"),
            ("-1", "from 0 to 23"),
            ("sha1:7", "is no number"),
            ("7,16", "any program can reset PCR 16"),
            ("23", "any program can reset PCR 23"),
        ] {
            let error = list.parse::<PcrSet>().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert_eq!(PcrSet::from_mask(0), None);
        assert_eq!(PcrSet::from_mask(1 << 24), None);
    }

    #[test]
    fn what_changed_is_named() {
        let then = BootState::new(PcrSet::BOOT_CHAIN, vec![[0; 32]; 4]).unwrap();
        assert_eq!(then.changed(&then), None);
        let now = BootState::new(PcrSet::BOOT_CHAIN, vec![[1; 32], [0; 32], [0; 32], [2; 32]]).unwrap();
        assert_eq!(then.changed(&now).unwrap().to_string(), "4,9");
        let fewer = BootState::new(PcrSet::SECURE_BOOT, vec![[0; 32]]).unwrap();
        assert_eq!(then.changed(&fewer).unwrap().to_string(), "4,8,9");
        assert_eq!(BootState::new(PcrSet::BOOT_CHAIN, vec![[0; 32]; 3]), None);
    }
}
