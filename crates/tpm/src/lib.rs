//! How does a TPM 2.0 keep a key for one boot state of one host?
//!
//! [`TpmSealer`] makes slot secrets that only this TPM gives back, and only while chosen registers (PCRs) have the values
//! they had at sealing. [`TpmCounter`] is a counter in the TPM's memory that nobody can put back. And for a VM below a
//! paravisor, whose TPM that is, [`Vtpm`] makes evidence of what the VM runs.
//!
//! ```no_run
//! use marblerun_sealing::{KeySealer as _, SealMode};
//! use marblerun_tpm::{Config, TpmSealer};
//!
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::new("device:/dev/tpmrm0".parse()?);
//! let sealer = TpmSealer::new(config);
//! let slot = sealer.new_slot(SealMode::ProductKey)?;
//! assert_eq!(sealer.slot_secret(&slot.params)?, slot.secret);
//! # Ok(())
//! # }
//! ```
//!
//! **Who can have made a slot.** The sealed object's parent is a storage key that is itself bound to the PCR policy: its
//! user role has no password, only the policy. So the TPM neither creates nor loads a child of it unless the registers
//! have those values, and a slot that loads was made on this TPM in that boot state. Parameters of a slot choose
//! neither TPM nor policy: the registers must include those configured.
//!
//! **What this does not protect from.** Every program of the host in the same boot state can ask the same TPM: the
//! Coordinator itself is not measured into the registers unless the host does it. Who controls the wire to the TPM can
//! stand in for another one, unless its name is pinned ([`Config::host`]).
#![forbid(unsafe_code)]

mod config;
mod counter;
mod device;
mod params;
mod pcrs;
mod sealer;
mod vtpm;

pub use config::{Config, ConfigError, Tcti, TctiError};
pub use counter::{COUNTER_INDEX, Defined, TpmCounter, TpmCounters};
pub use device::leave;
pub use params::Params;
pub use pcrs::{BootState, PcrListError, PcrSet, PcrValue};
pub use sealer::TpmSealer;
pub use vtpm::{AK_HANDLE, HCL_REPORT_INDEX, Vtpm};
