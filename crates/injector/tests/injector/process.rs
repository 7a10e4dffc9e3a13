//! A running injector.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::certificate::MountedSecret;

const PROGRAM: &str = env!("CARGO_BIN_EXE_marblerun-injector");
const PATIENCE: Duration = Duration::from_secs(60);

/// The program, with nothing of this process's environment.
pub fn command() -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_clear().stdin(Stdio::null());
    command
}

/// The process; killed when dropped.
#[derive(Debug)]
pub struct Injector {
    child: Child,
    pub address: SocketAddr,
    logs: TempDir,
}

impl Injector {
    pub fn start(secret: &MountedSecret, arguments: &[&str]) -> Self {
        Self::start_on("127.0.0.1:0", secret, arguments)
    }

    pub fn start_on(listen: &str, secret: &MountedSecret, arguments: &[&str]) -> Self {
        let logs = tempfile::tempdir().unwrap();
        let child = command()
            .env("EDG_LOG_FORMAT", "json")
            .args(["-listen", listen])
            .arg("-tlsCertFile")
            .arg(secret.path("tls.crt"))
            .arg("-tlsKeyFile")
            .arg(secret.path("tls.key"))
            .args(arguments)
            .stderr(File::create(logs.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut injector = Self { child, address: SocketAddr::from(([0, 0, 0, 0], 0)), logs };
        let line = injector.wait_for_log("serving the admission webhook");
        injector.address = line["address"].as_str().unwrap().parse().unwrap();
        injector
    }

    /// Everything it has logged.
    pub fn log(&self) -> Vec<Value> {
        lines(self.logs.path())
    }

    /// The first line with that text, once it is there.
    pub fn wait_for_log(&mut self, text: &str) -> Value {
        let begun = Instant::now();
        loop {
            let log = self.log();
            if let Some(line) = log.iter().find(|line| line["message"].as_str().is_some_and(|m| m.contains(text))) {
                return line.clone();
            }
            assert!(self.child.try_wait().unwrap().is_none(), "it ended: {log:?}");
            assert!(begun.elapsed() < PATIENCE, "{text:?} is not in {log:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    pub fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {:?}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(logs: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(logs.join("log")).unwrap();
    let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
