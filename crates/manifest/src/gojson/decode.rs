//! From values to types, with Go's rules: decoding *merges* into what is already there, `null` leaves scalars alone
//! and empties lists, maps and options, and a type error does not stop it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::base64;
use super::error::{Error, ErrorKind, Errors};
use super::value::{Kind, Value};
use crate::suggest;

/// A type that JSON can be decoded into.
///
/// Implement it for objects with [`decode_object!`](crate::decode_object).
pub trait Decode {
    /// Merges a value into `self`; mistakes go to the context.
    fn decode(&mut self, value: Value<'_>, context: &mut Context);

    /// The name of the type in error texts (a Go name, as clients know them).
    fn go_type() -> String
    where
        Self: Sized;
}

/// Something that is accepted, but looks like a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Where in the document.
    pub path: String,
    /// What was seen.
    pub kind: NoteKind,
}

/// What a [`Note`] is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoteKind {
    /// A field nobody reads, and the known one it resembles.
    UnknownField(Option<&'static str>),
    /// A name given twice.
    Duplicate,
    /// Text with invalid UTF-8 or a lone surrogate, or with U+FFFD itself.
    ReplacementCharacter,
    /// A remark of a type's own decoder.
    Remark(&'static str),
}

/// How many errors, and how many notes, are kept of one document.
const KEPT: usize = 1_000;

/// Where the decoder is, and what it found.
#[derive(Debug, Default)]
pub struct Context {
    path: String,
    /// The struct whose field is being decoded, and the fields that lead to it, for Go's texts.
    object: Option<&'static str>,
    fields: Vec<&'static str>,
    errors: Vec<Error>,
    /// Index of the first error that would have stopped Go's decoder.
    stopped: Option<usize>,
    notes: Vec<Note>,
}

impl Context {
    /// The path of the value being decoded.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Ends decoding: the notes, or the errors if there are any.
    ///
    /// # Errors
    /// All that were recorded.
    pub fn finish(self) -> Result<Vec<Note>, Errors> {
        match self.errors.get(self.stopped.unwrap_or(0)).cloned() {
            Some(first) => Err(Errors::new(first, self.errors)),
            None => Ok(self.notes),
        }
    }

    /// Records that a value has the wrong JSON type.
    pub fn wrong_type<T: Decode>(&mut self, value: Value<'_>) {
        self.cannot_use(value, ErrorKind::WrongType, value.kind().name(), &T::go_type());
    }

    /// Records a mistake that does not stop Go's decoder.
    pub fn wrong(&mut self, value: Value<'_>, kind: ErrorKind, text: impl Into<String>) {
        if self.errors.len() < KEPT {
            self.errors.push(Error::new(kind, &self.path, value.offset(), text));
        }
    }

    /// Records a mistake that stops Go's decoder, and so is the one it reports, unless an earlier one stopped it.
    pub fn refuse(&mut self, value: Value<'_>, kind: ErrorKind, text: impl Into<String>) {
        if self.stopped.is_none() {
            self.stopped = Some(self.errors.len());
            self.errors.push(Error::new(kind, &self.path, value.offset(), text));
        } else {
            self.wrong(value, kind, text);
        }
    }

    /// Runs a decoder that is a separate one in Go (a custom `UnmarshalJSON`): any mistake in it stops Go.
    pub fn separately(&mut self, run: impl FnOnce(&mut Self)) {
        let (outer, before) = (self.stopped.take(), self.errors.len());
        run(self);
        let inner = self.stopped.or((self.errors.len() > before).then_some(before));
        self.stopped = outer.or(inner);
    }

    /// Records a remark about the current place.
    pub fn note(&mut self, kind: NoteKind) {
        if self.notes.len() < KEPT {
            self.notes.push(Note { path: self.path.clone(), kind });
        }
    }

    /// Walks the fields of an object in document order. `each` gets the name as `known` spells it.
    ///
    /// `null` has no fields; other types are recorded as wrong.
    pub fn fields(
        &mut self,
        value: Value<'_>,
        object: &'static str,
        known: &[&'static str],
        mut each: impl FnMut(&mut Self, &'static str, Value<'_>),
    ) {
        match value.kind() {
            Kind::Null => return,
            Kind::Object => {}
            kind => return self.cannot_use(value, ErrorKind::WrongType, kind.name(), object),
        }
        let mut seen: Vec<&'static str> = Vec::new();
        for (name, value) in value.entries() {
            match known.iter().find(|field| same_field(&name, field)) {
                Some(field) => self.in_field(object, field, |context| {
                    if seen.contains(field) {
                        context.note(NoteKind::Duplicate);
                    } else {
                        seen.push(field);
                    }
                    each(context, field, value);
                }),
                // Looking for the likely name takes time that a long list of strange names must not add up.
                None if self.notes.len() >= KEPT => {}
                None => self.in_key(&name, |context| {
                    context.note(NoteKind::UnknownField(suggest::closest(&name, known)));
                }),
            }
        }
    }

    pub(super) fn in_field(&mut self, object: &'static str, field: &'static str, run: impl FnOnce(&mut Self)) {
        let outer = self.object.replace(object);
        self.fields.push(field);
        self.in_key(field, run);
        self.fields.pop();
        self.object = outer;
    }

    fn in_key(&mut self, key: &str, run: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        crate::path::push_key(&mut self.path, key);
        run(self);
        self.path.truncate(length);
    }

    fn in_index(&mut self, index: usize, run: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        // Writing to a String cannot fail.
        let _ = write!(self.path, "[{index}]");
        run(self);
        self.path.truncate(length);
    }

    fn cannot_use(&mut self, value: Value<'_>, kind: ErrorKind, what: &str, go_type: &str) {
        // A list can be wrong millions of times, and wording each would take seconds.
        if self.errors.len() >= KEPT {
            return;
        }
        let text = match self.object {
            Some(object) => {
                let fields = self.fields.join(".");
                format!("json: cannot unmarshal {what} into Go struct field {object}.{fields} of type {go_type}")
            }
            None => format!("json: cannot unmarshal {what} into Go value of type {go_type}"),
        };
        self.wrong(value, kind, text);
    }

    /// The text of a string value, remarking on repairs.
    fn text<'v>(&mut self, value: Value<'v>) -> Option<std::borrow::Cow<'v, str>> {
        let text = value.string()?;
        if text.contains(char::REPLACEMENT_CHARACTER) {
            self.note(NoteKind::ReplacementCharacter);
        }
        Some(text)
    }
}

/// Go's matching of a name in a document with a field: letter case does not count, in Unicode's simple folding.
/// Fields are ASCII, and only two characters outside of it fold into it.
pub(crate) fn same_field(name: &str, field: &str) -> bool {
    let folded = name.chars().map(|c| match c {
        '\u{17f}' => 'S',
        '\u{212a}' => 'K',
        c => c.to_ascii_uppercase(),
    });
    folded.eq(field.chars().map(|c| c.to_ascii_uppercase()))
}

/// Implements [`Decode`](crate::gojson::Decode) for a struct: `Type as "GoName" { "FieldName" => member, ... }`.
#[macro_export]
macro_rules! decode_object {
    ($type:ty as $name:literal { $($field:literal => $member:ident),* $(,)? }) => {
        impl $crate::gojson::Decode for $type {
            fn decode(&mut self, value: $crate::gojson::Value<'_>, context: &mut $crate::gojson::Context) {
                context.fields(value, $name, &[$($field),*], |context, field, value| match field {
                    $($field => $crate::gojson::Decode::decode(&mut self.$member, value, context),)*
                    _ => {}
                });
            }

            fn go_type() -> String {
                $name.to_owned()
            }
        }
    };
}

impl Decode for bool {
    fn decode(&mut self, value: Value<'_>, context: &mut Context) {
        match value.kind() {
            Kind::Null => {}
            Kind::Bool => *self = value.text() == b"true",
            _ => context.wrong_type::<Self>(value),
        }
    }

    fn go_type() -> String {
        "bool".to_owned()
    }
}

impl Decode for String {
    fn decode(&mut self, value: Value<'_>, context: &mut Context) {
        match context.text(value) {
            Some(text) => *self = text.into_owned(),
            None if value.kind() == Kind::Null => {}
            None => context.wrong_type::<Self>(value),
        }
    }

    fn go_type() -> String {
        "string".to_owned()
    }
}

/// Integers must be plain decimal literals; fractions and exponents are refused even where the value is whole.
macro_rules! decode_integer {
    ($($type:ty as $name:literal),*) => {$(
        impl Decode for $type {
            fn decode(&mut self, value: Value<'_>, context: &mut Context) {
                let Some(literal) = value.number() else {
                    if value.kind() != Kind::Null {
                        context.wrong_type::<Self>(value);
                    }
                    return;
                };
                match literal.parse() {
                    Ok(number) => *self = number,
                    Err(_) => {
                        context.cannot_use(value, ErrorKind::Number, &format!("number {literal}"), $name);
                    }
                }
            }

            fn go_type() -> String {
                $name.to_owned()
            }
        }
    )*};
}

decode_integer!(u64 as "uint64", u32 as "uint32", u16 as "uint16", i64 as "int");

impl Decode for Vec<u8> {
    fn decode(&mut self, value: Value<'_>, context: &mut Context) {
        match value.kind() {
            Kind::Null => self.clear(),
            Kind::String => match base64::decode(value.string().unwrap_or_default().as_bytes()) {
                Ok(bytes) => *self = bytes,
                Err(error) => context.wrong(value, ErrorKind::Base64, error.to_string()),
            },
            Kind::Array => {
                let mut length = 0;
                for (index, element) in value.elements().enumerate() {
                    context.in_index(index, |context| {
                        let byte = byte(element, context);
                        match (self.get_mut(index), byte) {
                            (Some(place), Some(byte)) => *place = byte,
                            (Some(_), None) => {}
                            (None, byte) => self.push(byte.unwrap_or_default()),
                        }
                    });
                    length = index + 1;
                }
                self.truncate(length);
            }
            _ => context.wrong_type::<Self>(value),
        }
    }

    fn go_type() -> String {
        "[]uint8".to_owned()
    }
}

/// An element of a byte array; `None` (the old value stays) for `null` and mistakes.
fn byte(value: Value<'_>, context: &mut Context) -> Option<u8> {
    let Some(literal) = value.number() else {
        if value.kind() != Kind::Null {
            context.cannot_use(value, ErrorKind::WrongType, value.kind().name(), "uint8");
        }
        return None;
    };
    let byte = literal.parse().ok();
    if byte.is_none() {
        context.cannot_use(value, ErrorKind::Number, &format!("number {literal}"), "uint8");
    }
    byte
}

impl<T: Decode + Default> Decode for Vec<T> {
    fn decode(&mut self, value: Value<'_>, context: &mut Context) {
        match value.kind() {
            Kind::Null => self.clear(),
            Kind::Array => {
                let mut length = 0;
                for (index, element) in value.elements().enumerate() {
                    context.in_index(index, |context| {
                        // A list given twice keeps, element by element, what the later one leaves out.
                        if index == self.len() {
                            self.push(T::default());
                        }
                        if let Some(place) = self.get_mut(index) {
                            place.decode(element, context);
                        }
                    });
                    length = index + 1;
                }
                self.truncate(length);
            }
            _ => context.wrong_type::<Self>(value),
        }
    }

    fn go_type() -> String {
        format!("[]{}", T::go_type())
    }
}

impl<T: Decode + Default> Decode for Option<T> {
    fn decode(&mut self, value: Value<'_>, context: &mut Context) {
        if value.kind() == Kind::Null {
            *self = None;
        } else {
            self.get_or_insert_default().decode(value, context);
        }
    }

    fn go_type() -> String {
        T::go_type()
    }
}

impl<T: Decode> Decode for Box<T> {
    fn decode(&mut self, value: Value<'_>, context: &mut Context) {
        (**self).decode(value, context);
    }

    fn go_type() -> String {
        T::go_type()
    }
}

impl<T: Decode + Default> Decode for BTreeMap<String, T> {
    fn decode(&mut self, value: Value<'_>, context: &mut Context) {
        match value.kind() {
            Kind::Null => self.clear(),
            Kind::Object => {
                for (name, value) in value.entries() {
                    context.in_key(&name, |context| {
                        if name.contains(char::REPLACEMENT_CHARACTER) {
                            context.note(NoteKind::ReplacementCharacter);
                        }
                        // An entry given again replaces the earlier one completely.
                        let mut entry = T::default();
                        entry.decode(value, context);
                        if self.insert(name.as_ref().to_owned(), entry).is_some() {
                            context.note(NoteKind::Duplicate);
                        }
                    });
                }
            }
            _ => context.wrong_type::<Self>(value),
        }
    }

    fn go_type() -> String {
        format!("map[string]{}", T::go_type())
    }
}
