//! Distinguished names as Go's `pkix.Name` builds and reads them: fixed order, one multi-valued RDN for
//! all values of an attribute, PrintableString where the characters allow it and UTF8String otherwise.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519::{
    COMMON_NAME, COUNTRY_NAME, LOCALITY_NAME, ORGANIZATION_NAME, ORGANIZATIONAL_UNIT_NAME, POSTAL_CODE, SERIAL_NUMBER,
    ST, STREET,
};
use der::asn1::{Any, PrintableStringRef, SetOfVec, Utf8StringRef};
use der::{Decode, Encode, Tag, Tagged};
use marblerun_manifest::model::Subject;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};

use crate::PkiError;

/// A name of a common name alone.
pub(crate) fn common_name(text: &str) -> Result<Name, PkiError> {
    build(&Subject { common_name: text.to_owned(), ..Subject::default() })
}

/// Builds a name. An attribute in `extra_names` replaces the field of the same type.
pub(crate) fn build(subject: &Subject) -> Result<Name, PkiError> {
    let single = |text: &str| if text.is_empty() { Vec::new() } else { vec![text.to_owned()] };
    let extra = subject
        .extra_names
        .iter()
        .map(|(arcs, value)| Ok((object_identifier(arcs)?, value)))
        .collect::<Result<Vec<_>, PkiError>>()?;

    let mut rdns = RdnSequence::default();
    let fields = [
        (COUNTRY_NAME, &subject.country),
        (ST, &subject.province),
        (LOCALITY_NAME, &subject.locality),
        (STREET, &subject.street_address),
        (POSTAL_CODE, &subject.postal_code),
        (ORGANIZATION_NAME, &subject.organization),
        (ORGANIZATIONAL_UNIT_NAME, &subject.organizational_unit),
        (COMMON_NAME, &single(&subject.common_name)),
        (SERIAL_NUMBER, &single(&subject.serial_number)),
    ];
    for (oid, values) in fields {
        if !values.is_empty() && extra.iter().all(|(given, _)| *given != oid) {
            rdns.push(rdn(values.iter().map(|value| (oid, value.as_str())))?);
        }
    }
    for (oid, value) in extra {
        rdns.push(rdn(std::iter::once((oid, value.as_str())))?);
    }
    // The only public way from RDNs to a `Name` is through its encoding.
    Ok(Name::from_der(&rdns.to_der()?)?)
}

/// Reads the attributes Go knows; others are left out. Of CN and serialNumber the last one counts.
pub(crate) fn read(name: &Name) -> Result<Subject, PkiError> {
    let mut subject = Subject::default();
    for attribute in name.iter() {
        let text = text(&attribute.value);
        let list = match attribute.oid {
            COMMON_NAME => {
                subject.common_name = text?;
                continue;
            }
            SERIAL_NUMBER => {
                subject.serial_number = text?;
                continue;
            }
            COUNTRY_NAME => &mut subject.country,
            ST => &mut subject.province,
            LOCALITY_NAME => &mut subject.locality,
            STREET => &mut subject.street_address,
            POSTAL_CODE => &mut subject.postal_code,
            ORGANIZATION_NAME => &mut subject.organization,
            ORGANIZATIONAL_UNIT_NAME => &mut subject.organizational_unit,
            _ => continue,
        };
        list.push(text?);
    }
    Ok(subject)
}

/// An object identifier from its arcs.
pub(crate) fn object_identifier(arcs: &[u64]) -> Result<ObjectIdentifier, PkiError> {
    let dotted = arcs.iter().map(u64::to_string).collect::<Vec<_>>().join(".");
    ObjectIdentifier::new(&dotted)
        .map_err(|_| PkiError::definition(format!("asn1: structure error: invalid object identifier {dotted:?}")))
}

fn rdn<'a>(
    attributes: impl Iterator<Item = (ObjectIdentifier, &'a str)>,
) -> Result<RelativeDistinguishedName, PkiError> {
    let attributes = attributes
        .map(|(oid, value)| Ok(AttributeTypeAndValue { oid, value: string_value(value)? }))
        .collect::<Result<Vec<_>, PkiError>>()?;
    Ok(RelativeDistinguishedName::from(SetOfVec::try_from(attributes)?))
}

fn string_value(text: &str) -> Result<Any, PkiError> {
    // Go's "printable" excludes what X.680 excludes, `*` and `&` too, as does this type.
    Ok(match PrintableStringRef::new(text) {
        Ok(printable) => Any::from(printable),
        Err(_) => Any::from(Utf8StringRef::new(text)?),
    })
}

/// Text of the string types that occur in names.
fn text(value: &Any) -> Result<String, PkiError> {
    const WHAT: &str = "subject name";
    let bytes = value.value();
    match value.tag() {
        Tag::PrintableString | Tag::Utf8String | Tag::Ia5String | Tag::NumericString => {
            String::from_utf8(bytes.to_vec()).map_err(|_| PkiError::malformed(WHAT, "invalid UTF-8 string"))
        }
        // Every byte of a T61String is taken as Latin-1, as Go does.
        Tag::TeletexString => Ok(bytes.iter().map(|&byte| char::from(byte)).collect()),
        Tag::BmpString if bytes.len().is_multiple_of(2) => {
            let units = bytes.iter().step_by(2).zip(bytes.iter().skip(1).step_by(2));
            char::decode_utf16(units.map(|(&high, &low)| u16::from_be_bytes([high, low])))
                .collect::<Result<_, _>>()
                .map_err(|_| PkiError::malformed(WHAT, "invalid BMPString"))
        }
        tag => Err(PkiError::malformed(WHAT, format!("unsupported string type {tag}"))),
    }
}
