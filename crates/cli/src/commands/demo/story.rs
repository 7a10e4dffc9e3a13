//! The steps of the demo.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use marblerun_client::{AttestOptions, Attested, Endpoint, attest};
use serde_json::json;
use zeroize::Zeroizing;

use super::Programs;

const RECOVERY_NAME: &str = "operations";

/// Tells the whole story in `dir`.
pub async fn tell(programs: &Programs, dir: &Path, keep: bool) -> Result<()> {
    let mut story = Story::new(programs, dir)?;
    let result = story.tell(keep).await;
    if result.is_err() {
        story.show_logs();
    }
    result
}

struct Story<'a> {
    programs: &'a Programs,
    dir: PathBuf,
    client_addr: SocketAddr,
    mesh_addr: SocketAddr,
    server_addr: SocketAddr,
    started: Instant,
    step: Instant,
    steps: u32,
    coordinator: Option<Running>,
    server: Option<Running>,
}

/// A child process that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A new RSA-3072 key pair as PEM: private, public.
fn recovery_key() -> Result<(Zeroizing<String>, String)> {
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
    use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
    use der::pem::{LineEnding, encode_string};

    let failed = |_| anyhow!("making a recovery key failed");
    let key = PrivateDecryptingKey::generate(KeySize::Rsa3072).map_err(failed)?;
    let private: Pkcs8V1Der<'_> = key.as_der().map_err(failed)?;
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(failed)?;
    let pem = |label, der: &[u8]| encode_string(label, LineEnding::LF, der).map_err(|e| anyhow!("{e}"));
    Ok((Zeroizing::new(pem("PRIVATE KEY", private.as_ref())?), pem("PUBLIC KEY", public.as_ref())?))
}

fn free_addr() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl<'a> Story<'a> {
    fn new(programs: &'a Programs, dir: &Path) -> Result<Self> {
        Ok(Self {
            programs,
            dir: dir.to_path_buf(),
            client_addr: free_addr()?,
            mesh_addr: free_addr()?,
            server_addr: free_addr()?,
            started: Instant::now(),
            step: Instant::now(),
            steps: 0,
            coordinator: None,
            server: None,
        })
    }

    async fn tell(&mut self, keep: bool) -> Result<()> {
        println!("MarbleRun demo, in simulation: no TEE is used and nothing here is secret.");
        println!("Files: {}\n", self.dir.display());
        self.write_inputs()?;
        let first = self.begin().await?;
        let secret = self.activate_first_marbles().await?;
        let backup = self.back_up()?;
        self.lose_the_host().await?;
        self.recover(&self.dir.join("seal")).await?;
        self.prove_same(&first, &secret).await?;
        self.restore_elsewhere(&backup, &first, &secret).await?;
        self.end(keep).await
    }

    /// What an operator prepares: a recovery key pair and a manifest.
    fn write_inputs(&mut self) -> Result<()> {
        self.begin_step("Make a recovery key and a manifest");
        let (private_pem, public_pem) = recovery_key()?;
        let private = self.dir.join("recovery-key.pem");
        crate::files::write_private(&private, private_pem.as_bytes())?;
        let parameters = |role: &str| {
            json!({
                "Argv": [self.programs.marblerun, "demo", "--marble", role],
                "Env": {
                    "DEMO_ADDRESS": self.server_addr.to_string(),
                    "DEMO_SHARED_SECRET": "{{ hex .Secrets.shared }}"
                }
            })
        };
        let manifest = json!({
            "Packages": {"demo": {"Debug": true}},
            "Marbles": {
                "server": {"Package": "demo", "Parameters": parameters("server")},
                "client": {"Package": "demo", "Parameters": parameters("client")}
            },
            "Secrets": {"shared": {"Type": "symmetric-key", "Size": 256, "Shared": true}},
            "RecoveryKeys": {RECOVERY_NAME: public_pem}
        });
        fs::write(self.dir.join("manifest.json"), serde_json::to_vec_pretty(&manifest)?)?;
        self.end_step(&format!("RSA-3072 private key in {}", private.display()));
        Ok(())
    }

    async fn begin(&mut self) -> Result<Attested> {
        self.begin_step("Start a Coordinator");
        self.start_coordinator(&self.dir.join("seal"), &self.dir.join("host-key"), 2).await?;
        self.end_step(&format!("it waits for a manifest at {}", self.client_addr));

        self.begin_step("Set the manifest: from now on the state is sealed to this host");
        let manifest = self.dir.join("manifest.json");
        let recovery = self.dir.join("recovery.json");
        self.marblerun(&["manifest", "set", &text(&manifest), &self.address(), "--recoverydata", &text(&recovery)])?;
        let attested = self.attest().await?;
        self.end_step(&format!(
            "root certificate {}, recovery data for {RECOVERY_NAME:?} in {}",
            short(&attested.root),
            recovery.display()
        ));
        Ok(attested)
    }

    async fn activate_first_marbles(&mut self) -> Result<String> {
        self.begin_step("Activate two Marbles; they talk over mutual TLS with the certificates they were given");
        self.server = Some(self.start_server()?);
        let secret = self.call_server().await?;
        self.end_step(&format!("both know the shared secret (digest {secret})"));
        Ok(secret)
    }

    fn back_up(&mut self) -> Result<PathBuf> {
        self.begin_step("Back the state up while the Coordinator runs");
        let backups = self.dir.join("backups");
        fs::create_dir(&backups)?;
        let seal_dir = self.dir.join("seal");
        self.marblerun(&["backup", "create", &text(&seal_dir), &text(&backups)])?;
        let backup = fs::read_dir(&backups)?.next().context("no backup was written")??.path();
        let key = self.dir.join("recovery-key.pem");
        self.marblerun(&["backup", "verify", &text(&backup), "--key", &text(&key)])?;
        self.end_step(&format!("{} opens with the recovery key, proved offline", backup.display()));
        Ok(backup)
    }

    async fn lose_the_host(&mut self) -> Result<()> {
        self.begin_step("Lose the host: stop the Coordinator, destroy the host's seal key, start again");
        self.stop_coordinator().await?;
        fs::remove_file(self.dir.join("host-key"))?;
        self.start_coordinator(&self.dir.join("seal"), &self.dir.join("host-key"), 1).await?;
        self.end_step("recovery mode: the sealed state is there, and this host cannot open it");
        Ok(())
    }

    async fn recover(&mut self, seal_dir: &Path) -> Result<()> {
        self.begin_step("Recover with the recovery key");
        let (data, key) = (self.dir.join("recovery.json"), self.dir.join("recovery-key.pem"));
        let address = self.address();
        self.marblerun(&["recover", &text(&data), &address, "--data", "--name", RECOVERY_NAME, "--key", &text(&key)])?;
        self.wait_for_status(3).await?;
        self.end_step(&format!("{} is open again, and sealed to the new host", seal_dir.display()));
        Ok(())
    }

    async fn prove_same(&mut self, first: &Attested, secret: &str) -> Result<()> {
        self.begin_step("Compare: root certificate, secret, and trust among Marbles");
        let now = self.attest().await?;
        if now.root != first.root {
            bail!("the root certificate changed");
        }
        // The server was activated before the loss, this client is activated now.
        let after = self.call_server().await?;
        if after != secret {
            bail!("the shared secret changed");
        }
        self.end_step("all the same; a Marble activated now talks to the one activated before");
        Ok(())
    }

    async fn restore_elsewhere(&mut self, backup: &Path, first: &Attested, secret: &str) -> Result<()> {
        self.begin_step("Restore the backup into an empty directory, on a host that never saw it");
        self.stop_coordinator().await?;
        let seal_dir = self.dir.join("seal-restored");
        self.marblerun(&["backup", "restore", &text(backup), &text(&seal_dir)])?;
        self.start_coordinator(&seal_dir, &self.dir.join("other-host-key"), 1).await?;
        self.end_step("a backup never carries what opens it: recovery mode");
        self.recover(&seal_dir).await?;
        self.prove_same(first, secret).await
    }

    async fn end(&mut self, keep: bool) -> Result<()> {
        self.server = None;
        println!("\nDone in {:.1} s.", self.started.elapsed().as_secs_f64());
        let marblerun = self.programs.as_typed();
        if keep {
            if let Some(mut running) = self.coordinator.take() {
                println!("\nThe Coordinator keeps running (process {}). Try:", running.0.id());
                // Leave it alone: neither killed nor waited for.
                running.0.stdin.take();
                std::mem::forget(running);
            }
            let coordinator = format!("-i {}", self.address());
            // Not the user's own cache, which may hold another deployment.
            let cache = format!("--coordinator-cert {}", self.cache().display());
            println!("  {marblerun} status {coordinator} {cache}");
            println!("  {marblerun} manifest get {coordinator}");
            println!("  {marblerun} manifest log {coordinator} {cache}");
            println!("  {marblerun} backup inspect {}", self.dir.join("seal-restored").display());
            println!("Stop it with kill, and remove {}.", self.dir.display());
        } else {
            self.stop_coordinator().await?;
            println!("\nWhat to type next:");
            println!("  {marblerun} demo --keep                       leaves the Coordinator running, to look around");
            println!("  {marblerun}-coordinator --help                every setting, for one of your own");
            println!("  {marblerun} manifest set MANIFEST ADDRESS -i --recoverydata FILE");
            println!("  {marblerun} backup create SEAL_DIR FOLDER     any time, while it runs");
        }
        Ok(())
    }

    fn begin_step(&mut self, what: &str) {
        self.steps += 1;
        self.step = Instant::now();
        println!("{:>2}. {what}", self.steps);
    }

    fn end_step(&self, result: &str) {
        println!("    {result} [{:.2} s]", self.step.elapsed().as_secs_f64());
    }

    /// The certificate cache of the demo.
    fn cache(&self) -> PathBuf {
        self.dir.join("coordinator-cert.pem")
    }

    fn address(&self) -> String {
        self.client_addr.to_string()
    }

    fn log_file(&self, name: &str) -> Result<fs::File> {
        Ok(fs::File::options().create(true).append(true).open(self.dir.join(name))?)
    }

    /// Starts the Coordinator and waits until it has that status.
    async fn start_coordinator(&mut self, seal_dir: &Path, host_key: &Path, status: i64) -> Result<()> {
        let log = self.log_file("coordinator.log")?;
        let child = Command::new(&self.programs.coordinator)
            .env("EDG_COORDINATOR_SEAL_DIR", seal_dir)
            .env("EDG_COORDINATOR_CLIENT_ADDR", self.client_addr.to_string())
            .env("EDG_COORDINATOR_MESH_ADDR", self.mesh_addr.to_string())
            .env("EDG_COORDINATOR_DNS_NAMES", "localhost")
            .env("MARBLERUN_TEE", "simulation")
            .env("MARBLERUN_SIMULATION_HOST_KEY", host_key)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.programs.coordinator.display()))?;
        self.coordinator = Some(Running(child));
        self.wait_for_status(status).await
    }

    async fn wait_for_status(&mut self, wanted: i64) -> Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(running) = &mut self.coordinator
                && let Some(status) = running.0.try_wait()?
            {
                bail!("the Coordinator ended with {status}");
            }
            let seen = self.status().await;
            match seen {
                Ok(code) if code == wanted => return Ok(()),
                Ok(code) if begun.elapsed() > Duration::from_secs(30) => {
                    bail!("the Coordinator has status {code} instead of {wanted}")
                }
                Err(error) if begun.elapsed() > Duration::from_secs(30) => return Err(error),
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    async fn attest(&self) -> Result<Attested> {
        let options = AttestOptions { insecure: true, ..AttestOptions::default() };
        Ok(attest(&Endpoint::parse(&self.address())?, &options).await?)
    }

    async fn status(&self) -> Result<i64> {
        let root = self.attest().await?.root;
        let client = marblerun_client::Client::builder(Endpoint::parse(&self.address())?)
            .trust(marblerun_client::Trust::Pinned(root))
            .build()?;
        Ok(client.status().await?.code)
    }

    async fn stop_coordinator(&mut self) -> Result<()> {
        let Some(mut running) = self.coordinator.take() else { return Ok(()) };
        let sent = Command::new("kill").arg("-TERM").arg(running.0.id().to_string()).status()?;
        if !sent.success() {
            bail!("the Coordinator could not be stopped");
        }
        let begun = Instant::now();
        while running.0.try_wait()?.is_none() {
            if begun.elapsed() > Duration::from_secs(30) {
                bail!("the Coordinator did not end within 30 s");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Runs this program with a certificate cache of the demo's own.
    fn marblerun(&self, args: &[&str]) -> Result<String> {
        // As one can type it: without a TEE a Coordinator proves nothing, and only those commands ask one.
        let insecure = if args.first() == Some(&"backup") { "" } else { " --insecure" };
        println!("    $ marblerun {}{insecure}", args.join(" "));
        let output = Command::new(&self.programs.marblerun)
            .args(args)
            .args(["--insecure", "--coordinator-cert"])
            .arg(self.cache())
            // Whatever the user keeps of other Coordinators has no part in this.
            .env("XDG_CONFIG_HOME", &self.dir)
            .env_remove("MARBLERUN_CONTEXT")
            .stdin(Stdio::null())
            .output()?;
        checked(output, "marblerun")
    }

    fn marble(&self, role: &str) -> Command {
        let mut command = Command::new(&self.programs.premain);
        command
            .env("EDG_MARBLE_COORDINATOR_ADDR", self.mesh_addr.to_string())
            .env("EDG_MARBLE_TYPE", role)
            .env("EDG_MARBLE_DNS_NAMES", "localhost")
            .env("EDG_MARBLE_UUID_FILE", self.dir.join(format!("{role}-uuid")))
            .arg(&self.programs.marblerun)
            .stdin(Stdio::null());
        command
    }

    fn start_server(&self) -> Result<Running> {
        let log = self.log_file("server.log")?;
        let child = self.marble("server").stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Running(child))
    }

    /// Activates a client Marble that calls the server; answers the digest of the secret they share.
    async fn call_server(&self) -> Result<String> {
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(self.server_addr).await.is_err() {
            if begun.elapsed() > Duration::from_secs(30) {
                bail!("the server Marble does not listen");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut command = self.marble("client");
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        Ok(checked(output, "the client Marble")?.trim().to_owned())
    }

    fn show_logs(&self) {
        for name in ["coordinator.log", "server.log"] {
            if let Ok(log) = fs::read_to_string(self.dir.join(name)) {
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("--- last lines of {name}");
                for line in lines.iter().skip(lines.len().saturating_sub(20)) {
                    eprintln!("{line}");
                }
            }
        }
    }
}

fn checked(output: Output, who: &str) -> Result<String> {
    if !output.status.success() {
        bail!("{who} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The first bytes of a certificate's fingerprint, for people.
fn short(der: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    format!("{}..", hex::encode(digest.as_ref().get(..8).unwrap_or_default()))
}
