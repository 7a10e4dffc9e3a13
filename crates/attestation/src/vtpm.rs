//! VMs below a paravisor (Azure). The report is the paravisor's: made before the operating system ran, it measures the
//! paravisor and its firmware alone, and is bound to *runtime data*. These name the attestation key (AK) of the TPM that the
//! paravisor plays for the VM. A quote by that key carries what a report would be bound to, and tells the registers: they
//! alone say which operating system runs.
//!
//! So three things hold together: report -> hash of the runtime data -> AK -> quote -> hash of the registers. Each is checked
//! over the bytes as they came; nothing is read before its signature or hash was. (Trusted Computing Group, TPM 2.0
//! Library, part 2: `TPMS_ATTEST`, `TPMT_SIGNATURE`.)

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaParameters, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::{Bundle, EnclaveClaims, Evidence, Identity, Pcrs, ReportData, Tee, VerifyError, snp};

/// `TPM_GENERATED_VALUE`: begins what a TPM made itself. Its restricted keys sign nothing else that begins so.
const GENERATED: u32 = 0xff54_4347;
/// `TPM_ST_ATTEST_QUOTE`.
const QUOTE: u16 = 0x8018;
/// `TPM_ALG_SHA256`, `TPM_ALG_RSASSA`, `TPM_ALG_RSAPSS`.
const ALG_SHA256: u16 = 0x000b;
const ALG_RSASSA: u16 = 0x0014;
const ALG_RSAPSS: u16 = 0x0016;
/// What an AK's modulus may have: 2048 to 4096 bits.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=512;
/// The name of the AK in runtime data.
const AK: &str = "HCLAkPub";
/// 65537.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// Puts the claims of a paravisor's report right: they are of the VM above it, bound to what the quote is bound to.
///
/// # Errors
/// What does not hold together.
pub(crate) fn bind(bundle: &Bundle, claims: &mut EnclaveClaims) -> Result<(), VerifyError> {
    let Identity::Snp(vm) = &mut claims.identity else {
        return Err(VerifyError("a paravisor's TPM beside a report that is none of SEV-SNP".to_owned()));
    };
    let (report_data, pcrs) = follow(bundle, vm.vmpl, &claims.report_data)?;
    (vm.pcrs, claims.report_data) = (Some(pcrs), report_data);
    Ok(())
}

/// From a report's level and data to what the quote says.
fn follow(bundle: &Bundle, vmpl: u32, report_data: &ReportData) -> Result<(ReportData, Pcrs), VerifyError> {
    if vmpl != 0 {
        return Err(VerifyError(format!(
            "the report was asked for at privilege level {vmpl}, and so not by a paravisor: it says nothing about its TPM"
        )));
    }
    if ReportData::binding(&[&bundle.runtime_data]) != *report_data {
        return Err(VerifyError("the report is not bound to the runtime data that came with it".to_owned()));
    }
    let key = AttestationKey::of(&bundle.runtime_data)?;
    let quote = SignedQuote::read(&bundle.tpm_quote)?;
    key.check(&quote)?;
    let quote = Quote::read(quote.attest)?;
    Ok((quote.report_data, quote.registers(&bundle.pcrs)?))
}

/// What a quote says, without a look at who made it.
pub(crate) fn unverified(bundle: &Bundle) -> Result<(ReportData, Pcrs), VerifyError> {
    let quote = Quote::read(SignedQuote::read(&bundle.tpm_quote)?.attest)?;
    Ok((quote.report_data, quote.registers(&bundle.pcrs)?))
}

/// The public half of the AK.
struct AttestationKey(RsaPublicKeyComponents<Vec<u8>>);

#[derive(Deserialize)]
struct RuntimeData {
    keys: Vec<Jwk>,
}

/// A key in JSON (RFC 7517, RFC 7518 section 6.3).
#[derive(Deserialize)]
struct Jwk {
    kid: String,
    kty: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

impl AttestationKey {
    fn of(runtime_data: &[u8]) -> Result<Self, VerifyError> {
        let refuse =
            |reason: String| VerifyError(format!("the runtime data name no key to verify a quote with: {reason}"));
        let data: RuntimeData = serde_json::from_slice(runtime_data).map_err(|error| refuse(error.to_string()))?;
        let mut keys = data.keys.iter().filter(|key| key.kid == AK);
        let (Some(key), None) = (keys.next(), keys.next()) else {
            return Err(refuse(format!("there is not exactly one called {AK}")));
        };
        if key.kty != "RSA" {
            return Err(refuse(format!("{AK} is of type {:?}, and only RSA is known", key.kty)));
        }
        let number = |text: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| refuse(format!("{AK}: {error}")))?;
            let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
            Ok(bytes.get(start..).unwrap_or_default().to_vec())
        };
        let (n, e) = (number(&key.n)?, number(&key.e)?);
        if !MODULUS.contains(&n.len()) || e != EXPONENT {
            return Err(refuse(format!("{AK} has {} bits, or an exponent that is not 65537", n.len() * 8)));
        }
        Ok(Self(RsaPublicKeyComponents { n, e }))
    }

    fn check(&self, quote: &SignedQuote<'_>) -> Result<(), VerifyError> {
        let refuse = || VerifyError("the TPM's quote was not signed by the key that the runtime data name".to_owned());
        self.0.verify(quote.algorithm, quote.attest, quote.signature).map_err(|_| refuse())
    }
}

/// A quote and its signature, as a TPM answers them.
struct SignedQuote<'a> {
    attest: &'a [u8],
    algorithm: &'static RsaParameters,
    signature: &'a [u8],
}

impl<'a> SignedQuote<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, VerifyError> {
        let mut reader = Reader(bytes);
        let attest = reader.sized()?;
        let algorithm = match (reader.u16()?, reader.u16()?) {
            (ALG_RSASSA, ALG_SHA256) => &RSA_PKCS1_2048_8192_SHA256,
            (ALG_RSAPSS, ALG_SHA256) => &RSA_PSS_2048_8192_SHA256,
            (scheme, hash) => {
                return Err(damaged(&format!("it is signed with {scheme:#06x} and {hash:#06x}, which are not known")));
            }
        };
        let signature = reader.sized()?;
        reader.end()?;
        Ok(Self { attest, algorithm, signature })
    }
}

/// What is in a quote.
struct Quote<'a> {
    report_data: ReportData,
    /// Bit n: it is over register n.
    selected: u32,
    digest: &'a [u8],
}

impl<'a> Quote<'a> {
    fn read(attest: &'a [u8]) -> Result<Self, VerifyError> {
        let mut reader = Reader(attest);
        if reader.u32()? != GENERATED || reader.u16()? != QUOTE {
            return Err(damaged("it is something else that was signed"));
        }
        // The AK's qualified name: the AK itself was found otherwise.
        reader.sized()?;
        let bound: [u8; 32] = match reader.sized()?.try_into() {
            Ok(bound) => bound,
            Err(_) => return Err(damaged("it is not bound to 32 bytes")),
        };
        // Clock, count of resets, count of restarts, whether the clock is safe; version of the firmware.
        reader.take(8 + 4 + 4 + 1 + 8)?;
        if reader.u32()? != 1 || reader.u16()? != ALG_SHA256 {
            return Err(damaged("it is over something else than one bank of SHA-256 registers"));
        }
        let length = usize::from(reader.u8()?);
        let mut selected = 0;
        for (index, byte) in reader.take(length)?.iter().enumerate() {
            match (index, *byte) {
                (0..3, byte) => selected |= u32::from(byte) << (8 * index),
                (_, 0) => {}
                _ => return Err(damaged("it is over registers that no TPM has")),
            }
        }
        let digest = reader.sized()?;
        reader.end()?;
        let mut report_data = [0; 64];
        report_data.iter_mut().zip(bound).for_each(|(to, from)| *to = from);
        Ok(Self { report_data: ReportData(report_data), selected, digest })
    }

    /// The registers by number, if their values are those that the quote is over.
    fn registers(&self, values: &[u8]) -> Result<Pcrs, VerifyError> {
        let (chunks, rest) = values.as_chunks::<32>();
        let is_complete = u32::try_from(chunks.len()) == Ok(self.selected.count_ones()) && rest.is_empty();
        if !is_complete || digest(&SHA256, values).as_ref() != self.digest {
            return Err(VerifyError("the registers are not those that the TPM's quote is over".to_owned()));
        }
        let mut chunks = chunks.iter();
        let mut registers = [None; Pcrs::COUNT];
        for (number, register) in registers.iter_mut().enumerate() {
            if self.selected & (1 << number) != 0 {
                *register = chunks.next().copied();
            }
        }
        Ok(Pcrs::new(registers))
    }
}

/// What a paravisor leaves for its VM in the TPM's memory, at index `0x01400001` ("HCL report").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HclReport {
    /// The paravisor's SEV-SNP report.
    pub report: Vec<u8>,
    /// What it is bound to.
    pub runtime_data: Vec<u8>,
}

impl HclReport {
    /// `HCLA`.
    const MAGIC: &[u8] = b"HCLA";
    const REPORT_AT: usize = 32;
    const REPORT: usize = 1184;
    /// Five numbers of four bytes, little endian: size, version, kind of report, kind of hash, length of what follows.
    const DATA_AT: usize = Self::REPORT_AT + Self::REPORT;
    const DATA_HEADER: usize = 20;
    /// Kinds of reports and of hashes.
    const SNP: u32 = 2;
    const TDX: u32 = 4;
    const SHA256: u32 = 1;

    /// Takes it apart. Zero bytes may follow it.
    ///
    /// # Errors
    /// If it is none, or not of SEV-SNP.
    pub fn read(bytes: &[u8]) -> Result<Self, VerifyError> {
        let refuse = |reason: String| VerifyError(format!("damaged report of a paravisor: {reason}"));
        if !bytes.starts_with(Self::MAGIC) {
            return Err(refuse("it does not begin with HCLA".to_owned()));
        }
        let number = |index: usize| {
            let at = Self::DATA_AT + 4 * index;
            bytes.get(at..).and_then(<[u8]>::first_chunk).map(|chunk| u32::from_le_bytes(*chunk))
        };
        let (Some(kind), Some(hash), Some(length)) = (number(2), number(3), number(4)) else {
            return Err(refuse(format!("it ends after {} bytes", bytes.len())));
        };
        match (kind, hash) {
            (Self::SNP, Self::SHA256) => {}
            (Self::TDX, _) => {
                return Err(VerifyError(
                    "the paravisor's report is of Intel TDX: VMs of Azure with TDX cannot be verified, as their attributes lack \
                     SEPT_VE_DISABLE"
                        .to_owned(),
                ));
            }
            _ => return Err(refuse(format!("a report of kind {kind}, bound by a hash of kind {hash}"))),
        }
        let data = bytes.get(Self::DATA_AT + Self::DATA_HEADER..).unwrap_or_default();
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some((runtime_data, rest)) = data.split_at_checked(length) else {
            return Err(refuse(format!("it states {length} bytes of runtime data and has {}", data.len())));
        };
        if rest.iter().any(|byte| *byte != 0) {
            return Err(refuse(format!("{} bytes follow its end", rest.len())));
        }
        let report = bytes.get(Self::REPORT_AT..Self::DATA_AT).unwrap_or_default().to_vec();
        Ok(Self { report, runtime_data: runtime_data.to_vec() })
    }

    /// Evidence of the VM: with a quote as the TPM answered it ([`Bundle::tpm_quote`]), and the registers it is over
    /// ([`Bundle::pcrs`]). The certificate of the report's key is for others to get.
    ///
    /// # Errors
    /// If these do not hold together, or are not bound to `report_data`.
    pub fn evidence(
        self,
        tpm_quote: Vec<u8>,
        pcrs: Vec<u8>,
        report_data: &ReportData,
    ) -> Result<Evidence, VerifyError> {
        let bundle = Bundle {
            tee: Bundle::number(Tee::SnpVtpm).unwrap_or_default(),
            report: self.report,
            runtime_data: self.runtime_data,
            tpm_quote,
            pcrs,
            ..Bundle::default()
        };
        let (identity, _, bound) = snp::unverified(&bundle.report)?;
        let vmpl = if let Identity::Snp(vm) = identity { vm.vmpl } else { 0 };
        if follow(&bundle, vmpl, &bound)?.0 != *report_data {
            return Err(VerifyError("the TPM's quote is not bound to what was asked for".to_owned()));
        }
        Evidence::from_wire(bundle.to_wire()).map_err(|error| VerifyError(error.to_string()))
    }
}

/// Reads what a TPM wrote: numbers in big-endian order, and what has its length before it.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], VerifyError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(|| damaged("it ends too soon"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], VerifyError> {
        let taken = self.take(N)?;
        Ok(taken.first_chunk().copied().unwrap_or([0; N]))
    }

    fn u8(&mut self) -> Result<u8, VerifyError> {
        self.number().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, VerifyError> {
        self.number().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, VerifyError> {
        self.number().map(u32::from_be_bytes)
    }

    fn sized(&mut self) -> Result<&'a [u8], VerifyError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn end(self) -> Result<(), VerifyError> {
        if self.0.is_empty() { Ok(()) } else { Err(damaged(&format!("{} bytes follow its end", self.0.len()))) }
    }
}

fn damaged(reason: &str) -> VerifyError {
    VerifyError(format!("damaged quote of a TPM: {reason}"))
}

#[cfg(test)]
mod tests;
