//! JSON as Go's `encoding/json` writes it: compact, fields in order, `<`, `>`, `&` and the two line separators of
//! Unicode escaped, bytes as base64, nothing else beyond what JSON requires.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

/// A JSON text being written. Its memory never moves if the capacity suffices, so no copy of a secret stays behind.
pub(crate) struct Json(Zeroizing<String>);

impl Json {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(String::with_capacity(capacity)))
    }

    pub(crate) fn finish(self) -> Zeroizing<Vec<u8>> {
        let mut text = self.0;
        Zeroizing::new(std::mem::take(&mut *text).into_bytes())
    }

    pub(crate) fn raw(&mut self, text: &str) -> &mut Self {
        self.0.push_str(text);
        self
    }

    pub(crate) fn string(&mut self, text: &str) -> &mut Self {
        self.0.push('"');
        for character in text.chars() {
            match character {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                '\u{8}' => self.0.push_str("\\b"),
                '\u{c}' => self.0.push_str("\\f"),
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                '\t' => self.0.push_str("\\t"),
                '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    self.0.push_str(&format!("\\u{:04x}", u32::from(character)));
                }
                other => self.0.push(other),
            }
        }
        self.0.push('"');
        self
    }

    /// `null` for `None`, as for Go's nil slices; `""` for an empty one.
    pub(crate) fn bytes(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            Some(bytes) => {
                self.0.push('"');
                BASE64_STANDARD.encode_string(bytes, &mut self.0);
                self.raw("\"")
            }
            None => self.raw("null"),
        }
    }

    pub(crate) fn number(&mut self, number: impl std::fmt::Display) -> &mut Self {
        self.raw(&number.to_string())
    }

    /// A number or `null`.
    pub(crate) fn optional(&mut self, number: Option<impl std::fmt::Display>) -> &mut Self {
        match number {
            Some(number) => self.number(number),
            None => self.raw("null"),
        }
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Self {
        self.raw(if value { "true" } else { "false" })
    }

    /// An array of strings; `null` if not given.
    pub(crate) fn strings(&mut self, strings: &[String], given: bool) -> &mut Self {
        if !given {
            return self.raw("null");
        }
        self.list(strings, |json, string| {
            json.string(string);
        })
    }

    pub(crate) fn list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) -> &mut Self {
        self.raw("[");
        for (index, value) in items.iter().enumerate() {
            if index > 0 {
                self.raw(",");
            }
            item(self, value);
        }
        self.raw("]")
    }

    /// An object with free names, in the given order.
    pub(crate) fn map<K: AsRef<str>, V>(
        &mut self,
        entries: impl IntoIterator<Item = (K, V)>,
        mut value: impl FnMut(&mut Self, V),
    ) -> &mut Self {
        self.raw("{");
        for (index, (name, entry)) in entries.into_iter().enumerate() {
            if index > 0 {
                self.raw(",");
            }
            self.string(name.as_ref()).raw(":");
            value(self, entry);
        }
        self.raw("}")
    }

    /// A field of an object with fixed fields. The first, where a value is due, begins the object.
    pub(crate) fn field(&mut self, name: &str) -> &mut Self {
        let begin = if matches!(self.0.as_bytes().last(), None | Some(b'[' | b',' | b':')) { "{" } else { "," };
        self.raw(begin).string(name).raw(":")
    }

    pub(crate) fn end(&mut self) -> &mut Self {
        self.raw("}")
    }
}
