//! The manifest as typed data. Field meanings: the manifest reference in `docs/`.
//!
//! Decoding is total: everything is optional here and defaults as upstream does; what must be
//! there is decided by the checks. Names (map keys) are free text.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::vm::{SnpPackage, TdxPackage};

/// A decoded manifest.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Manifest {
    /// Identities of enclaves.
    pub packages: BTreeMap<String, Package>,
    /// Declared infrastructures; stored, never enforced upstream.
    pub infrastructures: BTreeMap<String, Infrastructure>,
    /// Marble types.
    pub marbles: BTreeMap<String, Marble>,
    /// Who may do what.
    pub users: BTreeMap<String, User>,
    /// Secret definitions.
    pub secrets: BTreeMap<String, SecretDefinition>,
    /// Name to PEM text (`PUBLIC KEY`, RSA).
    pub recovery_keys: BTreeMap<String, String>,
    /// Sets of permissions.
    pub roles: BTreeMap<String, Role>,
    /// TTLS tags.
    pub tls: BTreeMap<String, TlsTag>,
    /// Deployment-wide settings.
    pub config: Config,
}

impl Manifest {
    /// Whether, sent as an update, it only raises security versions: every section but `Packages` and `Config` is
    /// empty. Anything else replaces the whole manifest.
    #[must_use]
    pub fn is_package_update(&self) -> bool {
        self.infrastructures.is_empty()
            && self.marbles.is_empty()
            && self.users.is_empty()
            && self.secrets.is_empty()
            && self.recovery_keys.is_empty()
            && self.roles.is_empty()
            && self.tls.is_empty()
    }
}

/// Identity of an enclave package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Package {
    /// Accept debug enclaves (and only those).
    pub debug: bool,
    /// Hex MRENCLAVE; empty = not set.
    pub unique_id: String,
    /// Hex MRSIGNER; empty = not set.
    pub signer_id: String,
    /// Product ID; 0 is a set value.
    pub product_id: Option<u64>,
    /// Minimum security version.
    pub security_version: Option<u64>,
    /// TCB statuses accepted besides `UpToDate`; empty = `["SWHardeningNeeded"]`.
    pub accepted_tcb_statuses: Vec<String>,
    /// Advisories accepted with status `SWHardeningNeeded`; empty = all.
    pub accepted_advisories: Vec<String>,
    /// A VM in Intel TDX is meant, and no SGX enclave.
    pub tdx: Option<TdxPackage>,
    /// A VM in AMD SEV-SNP is meant, and no SGX enclave.
    pub snp: Option<SnpPackage>,
    /// `None` where the JSON value was `null` or absent; upstream's stored form keeps the difference.
    pub tcb_statuses_given: bool,
    /// As above, for the advisories.
    pub advisories_given: bool,
}

/// Declared properties of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Infrastructure {
    /// CPU security version.
    pub cpu_svn: Option<Vec<u8>>,
    /// Quoting enclave security version.
    pub qe_svn: Option<u16>,
    /// Provisioning certification enclave security version.
    pub pce_svn: Option<u16>,
    /// Root certificate.
    pub root_ca: Option<Vec<u8>>,
}

/// A Marble type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marble {
    /// Name of its package.
    pub package: String,
    /// 0 = unlimited.
    pub max_activations: u64,
    /// What it is started with.
    pub parameters: Parameters,
    /// TTLS tags, in order; duplicates allowed.
    pub tls: Vec<String>,
    /// Leave the Marble type out of the derivation of its symmetric keys.
    pub disable_secret_binding: bool,
}

/// What a Marble is started with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Path to content.
    pub files: BTreeMap<String, File>,
    /// Variable to content.
    pub env: BTreeMap<String, File>,
    /// `argv[0]` first; never a template. Empty = default.
    pub argv: Vec<String>,
}

/// Content of a file or variable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct File {
    /// The decoded content, before templates.
    pub data: Vec<u8>,
    /// How it was written in the manifest.
    pub encoding: Encoding,
    /// Content is passed through untouched.
    pub no_templates: bool,
}

/// Encoding of [`File`] data in the manifest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Text as it is.
    #[default]
    String,
    /// Standard base64.
    Base64,
    /// Hexadecimal.
    Hex,
}

/// A user: a client certificate and roles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// PEM text; the first block counts, whatever its label.
    pub certificate: String,
    /// Role names.
    pub roles: Vec<String>,
}

/// A set of permissions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Role {
    /// `Packages`, `Secrets` or `Manifest`.
    pub resource_type: String,
    /// Names of packages or secrets.
    pub resource_names: Vec<String>,
    /// Action names, compared case-insensitively.
    pub actions: Vec<String>,
}

/// Kind of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecretKind {
    /// `symmetric-key`
    SymmetricKey,
    /// `cert-rsa`
    CertRsa,
    /// `cert-ecdsa`
    CertEcdsa,
    /// `cert-ed25519`
    CertEd25519,
    /// `plain`
    Plain,
}

impl SecretKind {
    /// The name in manifests and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SymmetricKey => "symmetric-key",
            Self::CertRsa => "cert-rsa",
            Self::CertEcdsa => "cert-ecdsa",
            Self::CertEd25519 => "cert-ed25519",
            Self::Plain => "plain",
        }
    }

    /// The kind of that exact name (case-sensitive, as upstream).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "symmetric-key" => Self::SymmetricKey,
            "cert-rsa" => Self::CertRsa,
            "cert-ecdsa" => Self::CertEcdsa,
            "cert-ed25519" => Self::CertEd25519,
            "plain" => Self::Plain,
            _ => return None,
        })
    }

    /// Whether the secret is a certificate with a key pair.
    #[must_use]
    pub fn is_certificate(self) -> bool {
        matches!(self, Self::CertRsa | Self::CertEcdsa | Self::CertEd25519)
    }
}

/// A secret as the manifest declares it.
#[derive(Clone, Default, PartialEq)]
pub struct SecretDefinition {
    /// Kind name as written; checked later.
    pub kind: String,
    /// Bits.
    pub size: u64,
    /// One value for all Marbles.
    pub shared: bool,
    /// Uploaded by a user, never generated.
    pub user_defined: bool,
    /// Days, certificates only; 0 = 365 when generated.
    pub valid_for: u64,
    /// Certificate template.
    pub cert: Option<CertTemplate>,
    /// Initial private part of a user-defined secret.
    pub private: Option<Vec<u8>>,
    /// Initial public part of a user-defined secret.
    pub public: Option<Vec<u8>>,
}

impl std::fmt::Debug for SecretDefinition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretDefinition")
            .field("kind", &self.kind)
            .field("size", &self.size)
            .field("shared", &self.shared)
            .field("user_defined", &self.user_defined)
            .field("valid_for", &self.valid_for)
            .field("cert", &self.cert)
            .finish_non_exhaustive()
    }
}

/// Which certificate to make: a template object, or an existing certificate whose fields serve as one.
#[derive(Debug, Clone, PartialEq)]
pub enum CertTemplate {
    /// Fields given in the manifest.
    Fields(Box<CertFields>),
    /// A DER certificate given as base64 text.
    Der(Vec<u8>),
}

/// The effective fields of a certificate template (Go's `x509.Certificate` names).
///
/// `None` in a list means "not given" (defaults apply); an empty list stays empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CertFields {
    /// 0 default; 10, 11, 12 = ECDSA with SHA-256, 384, 512. Others are refused at generation.
    pub signature_algorithm: i64,
    /// Subject name.
    pub subject: Subject,
    /// Seconds since the Unix epoch; `None` if absent or the zero time.
    pub not_after: Option<i64>,
    /// Go's key usage bits; 0 = default.
    pub key_usage: i64,
    /// Go's extended key usage numbers.
    pub ext_key_usage: Option<Vec<i64>>,
    /// OIDs of further extended key usages.
    pub unknown_ext_key_usage: Vec<Vec<u64>>,
    /// Basic constraints CA flag.
    pub is_ca: bool,
    /// Path length limit, meaningful if > 0, or 0 together with `max_path_len_zero`, or -1.
    pub max_path_len: i64,
    /// A `max_path_len` of 0 is meant.
    pub max_path_len_zero: bool,
    /// Subject key identifier.
    pub subject_key_id: Vec<u8>,
    /// OCSP server URLs.
    pub ocsp_server: Vec<String>,
    /// Issuer certificate URLs.
    pub issuing_certificate_url: Vec<String>,
    /// DNS subject alternative names.
    pub dns_names: Option<Vec<String>>,
    /// E-mail subject alternative names.
    pub email_addresses: Vec<String>,
    /// IP subject alternative names.
    pub ip_addresses: Option<Vec<IpAddr>>,
    /// URI subject alternative names, as text.
    pub uris: Vec<String>,
    /// Whether the name constraints are critical.
    pub permitted_dns_domains_critical: bool,
    /// Name constraints.
    pub permitted_dns_domains: Vec<String>,
    /// Name constraints.
    pub excluded_dns_domains: Vec<String>,
    /// Name constraints: address and mask bytes.
    pub permitted_ip_ranges: Vec<(IpAddr, Vec<u8>)>,
    /// Name constraints: address and mask bytes.
    pub excluded_ip_ranges: Vec<(IpAddr, Vec<u8>)>,
    /// Name constraints.
    pub permitted_email_addresses: Vec<String>,
    /// Name constraints.
    pub excluded_email_addresses: Vec<String>,
    /// Name constraints.
    pub permitted_uri_domains: Vec<String>,
    /// Name constraints.
    pub excluded_uri_domains: Vec<String>,
    /// CRL distribution point URLs.
    pub crl_distribution_points: Vec<String>,
    /// Certificate policies, dotted text.
    pub policies: Vec<String>,
    /// Extensions added as they are.
    pub extra_extensions: Vec<ExtraExtension>,
}

/// An extension given verbatim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtraExtension {
    /// Arcs of the object identifier.
    pub id: Vec<u64>,
    /// Critical flag.
    pub critical: bool,
    /// Raw value.
    pub value: Vec<u8>,
}

/// A subject name (Go's `pkix.Name`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Subject {
    /// C
    pub country: Vec<String>,
    /// O
    pub organization: Vec<String>,
    /// OU
    pub organizational_unit: Vec<String>,
    /// L
    pub locality: Vec<String>,
    /// ST
    pub province: Vec<String>,
    /// street
    pub street_address: Vec<String>,
    /// postalCode
    pub postal_code: Vec<String>,
    /// serialNumber
    pub serial_number: String,
    /// CN
    pub common_name: String,
    /// Further attributes: arcs and text value.
    pub extra_names: Vec<(Vec<u64>, String)>,
}

/// TTLS connections of one tag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsTag {
    /// Connections the Marble opens.
    pub outgoing: Vec<TlsEntry>,
    /// Connections the Marble accepts.
    pub incoming: Vec<TlsEntry>,
}

/// One TTLS connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsEntry {
    /// Port as text.
    pub port: String,
    /// Address; outgoing only.
    pub addr: String,
    /// Secret that holds the certificate; incoming only.
    pub cert: String,
    /// Accept clients without a certificate; incoming only.
    pub disable_client_auth: bool,
}

/// Deployment-wide settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// `""`, `ProductKey`, `UniqueKey`, `Disabled`.
    pub seal_mode: String,
    /// Optional features switched on.
    pub feature_gates: Vec<String>,
    /// Acknowledgements a full update needs; 0 = all owners.
    pub update_threshold: u64,
    /// Recovery secrets needed; 0 = all.
    pub recovery_threshold: u64,
    /// Rotate the root secret at every full update.
    pub rotate_root_secret: bool,
}

impl Config {
    /// Whether a feature gate is on (names compare case-insensitively).
    #[must_use]
    pub fn has_feature(&self, name: &str) -> bool {
        self.feature_gates.iter().any(|gate| gate.eq_ignore_ascii_case(name))
    }
}
