//! What evidence of others is verified with: hardware's needs what its vendor says about platforms, simulation needs nothing.

use std::path::Path;
use std::sync::Arc;

use marblerun_attestation::{AnyTee, Backend, Tee};
use marblerun_collateral::{Qcnl, Settings, SettingsError};

use crate::config::CollateralPlaces;

/// The backend with a verifier that has collateral. In simulation it stays as it is.
pub(super) fn attach(backend: Backend, places: &CollateralPlaces) -> Result<Backend, SettingsError> {
    if backend.tee() == Tee::Simulation {
        return Ok(backend);
    }
    let settings = Settings::resolve(places.intel.clone(), places.amd.clone(), Path::new(Qcnl::PATH))?;
    let settings = Settings { cache: places.cache.clone(), ..settings };
    tracing::info!(place = %settings.intel, "collateral to verify evidence with");
    Ok(Backend { verifier: Arc::new(AnyTee::new(settings.open()?)), ..backend })
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
        let attached = attach(simulation, &places).unwrap();
        assert_eq!(attached.verifier.verify(&Evidence::none(), 0), Ok(Claims::Simulation));
        let hardware = || Backend { issuer: Arc::new(Hardware), verifier: Arc::new(Simulation) };
        let refused = attach(hardware(), &places).unwrap().verifier.verify(&Evidence::none(), 0);
        assert_eq!(refused.unwrap_err().to_string(), "empty report");
        let missing = CollateralPlaces { intel: Some(Place::Path(dir.path().join("missing"))), ..places };
        assert!(attach(hardware(), &missing).unwrap_err().to_string().contains("missing"));
    }
}
