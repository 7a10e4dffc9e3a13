//! Entries of `Files` and `Env`: plain text, or an object that names the encoding of its data.

use crate::decode_object;
use crate::gojson::{Context, Decode, ErrorKind, Kind, Value, base64};
use crate::model::{Encoding, File};

/// The object form as it is written.
#[derive(Default)]
struct Written {
    data: String,
    encoding: String,
    no_templates: bool,
}

decode_object!(Written as "File" { "Data" => data, "Encoding" => encoding, "NoTemplates" => no_templates });

impl Decode for File {
    fn decode(&mut self, value: Value<'_>, context: &mut Context) {
        if value.kind() == Kind::Null {
            // Everywhere else null is a default; upstream refuses it here.
            return context.refuse(value, ErrorKind::WrongType, "null is neither text nor an object with Data");
        }
        context.separately(|context| {
            let mut written = Written::default();
            match value.kind() {
                Kind::String => written.data.decode(value, context),
                _ => written.decode(value, context),
            }
            match content(&written) {
                Ok((encoding, data)) => *self = Self { data, encoding, no_templates: written.no_templates },
                Err((kind, text)) => context.wrong(value, kind, text),
            }
        });
    }

    fn go_type() -> String {
        "File".to_owned()
    }
}

fn content(written: &Written) -> Result<(Encoding, Vec<u8>), (ErrorKind, String)> {
    let text = &written.data;
    match written.encoding.to_ascii_lowercase().as_str() {
        "" | "string" => Ok((Encoding::String, text.clone().into_bytes())),
        "base64" => match base64::decode(text) {
            Ok(data) => Ok((Encoding::Base64, data)),
            Err(error) => Err((ErrorKind::Base64, error.to_string())),
        },
        "hex" => hex(text).map(|data| (Encoding::Hex, data)).map_err(|text| (ErrorKind::Content, text)),
        _ => Err((ErrorKind::Content, format!("unknown encoding type: {}", written.encoding))),
    }
}

/// Hexadecimal data with the error texts of Go's `encoding/hex`; a wrong digit wins over an odd length.
fn hex(text: &str) -> Result<Vec<u8>, String> {
    if let Some(odd) = text.bytes().find(|byte| !byte.is_ascii_hexdigit()) {
        return Err(format!("encoding/hex: invalid byte: U+{odd:04X} {:?}", char::from(odd)));
    }
    hex::decode(text).map_err(|_| "encoding/hex: odd length hex string".to_owned())
}
