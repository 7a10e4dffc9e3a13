//! A TPM 2.0 in software (swtpm), with its memory in a folder of the test's own. Stopping and starting it is a reboot of
//! its host: registers begin anew, what is in its memory stays.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use der::Decode as _;
use der::asn1::Uint;
use spki::SubjectPublicKeyInfoRef;
use tempfile::TempDir;

use crate::reaper;

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running TPM. It ends when dropped, and with the tests if they are killed.
#[derive(Debug)]
pub struct SoftTpm {
    memory: TempDir,
    port: u16,
    process: Child,
}

impl SoftTpm {
    /// A new TPM, as from the factory.
    ///
    /// # Errors
    /// If swtpm is not installed or does not start.
    pub fn start() -> Result<Self> {
        let memory = tempfile::tempdir()?;
        let (port, process) = spawn(memory.path())?;
        Ok(Self { memory, port, process })
    }

    /// How to reach it, in the words of tpm2-tss.
    #[must_use]
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// Restarts it with the same memory: the host boots again. It may be reached at another port after that.
    ///
    /// # Errors
    /// If it does not start.
    pub fn reboot(&mut self) -> Result<()> {
        self.stop();
        (self.port, self.process) = spawn(self.memory.path())?;
        Ok(())
    }

    /// Ends it; [`reboot`](Self::reboot) starts it again.
    pub fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Measures something into a register, as a changed boot component would be.
    ///
    /// # Errors
    /// If the tool `tpm2_pcrextend` fails.
    pub fn extend_pcr(&self, number: u8) -> Result<()> {
        self.run("tpm2_pcrextend", &[&format!("{number}:sha256={}", "ab".repeat(32))])
    }

    /// Makes it the TPM of a VM below a paravisor: with the paravisor's attestation key, and what the paravisor leaves in
    /// its memory, made by `left` for that key's modulus.
    ///
    /// # Errors
    /// If one of the tools of the package tpm2-tools fails, or its key cannot be read.
    pub fn play_paravisor(&self, left: impl FnOnce(&[u8]) -> Vec<u8>) -> Result<()> {
        let file = |name: &str| self.memory.path().join(name).display().to_string();
        let (context, public, report) = (file("ak.ctx"), file("ak.der"), file("hcl"));
        let attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign";
        let scheme = "rsa2048:rsassa-sha256:null";
        self.run("tpm2_createprimary", &["-C", "e", "-g", "sha256", "-G", scheme, "-a", attributes, "-c", &context])?;
        self.run("tpm2_evictcontrol", &["-C", "o", "-c", &context, "0x81000003"])?;
        self.run("tpm2_flushcontext", &["-t"])?;
        self.run("tpm2_readpublic", &["-c", "0x81000003", "-f", "der", "-o", &public])?;
        let public = std::fs::read(&public)?;
        let public = SubjectPublicKeyInfoRef::from_der(&public).context("reading the attestation key")?;
        // RFC 8017, A.1.1: modulus and exponent.
        let numbers = Vec::<Uint>::from_der(public.subject_public_key.raw_bytes())?;
        let left = left(numbers.first().context("a key without a modulus")?.as_bytes());
        std::fs::write(&report, &left)?;
        self.run("tpm2_nvdefine", &["-C", "o", "-s", &left.len().to_string(), "0x01400001"])?;
        self.run("tpm2_nvwrite", &["-C", "o", "-i", &report, "0x01400001"])
    }

    fn run(&self, tool: &str, arguments: &[&str]) -> Result<()> {
        let output = Command::new(tool).args(["-T", &self.tcti()]).args(arguments).output();
        let output = output.with_context(|| format!("{tool}: install the package tpm2-tools"))?;
        ensure!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

impl Drop for SoftTpm {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs a program without what its parent had open. tpm2-tss leaves its sockets open to children, and one that a child
/// holds keeps another TPM's control port busy for ever.
const CLOSED: &str =
    r#"for fd in /proc/self/fd/*; do fd=${fd##*/}; [ "$fd" -le 2 ] || eval "exec $fd>&-"; done; exec "$0" "$@""#;

/// Starts it on two free ports that follow each other, as tpm2-tss expects them.
fn spawn(memory: &Path) -> Result<(u16, Child)> {
    let mut last = String::new();
    for _ in 0..10 {
        let port = two_free_ports()?;
        let address = |port: u16| format!("type=tcp,port={port},bindaddr=127.0.0.1");
        let log = memory.join("log");
        let mut command = Command::new("bash");
        command.args(["-c", CLOSED, "swtpm", "socket", "--tpm2", "--tpmstate", &format!("dir={}", memory.display())]);
        command.args(["--server", &address(port), "--ctrl", &address(port + 1)]);
        command.args(["--flags", "not-need-init,startup-clear"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log)?);
        let mut process = command.spawn().context("starting bash")?;
        reaper::process(process.id())?;
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            // Its control port takes one client after the other; its server port is left alone.
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port + 1)).is_ok() && process.try_wait()?.is_none() {
                return Ok((port, process));
            }
            if process.try_wait()?.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = process.kill();
        let _ = process.wait();
        last = std::fs::read_to_string(&log)?;
    }
    bail!("swtpm does not start (packages swtpm and tpm2-tools): {last}")
}

fn two_free_ports() -> Result<u16> {
    for _ in 0..100 {
        let port = crate::free_port();
        if port < u16::MAX && TcpListener::bind((Ipv4Addr::LOCALHOST, port + 1)).is_ok() {
            return Ok(port);
        }
    }
    bail!("there are no two free ports that follow each other")
}
