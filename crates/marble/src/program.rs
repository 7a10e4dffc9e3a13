//! What the process becomes: program, arguments and environment, all checked before anything is changed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use zeroize::Zeroizing;

use crate::parameters::Parameters;

/// A program that is ready to be started.
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    environment: Environment,
}

/// Names and values, as a process takes them.
type Environment = Vec<(OsString, Zeroizing<Vec<u8>>)>;

/// Why a program cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// Arguments or environment are no use, or there is nothing to start.
    #[error("{0}")]
    Parameters(String),
    /// There is no such program.
    #[error("program {}: not found", .path.display())]
    NotFound {
        /// As it was named.
        path: PathBuf,
    },
    /// There is, but it cannot be started.
    #[error("program {}: {reason}", .path.display())]
    NotExecutable {
        /// Where it is.
        path: PathBuf,
        /// Cause.
        reason: String,
    },
}

impl Program {
    /// Puts together what to start. `command` is program and arguments from the command line: the program is
    /// looked for in `search_path` as a shell does; the manifest's arguments, if any, replace all others and
    /// `argv[0]`. Without it the manifest's `argv[0]` is the program, taken as a path as it stands.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn new(
        command: &[OsString],
        parameters: &Parameters,
        search_path: Option<&OsStr>,
    ) -> Result<Self, ProgramError> {
        let from_manifest: Vec<OsString> = parameters.argv.iter().map(OsString::from).collect();
        let path = match (command.first(), from_manifest.first()) {
            (Some(program), _) => find(Path::new(program), search_path)?,
            (None, Some(program)) => find(Path::new(program), None)?,
            (None, None) => {
                return Err(ProgramError::Parameters(
                    "nothing to start: name a program on the command line, or in Argv in the manifest".to_owned(),
                ));
            }
        };
        let arguments = if from_manifest.is_empty() { command.to_vec() } else { from_manifest };
        if let Some(at) = arguments.iter().position(|argument| argument.as_bytes().contains(&0)) {
            return Err(ProgramError::Parameters(format!("argument {at} contains a NUL byte")));
        }
        Ok(Self { path, arguments, environment: environment(parameters)? })
    }

    /// Becomes the program. Variables of this process that the manifest does not set are kept.
    /// Returns only if that fails.
    #[must_use]
    pub fn exec(self) -> ProgramError {
        let mut command = Command::new(&self.path);
        if let Some((name, rest)) = self.arguments.split_first() {
            command.arg0(name).args(rest);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, OsStr::from_bytes(value))));
        let error = command.exec();
        ProgramError::NotExecutable { path: self.path, reason: error.to_string() }
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Names and values that an environment can hold.
fn environment(parameters: &Parameters) -> Result<Environment, ProgramError> {
    parameters
        .env
        .iter()
        .map(|(name, value)| {
            let bad = |reason| ProgramError::Parameters(format!("environment variable {name:?}: {reason}"));
            if name.is_empty() {
                Err(bad("the name is empty"))
            } else if name.contains(['=', '\0']) {
                Err(bad("the name contains '=' or a NUL byte"))
            } else if value.contains(&0) {
                Err(bad("the value contains a NUL byte"))
            } else {
                Ok((OsString::from_vec(name.clone().into_bytes()), value.clone()))
            }
        })
        .collect()
}

/// Where a program is. A name without a slash is looked for in the search path, if there is one.
fn find(program: &Path, search_path: Option<&OsStr>) -> Result<PathBuf, ProgramError> {
    let not_found = || ProgramError::NotFound { path: program.to_owned() };
    if program.as_os_str().is_empty() {
        return Err(not_found());
    }
    let has_slash = program.as_os_str().as_bytes().contains(&b'/');
    let candidates: Vec<PathBuf> = match search_path {
        Some(search_path) if !has_slash => {
            std::env::split_paths(search_path).map(|directory| here(&directory.join(program))).collect()
        }
        _ => vec![here(program)],
    };
    let mut refused = None;
    for path in candidates {
        match std::fs::metadata(&path) {
            Ok(there) if there.is_file() && there.permissions().mode() & 0o111 != 0 => return Ok(path),
            Ok(_) => {
                refused = Some(ProgramError::NotExecutable { path, reason: "is not an executable file".to_owned() })
            }
            Err(_) => {}
        }
    }
    Err(refused.unwrap_or_else(not_found))
}

/// A path with a slash, so that nobody looks for it in yet another place.
fn here(path: &Path) -> PathBuf {
    if path.as_os_str().as_bytes().contains(&b'/') { path.to_owned() } else { Path::new(".").join(path) }
}

#[cfg(test)]
mod tests;
