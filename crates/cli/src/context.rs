//! Contexts: what is kept of each Coordinator, so that a name does for address, trust and credentials.
//!
//! A context's credentials and pinned root belong to its Coordinator alone. If a command line or environment names
//! another address, the context chosen with `context use` is left aside, and only one that the command itself names
//! (`--context`) applies all the same.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use marblerun_client::Endpoint;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::args::{At, ClientCert, Global};
use crate::failure::Failure;
use crate::files;

/// First line of the file.
const HEAD: &str = "# Contexts of the marblerun command. 'marblerun context' writes this file.\n";

/// The user's folder for settings of this program.
pub fn config_dir() -> Result<PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))
        .context("neither $XDG_CONFIG_HOME nor $HOME is set; name the certificate cache with --coordinator-cert")?;
    if config.is_relative() {
        return Err(Failure::usage(
            "$XDG_CONFIG_HOME is a relative path; name the certificate cache with --coordinator-cert",
        ));
    }
    Ok(config.join("marblerun"))
}

/// What is kept of one Coordinator.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// Address of the client API.
    pub address: String,
    /// Kubernetes namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The only root to accept: `sha256:HEX` or PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// PEM file of the user's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// PEM file of the user's private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Attestation policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PathBuf>,
    /// Evidence is not verified: a test deployment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// Whatever else stands there, kept as it is.
    #[serde(flatten)]
    pub other: toml::Table,
}

impl Context {
    /// The pinned root, read.
    pub fn pin(&self) -> Result<Option<Pin>> {
        self.root.as_deref().map(Pin::parse).transpose()
    }
}

/// A pinned root certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// SHA-256 of its DER.
    Fingerprint(Vec<u8>),
    /// The certificate, DER.
    Certificate(Vec<u8>),
}

impl Pin {
    /// Reads `sha256:HEX` or PEM.
    pub fn parse(text: &str) -> Result<Self> {
        if text.contains("-----BEGIN") {
            let der = CertificateDer::from_pem_slice(text.as_bytes()).context("reading the pinned root certificate")?;
            Certificate::from_der(&der).context("the pinned root is not an X.509 certificate")?;
            return Ok(Self::Certificate(der.to_vec()));
        }
        let digits = text.strip_prefix("sha256:").unwrap_or(text).replace(':', "");
        match hex::decode(digits) {
            Ok(bytes) if bytes.len() == 32 => Ok(Self::Fingerprint(bytes)),
            _ => Err(Failure::usage(format!("{text:?} is no fingerprint: expected sha256: and 64 hex digits"))),
        }
    }

    /// Whether that is the pinned root.
    pub fn accepts(&self, root: &[u8]) -> bool {
        match self {
            Self::Fingerprint(digest) => *digest == fingerprint(root),
            Self::Certificate(der) => der == root,
        }
    }

    /// `sha256:HEX`.
    pub fn shown(&self) -> String {
        let digest = match self {
            Self::Fingerprint(digest) => digest.clone(),
            Self::Certificate(der) => fingerprint(der),
        };
        format!("sha256:{}", hex::encode(digest))
    }
}

/// SHA-256 of a certificate's DER.
pub fn fingerprint(der: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der).as_ref().to_vec()
}

/// The file of all contexts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Contexts {
    /// The one that is used if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// By name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

impl Contexts {
    /// Where the file is.
    pub fn path() -> Result<PathBuf> {
        Ok(config_dir()?.join("config.toml"))
    }

    /// Reads the file; without one there are no contexts.
    pub fn load() -> Result<Self> {
        let path = Self::path()?;
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            // A place that cannot hold a file holds no contexts.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Self::default());
            }
            Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
        };
        toml::from_str(&text).with_context(|| format!("reading {}", path.display()))
    }

    /// Writes the file.
    pub fn save(&self) -> Result<()> {
        let path = Self::path()?;
        files::make_folder_of(&path)?;
        files::write_private(&path, format!("{HEAD}{}", toml::to_string(self)?).as_bytes())
    }

    /// The context of that name.
    pub fn named(&self, name: &str) -> Result<&Context> {
        self.contexts.get(name).ok_or_else(|| self.unknown(name))
    }

    /// The error about a name that is none.
    pub fn unknown(&self, name: &str) -> anyhow::Error {
        let names: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
        let there =
            if names.is_empty() { "there are none".to_owned() } else { format!("there are: {}", names.join(", ")) };
        Failure::usage(format!("there is no context {name:?}; {there}"))
    }
}

/// Names become folders.
pub fn check_name(name: &str) -> Result<()> {
    let is_good = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && !name.starts_with(['.', '-'])
        && (1..=64).contains(&name.len());
    if is_good {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{name:?} cannot name a context: use letters, digits, '.', '_' and '-', at most 64 of them"
    )))
}

/// The folder with what a context caches.
pub fn folder(name: &str) -> Result<PathBuf> {
    Ok(config_dir()?.join("contexts").join(name))
}

/// The certificate cache of a context.
pub fn cache_path(name: &str) -> Result<PathBuf> {
    Ok(folder(name)?.join("coordinator-cert.pem"))
}

/// The context that a command uses.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// Its name.
    pub name: String,
    /// What is kept in it.
    pub context: Context,
    /// The command or environment named it; else it is the one of `context use`.
    pub is_named: bool,
}

impl Global {
    /// The context that is named, or was chosen before. Looked up once.
    pub fn chosen(&self) -> Result<Option<&Chosen>> {
        if self.chosen.get().is_none() {
            let chosen = self.look_up()?;
            // Nobody else sets it in between.
            let _ = self.chosen.set(chosen);
        }
        Ok(self.chosen.get().and_then(Option::as_ref))
    }

    fn look_up(&self) -> Result<Option<Chosen>> {
        let named = self.context.as_deref().filter(|name| !name.is_empty());
        if named.is_none() && config_dir().is_err() {
            // Without a home there are no contexts, and commands that name everything need none.
            return Ok(None);
        }
        let contexts = Contexts::load()?;
        let Some(name) = named.or(contexts.current.as_deref()) else { return Ok(None) };
        let context = contexts.named(name)?.clone();
        Ok(Some(Chosen { name: name.to_owned(), context, is_named: named.is_some() }))
    }

    /// The address: as the command or environment says, else the context's.
    pub fn coordinator(&self, at: &At) -> Result<String> {
        self.coordinator_or(at.coordinator.as_deref())
    }

    /// As [`Global::coordinator`], for an address that was found in another way.
    pub fn coordinator_or(&self, named: Option<&str>) -> Result<String> {
        if let Some(address) = named.filter(|address| !address.is_empty()) {
            return Ok(address.to_owned());
        }
        match self.chosen()? {
            Some(chosen) => Ok(chosen.context.address.clone()),
            None => Err(Failure::usage(
                "no Coordinator is named: give its address HOST:PORT, set MARBLERUN_ENDPOINT, or use a context (marblerun context add)",
            )),
        }
    }

    /// The context that applies to that address.
    pub fn context_at(&self, coordinator: &str) -> Result<Option<&Chosen>> {
        let Some(chosen) = self.chosen()? else { return Ok(None) };
        if chosen.is_named {
            return Ok(Some(chosen));
        }
        let is_its_own = match (Endpoint::parse(coordinator), Endpoint::parse(&chosen.context.address)) {
            (Ok(asked), Ok(own)) => asked == own,
            _ => false,
        };
        Ok(is_its_own.then_some(chosen))
    }

    /// Whether evidence of the Coordinator at that address is to be skipped.
    pub fn is_insecure_at(&self, coordinator: &str) -> Result<bool> {
        Ok(self.insecure || self.context_at(coordinator)?.is_some_and(|chosen| chosen.context.insecure))
    }

    /// The attestation policy for that address, if one is named.
    pub fn policy_at(&self, coordinator: &str) -> Result<Option<PathBuf>> {
        if self.era_config.is_some() {
            return Ok(self.era_config.clone());
        }
        Ok(self.context_at(coordinator)?.and_then(|chosen| chosen.context.policy.clone()))
    }

    /// Who asks the Coordinator at that address: as the flags say, else the environment, else the context.
    pub fn credentials_at(&self, coordinator: &str, given: &ClientCert) -> Result<ClientCert> {
        let file = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let environment = (file("MARBLERUN_CERT"), file("MARBLERUN_KEY"));
        let context = self.context_at(coordinator)?.map(|chosen| &chosen.context);
        Ok(fill_in(given, environment, context))
    }
}

/// What flags leave out. A token that they name is not mixed with files of other places, nor is a certificate of a flag
/// or the environment with the context's key, which would never fit.
fn fill_in(
    given: &ClientCert,
    (cert, key): (Option<PathBuf>, Option<PathBuf>),
    context: Option<&Context>,
) -> ClientCert {
    let mut filled = given.clone();
    if filled.pkcs11_config.is_some() {
        return filled;
    }
    filled.cert = filled.cert.or(cert);
    filled.key = filled.key.or(key);
    if filled.cert.is_none()
        && filled.key.is_none()
        && let Some(context) = context
    {
        filled.cert.clone_from(&context.cert);
        filled.key.clone_from(&context.key);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = include_str!("../../client/tests/fixtures/golden_root.pem");

    #[test]
    fn a_pin_is_a_certificate_or_its_fingerprint_and_accepts_nothing_else() {
        let pem = Pin::parse(ROOT).unwrap();
        let Pin::Certificate(der) = &pem else { panic!("not a certificate") };
        let digits = pem.shown();
        let fingerprint = Pin::parse(&digits).unwrap();
        assert!(pem.accepts(der) && fingerprint.accepts(der));
        assert!(!pem.accepts(b"other") && !fingerprint.accepts(b"other"));
        assert_eq!(Pin::parse(digits.trim_start_matches("sha256:")).unwrap(), fingerprint);
        for bad in ["", "sha256:", "sha256:00", "sha1:00", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"] {
            assert!(Pin::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn flags_come_before_the_environment_and_that_before_the_context_and_a_token_stands_alone() {
        let path = |name: &str| Some(PathBuf::from(name));
        let context = Context { cert: path("c.crt"), key: path("c.key"), ..Context::default() };
        let (none, environment) = (ClientCert::default(), (path("e.crt"), path("e.key")));
        let files = |given: &ClientCert, environment: &(Option<PathBuf>, Option<PathBuf>)| {
            let filled = fill_in(given, environment.clone(), Some(&context));
            (filled.cert, filled.key)
        };
        assert_eq!(files(&none, &(None, None)), (path("c.crt"), path("c.key")));
        assert_eq!(files(&none, &environment), (path("e.crt"), path("e.key")));
        let given = ClientCert { cert: path("f.crt"), ..ClientCert::default() };
        assert_eq!(files(&given, &environment), (path("f.crt"), path("e.key")));
        assert_eq!(files(&given, &(None, None)), (path("f.crt"), None), "not with the context's key");
        let token = ClientCert { pkcs11_config: path("token.json"), ..ClientCert::default() };
        assert_eq!(files(&token, &environment), (None, None));
    }

    #[test]
    fn a_name_that_is_no_folder_name_is_refused() {
        for good in ["prod", "a.b-c_1", &"x".repeat(64)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "-x", "a b", "ü", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_this_program_does_not_know_stays_in_the_file() {
        let text = "current = \"a\"\n[contexts.a]\naddress = \"h:1\"\nlater = \"x\"\n";
        let contexts: Contexts = toml::from_str(text).unwrap();
        let again = toml::to_string(&contexts).unwrap();
        assert!(again.contains("later = \"x\""), "{again}");
        assert_eq!(toml::from_str::<Contexts>(&again).unwrap(), contexts);
    }
}
