//! What do the device files of trusted execution environments answer? Two of them speak ioctl alone, which no safe
//! interface covers: Occlum's `/dev/sgx` and the kernel's `/dev/sev-guest`. Each module here is one
//! device: bytes in, bytes out. What the bytes mean is for others.
//!
//! The only crate that talks to the kernel without the standard library's checks, so it is as small as can be.

mod occlum;
mod sev_guest;

pub use occlum::{MAX_QUOTE, quote};
pub use sev_guest::{ExtendedReport, KeyFields, derived_key, extended_report, report_at};
