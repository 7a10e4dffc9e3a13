//! AMD, played: keys that certify processors as AMD's do, processors that sign reports, lists of what was revoked. Whoever
//! is given [`roots`] believes them; nobody else does. Certificates, lists and reports have AMD's form (Versioned Chip
//! Endorsement Key Certificate and KDS Interface Specification; SEV Secure Nested Paging Firmware ABI Specification).

use std::str::FromStr as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PSS_SHA384, RsaKeyPair};
use p384::ecdsa::signature::{Error as SignError, Keypair, Signer};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder as _, CertificateBuilder, CrlBuilder};
use x509_cert::certificate::{Certificate, Rfc5280, TbsCertificate};
use x509_cert::crl::RevokedCert;
use x509_cert::der::asn1::{BitString, Ia5String, ObjectIdentifier, OctetString, Uint};
use x509_cert::der::{self, DateTime, Decode as _, Document, Encode as _};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::CrlNumber;
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{
    self, AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, EncodePublicKey, SignatureBitStringEncoding,
    SubjectPublicKeyInfo, SubjectPublicKeyInfoRef,
};
use x509_cert::time::{Time, Validity};

use crate::{
    AmdRoot, Bundle, CollateralError, CollateralSource, Evidence, IntelCollateral, IntelPlatform, ReportData, Roots,
    SnpIdentity, SnpProduct, SnpTcbVersion, Tee, VcekRequest,
};

/// 2026-01-01: all that is made here is good then, and the synthetic collateral of Intel too.
pub const NOW: u64 = 1_767_225_600;

/// 2020-10-22 and 2045-10-22: the life of AMD's own keys.
const LIFE: (u64, u64) = (1_603_324_800, 2_392_243_200);
/// 2024-01-01 and 2031-01-01: seven years, as processors' certificates have.
const LIFE_OF_A_PROCESSOR: (u64, u64) = (1_704_067_200, 1_924_992_000);

/// The serial number of each key below a root, as [`revocation_list`] takes it.
pub const SERIAL_OF_ASK: &[u8] = &[1, 0, 1];
/// As above, of what certifies cloud providers' keys.
pub const SERIAL_OF_ASVK: &[u8] = &[1, 1, 1];
/// As above, of every processor's key.
pub const SERIAL_OF_VEK: &[u8] = &[0];

/// A key that certifies.
struct Authority {
    key: RsaKeyPair,
    /// How AMD's certificates state RSA-PSS with SHA-384.
    algorithm: AlgorithmIdentifierOwned,
}

static ARK: LazyLock<Authority> =
    LazyLock::new(|| Authority::read(include_bytes!("../../tests/fixtures/quotes/synthetic/snp_test_ark_key.pem")));
static ASK: LazyLock<Authority> =
    LazyLock::new(|| Authority::read(include_bytes!("../../tests/fixtures/quotes/synthetic/snp_test_ask_key.pem")));
static ASVK: LazyLock<Authority> =
    LazyLock::new(|| Authority::read(include_bytes!("../../tests/fixtures/quotes/synthetic/snp_test_asvk_key.pem")));

static ROOTS: LazyLock<[AmdRoot; 3]> = LazyLock::new(|| SnpProduct::ALL.map(root));

/// Roots that lead to these keys, in place of AMD's. Intel's are its own.
#[must_use]
pub fn roots() -> Roots {
    Roots { amd: ROOTS.to_vec(), ..Roots::vendors() }
}

/// The keys of one family of processors. As at AMD, nobody rents out Turin's.
fn root(product: SnpProduct) -> AmdRoot {
    let ark = name(&format!("ARK-{product}"));
    let below = |of: &Authority, subject: &str, serial: &[u8]| {
        let spki = of.key.public_key().as_der().unwrap();
        certificate(&ARK, &ark, &name(subject), serial, spki.as_ref(), LIFE, Vec::new())
    };
    let has_asvk = product != SnpProduct::Turin;
    AmdRoot {
        product,
        ark: below(&ARK, &format!("ARK-{product}"), &[1, 0, 0]),
        ask: below(&ASK, &format!("SEV-{product}"), SERIAL_OF_ASK),
        asvk: has_asvk.then(|| below(&ASVK, &format!("SEV-VLEK-{product}"), SERIAL_OF_ASVK)),
    }
}

/// A list (DER) of revoked serial numbers, signed by the root of a family, good from and until.
#[must_use]
pub fn revocation_list(product: SnpProduct, revoked: &[&[u8]], (from, until): (u64, u64)) -> Vec<u8> {
    let issuer = Certificate::from_der(&root(product).ark).unwrap();
    let entries = revoked.iter().map(|serial| RevokedCert::<Rfc5280> {
        serial_number: SerialNumber::new(serial).unwrap(),
        revocation_date: time(from),
        crl_entry_extensions: None,
    });
    let number = CrlNumber(Uint::new(&[1]).unwrap());
    let mut list = CrlBuilder::new_with_this_update(&issuer, number, time(from)).unwrap();
    list = list.with_next_update(Some(time(until)));
    if !revoked.is_empty() {
        list = list.with_certificates(entries);
    }
    list.build::<_, Signature>(&*ARK).unwrap().to_der().unwrap()
}

/// AMD's service, with what it has.
#[derive(Debug, Clone, Default)]
pub struct Kds {
    /// DER of the certificate that it gives out for every processor.
    pub vcek: Option<Vec<u8>>,
    /// DER of the list of revoked serial numbers of every family.
    pub list: Option<Vec<u8>>,
}

impl CollateralSource for Kds {
    fn intel(&self, _: &IntelPlatform, _: u64) -> Result<Arc<IntelCollateral>, CollateralError> {
        Err(CollateralError("none".to_owned()))
    }

    fn vcek(&self, request: &VcekRequest, _: u64) -> Result<Arc<[u8]>, CollateralError> {
        self.vcek.clone().map(Into::into).ok_or_else(|| CollateralError(format!("nobody knows {request}")))
    }

    fn amd_crl(&self, _: SnpProduct, _: u64) -> Result<Option<Arc<[u8]>>, CollateralError> {
        Ok(self.list.clone().map(Into::into))
    }
}

/// Whose key signs a processor's reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endorsement {
    /// The processor's own (VCEK).
    Vcek,
    /// Its cloud provider's (VLEK).
    Vlek,
}

/// A processor with a key that is certified. Its fields may be changed before it certifies or signs.
pub struct Processor {
    /// The family.
    pub product: SnpProduct,
    /// Version of the form of its reports: 2 to 5.
    pub report_version: u32,
    /// Whose key it signs with.
    pub endorsement: Endorsement,
    /// Which one it is certified as.
    pub chip_id: [u8; 64],
    /// The firmware that it is certified for.
    pub tcb: SnpTcbVersion,
    /// Since when and until when it is certified, in seconds since the epoch.
    pub life: (u64, u64),
    key: EcdsaKeyPair,
}

impl Processor {
    /// A new one.
    #[must_use]
    pub fn new(product: SnpProduct, report_version: u32, endorsement: Endorsement) -> Self {
        let is_turin = product == SnpProduct::Turin;
        let mut chip_id = [0; 64];
        // Ids of Turin's processors have 8 bytes.
        let length = if is_turin { 8 } else { 64 };
        chip_id.iter_mut().zip(1..=length).for_each(|(byte, number)| *byte = number);
        Self {
            product,
            report_version,
            endorsement,
            chip_id,
            tcb: SnpTcbVersion { bootloader: 3, tee: 0, snp: 8, microcode: 115, fmc: is_turin.then_some(1) },
            life: LIFE_OF_A_PROCESSOR,
            key: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
        }
    }

    /// A VM on it.
    #[must_use]
    pub fn vm(&self) -> SnpIdentity {
        SnpIdentity {
            measurement: [0xa1; 48],
            id_key_digest: [0xb1; 48],
            author_key_digest: [0xc1; 48],
            family_id: [0xd1; 16],
            image_id: [0xe1; 16],
            guest_svn: 4,
            host_data: [0xf1; 32],
            policy: 0x30000,
            vmpl: 0,
            tcb: self.tcb,
            committed_tcb: self.tcb,
            chip_id: self.chip_id,
            product: self.product,
            pcrs: None,
        }
    }

    /// DER of its key's certificate.
    #[must_use]
    pub fn certificate(&self) -> Vec<u8> {
        let SnpTcbVersion { bootloader, tee, snp, microcode, fmc } = self.tcb;
        let (authority, issuer, subject) = match self.endorsement {
            Endorsement::Vcek => (&*ASK, format!("SEV-{}", self.product), "SEV-VCEK"),
            Endorsement::Vlek => (&*ASVK, format!("SEV-VLEK-{}", self.product), "SEV-VLEK"),
        };
        let text = |text: &str| Ia5String::new(text).unwrap().to_der().unwrap();
        let mut extensions = vec![extension("1", 0u8.to_der().unwrap()), extension("2", text(self.product.as_str()))];
        let versions = [("3.1", bootloader), ("3.2", tee), ("3.3", snp), ("3.8", microcode)];
        let versions = versions.into_iter().chain(fmc.map(|fmc| ("3.9", fmc)));
        extensions.extend(versions.map(|(arc, version)| extension(arc, version.to_der().unwrap())));
        extensions.push(match (self.endorsement, self.product) {
            (Endorsement::Vlek, _) => extension("5", text("CN=cloud.example")),
            (Endorsement::Vcek, SnpProduct::Turin) => extension("4", self.chip_id.iter().copied().take(8).collect()),
            (Endorsement::Vcek, _) => extension("4", self.chip_id.to_vec()),
        });
        let spki = self.key.public_key().as_der().unwrap();
        certificate(authority, &name(&issuer), &name(subject), SERIAL_OF_VEK, spki.as_ref(), self.life, extensions)
    }

    /// What its certificate is asked by.
    #[must_use]
    pub fn request(&self) -> VcekRequest {
        VcekRequest { product: self.product, chip_id: self.chip_id, tcb: raw(&self.tcb, self.product) }
    }

    /// A report about a VM, signed. What the VM says of processor and firmware is reported as it is, whatever is certified.
    #[must_use]
    pub fn report(&self, vm: &SnpIdentity, report_data: &ReportData) -> Vec<u8> {
        let mut report = vec![0; 1184];
        let mut put = |at: usize, bytes: &[u8]| {
            report.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
        };
        let tcb = raw(&vm.tcb, vm.product);
        let committed = raw(&vm.committed_tcb, vm.product);
        let key_info = u32::from(self.endorsement == Endorsement::Vlek) << 2;
        put(0x00, &self.report_version.to_le_bytes());
        put(0x04, &vm.guest_svn.to_le_bytes());
        put(0x08, &vm.policy.to_le_bytes());
        put(0x10, &vm.family_id);
        put(0x20, &vm.image_id);
        put(0x30, &vm.vmpl.to_le_bytes());
        put(0x34, &1u32.to_le_bytes());
        put(0x38, &tcb);
        put(0x40, &1u64.to_le_bytes());
        put(0x48, &key_info.to_le_bytes());
        put(0x50, &report_data.0);
        put(0x90, &vm.measurement);
        put(0xc0, &vm.host_data);
        put(0xe0, &vm.id_key_digest);
        put(0x110, &vm.author_key_digest);
        // Of the report and of its migration agent: there is none.
        put(0x140, &[0x5a; 32]);
        put(0x160, &[0xff; 32]);
        put(0x180, &tcb);
        if self.report_version >= 3 {
            // Family, model and stepping, as CPUID tells them.
            put(
                0x188,
                match vm.product {
                    SnpProduct::Milan => &[0x19, 0x01, 0x01],
                    SnpProduct::Genoa => &[0x19, 0x11, 0x01],
                    SnpProduct::Turin => &[0x1a, 0x02, 0x01],
                },
            );
        }
        put(0x1a0, &vm.chip_id);
        put(0x1e0, &committed);
        // Build, minor and major version of the firmware: current and committed.
        put(0x1e8, &[30, 55, 1, 0, 30, 55, 1, 0]);
        put(0x1f0, &tcb);
        if self.report_version >= 5 {
            // What the firmware guards against, at the launch and now.
            put(0x1f8, &[3, 0, 0, 0, 0, 0, 0, 0, 3]);
        }
        self.sign(&mut report);
        report
    }

    /// Signs a report, whatever it says.
    pub fn sign(&self, report: &mut [u8]) {
        let (signed, signature) = report.split_at_mut(0x2a0);
        let made = self.key.sign(&SystemRandom::new(), signed).unwrap();
        let (r, s) = made.as_ref().split_at(48);
        for (at, number) in [(0, r), (72, s)] {
            signature.iter_mut().skip(at).zip(number.iter().rev()).for_each(|(to, from)| *to = *from);
        }
    }

    /// What a guest sends: a report, and its key's certificate.
    #[must_use]
    pub fn bundle(&self, report: Vec<u8>) -> Bundle {
        let tee = Bundle::number(Tee::Snp).unwrap();
        Bundle { tee, report, certificates: vec![self.certificate()], ..Bundle::default() }
    }

    /// Evidence about a VM, with its key's certificate.
    #[must_use]
    pub fn evidence(&self, vm: &SnpIdentity, report_data: &ReportData) -> Evidence {
        Evidence::from_wire(self.bundle(self.report(vm, report_data)).to_wire()).unwrap()
    }
}

/// Firmware as reports of a family have it.
fn raw(tcb: &SnpTcbVersion, product: SnpProduct) -> [u8; 8] {
    let SnpTcbVersion { bootloader, tee, snp, microcode, fmc } = *tcb;
    match product {
        SnpProduct::Milan | SnpProduct::Genoa => [bootloader, tee, 0, 0, 0, 0, snp, microcode],
        SnpProduct::Turin => [fmc.unwrap_or_default(), bootloader, tee, snp, 0, 0, 0, microcode],
    }
}

fn name(common: &str) -> Name {
    let rest = "O=Advanced Micro Devices,ST=CA,L=Santa Clara,C=US,OU=Engineering";
    Name::from_str(&format!("CN={common},{rest}")).unwrap()
}

fn time(seconds: u64) -> Time {
    DateTime::from_unix_duration(Duration::from_secs(seconds)).unwrap().into()
}

/// One of AMD's, below its number.
fn extension(arc: &str, contents: Vec<u8>) -> Extension {
    Extension {
        extn_id: ObjectIdentifier::new(&format!("1.3.6.1.4.1.3704.1.{arc}")).unwrap(),
        critical: false,
        extn_value: OctetString::new(contents).unwrap(),
    }
}

fn certificate(
    authority: &Authority,
    issuer: &Name,
    subject: &Name,
    serial: &[u8],
    spki: &[u8],
    (from, until): (u64, u64),
    extensions: Vec<Extension>,
) -> Vec<u8> {
    let form = Form { issuer: issuer.clone(), subject: subject.clone(), extensions };
    let validity = Validity::new(time(from), time(until));
    let spki = SubjectPublicKeyInfo::from_der(spki).unwrap();
    let builder = CertificateBuilder::new(form, SerialNumber::new(serial).unwrap(), validity, spki).unwrap();
    builder.build::<_, Signature>(authority).unwrap().to_der().unwrap()
}

/// What the builder asks about a certificate.
struct Form {
    issuer: Name,
    subject: Name,
    extensions: Vec<Extension>,
}

impl BuilderProfile for Form {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        _spk: SubjectPublicKeyInfoRef<'_>,
        _issuer_spk: SubjectPublicKeyInfoRef<'_>,
        _tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        Ok(self.extensions.clone())
    }
}

impl Authority {
    fn read(pem: &[u8]) -> Self {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem).unwrap();
        let amds = Certificate::from_der(include_bytes!("../roots/ark_milan.der")).unwrap();
        Self {
            key: RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap(),
            algorithm: amds.signature_algorithm().clone(),
        }
    }
}

/// A public key (SPKI).
#[derive(Clone)]
struct PublicKey(Vec<u8>);

impl Keypair for Authority {
    type VerifyingKey = PublicKey;

    fn verifying_key(&self) -> PublicKey {
        PublicKey(self.key.public_key().as_der().unwrap().as_ref().to_vec())
    }
}

impl EncodePublicKey for PublicKey {
    fn to_public_key_der(&self) -> spki::Result<Document> {
        Ok(Document::try_from(self.0.as_slice())?)
    }
}

impl DynSignatureAlgorithmIdentifier for Authority {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        Ok(self.algorithm.clone())
    }
}

struct Signature(Vec<u8>);

impl Signer<Signature> for Authority {
    fn try_sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        let signed = self.key.sign(&RSA_PSS_SHA384, &SystemRandom::new(), message, &mut signature);
        signed.map(|()| Signature(signature)).map_err(SignError::from_source)
    }
}

impl SignatureBitStringEncoding for Signature {
    fn to_bitstring(&self) -> der::Result<BitString> {
        BitString::from_bytes(&self.0)
    }
}
