//! From the configuration to the sealers: the one place where a sealing backend is plugged in.

use std::path::Path;
use std::sync::Arc;

use marblerun_attestation::{Issuer, ReportData, Tee};
use marblerun_azure_hsm::{Attest, AzureHsm};
use marblerun_pkcs11::{PIN_VARIABLE, TokenSealer};
use marblerun_sealing::snp::{self, ProductKey, SevGuest, SnpDerivedKey};
use marblerun_sealing::{
    CounterDevice, GramineKeys, HostKeyFile, KeySealer, Nested, Passphrase, Plain, Sealers, SealersError, SlotKind,
    Surroundings,
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
        "MARBLERUN_SEAL: there is no seal key of the platform here ({0}). Name another backend: tpm or azure-hsm, alone or joined with others by +; \
         in simulation pkcs11 or passphrase will do, too"
    )]
    NoPlatform(Tee),
    /// The backend is known, but not built in.
    #[cfg(not(feature = "tpm"))]
    #[error("MARBLERUN_SEAL: sealing with {0} is not in this build; it needs one with the feature `tpm`")]
    NotBuilt(&'static str),
    /// A variable of the backend cannot be used.
    #[error("MARBLERUN_SEAL names {backend}: {reason}")]
    Variable {
        /// The backend.
        backend: &'static str,
        /// Which variable, and what is wrong with it.
        reason: String,
    },
    /// Part of the configuration is missing.
    #[error("MARBLERUN_SEAL: {0} is not configured")]
    NotConfigured(&'static str),
}

/// The sealers that are configured, or that fit the machine. `root` is where devices are looked for. Nothing is asked of a
/// device yet: one that is away now is told when it is needed, and another slot may open the state.
pub(super) fn open(settings: &SealSettings, issuer: &Arc<dyn Issuer>, root: &Path) -> Result<Sealers, SealingError> {
    let tee = issuer.tee();
    let simulation = tee == Tee::Simulation;
    let surroundings = if simulation { Surroundings::Simulation } else { Surroundings::Tee };
    let sealers = match settings.backends.as_slice() {
        [] => vec![automatic(settings, issuer, root)?],
        chosen => chosen.iter().map(|parts| joined(parts, settings, issuer, root)).collect::<Result<Vec<_>, _>>()?,
    };
    Ok(Sealers::new(surroundings, sealers)?)
}

/// The device with a monotonic counter among the backends that are configured. Nothing is asked of it yet.
pub(super) fn counter(settings: &SealSettings) -> Result<Option<Arc<dyn CounterDevice>>, SealingError> {
    if settings.backends.iter().flatten().any(|backend| *backend == SealBackend::Tpm) {
        tpm_counter()
    } else {
        Ok(None)
    }
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
fn automatic(
    settings: &SealSettings,
    issuer: &Arc<dyn Issuer>,
    root: &Path,
) -> Result<Arc<dyn KeySealer>, SealingError> {
    let backend = match (issuer.tee(), &settings.host_key) {
        (Tee::Simulation, Some(_)) => SealBackend::HostKey,
        (Tee::Simulation, None) => SealBackend::Plain,
        _ => SealBackend::Platform,
    };
    sealer(backend, settings, issuer, root)
}

fn joined(
    parts: &[SealBackend],
    settings: &SealSettings,
    issuer: &Arc<dyn Issuer>,
    root: &Path,
) -> Result<Arc<dyn KeySealer>, SealingError> {
    let mut sealers = parts.iter().map(|part| sealer(*part, settings, issuer, root)).collect::<Result<Vec<_>, _>>()?;
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
    issuer: &Arc<dyn Issuer>,
    root: &Path,
) -> Result<Arc<dyn KeySealer>, SealingError> {
    let missing = SealingError::NotConfigured(backend.as_str());
    Ok(match backend {
        SealBackend::Platform => platform(issuer.tee(), root)?,
        SealBackend::Tpm => tpm()?,
        SealBackend::AzureHsm => {
            let config = marblerun_azure_hsm::Config::read(variable).map_err(|error| unusable(backend, &error))?;
            Arc::new(AzureHsm::new(config, attest(Arc::clone(issuer))))
        }
        SealBackend::Pkcs11 => {
            let token = settings.token.as_ref().ok_or(missing)?;
            Arc::new(TokenSealer::new(&token.config, token.key.clone(), std::env::var_os(PIN_VARIABLE)))
        }
        SealBackend::Passphrase => Arc::new(Passphrase::new(settings.passphrase.as_ref().ok_or(missing)?)),
        SealBackend::HostKey => Arc::new(HostKeyFile::new(settings.host_key.as_ref().ok_or(missing)?)),
        SealBackend::Plain => Arc::new(Plain),
    })
}

/// Seal keys of the platform: those of an SGX enclave, handed out by Gramine, and those of an SEV-SNP guest. Other
/// environments have none.
fn platform(tee: Tee, root: &Path) -> Result<Arc<dyn KeySealer>, SealingError> {
    let gramine = GramineKeys::new(root);
    match tee {
        Tee::Sgx => Ok(Arc::new(gramine)),
        Tee::Simulation if gramine.is_present() => Ok(Arc::new(gramine)),
        Tee::Snp => {
            let bad = |name: &str, expected: &str| SealingError::Variable {
                backend: SealBackend::Platform.as_str(),
                reason: format!("{name}: expected {expected}"),
            };
            let product_key = match variable(SNP_PRODUCT_KEY) {
                Some(name) => {
                    ProductKey::from_name(&name).ok_or_else(|| bad(SNP_PRODUCT_KEY, "measurement or id-block"))?
                }
                None => ProductKey::default(),
            };
            let level = variable(SNP_VMPL).map_or(Ok(0), |text| text.parse());
            let level = level.ok().filter(|level| *level <= 3).ok_or_else(|| bad(SNP_VMPL, "0, 1, 2 or 3"))?;
            let device = SevGuest::new(&root.join(snp::PATH.trim_start_matches('/')));
            Ok(Arc::new(SnpDerivedKey::new(device, product_key, level)))
        }
        other => Err(SealingError::NoPlatform(other)),
    }
}

/// What `ProductKey` binds to in an SEV-SNP guest.
const SNP_PRODUCT_KEY: &str = "MARBLERUN_SNP_PRODUCT_KEY";
/// The privilege level of the guest's program.
const SNP_VMPL: &str = "MARBLERUN_SNP_VMPL";

#[cfg(feature = "tpm")]
fn tpm() -> Result<Arc<dyn KeySealer>, SealingError> {
    let config = marblerun_tpm::Config::read(variable).map_err(|error| unusable(SealBackend::Tpm, &error))?;
    Ok(Arc::new(marblerun_tpm::TpmSealer::new(config)))
}

#[cfg(feature = "tpm")]
fn tpm_counter() -> Result<Option<Arc<dyn CounterDevice>>, SealingError> {
    let bad = |error: marblerun_tpm::ConfigError| unusable(SealBackend::Tpm, &error);
    let config = marblerun_tpm::Config::read(variable).map_err(bad)?;
    let index = marblerun_tpm::Config::read_counter_index(variable).map_err(bad)?;
    Ok(Some(Arc::new(marblerun_tpm::TpmCounters::new(config, index).map_err(bad)?)))
}

#[cfg(not(feature = "tpm"))]
fn tpm_counter() -> Result<Option<Arc<dyn CounterDevice>>, SealingError> {
    Err(SealingError::NotBuilt(SealBackend::Tpm.as_str()))
}

#[cfg(not(feature = "tpm"))]
fn tpm() -> Result<Arc<dyn KeySealer>, SealingError> {
    Err(SealingError::NotBuilt(SealBackend::Tpm.as_str()))
}

/// Evidence for a service that releases a key to who is attested.
fn attest(issuer: Arc<dyn Issuer>) -> Attest {
    Arc::new(move |digest: &[u8; 32]| {
        let mut data = [0; 64];
        data.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
        issuer.issue(&ReportData(data)).map(|evidence| evidence.into_bytes()).map_err(|error| error.to_string())
    })
}

/// Variables of single backends; an empty one counts as absent.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn unusable(backend: SealBackend, reason: &impl ToString) -> SealingError {
    SealingError::Variable { backend: backend.as_str(), reason: reason.to_string() }
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

    struct In(Tee);

    impl Issuer for In {
        fn tee(&self) -> Tee {
            self.0
        }

        fn issue(&self, _: &ReportData) -> Result<marblerun_attestation::Evidence, marblerun_attestation::IssueError> {
            Ok(marblerun_attestation::Evidence::none())
        }
    }

    fn issuer(tee: Tee) -> Arc<dyn Issuer> {
        Arc::new(In(tee))
    }

    fn names(settings: &SealSettings, tee: Tee) -> Result<Vec<String>, SealingError> {
        let root = tempfile::tempdir().unwrap();
        let sealers = open(settings, &issuer(tee), root.path())?;
        Ok(sealers.iter().map(|sealer| sealer.name().to_owned()).collect())
    }

    #[test]
    fn without_a_choice_it_is_the_platform_and_in_simulation_what_it_was() {
        assert_eq!(names(&settings(&[]), Tee::Simulation).unwrap(), ["host-key-file"]);
        assert_eq!(names(&SealSettings::default(), Tee::Simulation).unwrap(), ["plain"]);
        assert_eq!(names(&SealSettings::default(), Tee::Sgx).unwrap(), ["platform"]);
        assert_eq!(names(&SealSettings::default(), Tee::Snp).unwrap(), ["sev-snp"]);
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
        let told = |backends: &[&[SealBackend]], tee| {
            warning(&open(&settings(backends), &issuer(tee), root.path()).unwrap(), false)
        };
        assert!(told(&[], Tee::Sgx).unwrap().contains("microcode"));
        assert!(told(&[&[Passphrase]], Tee::Simulation).is_some());
        assert_eq!(told(&[&[Passphrase], &[HostKey]], Tee::Simulation), None);
        let plain = open(&SealSettings::default(), &issuer(Tee::Simulation), root.path()).unwrap();
        assert!(warning(&plain, true).unwrap().contains("Secret"));
    }
}
