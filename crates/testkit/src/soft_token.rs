//! PKCS#11 tokens in software (SoftHSM), in a folder of the test's own.
//!
//! SoftHSM finds its tokens by an environment variable, so what uses them is a process of its own: pass it
//! [`SoftTokens::env`].

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::TestUser;

/// PIN of every token made here.
pub const PIN: &str = "4711";

/// Where distributions put the module.
const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// A folder of tokens.
#[derive(Debug)]
pub struct SoftTokens {
    home: TempDir,
    module: &'static str,
}

impl SoftTokens {
    /// An empty folder.
    ///
    /// # Errors
    /// If SoftHSM is not installed.
    pub fn new() -> Result<Self> {
        let module = MODULES.into_iter().find(|path| Path::new(path).is_file());
        let module = module.context("SoftHSM is not installed: install the packages softhsm2 and opensc")?;
        let home = tempfile::tempdir()?;
        let tokens = home.path().join("tokens");
        std::fs::create_dir(&tokens)?;
        let settings = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
        std::fs::write(home.path().join("softhsm2.conf"), settings)?;
        Ok(Self { home, module })
    }

    /// The environment of a process that is to see these tokens.
    #[must_use]
    pub fn env(&self) -> (&'static str, PathBuf) {
        ("SOFTHSM2_CONF", self.home.path().join("softhsm2.conf"))
    }

    /// Makes a token. Its PIN is [`PIN`].
    ///
    /// # Errors
    /// If `softhsm2-util` fails.
    pub fn add(&self, label: &str) -> Result<()> {
        let words = ["--init-token", "--free", "--label", label, "--so-pin", "471147", "--pin", PIN];
        self.run("softhsm2-util", &words).map(drop)
    }

    /// Serial number and slot of a token.
    ///
    /// # Errors
    /// If there is none.
    pub fn serial_and_slot(&self, label: &str) -> Result<(String, u64)> {
        let listed = self.run("softhsm2-util", &["--show-slots"])?;
        let (mut serial, mut slot) = (String::new(), 0);
        for line in listed.lines().map(str::trim) {
            if let Some(number) = line.strip_prefix("Slot ").and_then(|rest| rest.parse().ok()) {
                slot = number;
            } else if let Some(value) = line.strip_prefix("Serial number:") {
                serial = value.trim().to_owned();
            } else if line.strip_prefix("Label:").map(str::trim) == Some(label) {
                return Ok((serial, slot));
            }
        }
        bail!("no token {label:?} in:\n{listed}")
    }

    /// Puts a PKCS#8 PEM key onto a token, `id` in hex; its public half too if `public`.
    ///
    /// # Errors
    /// If `softhsm2-util` fails.
    pub fn import_key(&self, token: &str, key_pem: &str, id: &str, label: &str, public: bool) -> Result<()> {
        let file = self.home.path().join("key.pem");
        std::fs::write(&file, key_pem)?;
        let file = file.display().to_string();
        let mut words = vec!["--import", &file, "--token", token, "--pin", PIN, "--id", id, "--label", label];
        if !public {
            words.push("--no-public-key");
        }
        self.run("softhsm2-util", &words).map(drop)
    }

    /// Puts a certificate onto a token.
    ///
    /// # Errors
    /// If `pkcs11-tool` fails.
    pub fn import_certificate(&self, token: &str, certificate_pem: &str, id: &str, label: &str) -> Result<()> {
        let (_, der) = der::pem::decode_vec(certificate_pem.as_bytes()).map_err(|e| anyhow::anyhow!("{e}"))?;
        let file = self.home.path().join("certificate.der");
        std::fs::write(&file, der)?;
        let file = file.display().to_string();
        let login = ["--module", self.module, "--token-label", token, "--login", "--pin", PIN];
        let object = ["--write-object", &file, "--type", "cert", "--id", id, "--label", label];
        self.run("pkcs11-tool", &[&login[..], &object[..]].concat()).map(drop)
    }

    /// Puts a user onto a token: key, public key and certificate.
    ///
    /// # Errors
    /// If one of the tools fails.
    pub fn import_user(&self, token: &str, user: &TestUser, id: &str, label: &str) -> Result<()> {
        self.import_key(token, &user.key_pem, id, label, true)?;
        self.import_certificate(token, &user.certificate_pem, id, label)
    }

    /// Makes an AES-256 key that does not leave the token, `id` in hex.
    ///
    /// # Errors
    /// If `pkcs11-tool` fails.
    pub fn generate_aes(&self, token: &str, id: &str, label: &str) -> Result<()> {
        self.keygen(token, id, label, &["--sensitive"])
    }

    /// Makes an AES-256 key that can be read and taken out, `id` in hex.
    ///
    /// # Errors
    /// If `pkcs11-tool` fails.
    pub fn generate_loose_aes(&self, token: &str, id: &str, label: &str) -> Result<()> {
        self.keygen(token, id, label, &["--extractable"])
    }

    fn keygen(&self, token: &str, id: &str, label: &str, more: &[&str]) -> Result<()> {
        let login = ["--module", self.module, "--token-label", token, "--login", "--pin", PIN];
        let key = ["--keygen", "--key-type", "AES:32", "--id", id, "--label", label];
        self.run("pkcs11-tool", &[&login[..], &key[..], more].concat()).map(drop)
    }

    /// Removes a secret key from a token.
    ///
    /// # Errors
    /// If `pkcs11-tool` fails.
    pub fn delete_secret_key(&self, token: &str, id: &str) -> Result<()> {
        let login = ["--module", self.module, "--token-label", token, "--login", "--pin", PIN];
        self.run("pkcs11-tool", &[&login[..], &["--delete-object", "--type", "secrkey", "--id", id]].concat()).map(drop)
    }

    /// Takes all tokens out (`false`), or plugs them in again. Programs that start now see that.
    ///
    /// # Errors
    /// If the folder cannot be moved.
    pub fn plug(&self, plugged: bool) -> Result<()> {
        let (tokens, aside) = (self.home.path().join("tokens"), self.home.path().join("taken-out"));
        if plugged {
            std::fs::remove_dir(&tokens)?;
            std::fs::rename(aside, tokens)?;
        } else {
            std::fs::rename(&tokens, aside)?;
            std::fs::create_dir(tokens)?;
        }
        Ok(())
    }

    /// Writes a configuration file with these fields, beside `Path` and `Pin` if they are not among them.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn config(&self, name: &str, fields: &Value) -> Result<String> {
        let mut config = json!({"Path": self.module, "Pin": PIN});
        for (field, value) in fields.as_object().into_iter().flatten() {
            config[field] = value.clone();
        }
        let path = self.home.path().join(name);
        std::fs::write(&path, config.to_string())?;
        Ok(path.display().to_string())
    }

    fn run(&self, program: &str, words: &[&str]) -> Result<String> {
        let (name, value) = self.env();
        let output = Command::new(program).args(words).env(name, value).output();
        let output = output.with_context(|| format!("{program}: install the packages softhsm2 and opensc"))?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("{program} {words:?}: {stdout}{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(stdout)
    }
}
