//! From the configuration to the sealers: the one place where a sealing backend is plugged in.

use std::path::Path;
use std::sync::Arc;

use marblerun_attestation::Tee;
use marblerun_pkcs11::{PIN_VARIABLE, TokenSealer};
use marblerun_sealing::{
    GramineKeys, HostKeyFile, KeySealer, Nested, Passphrase, Plain, Sealers, SealersError, SlotKind, Surroundings,
};

use crate::config::{SealBackend, SealSettings};

/// Why there is nothing to seal with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealingError {
    /// What was chosen cannot be used here.
    #[error("MARBLERUN_SEAL: {0}")]
    Sealers(#[from] SealersError),
    /// This environment has no seal key of its own.
    #[error(
        "MARBLERUN_SEAL: there is no seal key of the platform here ({0}). Name another backend, such as tpm, pkcs11 or passphrase"
    )]
    NoPlatform(Tee),
    /// The backend is known, but not built in.
    #[error("MARBLERUN_SEAL: sealing with {0} is not in this build")]
    NotBuilt(&'static str),
    /// Part of the configuration is missing.
    #[error("MARBLERUN_SEAL: {0} is not configured")]
    NotConfigured(&'static str),
}

/// The sealers that are configured, or that fit the machine. `root` is where devices are looked for. Nothing is asked of a
/// device yet: one that is away now is told when it is needed, and another slot may open the state.
pub(super) fn open(settings: &SealSettings, tee: Tee, root: &Path) -> Result<Sealers, SealingError> {
    let simulation = tee == Tee::Simulation;
    let surroundings = if simulation { Surroundings::Simulation } else { Surroundings::Tee };
    let sealers = match settings.backends.as_slice() {
        [] => vec![automatic(settings, tee, root)?],
        chosen => chosen.iter().map(|parts| joined(parts, settings, tee, root)).collect::<Result<Vec<_>, _>>()?,
    };
    Ok(Sealers::new(surroundings, sealers)?)
}

/// What an operator should know about the choice.
pub(super) fn warning(sealers: &Sealers, shared: bool) -> Option<&'static str> {
    if sealers.iter().any(|sealer| sealer.kind() == SlotKind::Plain) {
        return Some(match shared {
            false => {
                "the state is sealed to nothing: who can read the seal directory can read the state (see MARBLERUN_SEAL, MARBLERUN_SIMULATION_HOST_KEY)"
            }
            true => {
                "the shared state is sealed to nothing: who can read its Secret and ConfigMap can read the state (see MARBLERUN_SEAL, MARBLERUN_SIMULATION_HOST_KEY)"
            }
        });
    }
    sealers.caution()
}

/// The platform where there is one. In simulation, as before there was a choice: the host key, or nothing.
fn automatic(settings: &SealSettings, tee: Tee, root: &Path) -> Result<Arc<dyn KeySealer>, SealingError> {
    match (tee, &settings.host_key) {
        (Tee::Simulation, Some(_)) => sealer(SealBackend::HostKey, settings, tee, root),
        (Tee::Simulation, None) => sealer(SealBackend::Plain, settings, tee, root),
        _ => sealer(SealBackend::Platform, settings, tee, root),
    }
}

fn joined(
    parts: &[SealBackend],
    settings: &SealSettings,
    tee: Tee,
    root: &Path,
) -> Result<Arc<dyn KeySealer>, SealingError> {
    let mut sealers = parts.iter().map(|part| sealer(*part, settings, tee, root)).collect::<Result<Vec<_>, _>>()?;
    Ok(match sealers.pop() {
        Some(only) if sealers.is_empty() => only,
        Some(last) => {
            sealers.push(last);
            Arc::new(Nested::new(sealers))
        }
        None => return Err(SealersError::None.into()),
    })
}

/// One backend.
fn sealer(
    backend: SealBackend,
    settings: &SealSettings,
    tee: Tee,
    root: &Path,
) -> Result<Arc<dyn KeySealer>, SealingError> {
    let missing = SealingError::NotConfigured(backend.as_str());
    Ok(match backend {
        SealBackend::Platform => platform(tee, root)?,
        SealBackend::Tpm | SealBackend::AzureHsm => return Err(SealingError::NotBuilt(backend.as_str())),
        SealBackend::Pkcs11 => {
            let token = settings.token.as_ref().ok_or(missing)?;
            Arc::new(TokenSealer::new(&token.config, token.key.clone(), std::env::var_os(PIN_VARIABLE)))
        }
        SealBackend::Passphrase => Arc::new(Passphrase::new(settings.passphrase.as_ref().ok_or(missing)?)),
        SealBackend::HostKey => Arc::new(HostKeyFile::new(settings.host_key.as_ref().ok_or(missing)?)),
        SealBackend::Plain => Arc::new(Plain),
    })
}

/// Seal keys of the platform: those of an SGX enclave, handed out by Gramine. Other environments have none that is served
/// here.
fn platform(tee: Tee, root: &Path) -> Result<Arc<dyn KeySealer>, SealingError> {
    let gramine = GramineKeys::new(root);
    match tee {
        Tee::Sgx => Ok(Arc::new(gramine)),
        Tee::Simulation if gramine.is_present() => Ok(Arc::new(gramine)),
        other => Err(SealingError::NoPlatform(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(backends: &[&[SealBackend]]) -> SealSettings {
        SealSettings {
            backends: backends.iter().map(|parts| parts.to_vec()).collect(),
            host_key: Some("/h".into()),
            passphrase: Some("/p".into()),
            token: None,
        }
    }

    fn names(settings: &SealSettings, tee: Tee) -> Result<Vec<String>, SealingError> {
        let root = tempfile::tempdir().unwrap();
        let sealers = open(settings, tee, root.path())?;
        Ok(sealers.iter().map(|sealer| sealer.name().to_owned()).collect())
    }

    #[test]
    fn without_a_choice_it_is_the_platform_and_in_simulation_what_it_was() {
        assert_eq!(names(&settings(&[]), Tee::Simulation).unwrap(), ["host-key-file"]);
        assert_eq!(names(&SealSettings::default(), Tee::Simulation).unwrap(), ["plain"]);
        assert_eq!(names(&SealSettings::default(), Tee::Sgx).unwrap(), ["platform"]);
        let none = names(&SealSettings::default(), Tee::Tdx).unwrap_err();
        assert!(none.to_string().contains("Name another backend"), "{none}");
    }

    #[test]
    fn in_a_tee_what_anyone_can_make_goes_around_the_platform_or_not_at_all() {
        use SealBackend::{HostKey, Passphrase, Plain, Platform};

        let both: &[&[_]] = &[&[Platform], &[Platform, Passphrase]];
        assert_eq!(names(&settings(both), Tee::Sgx).unwrap(), ["platform", "platform+passphrase"]);
        let alone = names(&settings(&[&[Platform], &[Passphrase]]), Tee::Sgx).unwrap_err().to_string();
        assert!(alone.contains("platform+passphrase"), "{alone}");
        for simulated in [HostKey, Plain] {
            assert!(names(&settings(&[&[simulated]]), Tee::Sgx).unwrap_err().to_string().contains("simulation only"));
        }
        assert_eq!(names(&settings(&[&[Passphrase], &[Plain]]), Tee::Simulation).unwrap(), ["passphrase", "plain"]);
        assert!(names(&settings(&[&[Platform]]), Tee::Simulation).is_err(), "there is none");
    }

    #[test]
    fn who_has_one_way_in_that_may_go_is_told() {
        use SealBackend::{HostKey, Passphrase};

        let root = tempfile::tempdir().unwrap();
        let told =
            |backends: &[&[SealBackend]], tee| warning(&open(&settings(backends), tee, root.path()).unwrap(), false);
        assert!(told(&[], Tee::Sgx).unwrap().contains("microcode"));
        assert!(told(&[&[Passphrase]], Tee::Simulation).is_some());
        assert_eq!(told(&[&[Passphrase], &[HostKey]], Tee::Simulation), None);
        let plain = open(&SealSettings::default(), Tee::Simulation, root.path()).unwrap();
        assert!(warning(&plain, true).unwrap().contains("Secret"));
    }
}
