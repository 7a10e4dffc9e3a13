//! Values at run time, with the types Go gives them.

use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::certificate::{Certificate, Name};
use super::context::{SecretBytes, SecretSource, SecretValue};

/// A value. Cheap to clone.
#[derive(Clone)]
pub(super) enum Value<'a> {
    /// Nothing: `nil`, a missing map entry, a field of such an entry. Prints as `<no value>`.
    Invalid,
    Bool(bool),
    Int(i64),
    /// Go's `uint`.
    Uint(u64),
    /// Go's `uint8`.
    Byte(u8),
    Float(f64),
    Text(Text<'a>),
    Bytes(ByteList),
    Strings(StringList),
    /// `.Secrets` or `.Previous.Secrets`.
    Secrets(&'a dyn SecretSource),
    Secret(SecretValue),
    Certificate(Certificate),
    Name(Name),
    Record(Record),
}

/// The structures around the secrets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    Root,
    Wrapper,
    MarbleRun,
    Previous,
}

/// Go's `string`: any bytes.
#[derive(Clone)]
pub(super) enum Text<'a> {
    /// A constant of the template, or a name.
    Literal(&'a [u8]),
    /// Made while executing; may hold a secret.
    Made(Arc<Zeroizing<Vec<u8>>>, Range<usize>),
}

impl<'a> Text<'a> {
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Text::Literal(bytes) => bytes,
            Text::Made(bytes, range) => bytes.get(range.clone()).unwrap_or_default(),
        }
    }

    /// A part of it; the caller has checked the bounds.
    pub(super) fn slice(&self, part: Range<usize>) -> Text<'a> {
        match self {
            Text::Literal(bytes) => Text::Literal(bytes.get(part).unwrap_or_default()),
            Text::Made(bytes, range) => Text::Made(Arc::clone(bytes), range.start + part.start..range.start + part.end),
        }
    }
}

impl From<Zeroizing<Vec<u8>>> for Text<'_> {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        let range = 0..bytes.len();
        Text::Made(Arc::new(bytes), range)
    }
}

/// Which named byte slice it is: functions tell them apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteType {
    Private,
    Public,
    /// `[]byte`
    Plain,
}

/// A byte slice: a window on shared bytes that can be widened again up to its capacity.
#[derive(Clone)]
pub(super) struct ByteList {
    pub(super) kind: ByteType,
    bytes: Shared,
    range: Range<usize>,
    capacity: usize,
}

#[derive(Clone)]
enum Shared {
    Nil,
    Secret(SecretBytes),
    Public(Arc<[u8]>),
}

impl ByteList {
    /// A part of a secret; `None` is Go's nil slice.
    pub(super) fn of_secret(kind: ByteType, bytes: Option<&SecretBytes>) -> Self {
        let length = bytes.map_or(0, |bytes| bytes.as_slice().len());
        let bytes = bytes.map_or(Shared::Nil, |bytes| Shared::Secret(bytes.clone()));
        Self { kind, bytes, range: 0..length, capacity: length }
    }

    /// The DER of a certificate.
    pub(super) fn of_der(bytes: Option<&Arc<[u8]>>) -> Self {
        let length = bytes.map_or(0, |bytes| bytes.len());
        let bytes = bytes.map_or(Shared::Nil, |bytes| Shared::Public(Arc::clone(bytes)));
        Self { kind: ByteType::Plain, bytes, range: 0..length, capacity: length }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        let all = match &self.bytes {
            Shared::Nil => &[],
            Shared::Secret(bytes) => bytes.as_slice(),
            Shared::Public(bytes) => bytes,
        };
        all.get(self.range.clone()).unwrap_or_default()
    }

    pub(super) fn is_nil(&self) -> bool {
        matches!(self.bytes, Shared::Nil)
    }

    /// How far it can be sliced. Go's slices may have more room than we know of; that room is not offered.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// A part of it; the caller has checked the bounds against the capacity.
    pub(super) fn slice(&self, part: Range<usize>, capacity: usize) -> Self {
        Self {
            kind: self.kind,
            bytes: self.bytes.clone(),
            range: self.range.start + part.start..self.range.start + part.end,
            capacity: capacity - part.start,
        }
    }
}

/// Go's `[]string`.
#[derive(Clone)]
pub(super) struct StringList {
    items: Option<Arc<[String]>>,
    range: Range<usize>,
    capacity: usize,
}

impl StringList {
    /// An empty list is nil, as Go's certificate parser leaves it.
    pub(super) fn new(items: Vec<String>) -> Self {
        let length = items.len();
        let items = (length > 0).then(|| items.into());
        Self { items, range: 0..length, capacity: length }
    }

    pub(super) fn as_slice(&self) -> &[String] {
        self.items.as_deref().and_then(|items| items.get(self.range.clone())).unwrap_or_default()
    }

    pub(super) fn is_nil(&self) -> bool {
        self.items.is_none()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn slice(&self, part: Range<usize>, capacity: usize) -> Self {
        Self {
            items: self.items.clone(),
            range: self.range.start + part.start..self.range.start + part.end,
            capacity: capacity - part.start,
        }
    }
}

impl<'a> Value<'a> {
    /// A string made while executing.
    pub(super) fn text(bytes: Zeroizing<Vec<u8>>) -> Self {
        Value::Text(bytes.into())
    }

    /// A string that is no secret.
    pub(super) fn open_text(text: &str) -> Self {
        Value::text(Zeroizing::new(text.as_bytes().to_vec()))
    }

    pub(super) fn is_valid(&self) -> bool {
        !matches!(self, Value::Invalid)
    }

    /// Go's name of the type, for error messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Invalid => "nil",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Byte(_) => "uint8",
            Value::Float(_) => "float64",
            Value::Text(_) => "string",
            Value::Bytes(list) => match list.kind {
                ByteType::Private => "manifest.PrivateKey",
                ByteType::Public => "manifest.PublicKey",
                ByteType::Plain => "[]uint8",
            },
            Value::Strings(_) => "[]string",
            Value::Secrets(_) => "map[string]manifest.Secret",
            Value::Secret(_) => "manifest.Secret",
            Value::Certificate(_) => "manifest.Certificate",
            Value::Name(_) => "pkix.Name",
            Value::Record(record) => record.type_name(),
        }
    }

    /// What `if` and its like see. `None` where we cannot know what Go would say.
    pub(super) fn truth(&self) -> Option<bool> {
        Some(match self {
            Value::Invalid => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Uint(value) => *value != 0,
            Value::Byte(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Text(text) => !text.as_slice().is_empty(),
            Value::Bytes(list) => !list.as_slice().is_empty(),
            Value::Strings(list) => !list.as_slice().is_empty(),
            Value::Secrets(source) => !source.names().is_empty(),
            Value::Secret(_) | Value::Name(_) | Value::Record(_) => true,
            Value::Certificate(certificate) => return certificate.is_set().then_some(true),
        })
    }
}

impl Record {
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Record::Root => "manifest.TemplateData",
            Record::Wrapper => "manifest.SecretsWrapper",
            Record::MarbleRun => "manifest.MarbleRun",
            Record::Previous => "manifest.Previous",
        }
    }
}
