//! Whom the command believes: attested now, or cached from an earlier attestation.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use marblerun_client::{AttestOptions, Attested, Client, ClientError, Endpoint, Identity, Trust, attest};

use crate::args::Global;
use crate::context::{self, Pin};
use crate::failure::Failure;
use crate::files;
use crate::output::{note, warn};

/// First line of a cache that was filled without attestation. PEM readers skip it.
const INSECURE_MARK: &str = "# Not attested: cached by a run with --insecure.\n";

/// Path of the certificate cache for the Coordinator at that address.
pub fn cache_path(global: &Global, coordinator: &str) -> Result<PathBuf> {
    if let Some(path) = &global.coordinator_cert {
        if path.as_os_str().is_empty() {
            return Err(Failure::usage("--coordinator-cert must name a file"));
        }
        return Ok(path.clone());
    }
    match global.context_at(coordinator)? {
        Some(chosen) => context::cache_path(&chosen.name),
        None => Ok(context::config_dir()?.join("coordinator-cert.pem")),
    }
}

/// Refuses a root that is not the one the context pins, however it was come by.
fn check_pin(global: &Global, coordinator: &str, root: &[u8]) -> Result<()> {
    let Some(chosen) = global.context_at(coordinator)? else { return Ok(()) };
    match chosen.context.pin()? {
        Some(pin) if !pin.accepts(root) => Err(Failure::trust(format!(
            "the root certificate of the Coordinator (sha256:{}) is not the one that context {:?} pins ({})",
            hex::encode(context::fingerprint(root)),
            chosen.name,
            pin.shown()
        ))),
        _ => Ok(()),
    }
}

/// A Coordinator that was attested in this run (or taken unverified, with `--insecure`).
pub struct Session {
    /// Where.
    pub endpoint: Endpoint,
    /// Who.
    pub attested: Attested,
    timeout: Duration,
}

impl Session {
    /// Attests the Coordinator as the global options say.
    pub async fn attest(global: &Global, coordinator: &str) -> Result<Self> {
        let endpoint = Endpoint::parse(coordinator)?;
        let insecure = global.is_insecure_at(coordinator)?;
        if insecure {
            warn("skipping quote verification");
        } else {
            check_era_config(global, coordinator)?;
        }
        let timeout = Duration::from_secs(global.timeout);
        let options = AttestOptions { insecure, nonce: global.nonce.clone().into_bytes(), timeout };
        let attested = attest(&endpoint, &options).await?;
        check_pin(global, coordinator, &attested.root)?;
        Ok(Self { endpoint, attested, timeout })
    }

    /// A client that pins the root of this session.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::builder(self.endpoint.clone()).trust(self.trust()).timeout(self.timeout).build()?)
    }

    /// The root of this session, pinned.
    pub fn trust(&self) -> Trust {
        Trust::Pinned(self.attested.root.clone())
    }

    /// Writes the evidence where `--save-sgx-quote` says.
    pub fn save_quote(&self, global: &Global) -> Result<()> {
        match &global.save_sgx_quote {
            Some(path) => files::write_private(path, self.attested.quote.as_deref().unwrap_or_default()),
            None => Ok(()),
        }
    }

    /// Caches the chain for later commands. What was not attested never replaces what was.
    pub fn write_cache(&self, global: &Global) -> Result<()> {
        let path = cache_path(global, &self.endpoint.to_string())?;
        let insecure = !self.attested.verified;
        if insecure && let Some(cached) = read_cache(&path)? {
            if cached.insecure || cached.root == self.attested.root {
                if !cached.insecure {
                    return Ok(());
                }
            } else {
                warn(&format!(
                    "{} holds the attested certificate of another Coordinator and is left as it is; \
                     use --coordinator-cert FILE for this one",
                    path.display()
                ));
                return Ok(());
            }
        }
        files::make_folder_of(&path)?;
        let chain = marblerun_client::chain_pem(&self.attested.intermediate, &self.attested.root)?;
        let text = if insecure { format!("{INSECURE_MARK}{chain}") } else { chain };
        files::write_private(&path, text.as_bytes()).context("caching the Coordinator's certificates")
    }
}

/// Makes sure that [`Session::write_cache`] will find a place, before anything is changed.
pub fn prepare_cache(global: &Global, coordinator: &str) -> Result<()> {
    let path = cache_path(global, coordinator)?;
    files::make_folder_of(&path)?;
    read_cache(&path)?;
    files::Reserved::new(&path).map(drop).context("the cache of the Coordinator's certificates")
}

/// A cached chain.
pub struct Cached {
    /// DER of the root.
    pub root: Vec<u8>,
    /// Filled by a run with `--insecure`.
    pub insecure: bool,
}

/// Reads the cache. `None` if there is none.
pub fn read_cache(path: &Path) -> Result<Option<Cached>> {
    let pem = match std::fs::read(path) {
        Ok(pem) => pem,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
    };
    let (_, root) = marblerun_client::parse_chain(&pem)
        .with_context(|| format!("reading the cached Coordinator certificates in {}", path.display()))?;
    Ok(Some(Cached { root, insecure: pem.starts_with(INSECURE_MARK.as_bytes()) }))
}

/// Whether there is a cached root that was attested, or one that the context pins: what it signs is verified.
pub fn is_root_verified(global: &Global, coordinator: &str) -> Result<bool> {
    let is_pinned = match global.context_at(coordinator)? {
        Some(chosen) => chosen.context.pin()?.is_some(),
        None => false,
    };
    Ok(is_pinned || read_cache(&cache_path(global, coordinator)?)?.is_some_and(|cached| !cached.insecure))
}

/// A client that pins the cached root. With `--insecure` and no cache: one that believes anyone.
pub fn cached_client(global: &Global, coordinator: &str, identity: Option<Identity>) -> Result<Client> {
    let trust = cached_trust(global, coordinator)?;
    build(global, coordinator, trust, identity)
}

/// With `--attest`: attests the Coordinator now, and makes sure that it has the root that was cached.
pub async fn attest_if_asked(global: &Global, coordinator: &str) -> Result<()> {
    if !global.attest {
        return Ok(());
    }
    let session = Session::attest(global, coordinator).await?;
    match read_cache(&cache_path(global, coordinator)?)? {
        Some(cached) if cached.root != session.attested.root => Err(root_changed()),
        _ => Ok(()),
    }
}

/// The attested root is not the one that was cached.
pub fn root_changed() -> anyhow::Error {
    Failure::trust(
        "root certificate of Coordinator changed. Run 'marblerun manifest verify' to verify the instance and update \
         the local cache",
    )
}

/// Builds a client for that trust.
pub fn build(global: &Global, coordinator: &str, trust: Trust, identity: Option<Identity>) -> Result<Client> {
    let mut builder =
        Client::builder(Endpoint::parse(coordinator)?).trust(trust).timeout(Duration::from_secs(global.timeout));
    if let Some(identity) = identity {
        builder = builder.identity(identity);
    }
    Ok(builder.build()?)
}

/// A client that believes anyone. What it is told is not verified.
pub fn build_anyone(global: &Global, coordinator: &str) -> Result<Client, ClientError> {
    Client::builder(Endpoint::parse(coordinator)?)
        .trust(Trust::Anyone)
        .timeout(Duration::from_secs(global.timeout))
        .build()
}

/// The root that cached mode relies on.
pub fn cached_trust(global: &Global, coordinator: &str) -> Result<Trust> {
    let path = cache_path(global, coordinator)?;
    let insecure = global.is_insecure_at(coordinator)?;
    let pin = match global.context_at(coordinator)? {
        Some(chosen) => chosen.context.pin()?,
        None => None,
    };
    match (read_cache(&path)?, pin) {
        (Some(cached), pin) => {
            check_pin(global, coordinator, &cached.root)?;
            if cached.insecure && pin.is_none() && !insecure {
                warn("the cached Coordinator certificate was never attested (it was cached by a run with --insecure)");
            }
            Ok(Trust::Pinned(cached.root))
        }
        (None, Some(Pin::Certificate(root))) => Ok(Trust::Pinned(root)),
        (None, None) if insecure => {
            warn("the Coordinator is not verified at all (--insecure, and no certificate is cached)");
            Ok(Trust::Anyone)
        }
        (None, _) => bail!(
            "open {}: no such file or directory. No Coordinator certificate is cached; \
             'marblerun manifest verify' verifies the Coordinator and caches it",
            path.display()
        ),
    }
}

/// Whether an error means "another certificate than the pinned one".
pub fn is_untrusted(error: &ClientError) -> bool {
    matches!(error, ClientError::Transport { untrusted: true, .. })
}

/// Reads the attestation policy, so that a bad one is told before anything is sent.
fn check_era_config(global: &Global, coordinator: &str) -> Result<()> {
    let default = PathBuf::from("era-config.json");
    let path = match global.policy_at(coordinator)? {
        Some(path) => path,
        None if default.exists() => {
            note("Reusing existing config file");
            default
        }
        None => return Ok(()),
    };
    let bytes = files::read(&path)?;
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).with_context(|| format!("reading {}", path.display()))?;
    let skips = value.as_object().is_some_and(|fields| {
        fields.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("InsecureSkipVerify") && value == &serde_json::Value::Bool(true)
        })
    });
    if skips {
        return Err(Failure::trust(format!(
            "{} says InsecureSkipVerify; only the --insecure flag can skip verification",
            path.display()
        )));
    }
    let _: marblerun_client::EraConfig =
        serde_json::from_value(value).with_context(|| format!("reading {}", path.display()))?;
    Ok(())
}
