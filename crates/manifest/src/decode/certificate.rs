//! Certificate templates: Go's `x509.Certificate` as JSON, or a DER certificate in base64.
//!
//! Every field of that type is read, also those without effect, because a wrong type in any of them is an error.

use std::net::IpAddr;

use der::Decode as _;

use super::{time, url};
use crate::decode_object;
use crate::gojson::{Context, Decode, ErrorKind, Kind, NoteKind, Value, base64};
use crate::model::{CertFields, CertTemplate, ExtraExtension, Subject};

impl Decode for Option<CertTemplate> {
    fn decode(&mut self, value: Value<'_>, context: &mut Context) {
        match value.kind() {
            Kind::Null => {}
            Kind::String => match base64::decode(value.string().unwrap_or_default().as_bytes()) {
                Ok(der) if x509_cert::Certificate::from_der(&der).is_ok() => *self = Some(CertTemplate::Der(der)),
                Ok(_) => context.refuse(value, ErrorKind::Content, "x509: malformed certificate"),
                Err(_) => context.note(NoteKind::Remark("cert-not-base64")),
            },
            _ => context.separately(|context| {
                let mut fields = match self.take() {
                    Some(CertTemplate::Fields(fields)) => fields,
                    _ => Box::default(),
                };
                fields.decode(value, context);
                *self = Some(CertTemplate::Fields(fields));
            }),
        }
    }

    fn go_type() -> String {
        "Certificate".to_owned()
    }
}

/// Names of Go's `x509.Certificate`.
const FIELDS: &[&str] = &[
    "Raw",
    "RawTBSCertificate",
    "RawSubjectPublicKeyInfo",
    "RawSubject",
    "RawIssuer",
    "RawSignatureAlgorithm",
    "Signature",
    "SignatureAlgorithm",
    "PublicKeyAlgorithm",
    "PublicKey",
    "Version",
    "SerialNumber",
    "Issuer",
    "Subject",
    "NotBefore",
    "NotAfter",
    "KeyUsage",
    "Extensions",
    "ExtraExtensions",
    "UnhandledCriticalExtensions",
    "ExtKeyUsage",
    "UnknownExtKeyUsage",
    "BasicConstraintsValid",
    "IsCA",
    "MaxPathLen",
    "MaxPathLenZero",
    "SubjectKeyId",
    "AuthorityKeyId",
    "OCSPServer",
    "IssuingCertificateURL",
    "DNSNames",
    "EmailAddresses",
    "IPAddresses",
    "URIs",
    "PermittedDNSDomainsCritical",
    "PermittedDNSDomains",
    "ExcludedDNSDomains",
    "PermittedIPRanges",
    "ExcludedIPRanges",
    "PermittedEmailAddresses",
    "ExcludedEmailAddresses",
    "PermittedURIDomains",
    "ExcludedURIDomains",
    "CRLDistributionPoints",
    "PolicyIdentifiers",
    "Policies",
    "InhibitAnyPolicy",
    "InhibitAnyPolicyZero",
    "InhibitPolicyMapping",
    "InhibitPolicyMappingZero",
    "RequireExplicitPolicy",
    "RequireExplicitPolicyZero",
    "PolicyMappings",
];

impl Decode for CertFields {
    fn decode(&mut self, value: Value<'_>, context: &mut Context) {
        context.fields(value, "Certificate", FIELDS, |context, field, value| {
            if !self.decode_effective(field, value, context) {
                decode_ineffective(field, value, context);
            }
        });
    }

    fn go_type() -> String {
        "Certificate".to_owned()
    }
}

impl CertFields {
    /// Fields that have an effect on generated certificates; answers whether this is one.
    fn decode_effective(&mut self, field: &str, value: Value<'_>, context: &mut Context) -> bool {
        match field {
            "SignatureAlgorithm" => self.signature_algorithm.decode(value, context),
            "Subject" => self.subject.decode(value, context),
            "NotAfter" => {
                if let Some(time) = point_in_time(value, context) {
                    self.not_after = time;
                }
            }
            "KeyUsage" => self.key_usage.decode(value, context),
            "ExtKeyUsage" => self.ext_key_usage.decode(value, context),
            "UnknownExtKeyUsage" => oids(&mut self.unknown_ext_key_usage, value, context),
            "IsCA" => self.is_ca.decode(value, context),
            "MaxPathLen" => self.max_path_len.decode(value, context),
            "MaxPathLenZero" => self.max_path_len_zero.decode(value, context),
            "SubjectKeyId" => self.subject_key_id.decode(value, context),
            "OCSPServer" => self.ocsp_server.decode(value, context),
            "IssuingCertificateURL" => self.issuing_certificate_url.decode(value, context),
            "DNSNames" => self.dns_names.decode(value, context),
            "EmailAddresses" => self.email_addresses.decode(value, context),
            "IPAddresses" => self.ip_addresses = addresses(value, context),
            "URIs" => self.uris = uris(value, context),
            "PermittedDNSDomainsCritical" => self.permitted_dns_domains_critical.decode(value, context),
            "PermittedDNSDomains" => self.permitted_dns_domains.decode(value, context),
            "ExcludedDNSDomains" => self.excluded_dns_domains.decode(value, context),
            "PermittedIPRanges" => self.permitted_ip_ranges = ranges(value, context),
            "ExcludedIPRanges" => self.excluded_ip_ranges = ranges(value, context),
            "PermittedEmailAddresses" => self.permitted_email_addresses.decode(value, context),
            "ExcludedEmailAddresses" => self.excluded_email_addresses.decode(value, context),
            "PermittedURIDomains" => self.permitted_uri_domains.decode(value, context),
            "ExcludedURIDomains" => self.excluded_uri_domains.decode(value, context),
            "CRLDistributionPoints" => self.crl_distribution_points.decode(value, context),
            "Policies" => self.policies = policies(value, context),
            "ExtraExtensions" => self.extra_extensions.decode(value, context),
            _ => return false,
        }
        true
    }
}

/// Fields that are accepted and dropped; their types still count.
fn decode_ineffective(field: &str, value: Value<'_>, context: &mut Context) {
    match field {
        "SerialNumber" => return serial_number(value, context),
        "PublicKey" => {}
        "Version" | "PublicKeyAlgorithm" => i64::default().decode(value, context),
        "InhibitAnyPolicy" | "InhibitPolicyMapping" | "RequireExplicitPolicy" => i64::default().decode(value, context),
        "BasicConstraintsValid" => bool::default().decode(value, context),
        "InhibitAnyPolicyZero" | "InhibitPolicyMappingZero" | "RequireExplicitPolicyZero" => {
            bool::default().decode(value, context);
        }
        "Issuer" => Subject::default().decode(value, context),
        "NotBefore" => {
            point_in_time(value, context);
        }
        "Extensions" => Vec::<ExtraExtension>::new().decode(value, context),
        "UnhandledCriticalExtensions" | "PolicyIdentifiers" => oids(&mut Vec::new(), value, context),
        "PolicyMappings" => Vec::<PolicyMapping>::new().decode(value, context),
        _ => Vec::<u8>::new().decode(value, context),
    }
    if value.kind() != Kind::Null && field != "BasicConstraintsValid" {
        context.note(NoteKind::Remark("cert-field-without-effect"));
    }
}

impl Decode for Subject {
    fn decode(&mut self, value: Value<'_>, context: &mut Context) {
        let known = [
            "Country",
            "Organization",
            "OrganizationalUnit",
            "Locality",
            "Province",
            "StreetAddress",
            "PostalCode",
            "SerialNumber",
            "CommonName",
            "Names",
            "ExtraNames",
        ];
        context.fields(value, "Name", &known, |context, field, value| match field {
            "Country" => self.country.decode(value, context),
            "Organization" => self.organization.decode(value, context),
            "OrganizationalUnit" => self.organizational_unit.decode(value, context),
            "Locality" => self.locality.decode(value, context),
            "Province" => self.province.decode(value, context),
            "StreetAddress" => self.street_address.decode(value, context),
            "PostalCode" => self.postal_code.decode(value, context),
            "SerialNumber" => self.serial_number.decode(value, context),
            "CommonName" => self.common_name.decode(value, context),
            "ExtraNames" => self.extra_names.decode(value, context),
            // What a parsed certificate holds; not used to make one.
            _ => Vec::<ParsedName>::new().decode(value, context),
        });
    }

    fn go_type() -> String {
        "Name".to_owned()
    }
}

/// One further attribute of a name, `{"Type": [arcs], "Value": text}`.
#[derive(Default)]
struct Attribute {
    arcs: Arcs,
    value: String,
}

/// An attribute that has no effect; its value may be anything.
#[derive(Default)]
struct ParsedName;

impl Decode for ParsedName {
    fn decode(&mut self, value: Value<'_>, context: &mut Context) {
        context.fields(value, "AttributeTypeAndValue", &["Type", "Value"], |context, field, value| {
            if field == "Type" {
                Arcs::default().decode(value, context);
            }
        });
    }

    fn go_type() -> String {
        Attribute::go_type()
    }
}

decode_object!(Attribute as "AttributeTypeAndValue" { "Type" => arcs, "Value" => value });

impl Decode for (Vec<u64>, String) {
    fn decode(&mut self, value: Value<'_>, context: &mut Context) {
        let mut attribute = Attribute { arcs: Arcs(std::mem::take(&mut self.0)), value: std::mem::take(&mut self.1) };
        attribute.decode(value, context);
        *self = (attribute.arcs.0, attribute.value);
    }

    fn go_type() -> String {
        Attribute::go_type()
    }
}

impl Decode for ExtraExtension {
    fn decode(&mut self, value: Value<'_>, context: &mut Context) {
        context.fields(value, "Extension", &["Id", "Critical", "Value"], |context, field, value| match field {
            "Id" => {
                let mut arcs = Arcs(std::mem::take(&mut self.id));
                arcs.decode(value, context);
                self.id = arcs.0;
            }
            "Critical" => self.critical.decode(value, context),
            _ => self.value.decode(value, context),
        });
    }

    fn go_type() -> String {
        "Extension".to_owned()
    }
}

/// An object identifier as a list of numbers. Go reads negative ones too and fails when it encodes them.
#[derive(Default)]
struct Arcs(Vec<u64>);

impl Decode for Arcs {
    fn decode(&mut self, value: Value<'_>, context: &mut Context) {
        self.0.decode(value, context);
    }

    fn go_type() -> String {
        "ObjectIdentifier".to_owned()
    }
}

fn oids(target: &mut Vec<Vec<u64>>, value: Value<'_>, context: &mut Context) {
    let mut list: Vec<Arcs> = Vec::new();
    list.decode(value, context);
    *target = list.into_iter().map(|arcs| arcs.0).collect();
}

/// An object identifier as dotted text.
#[derive(Default)]
struct Dotted(String);

impl Decode for Dotted {
    fn decode(&mut self, value: Value<'_>, context: &mut Context) {
        match value.string() {
            Some(text) if is_dotted_oid(&text) => self.0 = text.into_owned(),
            Some(_) => context.refuse(value, ErrorKind::Content, "invalid oid"),
            None if value.kind() == Kind::Null => {}
            None => context.wrong_type::<Self>(value),
        }
    }

    fn go_type() -> String {
        "OID".to_owned()
    }
}

fn is_dotted_oid(text: &str) -> bool {
    let mut arcs = text.split('.');
    let is_number = |arc: &str| !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit());
    let (Some(first), Some(second)) = (arcs.next(), arcs.next()) else { return false };
    let first_value = first.trim_start_matches('0');
    let is_low_root = matches!(first_value, "" | "1");
    let fits = match second.trim_start_matches('0') {
        value if is_low_root => value.len() < 2 || value.len() == 2 && value < "40",
        _ => first_value == "2",
    };
    is_number(first) && is_number(second) && fits && arcs.all(is_number)
}

fn policies(value: Value<'_>, context: &mut Context) -> Vec<String> {
    let mut list: Vec<Dotted> = Vec::new();
    list.decode(value, context);
    list.into_iter().map(|oid| oid.0).collect()
}

#[derive(Default)]
struct PolicyMapping {
    issuer: Dotted,
    subject: Dotted,
}

decode_object!(PolicyMapping as "PolicyMapping" { "IssuerDomainPolicy" => issuer, "SubjectDomainPolicy" => subject });

/// `None`: nothing to set. `Some(None)`: the zero time.
fn point_in_time(value: Value<'_>, context: &mut Context) -> Option<Option<i64>> {
    if value.kind() == Kind::Null {
        return None;
    }
    match time::parse(value.text()) {
        Ok(seconds) => Some(seconds),
        Err(text) => {
            context.refuse(value, ErrorKind::Content, text);
            None
        }
    }
}

/// A whole number of any size, as a JSON number.
fn serial_number(value: Value<'_>, context: &mut Context) {
    let text = String::from_utf8_lossy(value.text());
    let digits = text.strip_prefix('-').unwrap_or(&text);
    if value.kind() != Kind::Null && !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        context.refuse(value, ErrorKind::Content, format!("math/big: cannot unmarshal {text:?} into a *big.Int"));
    } else if value.kind() != Kind::Null {
        context.note(NoteKind::Remark("cert-field-without-effect"));
    }
}

/// An address as text; `""` is no address at all.
#[derive(Default)]
struct Address(Option<IpAddr>);

impl Decode for Address {
    fn decode(&mut self, value: Value<'_>, context: &mut Context) {
        match value.string().as_deref() {
            Some("") => self.0 = None,
            Some(text) => match text.parse::<IpAddr>() {
                // Go does not tell an IPv4 address from its IPv6-mapped form.
                Ok(address) => self.0 = Some(address.to_canonical()),
                Err(_) => context.refuse(value, ErrorKind::Content, format!("invalid IP address: {text}")),
            },
            None if value.kind() == Kind::Null => {}
            None => context.wrong_type::<Self>(value),
        }
    }

    fn go_type() -> String {
        "IP".to_owned()
    }
}

fn addresses(value: Value<'_>, context: &mut Context) -> Option<Vec<IpAddr>> {
    let mut list: Option<Vec<Address>> = None;
    list.decode(value, context);
    let list = list?;
    if list.iter().any(|address| address.0.is_none()) {
        context.note(NoteKind::Remark("cert-empty-address"));
    }
    Some(list.into_iter().filter_map(|address| address.0).collect())
}

/// An address range, `{"IP": text, "Mask": bytes}`.
#[derive(Default)]
struct Range {
    address: Address,
    mask: Vec<u8>,
}

decode_object!(Range as "IPNet" { "IP" => address, "Mask" => mask });

fn ranges(value: Value<'_>, context: &mut Context) -> Vec<(IpAddr, Vec<u8>)> {
    let mut list: Vec<Option<Range>> = Vec::new();
    list.decode(value, context);
    let mut ranges = Vec::new();
    for range in list.into_iter().map(Option::unwrap_or_default) {
        match range.address.0 {
            Some(address) if has_mask_length(address, &range.mask) => ranges.push((address, range.mask)),
            // Upstream makes a meaningless constraint of it, or fails.
            _ => {
                context.refuse(value, ErrorKind::Content, "an address range needs an IP and a Mask of the same length")
            }
        }
    }
    ranges
}

fn has_mask_length(address: IpAddr, mask: &[u8]) -> bool {
    match address {
        IpAddr::V4(_) => mask.len() == 4,
        IpAddr::V6(_) => mask.len() == 16,
    }
}

fn uris(value: Value<'_>, context: &mut Context) -> Vec<String> {
    let mut list: Vec<Option<url::Url>> = Vec::new();
    list.decode(value, context);
    if list.iter().any(Option::is_none) {
        // Upstream crashes on it.
        context.refuse(value, ErrorKind::Content, "null is no URI");
    }
    list.into_iter().flatten().map(|url| url.to_string()).collect()
}
