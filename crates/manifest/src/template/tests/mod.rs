//! What templates promise. Vectors against Go are in `tests/template_vectors.rs`.

mod functions;
mod limits;
mod samples;

use std::collections::BTreeMap;

use super::{Context, Kind, Reserved, SecretBytes, SecretSource, SecretValue, Template};
use crate::model::SecretKind;

/// A secret of one kind with the same bytes as private and public part.
fn key(kind: SecretKind, bytes: &[u8]) -> SecretValue {
    let bytes = Some(SecretBytes::from(bytes));
    SecretValue {
        kind: Some(kind),
        size: 8 * bytes.as_ref().map_or(0, |bytes| bytes.as_slice().len() as u64),
        private: bytes.clone(),
        public: bytes,
        ..SecretValue::default()
    }
}

fn secrets() -> BTreeMap<String, SecretValue> {
    let cert = SecretValue {
        cert: Some((*b"certificate").into()),
        private: Some(SecretBytes::from(&b"private"[..])),
        public: Some(SecretBytes::from(&b"public"[..])),
        ..key(SecretKind::CertEcdsa, b"")
    };
    let unset = SecretValue { kind: Some(SecretKind::Plain), user_defined: true, ..SecretValue::default() };
    BTreeMap::from([
        ("s".to_owned(), key(SecretKind::SymmetricKey, &[0, 1, 2, 0xff])),
        ("a-b".to_owned(), key(SecretKind::SymmetricKey, b"dash")),
        ("c".to_owned(), cert),
        ("plain".to_owned(), key(SecretKind::Plain, b"hello")),
        ("nul".to_owned(), key(SecretKind::Plain, b"a\0b")),
        ("unset".to_owned(), unset),
    ])
}

fn render(template: &[u8], kind: Kind) -> Result<Vec<u8>, String> {
    render_with(template, kind, &secrets())
}

fn render_with(template: &[u8], kind: Kind, secrets: &dyn SecretSource) -> Result<Vec<u8>, String> {
    let reserved = Reserved::dummy();
    let context = Context { reserved: &reserved, secrets, previous_secrets: secrets };
    let template = Template::parse(template, kind).map_err(|error| error.to_string())?;
    template.execute(&context).map(|output| output.to_vec()).map_err(|error| error.to_string())
}
