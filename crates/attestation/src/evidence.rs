//! Evidence as it travels, and what it is bound to.

use aws_lc_rs::digest::{SHA256, digest};

/// What hardware states about a piece of software. Opaque until a verifier has looked at it; empty in simulation.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Evidence(Vec<u8>);

/// Evidence longer than any hardware makes it. Who sends it is broken or hostile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("evidence of {0} bytes is longer than the {max} that are accepted", max = Evidence::MAX_LEN)]
pub struct EvidenceTooLong(pub usize);

impl Evidence {
    /// The longest evidence that is looked at.
    pub const MAX_LEN: usize = 64 << 10;

    /// No evidence, as simulation gives it.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Takes evidence from a peer.
    ///
    /// # Errors
    /// If it is too long.
    pub fn from_wire(bytes: Vec<u8>) -> Result<Self, EvidenceTooLong> {
        if bytes.len() > Self::MAX_LEN { Err(EvidenceTooLong(bytes.len())) } else { Ok(Self(bytes)) }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes to send.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes to send.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl std::fmt::Debug for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Evidence({} bytes)", self.0.len())
    }
}

/// 64 bytes of the caller's choice that evidence carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReportData(pub [u8; 64]);

impl ReportData {
    /// Binds evidence to something: its SHA-256, then 32 zero bytes. For a Marble, the DER of its TLS
    /// certificate; for the Coordinator, the DER of its root certificate, followed by the asker's nonce.
    #[must_use]
    pub fn binding(parts: &[&[u8]]) -> Self {
        let mut data = [0; 64];
        for (to, from) in data.iter_mut().zip(digest(&SHA256, &parts.concat()).as_ref()) {
            *to = *from;
        }
        Self(data)
    }

    /// Binds evidence to what a Coordinator is and which life of its deployment it serves: the DER of its root certificate,
    /// the asker's nonce, and the incarnation; `None` while it is not known, in recovery mode.
    ///
    /// Every other binding begins with a certificate (DER, 0x30) or another word: whoever has a Coordinator make evidence
    /// over a nonce of his choice cannot make this of it.
    #[must_use]
    pub fn of_incarnation(root: &[u8], nonce: &[u8], incarnation: Option<&Incarnation>) -> Self {
        let length = |part: &[u8]| u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes();
        let (number, id) = incarnation.map_or_else(Default::default, |life| (life.number, life.id));
        Self::binding(&[
            b"marblerun attestation v1\0",
            &length(root),
            root,
            &length(nonce),
            nonce,
            &[u8::from(incarnation.is_some())],
            &number.to_be_bytes(),
            &id,
        ])
    }
}

/// One life of a deployment: it ends where its state is recovered, restored or imported, and another begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incarnation {
    /// 1 at first, then one more than that of the state it goes on from: lower than before where a backup is old enough.
    pub number: u64,
    /// Random: two lives that begin with the same backup have the same number.
    pub id: [u8; 16],
}

impl std::fmt::Debug for ReportData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReportData({})", hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_data_is_a_hash_and_zeroes() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let data = ReportData::binding(&[b"a", b"bc"]);
        assert_eq!(hex::encode(&data.0[..32]), expected);
        assert_eq!(data.0[32..], [0; 32]);
    }

    #[test]
    fn an_incarnation_is_bound_in_one_way_and_taken_for_nothing_else() {
        let (root, nonce) = (&[0x30, 0x82, 0x01][..], &[7; 16][..]);
        let life = Incarnation { number: 2, id: [9; 16] };
        let bound = ReportData::of_incarnation(root, nonce, Some(&life));
        let input = [
            &b"marblerun attestation v1\0"[..],
            &[0, 0, 0, 0, 0, 0, 0, 3],
            root,
            &[0, 0, 0, 0, 0, 0, 0, 16],
            nonce,
            &[1, 0, 0, 0, 0, 0, 0, 0, 2],
            &[9; 16],
        ];
        assert_eq!(bound, ReportData::binding(&input));
        let vector = "06e77723c92439d5757fb1f1740e9c6644c97db67056d95d481e3ad746ad26ae";
        assert_eq!(hex::encode(&bound.0[..32]), vector);
        let others = [
            ReportData::of_incarnation(&root[..2], &[&root[2..], nonce].concat(), Some(&life)),
            ReportData::of_incarnation(root, nonce, Some(&Incarnation { number: 1, ..life })),
            ReportData::of_incarnation(root, nonce, Some(&Incarnation { id: [8; 16], ..life })),
            ReportData::of_incarnation(root, nonce, None),
            ReportData::binding(&[root, nonce]),
            // What a Coordinator makes for whoever brings the rest as the nonce of a plain quote.
            ReportData::binding(&[root, &input.concat()]),
            ReportData::binding(&[root, &input[3..].concat()]),
        ];
        assert!(others.iter().all(|other| *other != bound));
        let unknown = ReportData::of_incarnation(root, nonce, Some(&Incarnation { number: 0, id: [0; 16] }));
        assert_ne!(others[3], unknown);
    }

    #[test]
    fn evidence_that_no_hardware_makes_is_not_taken() {
        assert!(Evidence::from_wire(vec![0; Evidence::MAX_LEN]).is_ok());
        let error = Evidence::from_wire(vec![0; Evidence::MAX_LEN + 1]).unwrap_err();
        assert_eq!(error.to_string(), "evidence of 65537 bytes is longer than the 65536 that are accepted");
    }

    #[test]
    fn empty_evidence_is_none() {
        assert_eq!(Evidence::from_wire(Vec::new()).unwrap(), Evidence::none());
        assert!(Evidence::none().is_empty());
        assert!(Evidence::none().into_bytes().is_empty());
    }
}
