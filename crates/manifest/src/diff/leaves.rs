//! A manifest as a flat list of everything it says that is not a default.

use std::collections::BTreeMap;
use std::fmt::Debug;

use sha2::{Digest, Sha256};

use crate::model::{
    CertFields, CertTemplate, Encoding, File, Manifest, Marble, Package, SecretDefinition, Subject, TlsEntry,
};
use crate::path;

/// One value: what people see of it, and what tells whether it is the same.
pub(super) struct Leaf {
    pub shown: String,
    pub digest: [u8; 32],
}

/// Every value by path.
pub(super) fn of(manifest: &Manifest) -> BTreeMap<String, Leaf> {
    let mut leaves = Leaves::default();
    leaves.entries("Packages", &manifest.packages, package);
    leaves.entries("Infrastructures", &manifest.infrastructures, |at, infrastructure| {
        at.value("CPUSVN", &infrastructure.cpu_svn);
        at.value("QESVN", &infrastructure.qe_svn);
        at.value("PCESVN", &infrastructure.pce_svn);
        at.value("RootCA", &infrastructure.root_ca);
    });
    leaves.entries("Marbles", &manifest.marbles, marble);
    leaves.entries("Secrets", &manifest.secrets, secret);
    leaves.entries("Users", &manifest.users, |at, user| {
        at.content("Certificate", user.certificate.as_bytes());
        at.value("Roles", &user.roles);
    });
    leaves.entries("Roles", &manifest.roles, |at, role| {
        at.value("ResourceType", &role.resource_type);
        at.value("ResourceNames", &role.resource_names);
        at.value("Actions", &role.actions);
    });
    leaves.entries("RecoveryKeys", &manifest.recovery_keys, |at, key| at.content("", key.as_bytes()));
    leaves.entries("TLS", &manifest.tls, |at, tag| {
        at.list("Outgoing", &tag.outgoing, tls_entry);
        at.list("Incoming", &tag.incoming, tls_entry);
    });
    let config = &manifest.config;
    leaves.at("Config", |at| {
        at.value("SealMode", &config.seal_mode);
        at.value("FeatureGates", &config.feature_gates);
        at.value("UpdateThreshold", &config.update_threshold);
        at.value("RecoveryThreshold", &config.recovery_threshold);
        at.value("RotateRootSecret", &config.rotate_root_secret);
    });
    leaves.found
}

fn package(at: &mut Leaves, package: &Package) {
    at.value("Debug", &package.debug);
    at.value("UniqueID", &package.unique_id);
    at.value("SignerID", &package.signer_id);
    at.value("ProductID", &package.product_id);
    at.value("SecurityVersion", &package.security_version);
    at.value("AcceptedTCBStatuses", &package.accepted_tcb_statuses);
    at.value("AcceptedAdvisories", &package.accepted_advisories);
    if let Some(tdx) = &package.tdx {
        at.at("TDX", |at| {
            for (name, value, _) in tdx.fields() {
                at.value(name, &value);
            }
        });
    }
    if let Some(snp) = &package.snp {
        at.at("SNP", |at| {
            for (name, value, _) in snp.fields() {
                at.value(name, &value);
            }
            at.value("Policy", &snp.policy);
            at.value("VMPL", &snp.vmpl);
            at.value("Products", &snp.products);
            at.at("MinTCB", |at| {
                for (name, value) in snp.min_tcb.unwrap_or_default().components() {
                    at.value(name, &value);
                }
            });
            at.at("PCRs", |at| {
                for (number, value) in &snp.pcrs {
                    at.value(number, value);
                }
            });
        });
    }
}

fn marble(at: &mut Leaves, marble: &Marble) {
    at.value("Package", &marble.package);
    at.value("MaxActivations", &marble.max_activations);
    at.value("TLS", &marble.tls);
    at.value("DisableSecretBinding", &marble.disable_secret_binding);
    at.at("Parameters", |at| {
        at.value("Argv", &marble.parameters.argv);
        at.entries("Files", &marble.parameters.files, file);
        at.entries("Env", &marble.parameters.env, file);
    });
}

/// How a file was written down does not matter, only what is in it.
fn file(at: &mut Leaves, file: &File) {
    at.content("Data", &file.data);
    at.value("NoTemplates", &file.no_templates);
    if file.encoding != Encoding::String {
        at.value("Encoding", &file.encoding);
    }
}

fn secret(at: &mut Leaves, secret: &SecretDefinition) {
    at.value("Type", &secret.kind);
    at.value("Size", &secret.size);
    at.value("Shared", &secret.shared);
    at.value("UserDefined", &secret.user_defined);
    at.value("ValidFor", &secret.valid_for);
    at.hidden("Private", secret.private.as_deref());
    at.hidden("Public", secret.public.as_deref());
    match &secret.cert {
        Some(CertTemplate::Der(der)) => at.content("Cert", der),
        Some(CertTemplate::Fields(fields)) => at.at("Cert", |at| certificate(at, fields)),
        None => {}
    }
}

fn certificate(at: &mut Leaves, fields: &CertFields) {
    at.value("SignatureAlgorithm", &fields.signature_algorithm);
    at.at("Subject", |at| subject(at, &fields.subject));
    at.value("NotAfter", &fields.not_after);
    at.value("KeyUsage", &fields.key_usage);
    at.value("ExtKeyUsage", &fields.ext_key_usage);
    at.value("UnknownExtKeyUsage", &fields.unknown_ext_key_usage);
    at.value("IsCA", &fields.is_ca);
    at.value("MaxPathLen", &fields.max_path_len);
    at.value("MaxPathLenZero", &fields.max_path_len_zero);
    at.value("SubjectKeyId", &fields.subject_key_id);
    at.value("OCSPServer", &fields.ocsp_server);
    at.value("IssuingCertificateURL", &fields.issuing_certificate_url);
    at.value("DNSNames", &fields.dns_names);
    at.value("EmailAddresses", &fields.email_addresses);
    at.value("IPAddresses", &fields.ip_addresses);
    at.value("URIs", &fields.uris);
    at.value("PermittedDNSDomainsCritical", &fields.permitted_dns_domains_critical);
    at.value("PermittedDNSDomains", &fields.permitted_dns_domains);
    at.value("ExcludedDNSDomains", &fields.excluded_dns_domains);
    at.value("PermittedIPRanges", &fields.permitted_ip_ranges);
    at.value("ExcludedIPRanges", &fields.excluded_ip_ranges);
    at.value("PermittedEmailAddresses", &fields.permitted_email_addresses);
    at.value("ExcludedEmailAddresses", &fields.excluded_email_addresses);
    at.value("PermittedURIDomains", &fields.permitted_uri_domains);
    at.value("ExcludedURIDomains", &fields.excluded_uri_domains);
    at.value("CRLDistributionPoints", &fields.crl_distribution_points);
    at.value("Policies", &fields.policies);
    at.value("ExtraExtensions", &fields.extra_extensions);
}

fn subject(at: &mut Leaves, subject: &Subject) {
    at.value("Country", &subject.country);
    at.value("Organization", &subject.organization);
    at.value("OrganizationalUnit", &subject.organizational_unit);
    at.value("Locality", &subject.locality);
    at.value("Province", &subject.province);
    at.value("StreetAddress", &subject.street_address);
    at.value("PostalCode", &subject.postal_code);
    at.value("SerialNumber", &subject.serial_number);
    at.value("CommonName", &subject.common_name);
    at.value("ExtraNames", &subject.extra_names);
}

fn tls_entry(at: &mut Leaves, entry: &TlsEntry) {
    at.value("Port", &entry.port);
    at.value("Addr", &entry.addr);
    at.value("Cert", &entry.cert);
    at.value("DisableClientAuth", &entry.disable_client_auth);
}

/// Longest content that is shown as it is.
const SHOWN: usize = 80;

/// Collects values under the current path.
#[derive(Default)]
struct Leaves {
    path: String,
    found: BTreeMap<String, Leaf>,
}

impl Leaves {
    fn at(&mut self, key: &str, run: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        path::push_whole_key(&mut self.path, key);
        run(self);
        self.path.truncate(length);
    }

    fn entries<T>(&mut self, section: &str, entries: &BTreeMap<String, T>, each: impl Fn(&mut Self, &T)) {
        self.at(section, |at| {
            for (name, entry) in entries {
                at.at(name, |at| {
                    let before = at.found.len();
                    each(at, entry);
                    if at.found.len() == before {
                        at.leaf("defined".to_owned(), b"");
                    }
                });
            }
        });
    }

    fn list<T>(&mut self, field: &str, list: &[T], each: impl Fn(&mut Self, &T)) {
        self.at(field, |at| {
            for (index, entry) in list.iter().enumerate() {
                let length = at.path.len();
                at.path += &format!("[{index}]");
                each(at, entry);
                at.path.truncate(length);
            }
        });
    }

    /// A plain value; defaults are not worth a word.
    fn value<T: Debug + Default + PartialEq>(&mut self, field: &str, value: &T) {
        if *value != T::default() {
            let text = format!("{value:?}");
            let shown = text.strip_prefix("Some(").and_then(|text| text.strip_suffix(')')).unwrap_or(&text).to_owned();
            self.at(field, |at| at.leaf(shown, text.as_bytes()));
        }
    }

    /// Text that may be long or not text at all.
    fn content(&mut self, field: &str, content: &[u8]) {
        let digest = hex::encode(Sha256::digest(content).get(..4).unwrap_or_default());
        let shown = match std::str::from_utf8(content) {
            Ok(text) if text.len() <= SHOWN => format!("{text:?}"),
            _ => format!("{} bytes (SHA-256 {digest}...)", content.len()),
        };
        if field.is_empty() {
            self.leaf(shown, content);
        } else if !content.is_empty() {
            self.at(field, |at| at.leaf(shown, content));
        }
    }

    /// The value of a secret: that it is there is all that is shown.
    fn hidden(&mut self, field: &str, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.at(field, |at| at.leaf("a secret value".to_owned(), value));
        }
    }

    fn leaf(&mut self, shown: String, exact: &[u8]) {
        let digest = Sha256::digest(exact).into();
        self.found.insert(self.path.clone(), Leaf { shown, digest });
    }
}
