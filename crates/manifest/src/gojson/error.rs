//! Why JSON was refused: a stable kind for programs, a path for people, and the text upstream's clients know.

use std::fmt;

/// What kind of mistake an [`Error`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no value at all.
    Empty,
    /// The text ends inside a value.
    Truncated,
    /// A character where it may not be.
    Syntax,
    /// Nested deeper than [`super::MAX_DEPTH`].
    TooDeep,
    /// Another JSON type is wanted.
    WrongType,
    /// A number that is no plain integer or out of range.
    Number,
    /// Byte text that is not base64.
    Base64,
    /// The content of a string is not what the field wants (a time, an address, an encoding, ...).
    Content,
}

/// One mistake. `Display` is the text of Go's error, which upstream passes through to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    path: String,
    offset: usize,
    text: String,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, path: &str, offset: usize, text: impl Into<String>) -> Self {
        Self { kind, path: path.to_owned(), offset, text: text.into() }
    }

    /// What kind of mistake it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Where in the document, such as `Packages.app.Debug`; empty at the top and for syntax errors.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Byte offset in the input.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Line and column (both from 1, the column in bytes) of the mistake in the input it was found in.
    #[must_use]
    pub fn line_and_column(&self, input: &[u8]) -> (usize, usize) {
        let before = input.get(..self.offset.min(input.len())).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        (line, column)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

/// One or more mistakes in one document, in document order. `Display` is the one Go reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors {
    first: Box<Error>,
    all: Vec<Error>,
}

impl Errors {
    /// `first` is among `all`, or `all` is empty and `first` is the only one.
    pub(crate) fn new(first: Error, all: Vec<Error>) -> Self {
        let all = if all.is_empty() { vec![first.clone()] } else { all };
        Self { first: Box::new(first), all }
    }

    /// The mistake Go reports: the first that stops its decoder, else the first type error.
    #[must_use]
    pub fn first(&self) -> &Error {
        &self.first
    }

    /// Every mistake, in document order.
    #[must_use]
    pub fn all(&self) -> &[Error] {
        &self.all
    }
}

impl From<Error> for Errors {
    fn from(error: Error) -> Self {
        Self::new(error, Vec::new())
    }
}

impl From<Errors> for Error {
    fn from(errors: Errors) -> Self {
        *errors.first
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)
    }
}

impl std::error::Error for Errors {}
