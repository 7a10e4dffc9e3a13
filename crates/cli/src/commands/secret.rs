//! `marblerun secret set|get`.

mod show;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use marblerun_api::bytes::Base64;
use marblerun_api::v2::UserSecret;
use marblerun_client::Client;
use serde_json::Value;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

use crate::args::{ClientCert, Global, SecretArgs, SecretCommand};
use crate::failure::Failure;
use crate::identity::Credentials;
use crate::output::{Output, warn};
use crate::{files, trust};

/// What is taken of a secret, and what else `secret get` writes of one.
const FIELDS: [&str; 9] = ["Cert", "Private", "Key", "Type", "Size", "Shared", "UserDefined", "ValidFor", "Public"];

/// Runs one of them.
pub async fn run(global: &Global, output: &Output<'_>, args: SecretArgs) -> Result<()> {
    let client = ClientCert::from(args.client);
    match args.command {
        SecretCommand::Set { file, at, from_pem } => {
            let coordinator = global.coordinator(&at)?;
            let who = Credentials::of(&global.credentials_at(&coordinator, &client)?)?;
            let secrets = read_secrets(&file, from_pem)?;
            let client = connect(global, &coordinator, &who).await?;
            let names: Vec<String> = secrets.keys().cloned().collect();
            client.set_secrets(secrets).await.context("setting secrets")?;
            output.result(&serde_json::json!({"set": names}), || "Secret successfully set".to_owned())
        }
        SecretCommand::Get { names_and_coordinator, show, field, encoding } => {
            let (names, coordinator) = names_and_address(global, names_and_coordinator)?;
            let who = Credentials::of(&global.credentials_at(&coordinator, &client)?)?;
            if field.is_some() && names.len() != 1 {
                return Err(Failure::usage("--field prints a part of one secret: name one"));
            }
            let client = connect(global, &coordinator, &who).await?;
            let secrets = client.secrets(&names).await.context("retrieving secrets: retrieving secrets")?;
            match field {
                Some(field) => show::part(output, &secrets, field, encoding, show),
                None => show::all(output, &secrets, show),
            }
        }
    }
}

async fn connect(global: &Global, coordinator: &str, who: &Credentials) -> Result<Client> {
    trust::connect(global, coordinator, Some(who.load()?)).await
}

/// The last word is the address. Where environment or context know one, only a word HOST:PORT is.
fn names_and_address(global: &Global, mut words: Vec<String>) -> Result<(Vec<String>, String)> {
    let endpoint = std::env::var("MARBLERUN_ENDPOINT").ok().filter(|address| !address.is_empty());
    let is_known = endpoint.is_some() || global.chosen()?.is_some();
    let is_address = |word: &String| {
        word.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    let named = words.pop_if(|last| !is_known || is_address(last));
    let coordinator = global.coordinator_or(named.or(endpoint).as_deref())?;
    if words.is_empty() {
        return Err(Failure::usage("name at least one secret, and after the names the address of the Coordinator"));
    }
    Ok((words, coordinator))
}

fn read_secrets(file: &Path, from_pem: Option<String>) -> Result<BTreeMap<String, UserSecret>> {
    let bytes = files::read(file)?;
    let secrets = match from_pem {
        Some(name) => from_pem_data(&bytes).map(|secret| BTreeMap::from([(name, secret)])),
        None => from_json(&bytes),
    };
    secrets.with_context(|| format!("reading secrets in {}", file.display()))
}

/// `{"NAME": {"Cert", "Private", "Key"}}`; field names in any case. `Cert` and `Private` may also be PEM text. What
/// `secret get -o FILE` wrote is taken too: there, the value of a key or plain secret is called `Private`.
/// Other fields are ignored, but not in silence: one may be a typo.
fn from_json(bytes: &[u8]) -> Result<BTreeMap<String, UserSecret>> {
    if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
        bail!("it is PEM: say which secret it holds with --from-pem NAME");
    }
    let entries: BTreeMap<String, Option<BTreeMap<String, Value>>> = serde_json::from_slice(bytes)?;
    entries
        .into_iter()
        .map(|(name, fields)| {
            let fields = fields.unwrap_or_default();
            for field in fields.keys().filter(|field| !FIELDS.iter().any(|known| known.eq_ignore_ascii_case(field))) {
                warn(&format!("{name}.{field} is ignored: the fields of a secret are Cert, Private and Key"));
            }
            let part = |wanted: &str| -> Result<Option<Base64>> {
                // The last of several spellings counts.
                let given = fields.iter().rev().find(|(field, _)| field.eq_ignore_ascii_case(wanted));
                match given.map(|(_, value)| value) {
                    None | Some(Value::Null) => Ok(None),
                    Some(Value::String(text)) => {
                        decode_part(text).map(|bytes| Some(Base64(bytes))).with_context(|| format!("{name}.{wanted}"))
                    }
                    Some(_) => bail!("{name}.{wanted}: it is neither base64 nor PEM"),
                }
            };
            let mut secret = UserSecret { cert: part("Cert")?, private: part("Private")?, key: part("Key")? };
            let kind =
                fields.iter().find(|(field, _)| field.eq_ignore_ascii_case("Type")).and_then(|(_, kind)| kind.as_str());
            if secret.key.is_none() && matches!(kind, Some("symmetric-key" | "plain")) {
                secret.key = secret.private.take();
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
    let mut ignored = 0;
    let mut rest = pem;
    while let Some((item, after)) = next_block(rest)? {
        rest = after;
        let (label, der) = item;
        match label.as_str() {
            "CERTIFICATE" => {
                if secret.cert.is_none() {
                    Certificate::from_der(&der).context("the certificate in the PEM data is malformed")?;
                    secret.cert = Some(Base64(der));
                } else {
                    ignored += 1;
                }
            }
            // `openssl ecparam -genkey` writes the first, `secret get` the second.
            "EC PARAMETERS" | "PUBLIC KEY" => {}
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
    if ignored > 0 {
        warn("a secret holds one certificate: the first one is taken, and the rest of the chain is not");
    }
    check_pair(&secret)?;
    Ok(secret)
}

/// A key that is not the certificate's would be found out by the first Marble that needs it.
fn check_pair(secret: &UserSecret) -> Result<()> {
    let (Some(Base64(cert)), Some(Base64(private))) = (&secret.cert, &secret.private) else { return Ok(()) };
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(private.as_slice()).clone_key();
    let Ok(key) = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key.into()) else {
        // Kinds of keys that TLS does not know cannot be checked here.
        return Ok(());
    };
    let certified = Certificate::from_der(cert)?.tbs_certificate().subject_public_key_info().to_der()?;
    match key.public_key() {
        Some(public) if public.as_ref() != certified.as_slice() => {
            bail!("the private key in the PEM data is not the one of the certificate")
        }
        _ => Ok(()),
    }
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
        "EC PRIVATE KEY" => {
            let malformed = |e| anyhow::anyhow!("the EC private key in the PEM data is malformed: {e}");
            let key = sec1::EcPrivateKey::from_der(&der).map_err(malformed)?;
            let Some(sec1::EcParameters::NamedCurve(curve)) = key.parameters else {
                bail!("the EC private key does not name its curve; convert it: openssl pkcs8 -topk8 -nocrypt")
            };
            let algorithm = spki::AlgorithmIdentifierRef {
                oid: const_oid::db::rfc5912::ID_EC_PUBLIC_KEY,
                parameters: Some(der::asn1::AnyRef::from(&curve)),
            };
            let key = der::asn1::OctetStringRef::new(&der)?;
            Ok(pkcs8::PrivateKeyInfoRef::new(algorithm, key).to_der()?)
        }
        _ => Ok(der),
    }
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
        assert_eq!(from_json(br#"{"a":null}"#).unwrap()["a"], UserSecret::default());
    }

    #[test]
    fn what_secret_get_wrote_can_be_set_again() {
        let written = br#"{"k":{"Type":"symmetric-key","Size":128,"Shared":false,"UserDefined":true,"Cert":null,
            "ValidFor":0,"Private":"aGk=","Public":"aGk="}}"#;
        let secret = &from_json(written).unwrap()["k"];
        assert_eq!((&secret.key, &secret.private, &secret.cert), (&Some(Base64(b"hi".to_vec())), &None, &None));
    }

    #[test]
    fn pem_without_the_name_of_its_secret_is_told_how_to_name_it() {
        let error = from_json(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap_err();
        assert!(error.to_string().contains("--from-pem"), "{error}");
    }

    const EC_KEY: &str = include_str!("../../tests/fixtures/ec.sec1.pem");
    const EC_CERT: &str = include_str!("../../tests/fixtures/ec.crt");
    const OTHER_CERT: &str = include_str!("../../tests/fixtures/other.crt");

    #[test]
    fn an_ec_key_as_openssl_writes_it_becomes_pkcs8_and_fits_its_certificate() {
        let secret = from_pem_data(format!("{EC_KEY}{EC_CERT}").as_bytes()).unwrap();
        let Base64(key) = secret.private.unwrap();
        assert!(pkcs8::PrivateKeyInfoRef::from_der(&key).is_ok());
    }

    #[test]
    fn of_a_chain_the_first_certificate_is_the_leaf() {
        let secret = from_pem_data(format!("{EC_CERT}{OTHER_CERT}{EC_KEY}").as_bytes()).unwrap();
        let only = from_pem_data(EC_CERT.as_bytes()).unwrap();
        assert_eq!(secret.cert, only.cert);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        assert!(from_pem_data(format!("{OTHER_CERT}{EC_KEY}").as_bytes()).is_err());
    }

    #[test]
    fn pem_without_certificate_or_key_is_refused() {
        assert!(from_pem_data(b"nothing here").is_err());
        assert!(from_pem_data(b"-----BEGIN X-----\nAAAA\n-----END X-----\n").is_err());
    }
}
