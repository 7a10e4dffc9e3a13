//! Request bodies of v1 and v2, read as upstream reads them: names match case-insensitively, unknown ones are
//! ignored, the last duplicate wins; v2 reads the first JSON value, v1 the whole body. The names in error
//! texts are Go's, as clients know them.

use std::collections::BTreeMap;

use marblerun_api::bytes::Base64;
use marblerun_api::v2;
use marblerun_manifest::gojson::{self, Context, Decode, Kind, Object, Value, base64};
use zeroize::Zeroizing;

use crate::core::SecretUpload;
use crate::error::{Error, ErrorKind};
use crate::server::tls::is_certificate;

/// Largest raw manifest.
pub(super) const MAX_MANIFEST: usize = 16 * 1024 * 1024;

fn bad_request(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::BadRequest, "bad_json", error.to_string())
}

/// The first JSON value of a v2 body as the request of that (Go) name.
fn first<'a>(body: &'a [u8], name: &'static str) -> Result<Object<'a>, Error> {
    gojson::first(body).and_then(|value| value.object(name)).map_err(bad_request)
}

/// `{"manifest": b64}` of v2.
pub(super) fn manifest(body: &[u8]) -> Result<Vec<u8>, Error> {
    let raw = first(body, "ManifestSetRequest")?.field("manifest").bytes().map_err(bad_request)?;
    if raw.len() > MAX_MANIFEST {
        let message = format!("manifest is larger than {MAX_MANIFEST} bytes");
        return Err(Error::new(ErrorKind::TooLarge, "manifest_too_large", message));
    }
    Ok(raw)
}

/// A recovery secret and the signature over it.
pub(super) struct Recover {
    pub(super) secret: Zeroizing<Vec<u8>>,
    pub(super) signature: Vec<u8>,
}

/// `{"recoverySecret": b64, "recoverySecretSignature": b64}`.
pub(super) fn recover(body: &[u8]) -> Result<Recover, Error> {
    let request = first(body, "RecoverRequest")?;
    let secret = Zeroizing::new(request.field("recoverySecret").bytes().map_err(bad_request)?);
    let signature = request.field("recoverySecretSignature").bytes().map_err(bad_request)?;
    Ok(Recover { secret, signature })
}

/// `{"sgxQuote": b64}`.
pub(super) fn sign_quote(body: &[u8]) -> Result<Vec<u8>, Error> {
    first(body, "SignQuoteRequest")?.field("sgxQuote").bytes().map_err(bad_request)
}

/// `{"name": text, "value": number}`.
pub(super) fn counter(body: &[u8]) -> Result<(String, u64), Error> {
    let request = first(body, "MonotonicCounterRequest")?;
    let name = request.field("name").string().map_err(bad_request)?;
    let value = request.field("value").u64().map_err(bad_request)?;
    Ok((name, value))
}

/// `{"secrets": {name: secret}}` of v2.
pub(super) fn secrets_v2(body: &[u8]) -> Result<SecretUpload, Error> {
    let secrets = first(body, "SecretsSetRequest")?.field("secrets").map::<UploadedSecret>().map_err(bad_request)?;
    Ok(upload(secrets))
}

/// `{name: secret}` of v1.
pub(super) fn secrets_v1(body: &[u8]) -> Result<SecretUpload, Error> {
    let secrets = gojson::from_slice::<BTreeMap<String, UploadedSecret>>(body);
    Ok(upload(secrets.map_err(|errors| bad_request(errors.first()))?.value))
}

fn upload(secrets: BTreeMap<String, UploadedSecret>) -> SecretUpload {
    secrets.into_iter().map(|(name, secret)| (name, secret.into())).collect()
}

/// One secret as a user uploads it.
#[derive(Default)]
struct UploadedSecret {
    cert: UploadedCertificate,
    private: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

marblerun_manifest::decode_object!(UploadedSecret as "UserSecret" {
    "Cert" => cert,
    "Private" => private,
    "Key" => key,
});

impl From<UploadedSecret> for v2::UserSecret {
    fn from(secret: UploadedSecret) -> Self {
        Self { cert: secret.cert.0.map(Base64), private: secret.private.map(Base64), key: secret.key.map(Base64) }
    }
}

/// DER of a certificate, `None` for `null`.
#[derive(Default)]
struct UploadedCertificate(Option<Vec<u8>>);

impl Decode for UploadedCertificate {
    fn decode(&mut self, value: Value<'_>, context: &mut Context) {
        match value.kind() {
            Kind::Null => self.0 = None,
            Kind::String => match base64::decode(value.string().unwrap_or_default().as_bytes()) {
                Ok(der) if is_certificate(&der) => self.0 = Some(der),
                Ok(_) => context.refuse(value, gojson::ErrorKind::Base64, "x509: malformed certificate"),
                // Upstream takes this for a missing certificate; then what is stored is not what was sent.
                Err(error) => context.refuse(value, gojson::ErrorKind::Base64, error.to_string()),
            },
            _ => context.wrong_type::<Self>(value),
        }
    }

    fn go_type() -> String {
        "string".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T>(result: Result<T, Error>) -> String {
        result.err().unwrap().message
    }

    #[test]
    fn v2_reads_the_first_value_only_and_matches_names_case_insensitively() {
        assert_eq!(manifest(br#"{"MANIFEST":"e30=","foo":1} garbage"#).unwrap(), b"{}");
        assert_eq!(manifest(br#"{"manifest":[123,125]}"#).unwrap(), b"{}");
        assert_eq!(manifest(b"{\"manifest\":\"e3\\n0=\"}").unwrap(), b"{}");
        assert_eq!(manifest(b"{}").unwrap(), b"");
        assert_eq!(manifest(b"null").unwrap(), b"");
        assert_eq!(manifest(br#"{"manifest":null}"#).unwrap(), b"");
        assert_eq!(manifest(br#"{"manifest":"aGk=","Manifest":"e30="}"#).unwrap(), b"{}");
    }

    #[test]
    fn mistakes_are_told_in_upstreams_words() {
        assert_eq!(text(manifest(b"")), "EOF");
        assert_eq!(text(manifest(b"{\"manifest\":")), "unexpected EOF");
        assert_eq!(text(manifest(b"xyz")), "invalid character 'x' looking for beginning of value");
        assert_eq!(text(manifest(br#"{"manifest":"!!"}"#)), "illegal base64 data at input byte 0");
        assert_eq!(
            text(manifest(br#"{"manifest":1}"#)),
            "json: cannot unmarshal number into Go struct field ManifestSetRequest.manifest of type []uint8"
        );
        assert_eq!(
            text(counter(br#"{"name":"x","value":-1}"#)),
            "json: cannot unmarshal number -1 into Go struct field MonotonicCounterRequest.value of type uint64"
        );
        assert_eq!(text(sign_quote(b"")), "EOF");
        assert_eq!(text(secrets_v1(b"")), "unexpected end of JSON input");
    }

    #[test]
    fn counters_take_plain_unsigned_numbers_only() {
        assert_eq!(counter(br#"{"name":"a","value":18446744073709551615}"#).unwrap(), ("a".to_owned(), u64::MAX));
        assert_eq!(counter(b"{}").unwrap(), (String::new(), 0));
        for value in ["-1", "1.5", "1e3", "\"1\"", "18446744073709551616"] {
            assert!(counter(format!("{{\"value\":{value}}}").as_bytes()).is_err(), "{value}");
        }
    }

    #[test]
    fn explicit_nulls_in_secrets_are_missing_values() {
        let upload = secrets_v2(br#"{"secrets":{"s":{"Cert":null,"Private":null,"Key":"aGk="}}}"#).unwrap();
        let secret = upload.get("s").unwrap();
        assert_eq!((&secret.cert, &secret.private), (&None, &None));
        assert_eq!(secret.key, Some(Base64(b"hi".to_vec())));
    }

    #[test]
    fn v1_secrets_are_the_whole_body() {
        assert!(secrets_v1(br#"{"s":{"Key":"aGk="}}"#).is_ok());
        assert!(secrets_v1(br#"{"s":{"Key":"aGk="}} garbage"#).is_err());
    }

    #[test]
    fn what_is_no_certificate_is_refused_while_decoding() {
        for cert in ["AAEC", ""] {
            let body = format!("{{\"secrets\":{{\"s\":{{\"Cert\":\"{cert}\"}}}}}}");
            assert_eq!(text(secrets_v2(body.as_bytes())), "x509: malformed certificate");
        }
        assert!(text(secrets_v2(br#"{"secrets":{"s":{"Cert":"!!"}}}"#)).starts_with("illegal base64 data"));
    }

    #[test]
    fn a_manifest_above_the_limit_is_refused_though_its_body_fits() {
        let body = format!("{{\"manifest\":\"{}\"}}", marblerun_api::bytes::encode(&vec![b' '; MAX_MANIFEST + 1]));
        assert_eq!(manifest(body.as_bytes()).unwrap_err().kind, ErrorKind::TooLarge);
    }
}
