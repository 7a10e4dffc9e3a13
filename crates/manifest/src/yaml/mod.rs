//! Manifests written in YAML, as the command line reads them.
//!
//! The JSON made here is what is hashed, sent and signed, so it has to be the same, byte for byte, as upstream's
//! command line makes: YAML 1.1 scalars (`yes` is a truth value, `010` is eight), keys sorted, Go's escaping. Input
//! that is JSON already is not touched at all.

mod convert;
mod cursor;
mod json;
mod properties;
mod scalar;
mod scalars;
mod scanner;
mod source;
mod tree;

use crate::gojson;

/// Deepest nesting; a manifest has about ten levels.
pub const MAX_DEPTH: usize = 256;
/// Longest JSON that aliases may expand to. The Coordinator takes 16 MiB.
pub const MAX_OUTPUT: usize = 32 << 20;

/// Why a file is neither JSON nor YAML that can be converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum YamlError {
    /// Not text in UTF-8 or UTF-16, or with characters YAML forbids.
    #[error("yaml: {0}")]
    Encoding(String),
    /// Not YAML.
    #[error("yaml: line {line}, column {column}: {text}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong there.
        text: String,
    },
    /// A key stands twice in one mapping. All such places, in order.
    #[error("yaml: unmarshal errors:\n  {}", .0.join("\n  "))]
    DuplicateKeys(Vec<String>),
    /// YAML that has no meaning as JSON, or too much of it.
    #[error("yaml: line {line}: {text}")]
    Meaning {
        /// From 1.
        line: usize,
        /// What cannot be converted.
        text: String,
    },
}

/// Something in a YAML file that is converted, but may not mean what it looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Stable name of this kind of warning.
    pub code: &'static str,
    /// From 1; 0 for the file as a whole.
    pub line: usize,
    /// What was made of it.
    pub text: String,
}

impl Warning {
    fn new(code: &'static str, line: usize, text: impl Into<String>) -> Self {
        Self { code, line, text: text.into() }
    }
}

/// The JSON that upstream's command line would hash and send for this file: the file itself if it is JSON, else what
/// its first YAML document converts to.
///
/// # Errors
/// If the file is neither, or cannot be converted.
pub fn load(input: &[u8]) -> Result<(Vec<u8>, Vec<Warning>), YamlError> {
    let not_json = match gojson::whole(input) {
        Ok(_) => return Ok((input.to_vec(), Vec::new())),
        Err(error) => error,
    };
    let text = source::decode(input)?;
    let mut warnings = Vec::new();
    if text.trim_start().starts_with(['{', '[']) {
        let (line, _) = not_json.line_and_column(input);
        let text = format!("this looks like JSON, but is not ({not_json}); it is read as YAML");
        warnings.push(Warning::new("broken-json", line, text));
    }
    let tree = tree::read(&text, &mut warnings)?;
    if tree.is_empty() {
        warnings.push(Warning::new("empty-document", 0, "the file is empty, which makes the manifest null"));
    }
    let value = convert::convert(&tree, &mut warnings)?;
    let json = json::write(&value).ok_or_else(|| YamlError::Meaning {
        line: 1,
        text: format!("aliases expand to more than {} MiB of JSON", MAX_OUTPUT >> 20),
    })?;
    warnings.sort_by_key(|warning| warning.line);
    Ok((json, warnings))
}

#[cfg(test)]
mod tests;
