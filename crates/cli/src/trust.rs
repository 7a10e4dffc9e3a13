//! Whom the command believes: attested now, or cached from an earlier attestation.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use marblerun_client::{AttestOptions, Attested, Client, ClientError, Endpoint, Identity, NoAnswer, Trust, attest};

use crate::args::Global;
use crate::context::{self, Pin};
use crate::failure::Failure;
use crate::output::warn;
use crate::{files, incarnation, policy};

/// First line of a cache that was filled without attestation. PEM readers skip it.
const INSECURE_MARK: &str = "# Not attested: cached by a run with --insecure.\n";

/// To whoever might take a simulation for the real thing.
pub const SIMULATION_WARNING: &str = "SIMULATION: the Coordinator has no trusted execution environment, so nothing is protected. Do not give it real secrets";

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

/// The cache in a folder of this program, beside which more is kept. Nothing is put beside a file that the user names.
fn own_cache(global: &Global, coordinator: &str) -> Option<PathBuf> {
    if global.coordinator_cert.is_some() {
        return None;
    }
    // Who has no home has seen nothing before.
    cache_path(global, coordinator).ok()
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
        let expected = if global.is_insecure_at(coordinator)? {
            warn("skipping quote verification");
            AttestOptions::insecure()
        } else {
            let policy = policy::load(global, global.policy_at(coordinator)?)?;
            let options = AttestOptions { policy: Some(policy), ..AttestOptions::default() };
            options.with_collateral(policy::collateral(global)?)
        };
        let timeout = Duration::from_secs(global.timeout);
        let nonce = global.nonce.clone().into_bytes();
        // A quote that is saved is for other tools, which know the original's form alone.
        let incarnation = nonce.is_empty() && global.save_sgx_quote.is_none();
        let options = AttestOptions { nonce, incarnation, timeout, ..expected };
        let attested = attest(&endpoint, &options).await.map_err(policy::explain)?;
        check_pin(global, coordinator, &attested.root)?;
        if let Some(cache) = own_cache(global, coordinator) {
            incarnation::check(&cache, &attested, incarnation)?;
            if read_cache(&cache).is_ok_and(|cached| cached.is_some_and(|cached| cached.root == attested.root)) {
                incarnation::remember(&cache, &attested);
            }
        }
        if let Some(claims) = &attested.claims {
            policy::tell_platform(claims);
        }
        Ok(Self { endpoint, attested, timeout })
    }

    /// A client that pins the root of this session.
    pub fn client(&self) -> Result<Client> {
        Ok(self.attested.client(self.endpoint.clone()).timeout(self.timeout).build()?)
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
        let chain = self.attested.chain_pem()?;
        let text = if insecure { format!("{INSECURE_MARK}{chain}") } else { chain };
        files::write_private(&path, text.as_bytes()).context("caching the Coordinator's certificates")?;
        if let Some(cache) = own_cache(global, &self.endpoint.to_string()) {
            incarnation::remember(&cache, &self.attested);
        }
        Ok(())
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

/// The client of a command: [`cached_client`], after the Coordinator was attested if that is asked for.
pub async fn connect(global: &Global, coordinator: &str, identity: Option<Identity>) -> Result<Client> {
    let client = cached_client(global, coordinator, identity)?;
    attest_if_asked(global, coordinator).await?;
    Ok(client)
}

/// With `--attest`: attests the Coordinator now, and makes sure that it has the root that was cached.
async fn attest_if_asked(global: &Global, coordinator: &str) -> Result<()> {
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

/// What is wrong with the server's certificate, if that is why there is no answer.
pub fn doubt(error: &ClientError) -> Option<&'static str> {
    match error {
        ClientError::Transport { why: NoAnswer::Untrusted, .. } => {
            Some("the Coordinator does not present the cached root certificate")
        }
        ClientError::Transport { why: NoAnswer::WrongName, .. } => {
            Some("the Coordinator's certificate is for other names than this address")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Cli;

    fn session(verified: bool, quote: Option<&[u8]>) -> Session {
        let (intermediate, root) =
            marblerun_client::parse_chain(include_bytes!("../../client/tests/fixtures/chain.pem")).unwrap();
        let quote = quote.map(<[u8]>::to_vec);
        let attested = Attested { root, intermediate, quote, verified, claims: None, incarnation: None };
        Session { endpoint: Endpoint::parse("localhost").unwrap(), attested, timeout: Duration::from_secs(1) }
    }

    #[test]
    fn evidence_is_saved_as_received_whether_it_was_verified_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("quote");
        let command = ["marblerun", "status", "localhost", "--save-sgx-quote", file.to_str().unwrap()];
        let global = Cli::try_parse_from(command).unwrap().global;
        for (verified, quote) in [(true, Some(&b"evidence"[..])), (false, Some(b"other")), (false, None)] {
            session(verified, quote).save_quote(&global).unwrap();
            assert_eq!(std::fs::read(&file).unwrap(), quote.unwrap_or_default());
        }
    }

    #[test]
    fn a_cache_says_whether_it_was_attested_and_an_attested_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("folder/cache.pem");
        let command = ["marblerun", "status", "localhost", "--coordinator-cert", file.to_str().unwrap()];
        let global = Cli::try_parse_from(command).unwrap().global;
        session(false, None).write_cache(&global).unwrap();
        assert!(read_cache(&file).unwrap().unwrap().insecure);
        session(true, Some(b"evidence")).write_cache(&global).unwrap();
        assert!(is_root_verified(&global, "localhost").unwrap());
        let mut stranger = session(false, None);
        stranger.attested.root = stranger.attested.intermediate.clone();
        stranger.write_cache(&global).unwrap();
        assert_eq!(read_cache(&file).unwrap().unwrap().root, session(true, None).attested.root);
    }
}
