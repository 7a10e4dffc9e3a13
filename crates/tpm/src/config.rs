//! Which TPM, and which of its registers.

use std::fmt;
use std::str::FromStr;

use tss_esapi::tcti_ldr::TctiNameConf;
use zeroize::Zeroizing;

use crate::{COUNTER_INDEX, PcrSet};

/// How to reach the TPM ("TCTI" in the words of tpm2-tss).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcti {
    text: String,
    pub(crate) name: TctiNameConf,
}

impl Default for Tcti {
    /// The kernel's resource manager, which any number of programs may use at once.
    fn default() -> Self {
        let text = "device:/dev/tpmrm0";
        let device = text.parse::<Self>();
        device.unwrap_or_else(|_| Self { text: text.to_owned(), name: TctiNameConf::Device(Default::default()) })
    }
}

impl fmt::Display for Tcti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A way to the TPM that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no way to a TPM. Take device:/dev/tpmrm0, or swtpm:host=127.0.0.1,port=2321 for an emulator, or \
     tabrmd:bus_name=com.intel.tss2.Tabrmd,bus_type=system"
)]
pub struct TctiError(String);

impl FromStr for Tcti {
    type Err = TctiError;

    fn from_str(text: &str) -> Result<Self, TctiError> {
        let name = text.parse().map_err(|_| TctiError(text.to_owned()))?;
        Ok(Self { text: text.to_owned(), name })
    }
}

/// Settings of a TPM.
#[derive(Clone)]
pub struct Config {
    /// How to reach it.
    pub tcti: Tcti,
    /// What `ProductKey` binds to.
    pub product_pcrs: PcrSet,
    /// What `UniqueKey` binds to.
    pub unique_pcrs: PcrSet,
    /// Password of the owner hierarchy; usually there is none.
    pub owner_password: Zeroizing<Vec<u8>>,
    /// The only TPM to use, by its public name, if it is pinned.
    pub host: Option<[u8; 16]>,
}

impl Config {
    /// The usual settings: `ProductKey` binds to PCR 7, `UniqueKey` to 4, 7, 8 and 9; no password, no pinned name.
    #[must_use]
    pub fn new(tcti: Tcti) -> Self {
        Self {
            tcti,
            product_pcrs: PcrSet::SECURE_BOOT,
            unique_pcrs: PcrSet::BOOT_CHAIN,
            owner_password: Zeroizing::default(),
            host: None,
        }
    }
}

/// A variable that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {reason}")]
pub struct ConfigError {
    /// Its name.
    pub variable: &'static str,
    /// What is wrong, and what would be right.
    pub reason: String,
}

/// Variables of a TPM. An empty or absent one has its default.
impl Config {
    /// Way to the TPM; `device:/dev/tpmrm0`.
    pub const TCTI: &str = "MARBLERUN_TPM";
    /// Registers of `ProductKey`; `7`.
    pub const PCRS: &str = "MARBLERUN_TPM_PCRS";
    /// Registers of `UniqueKey`; `4,7,8,9`.
    pub const UNIQUE_PCRS: &str = "MARBLERUN_TPM_UNIQUE_PCRS";
    /// File with the password of the owner hierarchy, without a line end; none.
    pub const OWNER_PASSWORD_FILE: &str = "MARBLERUN_TPM_OWNER_PASSWORD_FILE";
    /// Public name of the only TPM to use, 32 hexadecimal digits; any.
    pub const NAME: &str = "MARBLERUN_TPM_NAME";
    /// Index of the monotonic counter; `0x01804d52`.
    pub const COUNTER: &str = "MARBLERUN_TPM_COUNTER";

    /// Reads the settings through `lookup`.
    ///
    /// # Errors
    /// The first variable that cannot be used.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let given = |variable: &str| lookup(variable).filter(|value| !value.is_empty());
        let bad = |variable| move |reason: String| ConfigError { variable, reason };
        let mut config = Self::new(Tcti::default());
        if let Some(tcti) = given(Self::TCTI) {
            config.tcti = tcti.parse().map_err(|error: TctiError| bad(Self::TCTI)(error.to_string()))?;
        }
        for (variable, set) in [(Self::PCRS, &mut config.product_pcrs), (Self::UNIQUE_PCRS, &mut config.unique_pcrs)] {
            if let Some(list) = given(variable) {
                *set = list.parse().map_err(|error: crate::PcrListError| bad(variable)(error.to_string()))?;
            }
        }
        if let Some(file) = given(Self::OWNER_PASSWORD_FILE) {
            let password = std::fs::read(&file).map(Zeroizing::new);
            let password = password.map_err(|error| bad(Self::OWNER_PASSWORD_FILE)(format!("{file}: {error}")))?;
            let length = password.strip_suffix(b"\n").unwrap_or(&password).len();
            config.owner_password = Zeroizing::new(password.iter().take(length).copied().collect());
        }
        if let Some(name) = given(Self::NAME) {
            let mut host = [0; 16];
            hex::decode_to_slice(name.trim(), &mut host)
                .map_err(|_| bad(Self::NAME)(format!("{name:?} is not 32 hexadecimal digits")))?;
            config.host = Some(host);
        }
        Ok(config)
    }

    /// Reads the index of the counter through `lookup`.
    ///
    /// # Errors
    /// If it is no number. [`crate::TpmCounter::new`] checks the range.
    pub fn read_counter_index(lookup: impl Fn(&str) -> Option<String>) -> Result<u32, ConfigError> {
        let Some(text) = lookup(Self::COUNTER).filter(|text| !text.is_empty()) else { return Ok(COUNTER_INDEX) };
        let number =
            text.trim().strip_prefix("0x").map_or_else(|| text.trim().parse(), |hex| u32::from_str_radix(hex, 16));
        number.map_err(|_| ConfigError {
            variable: Self::COUNTER,
            reason: format!("{text:?} is no index such as {COUNTER_INDEX:#010x}"),
        })
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("tcti", &self.tcti.text)
            .field("product_pcrs", &self.product_pcrs)
            .field("unique_pcrs", &self.unique_pcrs)
            .field("host", &self.host.map(hex::encode))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_a_tpm_are_read_and_shown_as_given() {
        for text in ["device:/dev/tpmrm0", "swtpm:host=127.0.0.1,port=2321", "swtpm"] {
            assert_eq!(text.parse::<Tcti>().unwrap().to_string(), text);
        }
        assert_eq!(Tcti::default().to_string(), "device:/dev/tpmrm0");
        for text in ["", "/dev/tpmrm0", "swtpm:port=0x1", "libtss2-tcti-evil.so"] {
            let error = text.parse::<Tcti>().unwrap_err().to_string();
            assert!(error.contains("device:/dev/tpmrm0"), "{error}");
        }
    }

    #[test]
    fn variables_have_defaults_and_wrong_ones_are_named() {
        let read = |variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let variables: std::collections::BTreeMap<String, String> = variables.collect();
            Config::read(|name| variables.get(name).cloned())
        };
        let config = read(&[("MARBLERUN_TPM_PCRS", "")]).unwrap();
        assert_eq!((config.product_pcrs, config.unique_pcrs), (PcrSet::SECURE_BOOT, PcrSet::BOOT_CHAIN));
        assert_eq!((config.tcti, config.host), (Tcti::default(), None));
        let name = "00112233445566778899aabbccddeeff";
        let config = read(&[("MARBLERUN_TPM_PCRS", "4,7"), ("MARBLERUN_TPM_NAME", name)]).unwrap();
        assert_eq!(
            (config.product_pcrs.to_string().as_str(), config.host.map(hex::encode).as_deref()),
            ("4,7", Some(name))
        );
        for (variable, value) in [
            (Config::TCTI, "tpm"),
            (Config::PCRS, "x"),
            (Config::UNIQUE_PCRS, "24"),
            (Config::OWNER_PASSWORD_FILE, "/no/such/file"),
            (Config::NAME, "0011"),
        ] {
            assert_eq!(read(&[(variable, value)]).unwrap_err().variable, variable);
        }
    }

    #[test]
    fn an_owner_password_is_read_without_its_line_end() {
        let dir = std::env::temp_dir().join(format!("marblerun-tpm-password-{}", std::process::id()));
        for content in ["pass", "pass\n"] {
            std::fs::write(&dir, content).unwrap();
            let path = dir.display().to_string();
            let config = Config::read(|name| (name == Config::OWNER_PASSWORD_FILE).then(|| path.clone())).unwrap();
            assert_eq!(config.owner_password.as_slice(), b"pass");
        }
        std::fs::remove_file(&dir).unwrap();
    }

    #[test]
    fn the_counters_index_is_read_in_both_bases() {
        for (text, index) in [("", COUNTER_INDEX), ("0x01800001", 0x0180_0001), ("25165825", 25_165_825)] {
            assert_eq!(Config::read_counter_index(|_| Some(text.to_owned())), Ok(index));
        }
        assert!(Config::read_counter_index(|_| Some("0xzz".to_owned())).is_err());
        assert_eq!(Config::read_counter_index(|_| None), Ok(COUNTER_INDEX));
    }

    #[test]
    fn a_password_is_not_shown() {
        let config = Config { owner_password: Zeroizing::new(b"hunter2".to_vec()), ..Config::new(Tcti::default()) };
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
