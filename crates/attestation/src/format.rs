//! What kind of evidence some bytes are, told by their first bytes and checked for their lengths alone.
//! Nothing in them is believed here: whoever verifies the evidence gets the part that its hardware made,
//! without the frames that Marble SDKs put around it.

/// Evidence taken out of its frame. Its form is right; whether it is genuine is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format<'a> {
    /// An Intel SGX quote, version 3.
    SgxQuote(&'a [u8]),
    /// An Intel TDX quote, version 4 or 5, without the zero bytes that may follow it.
    TdxQuote(&'a [u8]),
    /// What MarbleRun makes of the evidence of SEV-SNP, of cloud VMs and of TPMs.
    Bundle(&'a [u8]),
}

/// Bytes that are no evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// There are none. The text is upstream's.
    #[error("empty report")]
    Empty,
    /// More than any hardware makes.
    #[error("evidence of {0} bytes is longer than the {max} that are accepted", max = crate::Evidence::MAX_LEN)]
    TooLong(usize),
    /// No known kind of evidence begins like this.
    #[error("evidence of no known kind (it begins with {0})")]
    Unknown(String),
    /// A frame around something else than a quote.
    #[error("the frame holds {0}, which is not evidence for others")]
    Frame(String),
    /// Lengths in it contradict each other.
    #[error("damaged {what}: {reason}")]
    Length {
        /// Which part.
        what: &'static str,
        /// How.
        reason: String,
    },
}

/// Header of an SGX quote, its report body, and the length of what follows.
const SGX_SIGNATURE_LENGTH_AT: usize = 432;
const SGX_SIGNATURE_AT: usize = 436;

/// Header of a TDX quote, and its report in version 4; in version 5, the kind and length of the report stand before it.
const TDX_BODY_AT: usize = 48;
const TDX_BODY: usize = 584;
const TDX5_BODY_LENGTH_AT: usize = 50;
const TDX5_BODY_AT: usize = 54;

/// Open Enclave's report header: version, type, length of the quote.
const REPORT_HEADER: usize = 16;
/// Open Enclave's newer evidence header: version, format, length of the data.
const EVIDENCE_HEADER: usize = 32;

/// The format in the newer header that wraps a quote and nothing else.
const RAW_QUOTE: [u8; 16] =
    [0x19, 0x23, 0xd9, 0x1e, 0x12, 0xd2, 0x4c, 0x72, 0xb2, 0x20, 0x25, 0xcd, 0x8d, 0xac, 0xe8, 0x71];

impl<'a> Format<'a> {
    /// Recognises evidence and takes it out of its frame.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn of(evidence: &'a [u8]) -> Result<Self, FormatError> {
        if evidence.is_empty() {
            return Err(FormatError::Empty);
        }
        if evidence.len() > crate::Evidence::MAX_LEN {
            return Err(FormatError::TooLong(evidence.len()));
        }
        match evidence {
            [b'M', b'R', b'E', b'V', 1, 0, 0, 0, ..] => Ok(Self::Bundle(evidence)),
            [3, 0, 2, 0, 0, 0, 0, 0, ..] => sgx_quote(evidence, Padding::None),
            [4 | 5, 0, 2, 0, 0x81, 0, 0, 0, ..] => tdx_quote(evidence),
            [1, 0, 0, 0, ..] => unframe_report(evidence),
            [3, 0, 0, 0, ..] => unframe_evidence(evidence),
            _ => Err(unknown(evidence)),
        }
    }

    /// The family of hardware that makes it.
    #[must_use]
    pub fn tee(&self) -> crate::Tee {
        match self {
            Self::SgxQuote(_) => crate::Tee::Sgx,
            Self::TdxQuote(_) => crate::Tee::Tdx,
            Self::Bundle(_) => crate::Tee::Snp,
        }
    }

    /// The hardware that makes it, for people.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SgxQuote(_) => "Intel SGX",
            Self::TdxQuote(_) => "Intel TDX",
            Self::Bundle(_) => "AMD SEV-SNP, cloud VM or TPM",
        }
    }
}

/// Whether zero bytes may follow a quote inside its frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Padding {
    None,
    /// Some runtimes hand on the whole buffer that they read the quote into.
    Zeroes,
}

/// Open Enclave's report header, as Marbles send it.
fn unframe_report(evidence: &[u8]) -> Result<Format<'_>, FormatError> {
    const WHAT: &str = "Open Enclave report";
    let quote = evidence.get(REPORT_HEADER..).ok_or_else(|| too_short(WHAT, evidence))?;
    match u32_at(evidence, 4) {
        Some(2) => {}
        Some(1) => return Err(FormatError::Frame("a local SGX report".to_owned())),
        _ => return Err(FormatError::Frame("a report of unknown type".to_owned())),
    }
    check_length(WHAT, u64_at(evidence, 8), quote)?;
    sgx_quote(quote, Padding::Zeroes)
}

/// Open Enclave's newer header. Of the formats it can name, only the bare quote is taken: the others bind custom
/// claims that nobody here would look at.
fn unframe_evidence(evidence: &[u8]) -> Result<Format<'_>, FormatError> {
    const WHAT: &str = "Open Enclave evidence";
    let quote = evidence.get(EVIDENCE_HEADER..).ok_or_else(|| too_short(WHAT, evidence))?;
    let format = evidence.get(4..20).unwrap_or_default();
    if format != RAW_QUOTE {
        return Err(FormatError::Frame(format!("data of Open Enclave format {}", hex::encode(format))));
    }
    check_length(WHAT, u64_at(evidence, 24), quote)?;
    sgx_quote(quote, Padding::Zeroes)
}

fn sgx_quote(bytes: &[u8], padding: Padding) -> Result<Format<'_>, FormatError> {
    const WHAT: &str = "SGX quote";
    if !bytes.starts_with(&[3, 0, 2, 0, 0, 0, 0, 0]) {
        return Err(FormatError::Frame("no SGX quote of version 3 with an ECDSA key".to_owned()));
    }
    let signature = u32_at(bytes, SGX_SIGNATURE_LENGTH_AT).ok_or_else(|| too_short(WHAT, bytes))?;
    let length = usize::try_from(signature).ok().and_then(|signature| signature.checked_add(SGX_SIGNATURE_AT));
    let split = length.and_then(|length| bytes.split_at_checked(length));
    let (quote, rest) = split.ok_or_else(|| FormatError::Length {
        what: WHAT,
        reason: format!("it states {signature} bytes of signature and has {}", bytes.len() - SGX_SIGNATURE_AT),
    })?;
    if rest.is_empty() || (padding == Padding::Zeroes && rest.iter().all(|byte| *byte == 0)) {
        Ok(Format::SgxQuote(quote))
    } else {
        Err(FormatError::Length { what: WHAT, reason: format!("{} bytes follow its end", rest.len()) })
    }
}

/// A TDX quote. Guests hand on the whole buffer that they read it into, so zero bytes may follow it.
fn tdx_quote(bytes: &[u8]) -> Result<Format<'_>, FormatError> {
    const WHAT: &str = "TDX quote";
    // Version 5 states which kind of body it has, and how long that is.
    let signature_length_at = match bytes.first() {
        Some(4) => TDX_BODY_AT + TDX_BODY,
        _ => {
            let body = u32_at(bytes, TDX5_BODY_LENGTH_AT).and_then(|length| usize::try_from(length).ok());
            body.and_then(|length| length.checked_add(TDX5_BODY_AT)).ok_or_else(|| too_short(WHAT, bytes))?
        }
    };
    let signature = u32_at(bytes, signature_length_at).and_then(|length| usize::try_from(length).ok());
    let signature = signature.ok_or_else(|| too_short(WHAT, bytes))?;
    let signature_at = signature_length_at.saturating_add(4);
    let length = signature_at.checked_add(signature);
    let split = length.and_then(|length| bytes.split_at_checked(length));
    let (quote, rest) = split.ok_or_else(|| FormatError::Length {
        what: WHAT,
        reason: format!(
            "it states {signature} bytes of signature and has {}",
            bytes.len().saturating_sub(signature_at)
        ),
    })?;
    if rest.iter().all(|byte| *byte == 0) {
        Ok(Format::TdxQuote(quote))
    } else {
        Err(FormatError::Length { what: WHAT, reason: format!("{} bytes follow its end", rest.len()) })
    }
}

fn check_length(what: &'static str, stated: Option<u64>, data: &[u8]) -> Result<(), FormatError> {
    match stated {
        Some(stated) if usize::try_from(stated) == Ok(data.len()) => Ok(()),
        Some(stated) => {
            Err(FormatError::Length { what, reason: format!("it states {stated} bytes and has {}", data.len()) })
        }
        None => Err(too_short(what, data)),
    }
}

fn too_short(what: &'static str, bytes: &[u8]) -> FormatError {
    FormatError::Length { what, reason: format!("it ends after {} bytes", bytes.len()) }
}

fn unknown(evidence: &[u8]) -> FormatError {
    FormatError::Unknown(hex::encode(evidence.get(..8).unwrap_or(evidence)))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests;
