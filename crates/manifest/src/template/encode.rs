//! The functions that put a secret into a file or variable: `pem`, `hex`, `base64`, `raw`, `string`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::value::{ByteType, Value};
use crate::model::SecretKind;

const MISSING: &str = "secret does not exist";
const EMPTY: &str = "tried to parse secret with empty value";

/// Lower-case hexadecimal.
pub(super) fn hex<'a>(value: &Value<'_>) -> Result<Value<'a>, String> {
    let bytes = bytes_of(value)?;
    let mut out = Zeroizing::new(vec![0; bytes.len() * 2]);
    hex::encode_to_slice(bytes, &mut out).map_err(|error| error.to_string())?;
    Ok(Value::text(out))
}

/// Standard base64 in one line.
pub(super) fn base64<'a>(value: &Value<'_>) -> Result<Value<'a>, String> {
    Ok(Value::text(encode_base64(bytes_of(value)?)?))
}

/// The bytes as they are.
pub(super) fn raw<'a>(value: &Value<'_>) -> Result<Value<'a>, String> {
    Ok(Value::text(Zeroizing::new(bytes_of(value)?.to_vec())))
}

/// A PEM block with the label that fits the part.
pub(super) fn pem<'a>(value: &Value<'_>) -> Result<Value<'a>, String> {
    let (label, bytes) = match value {
        Value::Invalid => return Err(MISSING.to_owned()),
        Value::Certificate(certificate) => ("CERTIFICATE", certificate.der()),
        Value::Bytes(list) if list.kind == ByteType::Private => ("PRIVATE KEY", list.as_slice()),
        Value::Bytes(list) if list.kind == ByteType::Public => ("PUBLIC KEY", list.as_slice()),
        _ => return Err("invalid secret type for pem encoding".to_owned()),
    };
    let encoded = encode_base64(non_empty(bytes)?)?;
    let (begin, end) = (format!("-----BEGIN {label}-----\n"), format!("-----END {label}-----\n"));
    let lines = encoded.chunks(64);
    let mut out = Zeroizing::new(Vec::with_capacity(begin.len() + encoded.len() + lines.len() + end.len()));
    out.extend_from_slice(begin.as_bytes());
    for line in lines {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(end.as_bytes());
    Ok(Value::text(out))
}

/// The text of a whole secret of type `plain`, for variables, which cannot hold NUL.
pub(super) fn string<'a>(value: &Value<'_>) -> Result<Value<'a>, String> {
    let public = match value {
        Value::Invalid => return Err(MISSING.to_owned()),
        Value::Secret(secret) if secret.kind == Some(SecretKind::Plain) => secret.public.as_ref(),
        _ => {
            return Err(
                "only secrets of type plain are allowed to use string encoding for environment variables".to_owned()
            );
        }
    };
    let bytes = non_empty(public.map(super::context::SecretBytes::as_slice).unwrap_or_default())?;
    if bytes.contains(&0) {
        return Err("secret contains null bytes".to_owned());
    }
    Ok(Value::text(Zeroizing::new(bytes.to_vec())))
}

/// A whole secret stands for its public part.
fn bytes_of<'v>(value: &'v Value<'_>) -> Result<&'v [u8], String> {
    non_empty(match value {
        Value::Invalid => return Err(MISSING.to_owned()),
        Value::Secret(secret) => secret.public.as_ref().map(super::context::SecretBytes::as_slice).unwrap_or_default(),
        Value::Certificate(certificate) => certificate.der(),
        Value::Bytes(list) => list.as_slice(),
        _ => return Err("invalid secret type".to_owned()),
    })
}

fn non_empty(bytes: &[u8]) -> Result<&[u8], String> {
    if bytes.is_empty() { Err(EMPTY.to_owned()) } else { Ok(bytes) }
}

fn encode_base64(bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut out = Zeroizing::new(vec![0; bytes.len().div_ceil(3) * 4]);
    STANDARD.encode_slice(bytes, &mut out).map_err(|error| error.to_string())?;
    Ok(out)
}
