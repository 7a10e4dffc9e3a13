//! Subject alternative names as Go reads them: DNS names, e-mail addresses, addresses and URIs count,
//! other kinds are passed over, whatever is in them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use der::asn1::Any;
use der::{Class, Decode, Tagged};

use crate::PkiError;

/// The names that count, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AltNames {
    pub(crate) dns: Vec<String>,
    pub(crate) emails: Vec<String>,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) uris: Vec<String>,
}

impl AltNames {
    /// Reads the contents of the extension.
    pub(crate) fn from_der(value: &[u8]) -> Result<Self, PkiError> {
        const WHAT: &str = "x509: invalid subject alternative names";
        let mut names = Self::default();
        // Not the library's `GeneralName`: it fails at kinds that are to be passed over.
        for name in Vec::<Any>::from_der(value).map_err(|error| PkiError::malformed(WHAT, error))? {
            let tag = name.tag();
            if tag.class() != Class::ContextSpecific || tag.is_constructed() {
                continue;
            }
            match tag.number().value() {
                1 => names.emails.push(ia5(name.value(), "x509: SAN rfc822Name is malformed")?),
                2 => names.dns.push(ia5(name.value(), "x509: SAN dNSName is malformed")?),
                6 => names.uris.push(ia5(name.value(), "x509: SAN uniformResourceIdentifier is malformed")?),
                7 => names.ips.push(ip(name.value())?),
                _ => {}
            }
        }
        Ok(names)
    }
}

fn ia5(bytes: &[u8], what: &'static str) -> Result<String, PkiError> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Ok(text.to_owned()),
        _ => Err(PkiError::malformed(what, "not an IA5String")),
    }
}

/// An address of 4 or 16 bytes.
fn ip(bytes: &[u8]) -> Result<IpAddr, PkiError> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        Ok(Ipv4Addr::from(octets).into())
    } else if let Ok(octets) = <[u8; 16]>::try_from(bytes) {
        Ok(Ipv6Addr::from(octets).into())
    } else {
        Err(PkiError::malformed("x509: cannot parse IP address of length", bytes.len()))
    }
}
