//! JSON as Go's `encoding/json` (v1 semantics) reads it.
//!
//! Manifests and API bodies are written for, and often by, programs that use that decoder. What it accepts is part
//! of the protocol: names match case-insensitively, unknown fields are ignored, the last duplicate wins or merges,
//! `null` leaves scalars alone, invalid UTF-8 is replaced. A stricter reader would refuse manifests that are in
//! use today; a reader that is lenient in other places would understand the same signed bytes differently.
//!
//! Reading has two layers. [`syntax`] proves that bytes are one JSON value, without recursion and with a bound on
//! depth; the proof is a [`Value`], a view of those bytes. [`decode`](mod@decode) turns values into types through
//! the [`Decode`] trait, collecting every mistake with its path.
//!
//! ```
//! use marblerun_manifest::gojson;
//!
//! // The whole body must be JSON (API v1, manifests); `first` reads one value and ignores the rest (API v2).
//! let request = gojson::first(br#"{"MANIFEST": "aGk="} trailing"#)?;
//! let manifest = request.object("ManifestSetRequest")?.field("manifest").bytes()?;
//! assert_eq!(manifest, b"hi");
//!
//! assert_eq!(gojson::whole(b"").unwrap_err().to_string(), "unexpected end of JSON input");
//! assert_eq!(gojson::first(b"").unwrap_err().to_string(), "EOF");
//! # Ok::<(), gojson::Error>(())
//! ```

pub mod base64;
pub mod decode;
mod error;
mod object;
pub mod syntax;
mod value;

pub use decode::{Context, Decode, Note, NoteKind};
pub use error::{Error, ErrorKind, Errors};
pub use object::{Field, Object};
pub use syntax::MAX_DEPTH;
pub use value::{Kind, Value};

/// Reads bytes that must be exactly one JSON value, white space aside (Go's `Unmarshal`).
///
/// # Errors
/// The first syntax error, with Go's text.
pub fn whole(bytes: &[u8]) -> Result<Value<'_>, Error> {
    syntax::scan(bytes, syntax::Mode::Whole)
}

/// Reads the first JSON value and ignores what follows it (Go's `Decoder`).
///
/// # Errors
/// The first syntax error, with Go's text: `EOF` if there is no value at all, `unexpected EOF` if it is cut short.
pub fn first(bytes: &[u8]) -> Result<Value<'_>, Error> {
    syntax::scan(bytes, syntax::Mode::First)
}

/// What [`from_value`] yields: the value, and what was accepted but looks like a mistake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decoded<T> {
    /// The typed value.
    pub value: T,
    /// Unknown fields, duplicates, repaired text; in document order, bounded.
    pub notes: Vec<Note>,
}

/// Decodes a value into a type.
///
/// # Errors
/// Every type error, of which [`Errors::first`] is the one Go reports.
pub fn from_value<T: Decode + Default>(value: Value<'_>) -> Result<Decoded<T>, Errors> {
    let mut context = Context::default();
    let mut target = T::default();
    target.decode(value, &mut context);
    let notes = context.finish()?;
    Ok(Decoded { value: target, notes })
}

/// Decodes bytes that must be exactly one JSON value; see [`whole`].
///
/// # Errors
/// The syntax error or every type error.
pub fn from_slice<T: Decode + Default>(bytes: &[u8]) -> Result<Decoded<T>, Errors> {
    from_value(whole(bytes)?)
}

#[cfg(test)]
mod tests;
