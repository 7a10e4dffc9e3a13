//! What the decoder dropped or repaired in silence, in words.

use super::{Finding, Stage};
use crate::gojson::{Note, NoteKind};

pub(super) fn warning(note: &Note) -> Finding {
    let (code, text) = match &note.kind {
        NoteKind::UnknownField(Some(known)) => {
            ("unknown-field", format!("this field does not exist and is ignored; is {known} meant?"))
        }
        NoteKind::UnknownField(None) => ("unknown-field", "this field does not exist and is ignored".to_owned()),
        NoteKind::Duplicate => {
            ("duplicate-name", "given more than once; the last one counts, or they merge".to_owned())
        }
        NoteKind::ReplacementCharacter => {
            ("replaced-text", "contains characters that are not valid Unicode; they were replaced by U+FFFD".to_owned())
        }
        NoteKind::Remark(code) => (*code, remark(code).to_owned()),
    };
    Finding { stage: Stage::Decode, path: note.path.clone(), code, text }
}

fn remark(code: &str) -> &'static str {
    match code {
        "cert-not-base64" => "this text is not base64 and is ignored; a certificate is given as base64 of its DER form",
        "cert-field-without-effect" => "this field has no effect on generated certificates",
        "cert-empty-address" => "an empty address is left out",
        _ => "looks like a mistake",
    }
}
