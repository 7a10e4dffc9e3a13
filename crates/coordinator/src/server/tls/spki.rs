//! Finds the public key in a certificate without judging the rest of it.
//!
//! Clients identify themselves with whatever certificate they have: X.509 v1, expired, with names no
//! strict parser takes. Only the key matters for the handshake, so nothing else is decoded.

use der::{AnyRef, Decode, SliceReader, Tag, Tagged};
use spki::SubjectPublicKeyInfoRef;

/// The public key of a DER certificate, `None` if the bytes do not have the shape of a certificate.
pub(super) fn subject_public_key(certificate: &[u8]) -> Option<SubjectPublicKeyInfoRef<'_>> {
    let outer = sequence(AnyRef::from_der(certificate).ok()?)?;
    let mut outer = SliceReader::new(outer).ok()?;
    let tbs = sequence(AnyRef::decode(&mut outer).ok()?)?;
    // The signature algorithm and the signature must be there, whatever they say.
    sequence(AnyRef::decode(&mut outer).ok()?)?;
    (AnyRef::decode(&mut outer).ok()?.tag() == Tag::BitString).then_some(())?;

    let mut fields = SliceReader::new(tbs).ok()?;
    let mut next = || AnyRef::decode(&mut fields).ok();
    let first = next()?;
    // X.509 v1 certificates leave the version out: the first field is the serial number.
    let serial = if first.tag() == Tag::Integer { first } else { next()? };
    (serial.tag() == Tag::Integer).then_some(())?;
    let (_signature_algorithm, _issuer, _validity, _subject) = (next()?, next()?, next()?, next()?);
    SubjectPublicKeyInfoRef::decode(&mut fields).ok()
}

/// Whether bytes have the shape of a certificate.
pub(in crate::server) fn is_certificate(der: &[u8]) -> bool {
    subject_public_key(der).is_some()
}

fn sequence(any: AnyRef<'_>) -> Option<&[u8]> {
    (any.tag() == Tag::Sequence).then(|| any.value())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn certificate(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/fixtures/clients/{name}.pem", env!("CARGO_MANIFEST_DIR"));
        let (_, der) = der::pem::decode_vec(
            std::fs::read_to_string(path)
                .unwrap()
                .split_inclusive("-----END CERTIFICATE-----")
                .next()
                .unwrap()
                .as_bytes(),
        )
        .unwrap();
        der
    }

    #[test]
    fn the_key_is_found_in_versions_one_and_three() {
        for name in ["x509-v1", "ecdsa-p256", "empty-dns-name"] {
            let der = certificate(name);
            let key = subject_public_key(&der).unwrap();
            assert_eq!(key.algorithm.oid, const_oid::db::rfc5912::ID_EC_PUBLIC_KEY, "{name}");
        }
    }

    #[test]
    fn what_is_cut_short_or_followed_by_more_is_no_certificate() {
        let mut der = certificate("x509-v1");
        assert!(is_certificate(&der));
        for length in 0..der.len() {
            assert!(!is_certificate(&der[..length]), "{length}");
        }
        der.push(0);
        assert!(!is_certificate(&der));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = is_certificate(&bytes);
        }

        #[test]
        fn changed_certificates_are_judged_without_a_panic(at in 0usize..300, byte in any::<u8>()) {
            let mut der = certificate("ecdsa-p256");
            let at = at % der.len();
            der[at] = byte;
            let _ = is_certificate(&der);
        }
    }
}
