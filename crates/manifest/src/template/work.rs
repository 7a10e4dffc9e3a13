//! What executing templates costs, in steps: so that neither one template nor all of a manifest together can keep
//! the Coordinator busy, whatever they do with long texts or many secrets.

use super::context::SecretValue;
use super::value::Value;

/// Bytes that are copied in one step.
const COPIED: usize = 64;

/// Bytes that are compared, searched or encoded in one step.
const WORKED_ON: usize = 16;

/// Bytes of a certificate that are read in one step.
const PARSED: usize = 8;

/// Steps that all templates of a manifest may take together.
const OF_A_MANIFEST: u64 = 20_000_000;

/// What is left of the steps that several templates have together.
pub(super) struct Work(pub(super) u64);

impl Work {
    /// For all templates of a manifest.
    pub(super) fn of_a_manifest() -> Self {
        Self(OF_A_MANIFEST)
    }
}

/// Steps for writing or copying so many bytes.
pub(super) fn of_copying(bytes: usize) -> u64 {
    steps(bytes / COPIED)
}

/// Steps for going through so many names or other small things.
pub(super) fn of_items(items: usize) -> u64 {
    steps(items)
}

/// Steps for a function to look through an argument.
pub(super) fn of_argument(value: &Value<'_>) -> u64 {
    let bytes = match value {
        Value::Text(text) => text.as_slice().len(),
        Value::Bytes(list) => list.as_slice().len(),
        Value::Strings(list) => length_of(list.as_slice()),
        Value::Secret(secret) => secret.public.as_ref().map_or(0, |public| public.as_slice().len()),
        Value::Certificate(certificate) => certificate.der().len(),
        _ => 0,
    };
    steps(bytes / WORKED_ON)
}

/// Steps for having got a value. Parts of secrets are shared; everything else may have been copied.
pub(super) fn of_result(value: &Value<'_>) -> u64 {
    of_copying(match value {
        Value::Text(text) => text.as_slice().len(),
        Value::Strings(list) => length_of(list.as_slice()),
        Value::Secret(secret) => length_of_secret(secret),
        _ => 0,
    })
}

/// Steps for reading a certificate.
pub(super) fn of_certificate(der: &[u8]) -> u64 {
    steps(der.len() / PARSED)
}

fn length_of(list: &[String]) -> usize {
    list.iter().map(|text| COPIED + text.len()).sum()
}

fn length_of_secret(secret: &SecretValue) -> usize {
    let parts = [&secret.private, &secret.public].into_iter().flatten().map(|bytes| bytes.as_slice().len());
    parts.sum::<usize>().saturating_add(secret.cert.as_ref().map_or(0, |der| der.len()))
}

fn steps(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
