//! Reading parameters of slots: bytes that anyone may have written.

use crate::SealError;

/// What is left to read of the parameters of a slot of that backend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    backend: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Begins with the version, which must be this one.
    pub(crate) fn new(backend: &'static str, params: &'a [u8], version: u8) -> Result<Self, SealError> {
        let mut reader = Self { backend, rest: params };
        match reader.byte()? {
            found if found == version => Ok(reader),
            other => Err(reader.malformed(&format!("they are of unknown version {other}"))),
        }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, SealError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], SealError> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.malformed("they are cut short"))?;
        self.rest = rest;
        Ok(*array)
    }

    /// A length as u32, and that many bytes.
    pub(crate) fn prefixed(&mut self) -> Result<&'a [u8], SealError> {
        let length = u32::from_le_bytes(self.array()?) as usize;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.malformed("they are cut short"))?;
        self.rest = rest;
        Ok(bytes)
    }

    /// There must be nothing left.
    pub(crate) fn end(self) -> Result<(), SealError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed("they are too long")) }
    }

    pub(crate) fn malformed(&self, what: &str) -> SealError {
        SealError::Malformed(format!("those of a {} slot: {what}", self.backend))
    }
}

/// A length as u32, and the bytes.
pub(crate) fn put_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}
