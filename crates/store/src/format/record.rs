//! Records: a header, then chunks of at most 1 MiB plaintext, each sealed and checksummed.

use super::Head;

/// One sealed delta, ready to be written at the end of a file.
#[derive(Debug, Clone)]
pub struct SealedRecord {
    /// All bytes of the record.
    pub bytes: Vec<u8>,
    /// Sequence number after it.
    pub sequence: u64,
    /// Head after it.
    pub head: Head,
}
