//! The extensions of a certificate, from the fields of a template: which are present, in which order,
//! critical or not, as Go's `x509.CreateCertificate` decides. An extension given verbatim replaces the
//! one that would have been built.

use std::net::IpAddr;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{
    ANY_EXTENDED_KEY_USAGE, ID_CE_AUTHORITY_KEY_IDENTIFIER, ID_CE_BASIC_CONSTRAINTS, ID_CE_CRL_DISTRIBUTION_POINTS,
    ID_CE_EXT_KEY_USAGE, ID_CE_KEY_USAGE, ID_CE_NAME_CONSTRAINTS, ID_CE_SUBJECT_ALT_NAME, ID_CE_SUBJECT_KEY_IDENTIFIER,
    ID_KP_CLIENT_AUTH, ID_KP_CODE_SIGNING, ID_KP_EMAIL_PROTECTION, ID_KP_OCSP_SIGNING, ID_KP_SERVER_AUTH,
    ID_KP_TIME_STAMPING, ID_PE_AUTHORITY_INFO_ACCESS,
};
use const_oid::db::rfc5912::{ID_AD_CA_ISSUERS, ID_AD_OCSP, ID_CE_CERTIFICATE_POLICIES};
use der::asn1::{BitString, Ia5String, OctetString};
use der::{Encode, Sequence};
use marblerun_manifest::model::CertFields;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::certpolicy::PolicyInformation;
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{AccessDescription, AuthorityKeyIdentifier, NameConstraints};

use crate::PkiError;
use crate::name::object_identifier;

/// Extended key usages by Go's numbers.
pub(crate) const EXT_KEY_USAGES: [ObjectIdentifier; 14] = [
    ANY_EXTENDED_KEY_USAGE,
    ID_KP_SERVER_AUTH,
    ID_KP_CLIENT_AUTH,
    ID_KP_CODE_SIGNING,
    ID_KP_EMAIL_PROTECTION,
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.5"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.6"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.7"),
    ID_KP_TIME_STAMPING,
    ID_KP_OCSP_SIGNING,
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.10.3.3"),
    ObjectIdentifier::new_unwrap("2.16.840.1.113730.4.1"),
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.22"),
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.61.1.1"),
];

/// Basic constraints without the library's limit of 255 on the path length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Sequence)]
pub(crate) struct BasicConstraints {
    #[asn1(default = "Default::default")]
    pub(crate) ca: bool,
    #[asn1(optional = "true")]
    pub(crate) path_len: Option<u32>,
}

/// What the extensions say beyond the template's fields.
pub(crate) struct KeyIds<'a> {
    /// Subject key identifier, if there is to be one.
    pub(crate) subject: Option<&'a [u8]>,
    /// Authority key identifier, if there is to be one.
    pub(crate) authority: Option<&'a [u8]>,
}

/// Builds all extensions.
pub(crate) fn build(fields: &CertFields, ids: KeyIds<'_>, subject_is_empty: bool) -> Result<Vec<Extension>, PkiError> {
    let mut list = List::verbatim(fields)?;

    if fields.key_usage != 0 {
        list.push(ID_CE_KEY_USAGE, true, || key_usage(fields.key_usage))?;
    }
    let usages = fields.ext_key_usage.as_deref().unwrap_or_default();
    if !usages.is_empty() || !fields.unknown_ext_key_usage.is_empty() {
        list.push(ID_CE_EXT_KEY_USAGE, false, || ext_key_usage(usages, &fields.unknown_ext_key_usage))?;
    }
    list.push(ID_CE_BASIC_CONSTRAINTS, true, || basic_constraints(fields))?;
    if let Some(id) = ids.subject {
        list.push(ID_CE_SUBJECT_KEY_IDENTIFIER, false, || OctetString::new(id))?;
    }
    if let Some(id) = ids.authority {
        list.push(ID_CE_AUTHORITY_KEY_IDENTIFIER, false, || {
            Ok::<_, PkiError>(AuthorityKeyIdentifier {
                key_identifier: Some(OctetString::new(id)?),
                ..AuthorityKeyIdentifier::default()
            })
        })?;
    }
    if !fields.ocsp_server.is_empty() || !fields.issuing_certificate_url.is_empty() {
        list.push(ID_PE_AUTHORITY_INFO_ACCESS, false, || authority_info_access(fields))?;
    }
    let names = subject_alt_names(fields);
    if !names.as_ref().is_ok_and(Vec::is_empty) {
        list.push(ID_CE_SUBJECT_ALT_NAME, subject_is_empty, || names)?;
    }
    if !fields.policies.is_empty() {
        list.push(ID_CE_CERTIFICATE_POLICIES, false, || policies(&fields.policies))?;
    }
    let constraints = name_constraints(fields);
    let unconstrained = NameConstraints { permitted_subtrees: None, excluded_subtrees: None };
    if !constraints.as_ref().is_ok_and(|constraints| *constraints == unconstrained) {
        list.push(ID_CE_NAME_CONSTRAINTS, fields.permitted_dns_domains_critical, || constraints)?;
    }
    if !fields.crl_distribution_points.is_empty() {
        list.push(ID_CE_CRL_DISTRIBUTION_POINTS, false, || crl_distribution_points(fields))?;
    }
    Ok(list.finish())
}

/// Extensions built so far, and those given verbatim that replace and follow them.
struct List {
    built: Vec<Extension>,
    verbatim: Vec<Extension>,
}

impl List {
    fn verbatim(fields: &CertFields) -> Result<Self, PkiError> {
        let verbatim = fields
            .extra_extensions
            .iter()
            .map(|given| {
                Ok(Extension {
                    extn_id: object_identifier(&given.id)?,
                    critical: given.critical,
                    extn_value: OctetString::new(given.value.as_slice())?,
                })
            })
            .collect::<Result<_, PkiError>>()?;
        Ok(Self { built: Vec::new(), verbatim })
    }

    fn push<T, E>(
        &mut self,
        id: ObjectIdentifier,
        critical: bool,
        value: impl FnOnce() -> Result<T, E>,
    ) -> Result<(), PkiError>
    where
        T: Encode,
        PkiError: From<E>,
    {
        if self.verbatim.iter().all(|given| given.extn_id != id) {
            let value = OctetString::new(value()?.to_der()?)?;
            self.built.push(Extension { extn_id: id, critical, extn_value: value });
        }
        Ok(())
    }

    fn finish(mut self) -> Vec<Extension> {
        self.built.append(&mut self.verbatim);
        self.built
    }
}

/// Bit 0 of Go's number is bit 0 of the BIT STRING, its most significant one; trailing zero bits are left out.
fn key_usage(bits: i64) -> Result<BitString, PkiError> {
    // Go keeps the low 16 bits.
    let [low, high, ..] = bits.to_le_bytes();
    let mut bytes = vec![low.reverse_bits()];
    if high != 0 {
        bytes.push(high.reverse_bits());
    }
    let last = bytes.last().copied().unwrap_or_default();
    let unused = u8::try_from(last.trailing_zeros().min(7)).unwrap_or_default();
    Ok(BitString::new(unused, bytes)?)
}

fn ext_key_usage(numbers: &[i64], further: &[Vec<u64>]) -> Result<Vec<ObjectIdentifier>, PkiError> {
    let known = numbers.iter().map(|&number| {
        usize::try_from(number)
            .ok()
            .and_then(|index| EXT_KEY_USAGES.get(index).copied())
            .ok_or_else(|| PkiError::definition(format!("x509: unknown extended key usage {number}")))
    });
    known.chain(further.iter().map(|arcs| object_identifier(arcs))).collect()
}

fn basic_constraints(fields: &CertFields) -> Result<BasicConstraints, PkiError> {
    let length = match fields.max_path_len {
        0 if !fields.max_path_len_zero => -1,
        length => length,
    };
    if length < -1 {
        return Err(PkiError::definition("x509: invalid MaxPathLen, must be greater or equal to -1"));
    }
    if !fields.is_ca && length != -1 {
        return Err(PkiError::definition("x509: only CAs are allowed to specify MaxPathLen"));
    }
    let path_len = match length {
        -1 => None,
        length => Some(
            u32::try_from(length)
                .map_err(|_| PkiError::definition(format!("x509: MaxPathLen {length} is out of range")))?,
        ),
    };
    Ok(BasicConstraints { ca: fields.is_ca, path_len })
}

fn authority_info_access(fields: &CertFields) -> Result<Vec<AccessDescription>, PkiError> {
    let describe = |method, url: &String| Ok(AccessDescription { access_method: method, access_location: uri(url)? });
    let ocsp = fields.ocsp_server.iter().map(|url| describe(ID_AD_OCSP, url));
    let issuers = fields.issuing_certificate_url.iter().map(|url| describe(ID_AD_CA_ISSUERS, url));
    ocsp.chain(issuers).collect()
}

fn subject_alt_names(fields: &CertFields) -> Result<Vec<GeneralName>, PkiError> {
    let dns = fields.dns_names.iter().flatten().map(|name| Ok(GeneralName::DnsName(ia5(name)?)));
    let email = fields.email_addresses.iter().map(|name| Ok(GeneralName::Rfc822Name(ia5(name)?)));
    // An IPv4 address in IPv6 form is an IPv4 address to Go.
    let ip = fields.ip_addresses.iter().flatten().map(|ip| Ok(GeneralName::from(ip.to_canonical())));
    let uris = fields.uris.iter().map(|name| uri(name));
    dns.chain(email).chain(ip).chain(uris).collect()
}

fn policies(dotted: &[String]) -> Result<Vec<PolicyInformation>, PkiError> {
    dotted
        .iter()
        .map(|text| {
            let policy_identifier = ObjectIdentifier::new(text)
                .map_err(|_| PkiError::definition(format!("x509: invalid OID {text:?} in Policies")))?;
            Ok(PolicyInformation { policy_identifier, policy_qualifiers: None })
        })
        .collect()
}

fn name_constraints(fields: &CertFields) -> Result<NameConstraints, PkiError> {
    let permitted = subtrees(
        &fields.permitted_dns_domains,
        &fields.permitted_ip_ranges,
        &fields.permitted_email_addresses,
        &fields.permitted_uri_domains,
    )?;
    let excluded = subtrees(
        &fields.excluded_dns_domains,
        &fields.excluded_ip_ranges,
        &fields.excluded_email_addresses,
        &fields.excluded_uri_domains,
    )?;
    Ok(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded })
}

fn subtrees(
    dns: &[String],
    ips: &[(IpAddr, Vec<u8>)],
    emails: &[String],
    uris: &[String],
) -> Result<Option<Vec<GeneralSubtree>>, PkiError> {
    let dns = dns.iter().map(|name| Ok(GeneralName::DnsName(ia5(name)?)));
    let ips = ips.iter().map(|(ip, mask)| ip_range(*ip, mask));
    let emails = emails.iter().map(|name| Ok(GeneralName::Rfc822Name(ia5(name)?)));
    let uris = uris.iter().map(|name| uri(name));
    let trees = dns
        .chain(ips)
        .chain(emails)
        .chain(uris)
        .map(|base| Ok(GeneralSubtree { base: base?, minimum: 0, maximum: None }))
        .collect::<Result<Vec<_>, PkiError>>()?;
    Ok((!trees.is_empty()).then_some(trees))
}

/// Masked address followed by the mask.
fn ip_range(ip: IpAddr, mask: &[u8]) -> Result<GeneralName, PkiError> {
    let address = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    if address.len() != mask.len() {
        return Err(PkiError::definition(format!(
            "x509: the mask of IP range {ip} has {} bytes instead of {}",
            mask.len(),
            address.len()
        )));
    }
    let masked = address.iter().zip(mask).map(|(address, mask)| address & mask);
    let bytes: Vec<u8> = masked.chain(mask.iter().copied()).collect();
    Ok(GeneralName::IpAddress(OctetString::new(bytes)?))
}

fn crl_distribution_points(fields: &CertFields) -> Result<Vec<DistributionPoint>, PkiError> {
    let point = |url: &String| {
        Ok(DistributionPoint {
            distribution_point: Some(DistributionPointName::FullName(vec![uri(url)?])),
            reasons: None,
            crl_issuer: None,
        })
    };
    fields.crl_distribution_points.iter().map(point).collect()
}

fn uri(text: &str) -> Result<GeneralName, PkiError> {
    Ok(GeneralName::UniformResourceIdentifier(ia5(text)?))
}

fn ia5(text: &str) -> Result<Ia5String, PkiError> {
    Ia5String::new(text).map_err(|_| PkiError::definition(format!("x509: {text:?} cannot be encoded as an IA5String")))
}
