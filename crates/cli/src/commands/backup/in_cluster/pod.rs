//! The state in the volume of a pod: copied out and in with the pod's own `tar`, as `kubectl cp` does it.
//!
//! A Coordinator that runs there notices that its file was replaced: it writes nothing any more, and loads the restored
//! file when it is started again.

mod exec;
mod volume;

pub use exec::Exec;
pub use volume::Volume;

use anyhow::Result;

/// Runs programs where the volume is.
pub trait Shell {
    /// Runs a program and answers what it wrote, if it ended well. `input` is what it reads.
    async fn run(&self, command: &[&str], input: Vec<u8>) -> Result<Vec<u8>>;
}
