//! Nothing outlives the tests, even if they are killed: a process of its own holds the other end of a pipe to this one,
//! and when the pipe closes, ends what it was told of. What is dropped in order ends earlier, and is then no longer found.

use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context as _, Result, ensure};

const SCRIPT: &str = include_str!("reaper.sh");

static REAPER: Mutex<Option<ChildStdin>> = Mutex::new(None);

/// This process will not outlive the tests.
///
/// # Errors
/// If it has ended, or `bash` cannot be started.
pub fn process(pid: u32) -> Result<()> {
    tell("process", format_args!("{pid} {}", start_time(pid)?))
}

/// Nor will this control plane, by the folder of its data.
///
/// # Errors
/// If `bash` cannot be started.
pub fn control_plane(data: &Path) -> Result<()> {
    tell("plane", data.display())
}

/// Nor will this folder.
///
/// # Errors
/// If `bash` cannot be started.
pub fn folder(path: &Path) -> Result<()> {
    tell("folder", path.display())
}

fn tell(kind: &str, what: impl Display) -> Result<()> {
    let line = format!("{kind} {what}");
    ensure!(!line.contains('\n'), "{line:?} is not one line");
    let mut reaper = REAPER.lock().map_err(|_| anyhow::anyhow!("starting the reaper panicked"))?;
    let mut pipe = match reaper.take() {
        Some(pipe) => pipe,
        None => start()?,
    };
    writeln!(pipe, "{line}").context("telling the reaper")?;
    *reaper = Some(pipe);
    Ok(())
}

/// In a session of its own: a signal to the tests' process group, such as that of Ctrl-C, must not end it.
fn start() -> Result<ChildStdin> {
    let mut command = Command::new("setsid");
    command.args(["bash", "-c", SCRIPT]).env("KUBE_DOWN", script("kube-down.sh"));
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    child.context("starting the reaper (setsid, bash)")?.stdin.context("the reaper has no pipe")
}

/// A script of `xtask/kube`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../xtask/kube").join(name)
}

/// Field 22 of `/proc/PID/stat`, counted after the name, which may hold anything.
///
/// # Errors
/// If there is no such process, or it has ended and only waits to be asked for its exit code.
pub fn start_time(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    ensure!(!after_name.starts_with('Z'), "process {pid} has ended");
    let field = after_name.split(' ').nth(19).with_context(|| format!("process {pid} has no start time"))?;
    Ok(field.parse()?)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// The script is fed as [`tell`] does it, and its pipe closed as the end of the tests closes it.
    #[test]
    fn what_it_was_told_of_ends_with_the_tests_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let mut told = Command::new("sleep").arg("600").spawn().unwrap();
        let mut other = Command::new("sleep").arg("600").spawn().unwrap();
        let mut pipe = start().unwrap();
        writeln!(pipe, "process {} {}", told.id(), start_time(told.id()).unwrap()).unwrap();
        writeln!(pipe, "process {} {}", other.id(), start_time(other.id()).unwrap() + 1).unwrap();
        writeln!(pipe, "folder {}", folder.path().display()).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        assert!(told.try_wait().unwrap().is_none(), "it waits for the end of the tests");
        drop(pipe);
        assert!(!told.wait().unwrap().success());
        let closed = Instant::now();
        while folder.path().exists() {
            assert!(closed.elapsed() < Duration::from_secs(20), "the folder stays");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(other.try_wait().unwrap().is_none(), "its number belongs to another process now");
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
