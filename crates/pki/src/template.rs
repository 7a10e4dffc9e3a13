//! From a secret's definition, or an existing certificate, to what a new certificate says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{
    ID_CE_AUTHORITY_KEY_IDENTIFIER, ID_CE_BASIC_CONSTRAINTS, ID_CE_CRL_DISTRIBUTION_POINTS, ID_CE_EXT_KEY_USAGE,
    ID_CE_KEY_USAGE, ID_CE_NAME_CONSTRAINTS, ID_CE_SUBJECT_ALT_NAME, ID_CE_SUBJECT_KEY_IDENTIFIER,
    ID_PE_AUTHORITY_INFO_ACCESS,
};
use const_oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, ID_AD_CA_ISSUERS, ID_AD_OCSP,
    ID_CE_CERTIFICATE_POLICIES,
};
use der::asn1::BitStringRef;
use der::{Decode, Encode};
use marblerun_manifest::model::{CertFields, CertTemplate, ExtraExtension, SecretDefinition};
use x509_cert::Certificate;
use x509_cert::ext::pkix::certpolicy::PolicyInformation;
use x509_cert::ext::pkix::constraints::name::GeneralSubtrees;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{AccessDescription, NameConstraints};
use x509_cert::name::Name;

use crate::alt_name::AltNames;
use crate::extension::{BasicConstraints, EXT_KEY_USAGES};
use crate::leaf::MARBLE_TYPE_EXTENSION;
use crate::{PkiError, certificate, name};

/// Go's key usage bits.
pub(crate) const DIGITAL_SIGNATURE: i64 = 1;
/// As above.
pub(crate) const KEY_AGREEMENT: i64 = 16;
/// As above.
pub(crate) const CERT_SIGN: i64 = 32;
/// Go's extended key usage numbers.
pub(crate) const SERVER_AND_CLIENT: [i64; 2] = [1, 2];

/// What a new certificate says, but for key, serial and start of validity.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) subject: Name,
    pub(crate) fields: CertFields,
    pub(crate) key_id: KeyId,
    /// Fixed end of validity.
    pub(crate) not_after: Option<i64>,
}

/// The subject key identifier of a new certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyId {
    Absent,
    /// From the new key.
    Derived,
    Given(Vec<u8>),
}

impl Template {
    /// The template of a definition, defaults filled in.
    pub(crate) fn from_definition(definition: &SecretDefinition) -> Result<Self, PkiError> {
        match &definition.cert {
            None => Self::from_fields(CertFields::default()),
            Some(CertTemplate::Fields(fields)) => Self::from_fields(CertFields::clone(fields)),
            Some(CertTemplate::Der(der)) => {
                let certificate = certificate::parse(der)?;
                let mut template = Self::from_fields(fields_of(&certificate)?)?;
                template.subject = certificate.tbs_certificate().subject().clone();
                if is_derived(&certificate)? {
                    template.key_id = KeyId::Derived;
                }
                Ok(template)
            }
        }
    }

    /// The template to issue a certificate again: all it says, but for what follows from subject or issuer key.
    pub(crate) fn from_issued(issued: &Certificate) -> Result<Self, PkiError> {
        let own = [ID_CE_SUBJECT_KEY_IDENTIFIER, ID_CE_AUTHORITY_KEY_IDENTIFIER, MARBLE_TYPE_EXTENSION];
        let tbs = issued.tbs_certificate();
        let extra_extensions = tbs
            .extensions()
            .into_iter()
            .flatten()
            .filter(|extension| !own.contains(&extension.extn_id))
            .map(|extension| ExtraExtension {
                id: extension.extn_id.arcs().map(u64::from).collect(),
                critical: extension.critical,
                value: extension.extn_value.as_bytes().to_vec(),
            })
            .collect();
        let key_id = match certificate::key_id(issued) {
            None => KeyId::Absent,
            Some(_) if is_derived(issued)? => KeyId::Derived,
            Some(given) => KeyId::Given(given),
        };
        let fields =
            CertFields { signature_algorithm: signature_algorithm(issued), extra_extensions, ..CertFields::default() };
        Ok(Self { subject: tbs.subject().clone(), fields, key_id, not_after: Some(not_after(issued)) })
    }

    fn from_fields(mut fields: CertFields) -> Result<Self, PkiError> {
        for extension in &fields.extra_extensions {
            if name::object_identifier(&extension.id)? == MARBLE_TYPE_EXTENSION {
                return Err(PkiError::definition(format!(
                    "ExtraExtensions must not contain {MARBLE_TYPE_EXTENSION}: it names the type of a Marble \
                     and is reserved for the Coordinator"
                )));
            }
        }
        let dns_names = fields.dns_names.get_or_insert_with(|| vec!["localhost".to_owned()]);
        if fields.subject.common_name.is_empty() {
            fields.subject.common_name = match dns_names.as_slice() {
                [only] => only.clone(),
                _ => "MarbleRun Generated Certificate".to_owned(),
            };
        }
        fields
            .ip_addresses
            .get_or_insert_with(|| vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        fields.ext_key_usage.get_or_insert_with(|| SERVER_AND_CLIENT.to_vec());
        if fields.key_usage == 0 {
            fields.key_usage = DIGITAL_SIGNATURE | CERT_SIGN;
        }
        let key_id = match (fields.subject_key_id.is_empty(), fields.is_ca) {
            (false, _) => KeyId::Given(fields.subject_key_id.clone()),
            (true, true) => KeyId::Derived,
            (true, false) => KeyId::Absent,
        };
        Ok(Self { subject: name::build(&fields.subject)?, key_id, not_after: fields.not_after, fields })
    }
}

/// The fields Go would find in a certificate. Lists that are not there are `None`, so that defaults apply.
pub(crate) fn fields_of(certificate: &Certificate) -> Result<CertFields, PkiError> {
    let mut fields = CertFields {
        signature_algorithm: signature_algorithm(certificate),
        subject: name::read(certificate.tbs_certificate().subject())?,
        not_after: Some(not_after(certificate)),
        subject_key_id: certificate::key_id(certificate).unwrap_or_default(),
        ..CertFields::default()
    };
    if let Some(usage) = value::<BitStringRef<'_>>(certificate, ID_CE_KEY_USAGE)? {
        fields.key_usage = usage.bits().take(9).enumerate().map(|(at, set)| i64::from(set) << at).sum();
    }
    if let Some(usages) = value::<Vec<ObjectIdentifier>>(certificate, ID_CE_EXT_KEY_USAGE)? {
        let number = |usage: &ObjectIdentifier| EXT_KEY_USAGES.iter().position(|known| known == usage);
        fields.ext_key_usage =
            Some(usages.iter().filter_map(number).filter_map(|number| i64::try_from(number).ok()).collect());
        let unknown = usages.iter().filter(|usage| number(usage).is_none());
        fields.unknown_ext_key_usage = unknown.map(|usage| usage.arcs().map(u64::from).collect()).collect();
    }
    if let Some(constraints) = value::<BasicConstraints>(certificate, ID_CE_BASIC_CONSTRAINTS)? {
        fields.is_ca = constraints.ca;
        fields.max_path_len = constraints.path_len.map_or(-1, i64::from);
        fields.max_path_len_zero = constraints.path_len == Some(0);
    }
    if let Some(names) = certificate::extension_value(certificate, ID_CE_SUBJECT_ALT_NAME) {
        let names = AltNames::from_der(names)?;
        fields.dns_names = (!names.dns.is_empty()).then_some(names.dns);
        fields.ip_addresses = (!names.ips.is_empty()).then_some(names.ips);
        fields.email_addresses = names.emails;
        fields.uris = names.uris;
    }
    if let Some(access) = value::<Vec<AccessDescription>>(certificate, ID_PE_AUTHORITY_INFO_ACCESS)? {
        for description in access {
            let GeneralName::UniformResourceIdentifier(url) = description.access_location else { continue };
            match description.access_method {
                ID_AD_OCSP => fields.ocsp_server.push(url.to_string()),
                ID_AD_CA_ISSUERS => fields.issuing_certificate_url.push(url.to_string()),
                _ => {}
            }
        }
    }
    if let Some(policies) = value::<Vec<PolicyInformation>>(certificate, ID_CE_CERTIFICATE_POLICIES)? {
        fields.policies = policies.iter().map(|policy| policy.policy_identifier.to_string()).collect();
    }
    if let Some(points) = value::<Vec<DistributionPoint>>(certificate, ID_CE_CRL_DISTRIBUTION_POINTS)? {
        for point in points {
            let Some(DistributionPointName::FullName(names)) = point.distribution_point else { continue };
            fields.crl_distribution_points.extend(names.into_iter().filter_map(|name| match name {
                GeneralName::UniformResourceIdentifier(url) => Some(url.to_string()),
                _ => None,
            }));
        }
    }
    read_name_constraints(certificate, &mut fields)?;
    Ok(fields)
}

fn read_name_constraints(certificate: &Certificate, fields: &mut CertFields) -> Result<(), PkiError> {
    let Some(constraints) = value::<NameConstraints>(certificate, ID_CE_NAME_CONSTRAINTS)? else { return Ok(()) };
    fields.permitted_dns_domains_critical = certificate
        .tbs_certificate()
        .extensions()
        .into_iter()
        .flatten()
        .any(|extension| extension.extn_id == ID_CE_NAME_CONSTRAINTS && extension.critical);
    let permitted = Subtrees::read(constraints.permitted_subtrees.unwrap_or_default());
    fields.permitted_dns_domains = permitted.dns;
    fields.permitted_email_addresses = permitted.emails;
    fields.permitted_ip_ranges = permitted.ips;
    fields.permitted_uri_domains = permitted.uris;
    let excluded = Subtrees::read(constraints.excluded_subtrees.unwrap_or_default());
    fields.excluded_dns_domains = excluded.dns;
    fields.excluded_email_addresses = excluded.emails;
    fields.excluded_ip_ranges = excluded.ips;
    fields.excluded_uri_domains = excluded.uris;
    Ok(())
}

#[derive(Default)]
struct Subtrees {
    dns: Vec<String>,
    emails: Vec<String>,
    ips: Vec<(IpAddr, Vec<u8>)>,
    uris: Vec<String>,
}

impl Subtrees {
    fn read(trees: GeneralSubtrees) -> Self {
        let mut read = Self::default();
        for tree in trees {
            match tree.base {
                GeneralName::DnsName(name) => read.dns.push(name.to_string()),
                GeneralName::Rfc822Name(name) => read.emails.push(name.to_string()),
                GeneralName::UniformResourceIdentifier(name) => read.uris.push(name.to_string()),
                GeneralName::IpAddress(range) => {
                    let (address, mask) = range.as_bytes().split_at(range.as_bytes().len() / 2);
                    let address = match (<[u8; 4]>::try_from(address), <[u8; 16]>::try_from(address)) {
                        (Ok(octets), _) => IpAddr::from(octets),
                        (_, Ok(octets)) => IpAddr::from(octets),
                        _ => continue,
                    };
                    read.ips.push((address, mask.to_vec()));
                }
                _ => {}
            }
        }
        read
    }
}

/// Contents of an extension as a type.
fn value<'a, T: Decode<'a>>(certificate: &'a Certificate, id: ObjectIdentifier) -> Result<Option<T>, PkiError>
where
    T::Error: std::fmt::Display,
{
    certificate::extension_value(certificate, id)
        .map(|bytes| T::from_der(bytes))
        .transpose()
        .map_err(|error| PkiError::malformed("x509: invalid extension", format!("{id}: {error}")))
}

/// Go's number, if it is one the CA key can sign with; another CA's algorithm means the default.
fn signature_algorithm(certificate: &Certificate) -> i64 {
    match certificate.signature_algorithm().oid {
        ECDSA_WITH_SHA_256 => 10,
        ECDSA_WITH_SHA_384 => 11,
        ECDSA_WITH_SHA_512 => 12,
        _ => 0,
    }
}

fn not_after(certificate: &Certificate) -> i64 {
    let seconds = certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs();
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// Whether the subject key identifier follows from the certificate's own key, and so must follow the new one.
fn is_derived(certificate: &Certificate) -> Result<bool, PkiError> {
    let public_key = certificate.tbs_certificate().subject_public_key_info().to_der()?;
    Ok(certificate::key_id(certificate) == Some(certificate::derived_key_id(&public_key)?))
}
