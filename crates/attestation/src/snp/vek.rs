//! The certificate of the key that signs reports: AMD's word that the key belongs to a processor (VCEK) or a cloud
//! provider (VLEK), and to this firmware.

use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, asn1::UintRef};

use super::AMD_SIGNS;
use super::report::{Key, Report};
use crate::roots::AmdRoot;
use crate::x509::Certificate;
use crate::{SnpProduct, SnpTcbVersion, VcekRequest, VerifyError};

const BOOTLOADER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.1");
const TEE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.2");
const SNP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.3");
const MICROCODE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.8");
const FMC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.9");
const CHIP_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");

/// A key that AMD certified, for whatever it was certified for.
#[derive(Debug)]
pub(crate) struct Vek {
    certificate: Certificate,
    /// The one that signed it.
    issuer: Certificate,
    root: Vec<u8>,
    product: SnpProduct,
}

impl Vek {
    /// Finds the one among certificates that one of AMD's issued for keys of the report's kind. `None` if none claims
    /// to be one.
    pub(crate) fn find(
        certificates: &[Vec<u8>],
        report: &Report<'_>,
        roots: &[AmdRoot],
    ) -> Result<Option<Self>, VerifyError> {
        let damaged = |reason: String| VerifyError(format!("damaged certificate of AMD: {reason}"));
        for der in certificates {
            let Ok(certificate) = Certificate::from_der(der) else { continue };
            for root in roots {
                let issuer = match report.key {
                    Key::Vcek => Some(&root.ask),
                    Key::Vlek => root.asvk.as_ref(),
                };
                let Some(issuer) = issuer else { continue };
                let issuer = Certificate::from_der(issuer).map_err(damaged)?;
                if certificate.issuer() != issuer.subject() {
                    continue;
                }
                if !certificate.is_issued_by(&issuer, AMD_SIGNS) {
                    let (kind, product) = (report.key.as_str(), root.product);
                    return Err(VerifyError(format!(
                        "the {kind} certificate names AMD's key of {product}, but that key did not sign it"
                    )));
                }
                return Ok(Some(Self { certificate, issuer, root: root.ark.clone(), product: root.product }));
            }
        }
        Ok(None)
    }

    pub(crate) fn product(&self) -> SnpProduct {
        self.product
    }

    pub(crate) fn root(&self) -> &[u8] {
        &self.root
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.certificate.key()
    }

    /// It, and who signed it.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        [&self.certificate, &self.issuer].into_iter()
    }

    pub(crate) fn valid_until(&self) -> u64 {
        self.certificates().map(|certificate| certificate.validity().1).min().unwrap_or_default()
    }

    /// Whether all are valid now, the root included.
    pub(crate) fn check_dates(&self, now: u64) -> Result<(), VerifyError> {
        let root = Certificate::from_der(&self.root).map_err(VerifyError)?;
        for (what, certificate) in [("key", &self.certificate), ("issuer", &self.issuer), ("root", &root)] {
            let (from, until) = certificate.validity();
            if now < from || now > until {
                let words = if now < from { "is not valid yet" } else { "has expired" };
                return Err(VerifyError(format!(
                    "AMD's certificate of the {what} that the report leads to {words}, or the clock of this machine is wrong"
                )));
            }
        }
        Ok(())
    }

    /// Whether it is for the firmware and the processor that the report states; answers the firmware.
    pub(crate) fn certifies(&self, report: &Report<'_>) -> Result<SnpTcbVersion, VerifyError> {
        let certified = versions(&self.certificate, self.product)?;
        let reported = SnpTcbVersion::from_bytes(report.reported_tcb, self.product);
        if certified != reported {
            return Err(VerifyError(format!(
                "the certificate is for other firmware than the report: expected {reported}, got {certified}"
            )));
        }
        if report.key == Key::Vcek && !is_of_chip(&self.certificate, &report.chip_id) {
            let chip = self.certificate.extension(CHIP_ID).unwrap_or_default();
            return Err(VerifyError(format!(
                "the certificate is for another processor than the report: expected {}, got {}",
                hex::encode(report.chip_id),
                hex::encode(chip)
            )));
        }
        Ok(certified)
    }
}

/// Whether a certificate says that it is what was asked for.
pub(crate) fn states(der: &[u8], request: &VcekRequest) -> bool {
    Certificate::from_der(der).is_ok_and(|certificate| {
        is_of_chip(&certificate, &request.chip_id)
            && versions(&certificate, request.product).is_ok_and(|versions| versions == request.versions())
    })
}

/// Turin's ids have 8 bytes, filled up with zeroes in reports.
fn is_of_chip(certificate: &Certificate, chip_id: &[u8; 64]) -> bool {
    let chip = certificate.extension(CHIP_ID).unwrap_or_default();
    let (start, rest) = chip_id.split_at_checked(chip.len()).unwrap_or((&[], chip_id));
    chip.len() >= 8 && start == chip && rest.iter().all(|byte| *byte == 0)
}

fn versions(certificate: &Certificate, product: SnpProduct) -> Result<SnpTcbVersion, VerifyError> {
    let version = |oid: ObjectIdentifier| {
        let number = certificate.extension(oid).and_then(|der| UintRef::from_der(der).ok());
        match number.as_ref().map(UintRef::as_bytes) {
            Some([version]) => Ok(*version),
            _ => Err(VerifyError(format!("AMD's certificate of the key lacks the version {oid}"))),
        }
    };
    Ok(SnpTcbVersion {
        bootloader: version(BOOTLOADER)?,
        tee: version(TEE)?,
        snp: version(SNP)?,
        microcode: version(MICROCODE)?,
        fmc: match product {
            SnpProduct::Turin => Some(version(FMC)?),
            SnpProduct::Milan | SnpProduct::Genoa => None,
        },
    })
}
