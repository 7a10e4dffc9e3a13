//! `marblerun secret set|get`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use marblerun_api::bytes::Base64;
use marblerun_api::v2::{Secret, UserSecret};
use serde_json::Value;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

use crate::args::{Global, SecretArgs, SecretCommand};
use crate::identity::Credentials;
use crate::output::{Output, warn, write_stdout};
use crate::{files, trust};

/// Runs one of them.
pub async fn run(global: &Global, output: &Output<'_>, args: SecretArgs) -> Result<()> {
    let who = Credentials::of(&args.client.into())?;
    match args.command {
        SecretCommand::Set { file, coordinator, from_pem } => {
            let secrets = read_secrets(&file, from_pem)?;
            let client = trust::cached_client(global, &coordinator, Some(who.load()?))?;
            let names: Vec<String> = secrets.keys().cloned().collect();
            client.set_secrets(secrets).await.context("setting secrets")?;
            output.result(&serde_json::json!({"set": names}), || "Secret successfully set".to_owned())
        }
        SecretCommand::Get { mut names_and_coordinator } => {
            let Some(coordinator) = names_and_coordinator.pop() else { bail!("the address is missing") };
            let client = trust::cached_client(global, &coordinator, Some(who.load()?))?;
            let secrets = client.secrets(&names_and_coordinator).await.context("retrieving secrets")?;
            print(output, &secrets)
        }
    }
}

fn read_secrets(file: &Path, from_pem: Option<String>) -> Result<BTreeMap<String, UserSecret>> {
    let bytes = files::read(file)?;
    let secrets = match from_pem {
        Some(name) => from_pem_data(&bytes).map(|secret| BTreeMap::from([(name, secret)])),
        None => from_json(&bytes),
    };
    secrets.with_context(|| format!("reading secrets in {}", file.display()))
}

/// `{"NAME": {"Cert", "Private", "Key"}}`; field names in any case. `Cert` and `Private` may also be PEM text.
/// Other fields are ignored, as they are in what `secret get` wrote, but not in silence: one may be a typo.
fn from_json(bytes: &[u8]) -> Result<BTreeMap<String, UserSecret>> {
    if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
        bail!("it is PEM: say which secret it holds with --from-pem NAME");
    }
    let entries: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_slice(bytes)?;
    entries
        .into_iter()
        .map(|(name, fields)| {
            let mut secret = UserSecret::default();
            for (field, value) in fields {
                let part = match field.to_ascii_lowercase().as_str() {
                    "cert" => &mut secret.cert,
                    "private" => &mut secret.private,
                    "key" => &mut secret.key,
                    _ => {
                        warn(&format!("{name}.{field} is ignored: the fields of a secret are Cert, Private and Key"));
                        continue;
                    }
                };
                *part = match value {
                    Value::Null => None,
                    Value::String(text) => Some(Base64(decode_part(&text).with_context(|| format!("{name}.{field}"))?)),
                    _ => bail!("{name}.{field}: it is neither base64 nor PEM"),
                };
            }
            Ok((name, secret))
        })
        .collect()
}

fn decode_part(text: &str) -> Result<Vec<u8>> {
    if text.contains("-----BEGIN") {
        let block = next_block(text.as_bytes())?.map(|((_, der), _)| der);
        return block.context("the PEM text holds no block");
    }
    marblerun_api::bytes::decode(text).context("it is neither base64 nor PEM")
}

/// A certificate (the first one) and its private key from PEM. Keys in older forms become PKCS#8.
fn from_pem_data(pem: &[u8]) -> Result<UserSecret> {
    let mut secret = UserSecret::default();
    let mut rest = pem;
    while let Some((item, after)) = next_block(rest)? {
        rest = after;
        let (label, der) = item;
        match label.as_str() {
            "CERTIFICATE" => {
                if secret.cert.is_none() {
                    Certificate::from_der(&der).context("the certificate in the PEM data is malformed")?;
                    secret.cert = Some(Base64(der));
                }
            }
            "EC PARAMETERS" => {}
            "ENCRYPTED PRIVATE KEY" => bail!("the private key is encrypted; decrypt it first"),
            "RSA PRIVATE KEY" | "EC PRIVATE KEY" | "PRIVATE KEY" => {
                secret.private = Some(Base64(to_pkcs8(&label, der)?));
            }
            other => bail!("unrecognized PEM type for secret: {other}"),
        }
    }
    if secret.cert.is_none() && secret.private.is_none() {
        bail!("found no certificate or private key in PEM data");
    }
    Ok(secret)
}

type Block = (String, Vec<u8>);

/// The next PEM block with its label, and what follows it.
fn next_block(text: &[u8]) -> Result<Option<(Block, &[u8])>> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const END: &[u8] = b"-----END ";
    let find = |haystack: &[u8], needle: &[u8]| haystack.windows(needle.len()).position(|window| window == needle);
    let Some(start) = find(text, BEGIN) else { return Ok(None) };
    let block = text.get(start..).unwrap_or_default();
    let Some(end) = find(block, END) else { bail!("a PEM block does not end") };
    let after_end = block.get(end..).unwrap_or_default();
    let line_end = find(after_end, b"\n").map_or(after_end.len(), |index| index + 1);
    let block = block.get(..end + line_end).unwrap_or_default();
    let (label, der) =
        der::pem::decode_vec(block.trim_ascii()).map_err(|e| anyhow::anyhow!("malformed PEM block: {e}"))?;
    Ok(Some(((label.to_owned(), der), after_end.get(line_end..).unwrap_or_default())))
}

/// PKCS#8 is what the Coordinator hands out for private keys, so that is what is uploaded.
fn to_pkcs8(label: &str, der: Vec<u8>) -> Result<Vec<u8>> {
    match label {
        "RSA PRIVATE KEY" => {
            let algorithm = spki::AlgorithmIdentifierRef {
                oid: const_oid::db::rfc5912::RSA_ENCRYPTION,
                parameters: Some(der::asn1::AnyRef::NULL),
            };
            let key = der::asn1::OctetStringRef::new(&der)?;
            Ok(pkcs8::PrivateKeyInfoRef::new(algorithm, key).to_der()?)
        }
        "EC PRIVATE KEY" => bail!("convert the EC key first: openssl pkcs8 -topk8 -nocrypt -in KEY -out KEY.pk8"),
        _ => Ok(der),
    }
}

fn print(output: &Output<'_>, secrets: &BTreeMap<String, Secret>) -> Result<()> {
    if output.is_json() {
        return output.result(secrets, String::new);
    }
    if output.file().is_some() {
        let json = serde_json::to_vec(secrets)?;
        return output.data(&json, |file| Some(format!("Saved secrets to: {file}")));
    }
    let mut text = String::new();
    for (name, secret) in secrets {
        text.push_str(&format!("{name}:\n"));
        let mut row = |label: &str, value: &str| text.push_str(&format!("\t{label:<14} {value}\n"));
        let bytes = |part: &Option<Base64>| match part {
            Some(Base64(bytes)) => STANDARD.encode(bytes),
            None => "(not set)".to_owned(),
        };
        row("Type:", &secret.r#type);
        match secret.r#type.as_str() {
            "plain" => row("Data:", &bytes(&secret.public)),
            "symmetric-key" => {
                row("UserDefined:", &secret.user_defined.to_string());
                row("Size:", &secret.size.to_string());
                row("Key:", &bytes(&secret.public));
            }
            kind => {
                row("UserDefined:", &secret.user_defined.to_string());
                if kind != "cert-ed25519" {
                    row("Size:", &secret.size.to_string());
                }
                row("Valid For:", &secret.valid_for.to_string());
                row("Certificate:", &bytes(&secret.cert));
                row("Public Key:", &bytes(&secret.public));
                row("Private Key:", &bytes(&secret.private));
            }
        }
        text.push('\n');
    }
    write_stdout(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_fields_match_in_any_case_and_bad_base64_is_told() {
        let secrets = from_json(br#"{"a":{"key":"aGk="},"b":{"KEY":null,"Private":"AAE="}}"#).unwrap();
        assert_eq!(secrets["a"].key, Some(Base64(b"hi".to_vec())));
        assert_eq!(secrets["b"].private, Some(Base64(vec![0, 1])));
        assert!(from_json(br#"{"a":{"Cert":"no base64!"}}"#).is_err());
        assert!(from_json(br#"{"a":{"Key":7}}"#).is_err());
    }

    #[test]
    fn what_secret_get_wrote_can_be_set_again() {
        let written = br#"{"a":{"Type":"plain","Size":0,"Shared":false,"UserDefined":true,"Cert":null,"ValidFor":0,"Private":"aGk=","Public":"aGk="}}"#;
        let secrets = from_json(written).unwrap();
        assert_eq!(secrets["a"].private, Some(Base64(b"hi".to_vec())));
        assert_eq!(secrets["a"].cert, None);
    }

    #[test]
    fn pem_without_the_name_of_its_secret_is_told_how_to_name_it() {
        let error = from_json(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap_err();
        assert!(error.to_string().contains("--from-pem"), "{error}");
    }

    #[test]
    fn pem_without_certificate_or_key_is_refused() {
        assert!(from_pem_data(b"nothing here").is_err());
        assert!(from_pem_data(b"-----BEGIN X-----\nAAAA\n-----END X-----\n").is_err());
    }
}
