//! What verified evidence says.

use std::str::FromStr;

use crate::ReportData;

/// What a verifier found out about a peer. Only a verifier makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claims {
    /// Nothing: both sides play. No verifier of hardware evidence ever says this.
    Simulation,
    /// Hardware vouches for the following.
    Enclave(EnclaveClaims),
}

/// Identity and state of an attested enclave. The evidence was genuine; whether this one is wanted is for a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnclaveClaims {
    /// MRENCLAVE.
    pub unique_id: [u8; 32],
    /// MRSIGNER.
    pub signer_id: [u8; 32],
    /// Product id.
    pub product_id: u64,
    /// Security version of the product.
    pub security_version: u64,
    /// Its memory can be read from outside.
    pub debug: bool,
    /// What the evidence is bound to.
    pub report_data: ReportData,
    /// State of the platform.
    pub tcb_status: TcbStatus,
    /// Advisories that apply to the platform; `None` if the list could not be read.
    pub advisories: Option<Vec<String>>,
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
    /// None of the above.
    Unknown,
}

impl TcbStatus {
    const NAMES: [(Self, &'static str); 8] = [
        (Self::UpToDate, "UpToDate"),
        (Self::OutOfDate, "OutOfDate"),
        (Self::Revoked, "Revoked"),
        (Self::ConfigurationNeeded, "ConfigurationNeeded"),
        (Self::OutOfDateConfigurationNeeded, "OutOfDateConfigurationNeeded"),
        (Self::SwHardeningNeeded, "SWHardeningNeeded"),
        (Self::ConfigurationAndSwHardeningNeeded, "ConfigurationAndSWHardeningNeeded"),
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
