//! The kernel's common interface to confidential guests (configfs-tsm, Linux 6.7): a folder is made, report data written to
//! a file in it, evidence read from another, the folder removed. Each question gets a folder of its own, so nobody meets;
//! the generation, which counts writes, proves it. Writes to such files tell no errors, so it proves that, too.

use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use super::{Files, about};
use crate::ReportData;

pub(crate) const FOLDER: &str = "/sys/kernel/config/tsm/report";

/// More than any evidence is.
const BLOB: usize = 64 << 10;
/// Names and numbers.
const LINE: usize = 256;
/// How often something that passes is waited for, and how long at first; then twice as long each time.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// `ENXIO`: the interface is there, but no hardware behind it.
const NO_DEVICE: i32 = 6;

/// Who answers behind the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    Tdx,
    Snp,
}

impl Provider {
    fn name(self) -> &'static str {
        match self {
            Self::Tdx => "tdx_guest",
            Self::Snp => "sev_guest",
        }
    }
}

/// What the kernel answers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) outblob: Vec<u8>,
    /// SEV-SNP: the host's certificates. Empty if there are none.
    pub(crate) auxblob: Vec<u8>,
}

/// The interface, with the provider that is expected there.
pub(crate) struct Tsm {
    files: Arc<dyn Files>,
    provider: Provider,
    first_pause: Duration,
}

/// Why there is no answer.
enum Failure {
    /// It may go better in a moment.
    Passing(String),
    Final(String),
}

impl Failure {
    fn of(path: &str, doing: &str, error: &Error) -> Self {
        let text = about(path, doing, error);
        match error.kind() {
            ErrorKind::ResourceBusy
            | ErrorKind::Interrupted
            | ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::AlreadyExists => Self::Passing(text),
            _ => Self::Final(text),
        }
    }
}

impl Tsm {
    pub(crate) fn new(files: Arc<dyn Files>, provider: Provider) -> Self {
        Self { files, provider, first_pause: FIRST_PAUSE }
    }

    /// Whether the kernel has the interface.
    pub(crate) fn is_there(&self) -> bool {
        self.files.is_folder(FOLDER)
    }

    /// Whether this process may use it, and finds the provider behind it.
    pub(crate) fn is_usable(&self) -> bool {
        matches!(provider(self.files.as_ref()), Ok(Some(name)) if name == self.provider.name())
    }

    /// Asks for evidence over report data.
    pub(crate) fn report(&self, report_data: &ReportData) -> Result<Answer, String> {
        let mut pause = self.first_pause;
        for _ in 1..ATTEMPTS {
            match self.ask(report_data) {
                Ok(answer) => return Ok(answer),
                Err(Failure::Final(reason)) => return Err(reason),
                Err(Failure::Passing(reason)) => tracing::debug!(reason, "asking again for evidence"),
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
        self.ask(report_data).map_err(|failure| match failure {
            Failure::Final(reason) | Failure::Passing(reason) => reason,
        })
    }

    fn ask(&self, report_data: &ReportData) -> Result<Answer, Failure> {
        let entry =
            Entry::make(self.files.as_ref()).map_err(|error| Failure::of(FOLDER, "making a folder in", &error))?;
        let provider = entry.line("provider")?;
        if provider != self.provider.name() {
            let expected = self.provider.name();
            return Err(Failure::Final(format!("behind {FOLDER} is {provider:?}, and not {expected:?}")));
        }
        let before = entry.generation()?;
        let inblob = entry.path("inblob");
        entry.files.write(&inblob, &report_data.0).map_err(|error| Failure::of(&inblob, "writing", &error))?;
        let outblob = entry.read("outblob", BLOB)?;
        let auxblob = match self.provider {
            Provider::Tdx => Vec::new(),
            Provider::Snp => entry.certificates()?,
        };
        let after = entry.generation()?;
        if after != before.wrapping_add(1) {
            let text = format!("{inblob} was written once, but its generation went from {before} to {after}");
            return Err(Failure::Passing(text));
        }
        Ok(Answer { outblob, auxblob })
    }
}

/// Who answers behind the interface; `None` if nobody does.
pub(crate) fn provider(files: &dyn Files) -> Result<Option<String>, String> {
    let entry = match Entry::make(files) {
        Ok(entry) => entry,
        Err(error) if error.raw_os_error() == Some(NO_DEVICE) => return Ok(None),
        Err(error) => return Err(about(FOLDER, "making a folder in", &error)),
    };
    match entry.line("provider") {
        Ok(name) => Ok(Some(name)),
        Err(Failure::Final(reason) | Failure::Passing(reason)) => Err(reason),
    }
}

/// A folder of our own. It goes when it is dropped.
struct Entry<'f> {
    files: &'f dyn Files,
    folder: String,
}

impl<'f> Entry<'f> {
    fn make(files: &'f dyn Files) -> Result<Self, Error> {
        let mut name = [0; 8];
        aws_lc_rs::rand::fill(&mut name).map_err(|_| Error::other("the random source failed"))?;
        let folder = format!("{FOLDER}/marblerun-{}", hex::encode(name));
        files.make_folder(&folder)?;
        Ok(Self { files, folder })
    }

    fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.folder)
    }

    fn read(&self, file: &str, at_most: usize) -> Result<Vec<u8>, Failure> {
        let path = self.path(file);
        self.files.read(&path, at_most).map_err(|error| Failure::of(&path, "reading", &error))
    }

    fn line(&self, file: &str) -> Result<String, Failure> {
        Ok(String::from_utf8_lossy(&self.read(file, LINE)?).trim().to_owned())
    }

    fn generation(&self) -> Result<u64, Failure> {
        let line = self.line("generation")?;
        line.parse()
            .map_err(|_| Failure::Final(format!("{} says {line:?}, which is no number", self.path("generation"))))
    }

    /// Kernels and hosts without certificates have no such file, or an empty one.
    fn certificates(&self) -> Result<Vec<u8>, Failure> {
        let path = self.path("auxblob");
        match self.files.read(&path, BLOB) {
            Ok(table) => Ok(table),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(Failure::of(&path, "reading", &error)),
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.files.remove_folder(&self.folder) {
            tracing::warn!("{} stays behind: {error}", self.folder);
        }
    }
}

#[cfg(test)]
mod tests;
