//! The API server as a process that can be killed and started again, while its database lives on.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::reaper;

/// Longer than it takes on a machine that runs other tests too.
const PATIENCE: Duration = Duration::from_secs(180);

/// The process, as `kube-up.sh` notes it in `run/kube-apiserver.pid`.
#[derive(Debug)]
pub struct ApiServer {
    pid_file: PathBuf,
    log: PathBuf,
    program: PathBuf,
    stopped: Mutex<Stopped>,
}

#[derive(Debug, Default)]
struct Stopped {
    /// What to start it with again.
    args: Option<Vec<OsString>>,
    /// Those started here, which are to be asked for their exit code.
    children: Vec<Child>,
}

impl ApiServer {
    pub fn new(data: &Path, binaries: &Path) -> Self {
        Self {
            pid_file: data.join("run/kube-apiserver.pid"),
            log: data.join("logs/kube-apiserver.log"),
            program: binaries.join("kube-apiserver"),
            stopped: Mutex::default(),
        }
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).args.is_some()
    }

    pub fn stop(&self) -> Result<()> {
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(stopped.args.is_none(), "the API server is stopped already");
        let pid = self.pid()?;
        let command_line = std::fs::read(format!("/proc/{pid}/cmdline"))?;
        let words = command_line.strip_suffix(b"\0").unwrap_or(&command_line).split(|byte| *byte == 0);
        stopped.args = Some(words.skip(1).map(|word| OsString::from_vec(word.to_vec())).collect());
        let status = Command::new("kill").args(["-KILL", &pid.to_string()]).status()?;
        ensure!(status.success(), "the API server ({pid}) cannot be killed");
        let killed = Instant::now();
        while reaper::start_time(pid).is_ok() {
            ensure!(killed.elapsed() < PATIENCE, "the API server ({pid}) does not end");
            stopped.children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub fn start(&self, is_ready: impl Fn() -> Result<bool>) -> Result<()> {
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let args = stopped.args.take().context("the API server was not stopped")?;
        let log = File::options().append(true).create(true).open(&self.log)?;
        let mut command = Command::new("setsid");
        command.arg(&self.program).args(&args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut spawn = || -> Result<Child> {
            let child = command.spawn().context("starting the API server")?;
            std::fs::write(&self.pid_file, format!("{} {}\n", child.id(), reaper::start_time(child.id())?))?;
            Ok(child)
        };
        let mut child = spawn()?;
        let started = Instant::now();
        while !is_ready()? {
            if let Some(status) = child.try_wait()? {
                // Its port may still be held by a connection of the one before, or the database was not ready yet.
                ensure!(started.elapsed() < PATIENCE, "the API server ended with {status}; see {}", self.log.display());
                std::thread::sleep(Duration::from_millis(500));
                child = spawn()?;
            }
            ensure!(started.elapsed() < PATIENCE, "the API server does not get ready; see {}", self.log.display());
            std::thread::sleep(Duration::from_millis(50));
        }
        stopped.children.push(child);
        Ok(())
    }

    fn pid(&self) -> Result<u32> {
        let noted = std::fs::read_to_string(&self.pid_file).context("the API server is not running")?;
        let (pid, started) = noted.trim().split_once(' ').context("the API server's pid file is damaged")?;
        let pid = pid.parse()?;
        ensure!(reaper::start_time(pid)? == started.parse::<u64>()?, "the API server has ended");
        Ok(pid)
    }
}
