//! What `kubectl` answered.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// How a run of `kubectl` ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubectlOutput {
    /// Exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl KubectlOutput {
    pub(super) fn of(command: &mut Command, input: Option<&str>) -> Result<Self> {
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("starting kubectl")?;
        if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
            // If it ends without reading, its output says why.
            let _ = pipe.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().context("waiting for kubectl")?;
        Ok(Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Whether it did what it was told.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.code == Some(0)
    }

    /// Its standard output.
    ///
    /// # Errors
    /// What it said, if it failed.
    pub fn ok(self) -> Result<String> {
        if self.is_ok() {
            return Ok(self.stdout);
        }
        bail!("kubectl ended with code {:?}: {}", self.code, self.stderr.trim())
    }
}
