//! What hardware made, cut to its own length and compared with what was asked for. Nothing is verified here: that a
//! quote is genuine is for whoever gets it.

use crate::ReportData;

/// An SGX quote: header and report body, then the length of what follows.
const SGX_REPORT_DATA: usize = 48 + 320;
const SGX_SIGNATURE_LENGTH: usize = 432;
/// A TDX quote of version 4: header and report body, then the length.
const TDX4_REPORT_DATA: usize = 48 + 520;
const TDX4_SIGNATURE_LENGTH: usize = 48 + 584;
/// Version 5 has type and length of the body in front of it.
const TDX5_BODY_LENGTH: usize = 50;
const TDX5_BODY: usize = 54;
const TDX5_REPORT_DATA: usize = TDX5_BODY + 520;
/// A report of SEV-SNP.
const SNP_REPORT: usize = 1184;
const SNP_REPORT_DATA: usize = 0x50;

/// An SGX quote without what follows it.
pub(super) fn sgx<'a>(bytes: &'a [u8], asked: &ReportData) -> Result<&'a [u8], String> {
    if !bytes.starts_with(&[3, 0, 2, 0, 0, 0, 0, 0]) {
        return Err("it gives something else than an SGX quote of version 3 with an ECDSA key".to_owned());
    }
    let quote = cut(bytes, SGX_SIGNATURE_LENGTH)?;
    is_over(quote, SGX_REPORT_DATA, asked)?;
    Ok(quote)
}

/// An SGX quote in the frame that all Marbles put around it: Open Enclave's header with its version, the type of a quote
/// and the exact length.
pub(super) fn framed(quote: &[u8]) -> Vec<u8> {
    let length = u64::try_from(quote.len()).unwrap_or_default().to_le_bytes();
    [&[1, 0, 0, 0, 2, 0, 0, 0], &length[..], quote].concat()
}

/// A TDX quote without what follows it.
pub(super) fn tdx<'a>(bytes: &'a [u8], asked: &ReportData) -> Result<&'a [u8], String> {
    let (length_at, report_data_at) = match bytes {
        [4, 0, 2, 0, 0x81, 0, 0, 0, ..] => (TDX4_SIGNATURE_LENGTH, TDX4_REPORT_DATA),
        [5, 0, 2, 0, 0x81, 0, 0, 0, ..] => {
            let body = number(bytes, TDX5_BODY_LENGTH).ok_or_else(|| short(bytes))?;
            (TDX5_BODY.saturating_add(body), TDX5_REPORT_DATA)
        }
        _ => return Err("it gives something else than a TDX quote of version 4 or 5 with an ECDSA key".to_owned()),
    };
    let quote = cut(bytes, length_at)?;
    is_over(quote, report_data_at, asked)?;
    Ok(quote)
}

/// A report of SEV-SNP.
pub(super) fn snp<'a>(bytes: &'a [u8], asked: &ReportData) -> Result<&'a [u8], String> {
    let (report, rest) = bytes.split_at_checked(SNP_REPORT).ok_or_else(|| short(bytes))?;
    no_more_than_padding(rest)?;
    match number(report, 0) {
        Some(2..=5) => {}
        version => return Err(format!("it gives a report of version {}", version.unwrap_or_default())),
    }
    is_over(report, SNP_REPORT_DATA, asked)?;
    Ok(report)
}

/// Cuts a quote that says at `length_at` how much of it follows.
fn cut(bytes: &[u8], length_at: usize) -> Result<&[u8], String> {
    let end = number(bytes, length_at)
        .and_then(|length| length.checked_add(length_at)?.checked_add(4))
        .ok_or_else(|| short(bytes))?;
    let (quote, rest) = bytes.split_at_checked(end).ok_or_else(|| short(bytes))?;
    no_more_than_padding(rest)?;
    Ok(quote)
}

fn no_more_than_padding(rest: &[u8]) -> Result<(), String> {
    if rest.iter().any(|byte| *byte != 0) { Err("something follows what it gives".to_owned()) } else { Ok(()) }
}

/// Whoever else may use the hardware, this is ours.
fn is_over(evidence: &[u8], at: usize, asked: &ReportData) -> Result<(), String> {
    match evidence.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(found) if *found == asked.0 => Ok(()),
        _ => Err("what it gives is over other report data than was asked for".to_owned()),
    }
}

fn short(bytes: &[u8]) -> String {
    format!("what it gives ends after {} bytes", bytes.len())
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let number = u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
    usize::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{sgx_quote, snp_report, tdx4_quote, tdx5_quote};
    use super::*;

    const ASKED: ReportData = ReportData([0x42; 64]);

    /// A way to cut evidence, and evidence.
    type Case = (fn(&'static [u8], &ReportData) -> Result<&'static [u8], String>, Vec<u8>);

    fn cases() -> [Case; 4] {
        [(sgx, sgx_quote(&ASKED)), (tdx, tdx4_quote(&ASKED)), (tdx, tdx5_quote(&ASKED)), (snp, snp_report(&ASKED))]
    }

    fn leak(bytes: &[u8]) -> &'static [u8] {
        Vec::leak(bytes.to_vec())
    }

    #[test]
    fn padding_is_cut_off_and_anything_else_is_not_padding() {
        for (cut, whole) in cases() {
            assert_eq!(cut(leak(&whole), &ASKED), Ok(whole.as_slice()));
            assert_eq!(cut(leak(&[&whole[..], &[0; 3000]].concat()), &ASKED), Ok(whole.as_slice()));
            let followed = [&whole[..], &[0, 0, 1]].concat();
            assert_eq!(cut(leak(&followed), &ASKED), Err("something follows what it gives".to_owned()));
        }
    }

    #[test]
    fn evidence_that_is_cut_short_is_refused_at_every_length() {
        for (cut, whole) in cases() {
            for length in 0..whole.len() {
                assert!(cut(leak(&whole[..length]), &ASKED).is_err(), "{length}");
            }
        }
    }

    #[test]
    fn evidence_over_other_report_data_is_refused() {
        for (cut, whole) in cases() {
            let mut other = ASKED;
            other.0[63] ^= 1;
            let error = cut(leak(&whole), &other).unwrap_err();
            assert_eq!(error, "what it gives is over other report data than was asked for");
        }
    }

    #[test]
    fn other_hardware_is_refused() {
        let all: Vec<Vec<u8>> = cases().into_iter().map(|(_, evidence)| evidence).collect();
        assert!(sgx(&all[1], &ASKED).is_err() && sgx(&all[3], &ASKED).is_err());
        assert!(tdx(&all[0], &ASKED).is_err() && tdx(&all[3], &ASKED).is_err());
        assert!(snp(&[[9, 0, 0, 0].as_slice(), &all[3][4..]].concat(), &ASKED).is_err());
    }
}
