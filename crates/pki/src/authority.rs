//! The Coordinator's three CA certificates and their two keys.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use marblerun_manifest::model::CertFields;

use crate::certificate::{self, Issuer, Order};
use crate::name::common_name;
use crate::{P384Key, PkiError, template};

const ROOT_NAME: &str = "MarbleRun Coordinator";
const INTERMEDIATE_NAME: &str = "MarbleRun Coordinator - Intermediate CA";

/// Always in the CA certificates, before other addresses.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Names the CA certificates are valid for, besides 127.0.0.1 and ::1 which are always added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectAltNames {
    /// DNS names, in order.
    pub dns: Vec<String>,
    /// Addresses besides the loopback ones, in order.
    pub ips: Vec<IpAddr>,
}

impl SubjectAltNames {
    /// Reads `EDG_COORDINATOR_DNS_NAMES`: split at commas, untrimmed; entries that are addresses become IP names.
    #[must_use]
    pub fn from_list(list: &str) -> Self {
        let mut names = Self::default();
        for entry in list.split(',') {
            match entry.parse() {
                Ok(ip) => names.ips.push(ip),
                Err(_) => names.dns.push(entry.to_owned()),
            }
        }
        names
    }

    /// What a CA certificate made from names says, with the loopback addresses taken off again.
    fn from_certificate(der: &[u8]) -> Result<Self, PkiError> {
        let fields = template::fields_of(&certificate::parse(der)?)?;
        let mut ips = fields.ip_addresses.unwrap_or_default();
        if ips.starts_with(&LOOPBACK) {
            ips.drain(..LOOPBACK.len());
        }
        Ok(Self { dns: fields.dns_names.unwrap_or_default(), ips })
    }
}

/// Root, cross-signed intermediate, Marble root and the keys behind them.
#[derive(Debug, Clone)]
pub struct Authority {
    /// DER, self-signed by `root_key`.
    pub root_certificate: Vec<u8>,
    /// P-384.
    pub root_key: P384Key,
    /// DER, subject key `intermediate_key`, signed by `root_key`.
    pub intermediate_certificate: Vec<u8>,
    /// P-384; also the key of the Marble root.
    pub intermediate_key: P384Key,
    /// DER, same subject and key as the intermediate, self-signed.
    pub marble_root_certificate: Vec<u8>,
}

impl Authority {
    /// Makes everything anew.
    ///
    /// # Errors
    /// If a name cannot be encoded or the random source fails.
    pub fn generate(names: &SubjectAltNames, now: Timestamp) -> Result<Self, PkiError> {
        let root_key = P384Key::generate()?;
        let issuer = Issuer { name: common_name(ROOT_NAME)?, key_id: None, key: &root_key };
        let root_certificate = issue_ca(ROOT_NAME, &root_key, &issuer, names, now)?;
        Self::with_new_intermediate(root_certificate, root_key, names, now)
    }

    /// Same root, new intermediate key, both dependent certificates re-issued with all names of the
    /// root certificate (DNS and extra IPs).
    ///
    /// # Errors
    /// If the root certificate cannot be read or the random source fails.
    pub fn rotate_intermediate(&self, now: Timestamp) -> Result<Self, PkiError> {
        let names = SubjectAltNames::from_certificate(&self.root_certificate)?;
        Self::with_new_intermediate(self.root_certificate.clone(), self.root_key.clone(), &names, now)
    }

    /// Reads stored parts (DER certificates, SEC 1 keys) and checks that each key fits its certificates.
    ///
    /// # Errors
    /// Which part is unreadable or does not fit.
    pub fn from_parts(
        root_certificate: Vec<u8>,
        root_key_sec1: &[u8],
        intermediate_certificate: Vec<u8>,
        intermediate_key_sec1: &[u8],
        marble_root_certificate: Vec<u8>,
    ) -> Result<Self, PkiError> {
        let root_key = P384Key::from_sec1_der(root_key_sec1)?;
        let intermediate_key = P384Key::from_sec1_der(intermediate_key_sec1)?;
        for (what, certificate, key) in [
            ("Coordinator root certificate", &root_certificate, &root_key),
            ("Coordinator intermediate certificate", &intermediate_certificate, &intermediate_key),
            ("Marble root certificate", &marble_root_certificate, &intermediate_key),
        ] {
            let public_key =
                certificate::public_key_of(certificate).map_err(|error| PkiError::malformed(what, error))?;
            if public_key != key.spki() {
                return Err(PkiError::malformed(what, "the private key stored with it is another certificate's"));
            }
        }
        Ok(Self { root_certificate, root_key, intermediate_certificate, intermediate_key, marble_root_certificate })
    }

    /// The issuer of leafs and secret certificates: the Marble root.
    pub(crate) fn marble_issuer(&self) -> Result<Issuer<'_>, PkiError> {
        let marble_root = certificate::parse(&self.marble_root_certificate)?;
        Ok(Issuer {
            name: marble_root.tbs_certificate().subject().clone(),
            key_id: certificate::key_id(&marble_root),
            key: &self.intermediate_key,
        })
    }

    fn with_new_intermediate(
        root_certificate: Vec<u8>,
        root_key: P384Key,
        names: &SubjectAltNames,
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        let root = certificate::parse(&root_certificate)?;
        let intermediate_key = P384Key::generate()?;
        let by_root = Issuer {
            name: root.tbs_certificate().subject().clone(),
            key_id: certificate::key_id(&root),
            key: &root_key,
        };
        let by_itself = Issuer { name: common_name(INTERMEDIATE_NAME)?, key_id: None, key: &intermediate_key };
        let intermediate_certificate = issue_ca(INTERMEDIATE_NAME, &intermediate_key, &by_root, names, now)?;
        let marble_root_certificate = issue_ca(INTERMEDIATE_NAME, &intermediate_key, &by_itself, names, now)?;
        Ok(Self { root_certificate, root_key, intermediate_certificate, intermediate_key, marble_root_certificate })
    }
}

fn issue_ca(
    name: &str,
    key: &P384Key,
    issuer: &Issuer<'_>,
    names: &SubjectAltNames,
    now: Timestamp,
) -> Result<Vec<u8>, PkiError> {
    let fields = CertFields {
        key_usage: template::DIGITAL_SIGNATURE | template::CERT_SIGN,
        ext_key_usage: Some(template::SERVER_AND_CLIENT.to_vec()),
        is_ca: true,
        dns_names: Some(names.dns.clone()),
        ip_addresses: Some(LOOPBACK.iter().chain(&names.ips).copied().collect()),
        ..CertFields::default()
    };
    let order = Order {
        subject: common_name(name)?,
        public_key: key.spki(),
        key_id: Some(certificate::derived_key_id(key.spki())?),
        not_before: now.as_second(),
        not_after: certificate::forever_from(now)?,
        fields: &fields,
    };
    certificate::issue(order, issuer)
}
