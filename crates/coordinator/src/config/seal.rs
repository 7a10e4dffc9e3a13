//! Which sealing backends, and what each of them needs.

use std::path::PathBuf;

use marblerun_pkcs11::Selector;

use super::{ConfigError, Options, non_empty};
use crate::core::HsmSealing;

/// A sealing backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealBackend {
    /// Seal keys of the trusted execution environment.
    Platform,
    /// TPM 2.0.
    Tpm,
    /// A token.
    Pkcs11,
    /// Azure Managed HSM.
    AzureHsm,
    /// A passphrase in a file.
    Passphrase,
    /// Simulation: a file that plays the host.
    HostKey,
    /// Simulation: nothing at all.
    Plain,
}

impl SealBackend {
    const ALL: [Self; 7] =
        [Self::Platform, Self::Tpm, Self::Pkcs11, Self::AzureHsm, Self::Passphrase, Self::HostKey, Self::Plain];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Tpm => "tpm",
            Self::Pkcs11 => "pkcs11",
            Self::AzureHsm => "azure-hsm",
            Self::Passphrase => "passphrase",
            Self::HostKey => "host-key",
            Self::Plain => "plain",
        }
    }
}

/// Which token, and which key on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    /// Configuration file of the token.
    pub config: PathBuf,
    /// The AES key.
    pub key: Selector,
}

/// What the state is sealed with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SealSettings {
    /// Backends in order; those that stand together are all needed. Empty: as fits the machine.
    pub backends: Vec<Vec<SealBackend>>,
    /// File that plays the host.
    pub host_key: Option<PathBuf>,
    /// File with the passphrase.
    pub passphrase: Option<PathBuf>,
    /// The token.
    pub token: Option<TokenSettings>,
}

impl SealSettings {
    /// Whether every slot needs the HSM.
    #[must_use]
    pub fn hsm_sealing(&self) -> HsmSealing {
        let all = self.backends.iter().all(|parts| parts.contains(&SealBackend::AzureHsm));
        if all && !self.backends.is_empty() { HsmSealing::On } else { HsmSealing::Off }
    }
}

/// What the options mean.
pub(super) fn settings(options: &Options) -> Result<SealSettings, ConfigError> {
    let backends = backends(&options.seal)?;
    let token = token(options)?;
    let settings = SealSettings {
        host_key: non_empty(&options.simulation_host_key).map(PathBuf::from),
        passphrase: non_empty(&options.seal_passphrase_file).map(PathBuf::from),
        token,
        backends,
    };
    let uses = |backend| settings.backends.iter().flatten().any(|used| *used == backend);
    let conflict = |text| Err(ConfigError::Conflict(text));
    if uses(SealBackend::Passphrase) && settings.passphrase.is_none() {
        return conflict(
            "MARBLERUN_SEAL names passphrase: set MARBLERUN_SEAL_PASSPHRASE_FILE to the file that holds it",
        );
    }
    if uses(SealBackend::Pkcs11) && settings.token.is_none() {
        return conflict(
            "MARBLERUN_SEAL names pkcs11: set MARBLERUN_SEAL_PKCS11_CONFIG to the configuration file of the token",
        );
    }
    if uses(SealBackend::HostKey) && settings.host_key.is_none() {
        return conflict(
            "MARBLERUN_SEAL names host-key: set MARBLERUN_SIMULATION_HOST_KEY to the file that plays the host",
        );
    }
    Ok(settings)
}

fn backends(text: &str) -> Result<Vec<Vec<SealBackend>>, ConfigError> {
    if text.is_empty() || text == "auto" {
        return Ok(Vec::new());
    }
    let part = |name: &str| SealBackend::ALL.into_iter().find(|backend| backend.as_str() == name.trim());
    let slot = |names: &str| names.split('+').map(part).collect::<Option<Vec<_>>>();
    text.split(',').map(slot).collect::<Option<Vec<_>>>().ok_or_else(|| ConfigError::BadValue {
        variable: "MARBLERUN_SEAL",
        value: text.to_owned(),
        expected: "expected auto, or some of platform, tpm, pkcs11, azure-hsm, passphrase, host-key, plain, separated by \
                   commas (joined by + where all are needed)",
    })
}

fn token(options: &Options) -> Result<Option<TokenSettings>, ConfigError> {
    let Some(config) = non_empty(&options.seal_pkcs11_config) else { return Ok(None) };
    let (id, label) = (&options.seal_pkcs11_key_id, &options.seal_pkcs11_key_label);
    if id.is_empty() && label.is_empty() {
        return Err(ConfigError::Conflict(
            "MARBLERUN_SEAL_PKCS11_CONFIG is set: name the key on the token with MARBLERUN_SEAL_PKCS11_KEY_ID, \
             MARBLERUN_SEAL_PKCS11_KEY_LABEL, or both",
        ));
    }
    let key =
        Selector::from_arguments(Some(id.as_bytes()), Some(label.as_bytes())).map_err(|_| ConfigError::BadValue {
            variable: "MARBLERUN_SEAL_PKCS11_KEY_ID, MARBLERUN_SEAL_PKCS11_KEY_LABEL",
            value: format!("{id}, {label}"),
            expected: "expected text, hex:6b31, or pkcs11:id=..;object=..",
        })?;
    Ok(Some(TokenSettings { config: config.into(), key }))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn of(arguments: &[&str]) -> Result<SealSettings, String> {
        let options = Options::try_parse_from([&["coordinator"], arguments].concat()).unwrap();
        settings(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn backends_are_named_in_order_alone_or_together() {
        use SealBackend::{HostKey, Passphrase, Pkcs11, Plain, Platform, Tpm};

        assert_eq!(of(&["--seal", "auto"]).unwrap(), SealSettings::default());
        assert_eq!(of(&["--seal", ""]).unwrap(), SealSettings::default());
        let full = [
            "--seal",
            "platform, tpm,platform+pkcs11,passphrase,host-key,plain",
            "--seal-passphrase-file",
            "/p",
            "--simulation-host-key",
            "/h",
            "--seal-pkcs11-config",
            "/t.json",
            "--seal-pkcs11-key-id",
            "hex:6b31",
        ];
        let settings = of(&full).unwrap();
        assert_eq!(
            settings.backends,
            [vec![Platform], vec![Tpm], vec![Platform, Pkcs11], vec![Passphrase], vec![HostKey], vec![Plain]]
        );
        assert_eq!((settings.passphrase, settings.host_key), (Some("/p".into()), Some("/h".into())));
        let token = settings.token.unwrap();
        assert_eq!((token.config, token.key.id, token.key.label), ("/t.json".into(), Some(b"k1".to_vec()), None));
    }

    #[test]
    fn the_hsm_is_needed_where_no_slot_goes_without_it() {
        for (seal, expected) in [
            ("auto", HsmSealing::Off),
            ("azure-hsm", HsmSealing::On),
            ("platform+azure-hsm,tpm+azure-hsm", HsmSealing::On),
            ("platform,azure-hsm", HsmSealing::Off),
        ] {
            assert_eq!(of(&["--seal", seal]).unwrap().hsm_sealing(), expected, "{seal}");
        }
    }

    #[test]
    fn what_is_missing_or_unknown_is_told() {
        for (arguments, message) in [
            (&["--seal", "pcks11"][..], "MARBLERUN_SEAL"),
            (&["--seal", "auto,tpm"], "MARBLERUN_SEAL"),
            (&["--seal", "tpm,"], "MARBLERUN_SEAL"),
            (&["--seal", "passphrase"], "MARBLERUN_SEAL_PASSPHRASE_FILE"),
            (&["--seal", "platform+pkcs11"], "MARBLERUN_SEAL_PKCS11_CONFIG"),
            (&["--seal", "host-key"], "MARBLERUN_SIMULATION_HOST_KEY"),
            (&["--seal-pkcs11-config", "/t.json"], "MARBLERUN_SEAL_PKCS11_KEY_ID"),
            (&["--seal-pkcs11-config", "/t.json", "--seal-pkcs11-key-id", "hex:x"], "MARBLERUN_SEAL_PKCS11_KEY_ID"),
        ] {
            let error = of(arguments).unwrap_err();
            assert!(error.contains(message), "{arguments:?}: {error}");
        }
    }
}
