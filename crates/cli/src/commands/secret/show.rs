//! Secrets for people and programs: in a form that can be pasted back, and before nobody's eyes unasked.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::pem::{LineEnding, encode_string};
use marblerun_api::bytes::Base64;
use marblerun_api::v2::Secret;

use crate::args::{Encoding, SecretField};
use crate::failure::Failure;
use crate::output::{Output, write_stdout};

/// What stands for a value on a terminal.
const HIDDEN: &str = "(hidden; --show prints it, -o FILE saves it)";

/// All secrets: as upstream lays them out, but values in base64 and certificates and keys in PEM.
pub fn all(output: &Output<'_>, secrets: &BTreeMap<String, Secret>, show: bool) -> Result<()> {
    if output.is_structured() {
        refuse_terminal(output, show)?;
        return output.result(secrets, String::new);
    }
    if output.file().is_some() {
        let json = serde_json::to_vec(secrets)?;
        return output.data(&json, |file| Some(format!("Saved secrets to: {file}")));
    }
    write_stdout(text(secrets, show || !output.is_terminal())?.as_bytes())
}

/// One part of one secret, and nothing else.
pub fn part(
    output: &Output<'_>,
    secrets: &BTreeMap<String, Secret>,
    field: SecretField,
    encoding: Option<Encoding>,
    show: bool,
) -> Result<()> {
    let secret = secrets.values().next().context("the Coordinator answered no secret")?;
    let is_value = matches!(secret.r#type.as_str(), "plain" | "symmetric-key");
    let (label, bytes) = match field {
        SecretField::Value => ("", secret.public.as_ref().filter(|_| is_value)),
        SecretField::Cert => ("CERTIFICATE", secret.cert.as_ref()),
        SecretField::Key => ("PRIVATE KEY", secret.private.as_ref().filter(|_| !is_value)),
        SecretField::Public => ("PUBLIC KEY", secret.public.as_ref().filter(|_| !is_value)),
    };
    let Some(Base64(bytes)) = bytes else {
        bail!("this secret has no such part, or it is not set yet");
    };
    if matches!(field, SecretField::Value | SecretField::Key) {
        refuse_terminal(output, show)?;
    }
    let default = if field == SecretField::Value { Encoding::Base64 } else { Encoding::Pem };
    match encoding.unwrap_or(default) {
        Encoding::Raw => {
            if output.is_terminal() {
                return Err(Failure::usage("raw bytes are not for a terminal; save them with -o FILE"));
            }
            output.exactly(bytes)
        }
        Encoding::Base64 => output.data(STANDARD.encode(bytes).as_bytes(), |_| None),
        Encoding::Hex => output.data(hex::encode(bytes).as_bytes(), |_| None),
        Encoding::Pem if label.is_empty() => Err(Failure::usage("a plain value has no PEM form")),
        Encoding::Pem => output.data(pem(label, bytes)?.as_bytes(), |_| None),
    }
}

/// Whoever asks a program for values on a terminal has to say so.
fn refuse_terminal(output: &Output<'_>, show: bool) -> Result<()> {
    if output.is_terminal() && !show {
        return Err(Failure::usage(
            "secrets are not printed to a terminal unasked: say --show, or save them with -o FILE",
        ));
    }
    Ok(())
}

fn pem(label: &str, der: &[u8]) -> Result<String> {
    encode_string(label, LineEnding::LF, der).map_err(|e| anyhow::anyhow!("encoding PEM: {e}"))
}

fn text(secrets: &BTreeMap<String, Secret>, show: bool) -> Result<String> {
    let mut text = String::new();
    for (name, secret) in secrets {
        text.push_str(&format!("{name}:\n"));
        let mut row = |label: &str, value: &str| text.push_str(&format!("\t{label:<14} {value}\n"));
        let value = |part: &Option<Base64>| match part {
            None => "(not set)".to_owned(),
            Some(_) if !show => HIDDEN.to_owned(),
            Some(Base64(bytes)) => STANDARD.encode(bytes),
        };
        row("Type:", &secret.r#type);
        match secret.r#type.as_str() {
            "plain" => row("Data:", &value(&secret.public)),
            "symmetric-key" => {
                row("UserDefined:", &secret.user_defined.to_string());
                row("Size:", &secret.size.to_string());
                row("Key:", &value(&secret.public));
            }
            kind => {
                row("UserDefined:", &secret.user_defined.to_string());
                if kind != "cert-ed25519" {
                    row("Size:", &secret.size.to_string());
                }
                row("Valid For:", &secret.valid_for.to_string());
                let parts = [
                    ("Certificate:", "CERTIFICATE", &secret.cert, true),
                    ("Public Key:", "PUBLIC KEY", &secret.public, true),
                    ("Private Key:", "PRIVATE KEY", &secret.private, show),
                ];
                for (title, label, part, is_shown) in parts {
                    match part {
                        None => row(title, "(not set)"),
                        Some(_) if !is_shown => row(title, HIDDEN),
                        // From the start of the line, so that it can be copied, and read back with --from-pem.
                        Some(Base64(der)) => row(title, &format!("\n{}", pem(label, der)?.trim_end())),
                    }
                }
            }
        }
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> BTreeMap<String, Secret> {
        let bytes = |text: &str| Some(Base64(text.as_bytes().to_vec()));
        let key = Secret { r#type: "symmetric-key".to_owned(), size: 16, public: bytes("hi"), ..Secret::default() };
        let cert = Secret {
            r#type: "cert-ecdsa".to_owned(),
            cert: bytes("cert"),
            private: bytes("private"),
            public: bytes("public"),
            ..Secret::default()
        };
        BTreeMap::from([("cert".to_owned(), cert), ("key".to_owned(), key)])
    }

    #[test]
    fn before_somebodys_eyes_only_what_is_public_is_printed() {
        let hidden = text(&secrets(), false).unwrap();
        assert!(!hidden.contains("aGk=") && !hidden.contains("PRIVATE KEY"), "{hidden}");
        assert!(hidden.contains("-----BEGIN CERTIFICATE-----") && hidden.contains("--show"), "{hidden}");
    }

    #[test]
    fn values_are_base64_and_certificates_and_keys_are_pem() {
        let shown = text(&secrets(), true).unwrap();
        assert!(shown.contains("\tKey:           aGk=\n"), "{shown}");
        assert!(shown.contains("\n-----BEGIN PRIVATE KEY-----\ncHJpdmF0ZQ==\n-----END PRIVATE KEY-----\n"), "{shown}");
    }
}
