//! The certificate authorities behind Azure's services, pinned: the host's list is not asked, for the host could add one.

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// The roots that Microsoft names for Azure's TLS certificates.
const PINNED: [&str; 6] = [
    include_str!("../roots/digicert-global-root-g2.pem"),
    include_str!("../roots/digicert-global-root-g3.pem"),
    include_str!("../roots/digicert-tls-ecc-p384-root-g5.pem"),
    include_str!("../roots/digicert-tls-rsa4096-root-g5.pem"),
    include_str!("../roots/microsoft-ecc-root-certificate-authority-2017.pem"),
    include_str!("../roots/microsoft-rsa-root-certificate-authority-2017.pem"),
];

/// Certificates that chains of Azure's services may end in.
#[derive(Debug, Clone)]
pub struct Roots(pub(crate) RootCertStore);

impl Roots {
    /// The six that are compiled in.
    ///
    /// # Errors
    /// Never; a test reads them all.
    pub fn pinned() -> Result<Self, String> {
        Self::from_pem(PINNED.concat().as_bytes())
    }

    /// Those of a PEM file instead: for clouds with other authorities. Whoever chooses the file can play the vault.
    ///
    /// # Errors
    /// If there is none, or one cannot be read.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| format!("the root certificates are no PEM: {error}"))?;
            store.add(certificate).map_err(|error| format!("a root certificate cannot be read: {error}"))?;
        }
        if store.is_empty() {
            return Err("there is no root certificate".to_owned());
        }
        Ok(Self(store))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest;

    use super::*;

    #[test]
    fn the_pinned_roots_are_these() {
        assert_eq!(Roots::pinned().unwrap().0.len(), 6);
        let fingerprints: Vec<String> = PINNED
            .iter()
            .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
            .map(|der| hex::encode_upper(digest::digest(&digest::SHA256, &der)))
            .collect();
        // As the authorities publish them.
        assert_eq!(
            fingerprints,
            [
                "CB3CCBB76031E5E0138F8DD39A23F9DE47FFC35E43C1144CEA27D46A5AB1CB5F",
                "31AD6648F8104138C738F39EA4320133393E3A18CC02296EF97C2AC9EF6731D0",
                "018E13F0772532CF809BD1B17281867283FC48C6E13BE9C69812854A490C1B05",
                "371A00DC0533B3721A7EEB40E8419E70799D2B0A0F2C1D80693165F7CEC4AD75",
                "358DF39D764AF9E1B766E9C972DF352EE15CFAC227AF6AD1D70E8E4A6EDCBA02",
                "C741F70F4B2A8D88BF2E71C14122EF53EF10EBA0CFA5E64CFA20F418853073E0",
            ]
        );
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        assert!(Roots::from_pem(b"").unwrap_err().contains("no root certificate"));
        assert!(Roots::from_pem(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
    }
}
