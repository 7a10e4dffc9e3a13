use super::*;
use crate::{AnyTee, Devices, Identity, SgxIdentity, TcbStatus, VerifyError};

const BINDING: ReportData = ReportData([7; 64]);

/// Stands for hardware: its evidence begins like an SGX quote, its verifier believes everything of that form.
struct Hardware;

impl Issuer for Hardware {
    fn tee(&self) -> Tee {
        Tee::Sgx
    }

    fn issue(&self, binding: &ReportData) -> Result<Evidence, IssueError> {
        let mut quote = vec![0; 436];
        quote[..8].copy_from_slice(&[3, 0, 2, 0, 0, 0, 0, 0]);
        quote[368..432].copy_from_slice(&binding.0);
        Ok(Evidence::from_wire(quote).unwrap())
    }
}

impl Verifier for Hardware {
    fn verify(&self, evidence: &Evidence, _now: u64) -> Result<Claims, VerifyError> {
        let binding = evidence.as_bytes().get(368..432).and_then(|data| data.try_into().ok());
        Ok(Claims::Enclave(EnclaveClaims {
            identity: Identity::Sgx(SgxIdentity::default()),
            debug: false,
            report_data: ReportData(binding.ok_or_else(|| VerifyError("empty report".to_owned()))?),
            tcb_status: TcbStatus::UpToDate,
            advisories: None,
        }))
    }
}

fn hardware() -> PeerAttestation {
    PeerAttestation::hardware(Arc::new(Hardware), Arc::new(Hardware))
}

fn simulated() -> PeerAttestation {
    PeerAttestation::simulated(SimulatedIdentity::default())
}

#[test]
fn each_takes_its_own_kind_for_this_binding_alone() {
    for (peer, tee) in [(hardware(), Tee::Sgx), (simulated(), Tee::Simulation)] {
        let evidence = peer.issue(&BINDING).unwrap();
        assert_eq!(peer.verify(&evidence, &BINDING, 0).unwrap().tee, tee);
        assert_eq!(peer.verify(&evidence, &ReportData([8; 64]), 0), Err(PeerEvidenceError::Binding));
        assert_eq!(peer.own(0).unwrap().tee, tee);
    }
}

#[test]
fn simulated_and_real_never_take_each_other() {
    let (real, fake) = (hardware().issue(&BINDING).unwrap(), simulated().issue(&BINDING).unwrap());
    assert_eq!(hardware().verify(&fake, &BINDING, 0), Err(PeerEvidenceError::Simulated));
    assert!(matches!(simulated().verify(&real, &BINDING, 0), Err(PeerEvidenceError::NotGenuine(_))));
    // What clients of a simulated Coordinator get is no evidence for peers either.
    for peer in [hardware(), simulated()] {
        assert!(matches!(peer.verify(&Evidence::none(), &BINDING, 0), Err(PeerEvidenceError::NotGenuine(_))));
    }
}

#[test]
fn a_verifier_that_believes_anything_is_not_believed() {
    let careless = PeerAttestation::hardware(Arc::new(Hardware), Arc::new(crate::Simulation));
    let evidence = careless.issue(&BINDING).unwrap();
    assert_eq!(careless.verify(&evidence, &BINDING, 0), Err(PeerEvidenceError::Simulated));
}

#[test]
fn what_this_build_cannot_judge_is_refused() {
    let peer = PeerAttestation::hardware(Arc::new(Hardware), Arc::new(AnyTee::default()));
    let error = peer.own(0).unwrap_err().to_string();
    assert!(error.starts_with("damaged quote"), "{error}");
}

#[test]
fn the_backend_decides_which_kind_it_is() {
    let backend = Backend::open(Tee::Simulation, &Devices::default()).unwrap();
    let identity: SimulatedIdentity = "svn=3".parse().unwrap();
    assert_eq!(PeerAttestation::new(&backend, identity).own(0).unwrap().claims.identity.security_version(), 3);
    let backend = Backend { issuer: Arc::new(Hardware), verifier: Arc::new(Hardware) };
    assert_eq!(PeerAttestation::new(&backend, identity).tee(), Tee::Sgx);
}
