//! What evidence of others is verified with: hardware's needs what its vendor says about platforms, simulation needs nothing.

use std::path::Path;
use std::sync::Arc;

use marblerun_attestation::{AnyTee, Backend, Tee};
use marblerun_collateral::{Qcnl, Service, Settings, SettingsError};

use crate::config::CollateralPlaces;

/// The backend with a verifier that has collateral, and the service it is asked of, if it is one. In simulation the backend
/// stays as it is.
pub(super) fn attach(
    backend: Backend,
    places: &CollateralPlaces,
) -> Result<(Backend, Option<Arc<Service>>), SettingsError> {
    if backend.tee() == Tee::Simulation {
        return Ok((backend, None));
    }
    let settings = Settings::resolve(places.intel.clone(), places.amd.clone(), Path::new(Qcnl::PATH))?;
    let settings = Settings { cache: places.cache.clone(), ..settings };
    tracing::info!(place = %settings.intel, "collateral to verify evidence with");
    let (source, service) = settings.open_counted()?;
    Ok((Backend { verifier: Arc::new(AnyTee::new(source)), ..backend }, service))
}

#[cfg(test)]
mod tests {
    use marblerun_attestation::{Claims, Evidence, IssueError, Issuer, ReportData, Simulation};
    use marblerun_collateral::Place;

    use super::*;

    struct Hardware;

    impl Issuer for Hardware {
        fn tee(&self) -> Tee {
            Tee::Tdx
        }

        fn issue(&self, _: &ReportData) -> Result<Evidence, IssueError> {
            Ok(Evidence::none())
        }
    }

    #[test]
    fn hardware_gets_a_verifier_of_its_own_and_simulation_keeps_its() {
        let dir = tempfile::tempdir().unwrap();
        let places =
            CollateralPlaces { intel: Some(Place::Path(dir.path().to_owned())), ..CollateralPlaces::default() };
        let simulation = Backend { issuer: Arc::new(Simulation), verifier: Arc::new(Simulation) };
        let (attached, service) = attach(simulation, &places).unwrap();
        assert_eq!(attached.verifier.verify(&Evidence::none(), 0), Ok(Claims::Simulation));
        assert!(service.is_none());
        let hardware = || Backend { issuer: Arc::new(Hardware), verifier: Arc::new(Simulation) };
        let (attached, service) = attach(hardware(), &places).unwrap();
        assert_eq!(attached.verifier.verify(&Evidence::none(), 0).unwrap_err().to_string(), "empty report");
        assert!(service.is_none(), "nobody is asked");
        let asked = CollateralPlaces { intel: Some(Place::Url("https://127.0.0.1:1/".to_owned())), ..places.clone() };
        assert!(attach(hardware(), &asked).unwrap().1.is_some());
        let missing = CollateralPlaces { intel: Some(Place::Path(dir.path().join("missing"))), ..places };
        assert!(attach(hardware(), &missing).unwrap_err().to_string().contains("missing"));
    }
}
