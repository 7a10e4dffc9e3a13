//! Evidence that a simulated Coordinator shows its peers: an identity and what it is bound to, in a form that no
//! hardware makes. Nobody vouches for it. Anybody can make it, so only who simulates himself looks at it.

use super::SimulatedIdentity;
use crate::{
    Claims, EnclaveClaims, Evidence, Identity, IssueError, Issuer, ReportData, SgxIdentity, TcbStatus, Tee, Verifier,
    VerifyError,
};

/// First bytes, with the version of the form.
const MAGIC: [u8; 8] = *b"MRSM\x01\0\0\0";

/// Whether bytes say of themselves that they are simulated.
pub(crate) fn is_simulated(evidence: &[u8]) -> bool {
    evidence.starts_with(&MAGIC)
}

/// Makes and reads simulated evidence. It is its own verifier: it takes what is simulated and nothing else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SimulatedPeer(pub(crate) SimulatedIdentity);

impl Issuer for SimulatedPeer {
    fn tee(&self) -> Tee {
        Tee::Simulation
    }

    fn issue(&self, report_data: &ReportData) -> Result<Evidence, IssueError> {
        let SimulatedIdentity { measurement, signer, product, svn, debug } = self.0;
        let numbers = [product.to_le_bytes(), svn.to_le_bytes()].concat();
        let parts = [&MAGIC[..], &report_data.0, &measurement, &signer, &numbers, &[u8::from(debug)]];
        Evidence::from_wire(parts.concat())
            .map_err(|error| IssueError { tee: Tee::Simulation, reason: error.to_string() })
    }
}

impl Verifier for SimulatedPeer {
    fn verify(&self, evidence: &Evidence, _now: u64) -> Result<Claims, VerifyError> {
        let bytes = evidence.as_bytes();
        if !is_simulated(bytes) {
            return Err(VerifyError(
                "the evidence is not a simulated Coordinator's, and a simulated one takes no other".to_owned(),
            ));
        }
        read(bytes).map(Claims::Enclave).ok_or_else(|| VerifyError("damaged simulated evidence".to_owned()))
    }
}

fn read(bytes: &[u8]) -> Option<EnclaveClaims> {
    let mut rest = bytes.strip_prefix(&MAGIC)?;
    let claims = EnclaveClaims {
        report_data: ReportData(take(&mut rest)?),
        identity: Identity::Sgx(SgxIdentity {
            unique_id: take(&mut rest)?,
            signer_id: take(&mut rest)?,
            product_id: u64::from_le_bytes(take(&mut rest)?),
            security_version: u64::from_le_bytes(take(&mut rest)?),
        }),
        debug: match take(&mut rest)? {
            [0] => false,
            [1] => true,
            _ => return None,
        },
        tcb_status: TcbStatus::UpToDate,
        advisories: Some(Vec::new()),
    };
    rest.is_empty().then_some(claims)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, others) = rest.split_first_chunk::<N>()?;
    *rest = others;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_issued_is_read_back_and_nothing_cut_or_longer() {
        let identity: SimulatedIdentity = "measurement=01,signer=02,product=3,svn=4,debug=1".parse().unwrap();
        let peer = SimulatedPeer(identity);
        let evidence = peer.issue(&ReportData([9; 64])).unwrap();
        let Ok(Claims::Enclave(claims)) = peer.verify(&evidence, 0) else { panic!("not read") };
        let sgx = claims.identity.sgx().unwrap();
        assert_eq!((sgx.unique_id[0], sgx.signer_id[0], sgx.product_id), (1, 2, 3));
        assert_eq!((sgx.security_version, claims.debug, claims.report_data), (4, true, ReportData([9; 64])));
        let whole = evidence.into_bytes();
        for length in 0..whole.len() {
            assert!(peer.verify(&Evidence::from_wire(whole[..length].to_vec()).unwrap(), 0).is_err(), "{length}");
        }
        let longer = [&whole[..], &[0]].concat();
        assert!(peer.verify(&Evidence::from_wire(longer).unwrap(), 0).is_err());
    }
}
