//! The sealed format, version 1: how `sealed_data` and `sealed_key` look, byte for byte, and what each
//! way in which they can be wrong is called. Pure functions over bytes: the same code serves
//! Coordinator, command line and fuzzer. Nothing here opens, syncs or renames a file.
//!
//! Reading goes [`read_front`] (no key) -> a DEK from a slot -> [`open`]; writing goes [`FileWriter`] for a
//! new file and [`Tail::seal_delta`] for one more record behind an opened or written one.

mod describe;
mod front;
mod header;
mod items;
mod keys;
mod limits;
mod marks;
mod read;
mod record;
mod refusal;
#[cfg(test)]
mod sample;
mod scan;
mod sealed_key;
mod slot;
mod source;
#[cfg(test)]
pub(crate) mod state_sample;
pub mod upstream;
#[cfg(test)]
mod vectors;
mod window;
mod witness;
mod write;

pub(crate) use describe::{describe_front, describe_kind, describe_set, describe_slot};
pub use front::{Front, Layout, Signature, read_front};
pub use header::Header;
pub(crate) use header::portable_slots;
pub use keys::{Dek, DekId, FileId, FileKeys, Head};
pub(crate) use keys::{NONCE, Seal, TAG, hkdf, random_name, sealing_key};
pub use marks::{MarkWrite, Marks};
pub(crate) use read::read_on;
pub use read::{Body, Inspected, OpenOptions, Opened, TornTail, inspect, lacks_snapshot, open};
pub use record::SealedRecord;
pub use refusal::{CounterFinding, Intact, Refusal};
pub use sealed_key::{KeyEntry, KeyFile, SealedKey};
pub use slot::Slot;
pub use source::Source;
pub use witness::{CounterMark, Verdict, Witness, WitnessRecord, check_witness};
pub use write::{FileSpec, FileWriter, Tail, WriteError};

/// Name of the sealed state in its directory.
pub const SEALED_DATA: &str = "sealed_data";
/// Name of the host-bound key file beside it.
pub const SEALED_KEY: &str = "sealed_key";
/// Most records a file may hold; then it is written anew.
pub const MAX_RECORDS: u64 = 1 << 24;
/// Most plaintext bytes of one delta; a transaction above it needs a new file or is refused.
pub const MAX_DELTA: u64 = 64 << 20;
/// Most plaintext bytes of a snapshot.
pub const MAX_STATE: u64 = 1 << 30;
/// Most bytes of one encoded change.
pub const MAX_CHANGE: usize = 32 << 20;
