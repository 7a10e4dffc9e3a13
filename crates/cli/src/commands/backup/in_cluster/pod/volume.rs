//! Copying a state out of the Coordinator's folder and into it.

use std::io::{Cursor, Read as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use marblerun_store::backup::{self, Condition, Facts};
use marblerun_store::format::SEALED_DATA;
use tokio::time::sleep;

use super::Shell;

/// Where the volume is in the pod.
pub const FOLDER: &str = "/coordinator/data";
/// The restored file before it is in place; a Coordinator knows that it is none of its own.
const RESTORING: &str = "sealed_data.restoring";
/// How often a copy that is not whole is taken again: not every tar copies a file well that grows meanwhile.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// The Coordinator's folder.
pub struct Volume<S> {
    shell: S,
    folder: String,
}

impl<S: Shell> Volume<S> {
    /// In a pod.
    pub fn new(shell: S) -> Self {
        Self { shell, folder: FOLDER.to_owned() }
    }

    /// Runs what runs there.
    pub fn shell(&self) -> &S {
        &self.shell
    }

    /// The state, whole; `None` if there is none.
    pub async fn state(&self) -> Result<Option<(Vec<u8>, Facts)>> {
        let mut attempt = 1;
        loop {
            let Some(bytes) = self.copy_out(SEALED_DATA).await? else { return Ok(None) };
            let facts = backup::inspect_bytes(&bytes, &Path::new(&self.folder).join(SEALED_DATA))?;
            if !matches!(facts.condition, Condition::Refused(_)) || attempt == ATTEMPTS {
                return Ok(Some((bytes, facts)));
            }
            attempt += 1;
            sleep(PAUSE).await;
        }
    }

    /// Puts a state in place at once. What was there is kept beside it first, under the name that is answered.
    pub async fn replace(&self, state: &[u8], current: Option<&(Vec<u8>, Facts)>) -> Result<Option<String>> {
        let mut kept = None;
        if let Some((bytes, facts)) = current {
            let sequence = facts.sealed.as_ref().map_or(0, |sealed| sealed.sequence);
            let name = self.free_name(&format!("{SEALED_DATA}.{sequence}.restored")).await?;
            self.copy_in(&name, bytes).await?;
            kept = Some(name);
        }
        self.copy_in(RESTORING, state).await?;
        let (from, to) = (self.path(RESTORING), self.path(SEALED_DATA));
        self.shell.run(&["mv", "-f", &from, &to], Vec::new()).await?;
        Ok(kept)
    }

    async fn free_name(&self, name: &str) -> Result<String> {
        for number in 1..100_u32 {
            let name = if number == 1 { name.to_owned() } else { format!("{name}.{number}") };
            if !self.exists(&name).await? {
                return Ok(name);
            }
        }
        bail!("{} holds a hundred states that were replaced; delete some", self.path(name))
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    async fn exists(&self, name: &str) -> Result<bool> {
        let listed = self.shell.run(&["ls", "-a", &self.folder], Vec::new()).await?;
        Ok(String::from_utf8_lossy(&listed).lines().any(|line| line == name))
    }

    async fn copy_out(&self, name: &str) -> Result<Option<Vec<u8>>> {
        // In this very form: the image's own tar copies a growing file whole then.
        let copied = self.shell.run(&["tar", "cf", "-", &self.path(name)], Vec::new()).await;
        let archive = match copied {
            Ok(archive) => archive,
            Err(_) if !self.exists(name).await? => return Ok(None),
            // GNU tar also says so where the file has grown; what it wrote is lost with that.
            Err(error) => return Err(error),
        };
        let mut archive = tar::Archive::new(Cursor::new(archive));
        let mut entries = archive.entries().context("reading the copy")?;
        let Some(entry) = entries.next() else { bail!("the copy of {} is empty", self.path(name)) };
        let mut entry = entry.context("reading the copy")?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).with_context(|| format!("the copy of {} is not whole", self.path(name)))?;
        Ok(Some(bytes))
    }

    /// Writes a file, and reads it back.
    async fn copy_in(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_cksum();
        archive.append_data(&mut header, name, bytes).context("packing the state")?;
        let archive = archive.into_inner().context("packing the state")?;
        // Owned by whom the pod runs as, with the time of now.
        self.shell.run(&["tar", "xmof", "-", "-C", &self.folder], archive).await?;
        match self.copy_out(name).await? {
            Some(there) if there == bytes => Ok(()),
            _ => bail!("{} is not what was written to it; nothing was replaced", self.path(name)),
        }
    }
}

#[cfg(test)]
#[path = "volume_tests.rs"]
mod tests;
