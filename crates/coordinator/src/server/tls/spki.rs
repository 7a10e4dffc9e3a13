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
