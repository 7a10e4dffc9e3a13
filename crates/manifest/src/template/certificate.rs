//! Certificates in templates: the DER, and those fields of Go's `x509.Certificate` whose value we
//! can give exactly. Any other field is refused by name rather than rendered differently.

use std::sync::Arc;

use der::asn1::{Ia5StringRef, PrintableStringRef, Utf8StringRef};
use der::{Decode, Tag, Tagged};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};

use super::context::DUMMY;
use super::value::{ByteList, StringList, Value};

/// `.Cert` of a secret; unset, or DER.
#[derive(Clone)]
pub(super) struct Certificate {
    der: Option<Arc<[u8]>>,
}

/// `.Subject` or `.Issuer` of a certificate.
#[derive(Clone)]
pub(super) struct Name(Arc<Attributes>);

#[derive(Default)]
struct Attributes {
    common_name: String,
    serial_number: String,
    country: Vec<String>,
    organization: Vec<String>,
    organizational_unit: Vec<String>,
    locality: Vec<String>,
    province: Vec<String>,
    street_address: Vec<String>,
    postal_code: Vec<String>,
}

const UNREADABLE: &str = "certificate cannot be read";

/// What else `x509.Certificate` has.
const OTHER_FIELDS: &[&str] = &[
    "AuthorityKeyId",
    "CRLDistributionPoints",
    "Equal",
    "ExcludedDNSDomains",
    "ExcludedEmailAddresses",
    "ExcludedIPRanges",
    "ExcludedURIDomains",
    "ExtKeyUsage",
    "Extensions",
    "ExtraExtensions",
    "InhibitAnyPolicy",
    "InhibitAnyPolicyZero",
    "InhibitPolicyMapping",
    "InhibitPolicyMappingZero",
    "IPAddresses",
    "IssuingCertificateURL",
    "KeyUsage",
    "MaxPathLen",
    "MaxPathLenZero",
    "NotAfter",
    "NotBefore",
    "OCSPServer",
    "PermittedDNSDomains",
    "PermittedDNSDomainsCritical",
    "PermittedEmailAddresses",
    "PermittedIPRanges",
    "PermittedURIDomains",
    "Policies",
    "PolicyIdentifiers",
    "PolicyMappings",
    "PublicKey",
    "PublicKeyAlgorithm",
    "RawIssuer",
    "RawSubject",
    "RawSubjectPublicKeyInfo",
    "RawTBSCertificate",
    "RequireExplicitPolicy",
    "RequireExplicitPolicyZero",
    "SerialNumber",
    "Signature",
    "SignatureAlgorithm",
    "SubjectKeyId",
    "UnhandledCriticalExtensions",
    "UnknownExtKeyUsage",
    "URIs",
    "Version",
];

impl Certificate {
    pub(super) fn new(der: Option<Arc<[u8]>>) -> Self {
        Self { der }
    }

    pub(super) fn is_set(&self) -> bool {
        self.der.is_some()
    }

    /// The DER; empty if unset.
    pub(super) fn der(&self) -> &[u8] {
        self.der.as_deref().unwrap_or_default()
    }

    /// A field by its Go name; `Ok(None)` if there is no such field.
    ///
    /// # Errors
    /// If we cannot give the value Go would give.
    pub(super) fn field<'v>(&self, name: &str) -> Result<Option<Value<'v>>, String> {
        let value = match name {
            "Raw" => Value::Bytes(ByteList::of_der(self.der.as_ref())),
            "Subject" | "Issuer" => {
                let attributes = match self.parse()? {
                    Some(parsed) if name == "Subject" => Attributes::read(parsed.tbs_certificate().subject())?,
                    Some(parsed) => Attributes::read(parsed.tbs_certificate().issuer())?,
                    None => Attributes::default(),
                };
                Value::Name(Name(Arc::new(attributes)))
            }
            "DNSNames" => Value::Strings(StringList::new(self.alternative_names(|name| match name {
                GeneralName::DnsName(dns) => Some(dns.to_string()),
                _ => None,
            })?)),
            "EmailAddresses" => Value::Strings(StringList::new(self.alternative_names(|name| match name {
                GeneralName::Rfc822Name(email) => Some(email.to_string()),
                _ => None,
            })?)),
            "IsCA" => Value::Bool(self.constraints()?.is_some_and(|constraints| constraints.ca)),
            "BasicConstraintsValid" => Value::Bool(self.constraints()?.is_some()),
            _ if OTHER_FIELDS.contains(&name) => {
                return Err(format!("field {name} of a certificate is not supported in templates"));
            }
            _ => return Ok(None),
        };
        Ok(Some(value))
    }

    /// `None` for an unset certificate and for the dummy of a dry run: all fields are empty then.
    fn parse(&self) -> Result<Option<x509_cert::Certificate>, String> {
        match self.der() {
            [] => Ok(None),
            der if der == DUMMY => Ok(None),
            der => x509_cert::Certificate::from_der(der).map(Some).map_err(|_| UNREADABLE.to_owned()),
        }
    }

    fn constraints(&self) -> Result<Option<BasicConstraints>, String> {
        let Some(parsed) = self.parse()? else { return Ok(None) };
        let found = parsed.tbs_certificate().get_extension::<BasicConstraints>();
        Ok(found.map_err(|_| UNREADABLE.to_owned())?.map(|(_, constraints)| constraints))
    }

    fn alternative_names(&self, pick: impl Fn(&GeneralName) -> Option<String>) -> Result<Vec<String>, String> {
        let Some(parsed) = self.parse()? else { return Ok(Vec::new()) };
        let found = parsed.tbs_certificate().get_extension::<SubjectAltName>();
        let names = found.map_err(|_| UNREADABLE.to_owned())?.map(|(_, names)| names.0).unwrap_or_default();
        Ok(names.iter().filter_map(pick).collect())
    }
}

impl Name {
    /// A field by its Go name; `Ok(None)` if there is no such field.
    ///
    /// # Errors
    /// If we cannot give the value Go would give.
    pub(super) fn field<'v>(&self, name: &str) -> Result<Option<Value<'v>>, String> {
        let list = |values: &Vec<String>| Value::Strings(StringList::new(values.clone()));
        Ok(Some(match name {
            "CommonName" => Value::open_text(&self.0.common_name),
            "SerialNumber" => Value::open_text(&self.0.serial_number),
            "Country" => list(&self.0.country),
            "Organization" => list(&self.0.organization),
            "OrganizationalUnit" => list(&self.0.organizational_unit),
            "Locality" => list(&self.0.locality),
            "Province" => list(&self.0.province),
            "StreetAddress" => list(&self.0.street_address),
            "PostalCode" => list(&self.0.postal_code),
            "Names" | "ExtraNames" | "String" | "ToRDNSequence" => {
                return Err(format!("field {name} of a certificate name is not supported in templates"));
            }
            _ => return Ok(None),
        }))
    }
}

impl Attributes {
    /// Go's reading of a name: the last of the single values counts, the others are collected.
    fn read(name: &x509_cert::name::Name) -> Result<Self, String> {
        let mut read = Self::default();
        for attribute in name.iter() {
            let value = match attribute.value.tag() {
                Tag::PrintableString => attribute.value.decode_as::<PrintableStringRef<'_>>().map(|s| s.to_string()),
                Tag::Utf8String => attribute.value.decode_as::<Utf8StringRef<'_>>().map(|s| s.to_string()),
                Tag::Ia5String => attribute.value.decode_as::<Ia5StringRef<'_>>().map(|s| s.to_string()),
                _ => return Err("string type in the name of a certificate is not supported in templates".to_owned()),
            };
            let value = value.map_err(|_| UNREADABLE.to_owned())?;
            match attribute.oid.to_string().as_str() {
                "2.5.4.3" => read.common_name = value,
                "2.5.4.5" => read.serial_number = value,
                "2.5.4.6" => read.country.push(value),
                "2.5.4.7" => read.locality.push(value),
                "2.5.4.8" => read.province.push(value),
                "2.5.4.9" => read.street_address.push(value),
                "2.5.4.10" => read.organization.push(value),
                "2.5.4.11" => read.organizational_unit.push(value),
                "2.5.4.17" => read.postal_code.push(value),
                _ => {}
            }
        }
        Ok(read)
    }
}
