//! The first message of a stranger who claims to be another Coordinator: read in bounds, or refused; and evidence in it is
//! never taken by a Coordinator of the other kind, nor for another channel than the one it names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marblerun_attestation::{Evidence, PeerAttestation, PeerMessage, ReportData, SimulatedIdentity};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(identity) = std::str::from_utf8(bytes).unwrap_or_default().parse::<SimulatedIdentity>() {
        assert_eq!(identity.to_string().parse(), Ok(identity));
    }
    let Some((head, rest)) = bytes.split_first_chunk() else { return };
    let Ok(length) = PeerMessage::parse_head(*head) else { return };
    assert!(length <= Evidence::MAX_LEN);
    let Some(body) = rest.get(..length) else { return };
    let Ok(message) = PeerMessage::parse(*head, body.to_vec()) else { return };
    if let PeerMessage::Evidence(evidence) = message {
        assert_eq!(evidence.as_bytes(), body);
        let simulated = PeerAttestation::simulated(SimulatedIdentity::default());
        // What the evidence names as its channel stands behind its first bytes.
        let named = body.get(8..72).and_then(|data| data.try_into().ok()).map(ReportData);
        for binding in [ReportData([0; 64]), named.unwrap_or(ReportData([1; 64]))] {
            if let Ok(peer) = simulated.verify(&evidence, &binding, 0) {
                assert_eq!(peer.claims.report_data, binding);
                assert!(body.starts_with(b"MRSM"));
            }
        }
    }
});
