//! What verified evidence says.

use std::str::FromStr;

use crate::{ReportData, Tee};

/// What a verifier found out about a peer. Only a verifier makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claims {
    /// Nothing: both sides play. No verifier of hardware evidence ever says this.
    Simulation,
    /// Hardware vouches for the following.
    Enclave(EnclaveClaims),
}

/// Identity and state of something attested: an enclave, or a confidential VM. The evidence was genuine; whether this
/// one is wanted is for a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnclaveClaims {
    /// What it is.
    pub identity: Identity,
    /// Its memory can be read from outside.
    pub debug: bool,
    /// What the evidence is bound to.
    pub report_data: ReportData,
    /// State of the platform. SEV-SNP knows none: it is [`TcbStatus::UpToDate`] there, and versions are compared.
    pub tcb_status: TcbStatus,
    /// Advisories that apply to the platform; `None` if the list could not be read.
    pub advisories: Option<Vec<String>>,
}

/// What was measured, by the family of hardware that measured it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// An enclave in Intel SGX.
    Sgx(SgxIdentity),
    /// A VM in Intel TDX.
    Tdx(Box<TdxIdentity>),
    /// A VM in AMD SEV-SNP.
    Snp(Box<SnpIdentity>),
}

/// An SGX enclave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SgxIdentity {
    /// MRENCLAVE.
    pub unique_id: [u8; 32],
    /// MRSIGNER.
    pub signer_id: [u8; 32],
    /// Product id.
    pub product_id: u64,
    /// Security version of the product.
    pub security_version: u64,
}

/// A TDX VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TdxIdentity {
    /// Measurement of the initial memory: the firmware.
    pub mrtd: [u8; 48],
    /// Run-time registers: 0 configuration, 1 kernel, 2 operating system, 3 applications.
    pub rtmr: [[u8; 48]; 4],
    /// Measurement of the TDX module.
    pub mr_seam: [u8; 48],
    /// Chosen by whoever started the VM, for its configuration.
    pub mr_config_id: [u8; 48],
    /// Chosen by whoever started the VM, for its owner.
    pub mr_owner: [u8; 48],
    /// Chosen by whoever started the VM, for the owner's configuration.
    pub mr_owner_config: [u8; 48],
    /// Attributes; bit 0 is debug.
    pub attributes: [u8; 8],
    /// Extended features the VM may use.
    pub xfam: [u8; 8],
}

impl TdxIdentity {
    /// The fields as packages name them.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, &[u8]); 11] {
        let [rtmr0, rtmr1, rtmr2, rtmr3] = &self.rtmr;
        [
            ("MRTD", &self.mrtd),
            ("RTMR0", rtmr0),
            ("RTMR1", rtmr1),
            ("RTMR2", rtmr2),
            ("RTMR3", rtmr3),
            ("MRSEAM", &self.mr_seam),
            ("MRConfigID", &self.mr_config_id),
            ("MROwner", &self.mr_owner),
            ("MROwnerConfig", &self.mr_owner_config),
            ("Attributes", &self.attributes),
            ("XFAM", &self.xfam),
        ]
    }
}

/// An SEV-SNP VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnpIdentity {
    /// Measurement of the initial memory.
    pub measurement: [u8; 48],
    /// SHA-384 of the key that signed the ID block; zeroes: there was none.
    pub id_key_digest: [u8; 48],
    /// SHA-384 of the key that signed that key; zeroes: there was none.
    pub author_key_digest: [u8; 48],
    /// Family, from the ID block.
    pub family_id: [u8; 16],
    /// Image, from the ID block.
    pub image_id: [u8; 16],
    /// Security version, from the ID block.
    pub guest_svn: u32,
    /// Chosen by whoever started the VM.
    pub host_data: [u8; 32],
    /// What the owner allows the host: bit 16 SMT, 18 migration, 19 debug.
    pub policy: u64,
    /// Privilege level that asked for the report.
    pub vmpl: u32,
    /// Firmware that the report was signed with.
    pub tcb: SnpTcbVersion,
    /// Firmware that the platform cannot go behind any more.
    pub committed_tcb: SnpTcbVersion,
    /// The processor; zeroes where the host hides it.
    pub chip_id: [u8; 64],
    /// Its family, as its key's chain of certificates tells.
    pub product: SnpProduct,
    /// Registers of the TPM that a paravisor plays for the VM. `None`: the VM asked the processor itself.
    pub pcrs: Option<Pcrs>,
}

impl SnpIdentity {
    /// In [`Self::policy`]: the VM can be read from outside.
    pub const POLICY_DEBUG: u64 = 1 << 19;
    /// In [`Self::policy`]: an agent may move the VM elsewhere, and see its memory.
    pub const POLICY_MIGRATION: u64 = 1 << 18;

    /// The measurements and ids as packages name them.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, &[u8]); 6] {
        [
            ("Measurement", &self.measurement),
            ("IDKeyDigest", &self.id_key_digest),
            ("AuthorKeyDigest", &self.author_key_digest),
            ("FamilyID", &self.family_id),
            ("ImageID", &self.image_id),
            ("HostData", &self.host_data),
        ]
    }
}

/// Registers of a TPM (PCRs, SHA-256) that a quote is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pcrs([Option<[u8; 32]>; Self::COUNT]);

impl Pcrs {
    /// How many a TPM has.
    pub const COUNT: usize = 24;
    /// What packages call them.
    pub(crate) const NAMES: [&str; Self::COUNT] = [
        "PCRs.0", "PCRs.1", "PCRs.2", "PCRs.3", "PCRs.4", "PCRs.5", "PCRs.6", "PCRs.7", "PCRs.8", "PCRs.9", "PCRs.10",
        "PCRs.11", "PCRs.12", "PCRs.13", "PCRs.14", "PCRs.15", "PCRs.16", "PCRs.17", "PCRs.18", "PCRs.19", "PCRs.20",
        "PCRs.21", "PCRs.22", "PCRs.23",
    ];

    pub(crate) fn new(values: [Option<[u8; 32]>; Self::COUNT]) -> Self {
        Self(values)
    }

    /// The value of one; `None` if the quote is not over it, or no TPM has it.
    #[must_use]
    pub fn value(&self, number: usize) -> Option<&[u8; 32]> {
        self.0.get(number)?.as_ref()
    }

    /// Those that the quote is over, as packages name them.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &[u8; 32])> {
        Self::NAMES.into_iter().zip(&self.0).filter_map(|(name, value)| Some((name, value.as_ref()?)))
    }
}

/// Versions of the firmware of an SEV-SNP platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SnpTcbVersion {
    /// Boot loader of the secure processor.
    pub bootloader: u8,
    /// Operating system of the secure processor.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
    /// Firmware of the memory controller; from Turin on.
    pub fmc: Option<u8>,
}

impl SnpTcbVersion {
    /// The components as packages name them.
    #[must_use]
    pub fn components(&self) -> [(&'static str, u8); 5] {
        [
            ("Bootloader", self.bootloader),
            ("TEE", self.tee),
            ("SNP", self.snp),
            ("Microcode", self.microcode),
            ("FMC", self.fmc.unwrap_or_default()),
        ]
    }

    /// Whether no component is older than the other's.
    #[must_use]
    pub fn is_at_least(&self, other: &Self) -> bool {
        self.components().iter().zip(other.components()).all(|((_, own), (_, other))| *own >= other)
    }
}

impl std::fmt::Display for SnpTcbVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bootloader, tee, snp, microcode, fmc } = self;
        write!(f, "Bootloader:{bootloader} TEE:{tee} SNP:{snp} Microcode:{microcode}")?;
        fmc.map_or(Ok(()), |fmc| write!(f, " FMC:{fmc}"))
    }
}

/// Families of processors with SEV-SNP that have keys of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnpProduct {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004, 8004.
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl SnpProduct {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// The name of AMD's key service.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }
}

impl std::fmt::Display for SnpProduct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Identity {
    /// The family of hardware.
    #[must_use]
    pub fn tee(&self) -> Tee {
        match self {
            Self::Sgx(_) => Tee::Sgx,
            Self::Tdx(_) => Tee::Tdx,
            Self::Snp(snp) if snp.pcrs.is_some() => Tee::SnpVtpm,
            Self::Snp(_) => Tee::Snp,
        }
    }

    /// The enclave, if it is one.
    #[must_use]
    pub fn sgx(&self) -> Option<&SgxIdentity> {
        match self {
            Self::Sgx(sgx) => Some(sgx),
            _ => None,
        }
    }

    /// Version that grows when holes are closed; 0 where the hardware knows none.
    #[must_use]
    pub fn security_version(&self) -> u64 {
        match self {
            Self::Sgx(sgx) => sgx.security_version,
            Self::Tdx(_) => 0,
            Self::Snp(snp) => u64::from(snp.guest_svn),
        }
    }
}

/// How up to date a platform is, by Intel's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TcbStatus {
    /// Nothing to do.
    UpToDate,
    /// Updates are missing.
    OutOfDate,
    /// Keys of this level are revoked.
    Revoked,
    /// A setting is needed.
    ConfigurationNeeded,
    /// Updates and a setting are missing.
    OutOfDateConfigurationNeeded,
    /// Software must do its part.
    SwHardeningNeeded,
    /// A setting is missing and software must do its part.
    ConfigurationAndSwHardeningNeeded,
    /// A VM in TDX was started on an older platform than it runs on now: start it again.
    TdRelaunchAdvised,
    /// As above, and a setting is needed.
    TdRelaunchAdvisedConfigurationNeeded,
    /// None of the above.
    Unknown,
}

impl TcbStatus {
    const NAMES: [(Self, &'static str); 10] = [
        (Self::UpToDate, "UpToDate"),
        (Self::OutOfDate, "OutOfDate"),
        (Self::Revoked, "Revoked"),
        (Self::ConfigurationNeeded, "ConfigurationNeeded"),
        (Self::OutOfDateConfigurationNeeded, "OutOfDateConfigurationNeeded"),
        (Self::SwHardeningNeeded, "SWHardeningNeeded"),
        (Self::ConfigurationAndSwHardeningNeeded, "ConfigurationAndSWHardeningNeeded"),
        (Self::TdRelaunchAdvised, "TDRelaunchAdvised"),
        (Self::TdRelaunchAdvisedConfigurationNeeded, "TDRelaunchAdvisedConfigurationNeeded"),
        (Self::Unknown, "Unknown"),
    ];

    /// The name in manifests, logs and statements.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(status, _)| *status == self).map_or("Unknown", |(_, name)| name)
    }
}

impl std::fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TcbStatus {
    type Err = ();

    /// Exactly the name; case matters, as it does upstream.
    fn from_str(name: &str) -> Result<Self, ()> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(status, _)| *status).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_name_and_no_other() {
        for (status, name) in TcbStatus::NAMES {
            assert_eq!(status.as_str(), name);
            assert_eq!(name.parse(), Ok(status));
            assert_eq!(name.to_ascii_lowercase().parse::<TcbStatus>(), Err(()));
        }
    }
}
