//! Learning who answers at an address, and whether to believe it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use marblerun_api::bytes::Base64;
use marblerun_api::{v2, v3};
use marblerun_attestation::{
    AnyTee, Claims, CollateralSource, CoordinatorRefusal, EnclaveClaims, Evidence, Incarnation, Policy, ReportData,
    Verifier, VerifyError,
};

use crate::chain::{certificate_pem, chain_pem, check_issued_by, parse_chain};
use crate::error::is_405;
use crate::rest::Rest;
use crate::{Client, ClientBuilder, ClientError, Endpoint, EraConfig, Trust};

/// Largest answer of somebody who is not known yet: certificates and evidence are far smaller.
const MAX_ANSWER: usize = 1 << 20;

/// Bytes of a nonce that nobody else has chosen.
const NONCE: usize = 32;

/// How to verify a Coordinator. Start from [`AttestOptions::expecting`], or say [`AttestOptions::insecure`].
#[derive(Clone)]
pub struct AttestOptions {
    /// Take whoever answers, without evidence. Its root is still pinned for what follows.
    pub insecure: bool,
    /// What the Coordinator must be. Must be said, but with `insecure`.
    pub policy: Option<Policy>,
    /// Mixed into the evidence; empty: the SDK chooses one where the Coordinator can attest its incarnation, and the cached
    /// quote will do where it cannot.
    pub nonce: Vec<u8>,
    /// Have the incarnation attested, too, where the Coordinator can ([`Attested::incarnation`]). The quote is then not of
    /// the form that the original's tools verify; with a `nonce` it always is, and the incarnation is not asked for.
    pub incarnation: bool,
    /// Time limit of the call.
    pub timeout: Duration,
    /// Looks through the evidence. By default without collateral, which SGX and TDX need: see
    /// [`AttestOptions::with_collateral`].
    pub verifier: Arc<dyn Verifier>,
}

impl Default for AttestOptions {
    fn default() -> Self {
        Self {
            insecure: false,
            policy: None,
            nonce: Vec::new(),
            incarnation: true,
            timeout: Duration::from_secs(30),
            verifier: Arc::new(AnyTee::default()),
        }
    }
}

impl AttestOptions {
    /// Expects a Coordinator that its vendor's configuration describes; with the nonce in it, if there is one.
    ///
    /// ```no_run
    /// use marblerun_client::{AttestOptions, EraConfig};
    ///
    /// # fn example() -> Result<AttestOptions, Box<dyn std::error::Error>> {
    /// let era = EraConfig::from_json(&std::fs::read("coordinator-era.json")?)?;
    /// let mut options = AttestOptions::expecting(&era);
    /// options.nonce = b"something nobody else chose".to_vec();
    /// # Ok(options)
    /// # }
    /// ```
    #[must_use]
    pub fn expecting(era: &EraConfig) -> Self {
        Self { policy: Some(era.policy()), nonce: era.nonce.clone(), ..Self::default() }
    }

    /// Verifies evidence with collateral of that source, as [`crate::collateral::Settings::open`] gives it.
    ///
    /// ```no_run
    /// use marblerun_client::collateral::{Place, Settings};
    /// use marblerun_client::{AttestOptions, EraConfig};
    ///
    /// # fn example(era: &EraConfig) -> Result<AttestOptions, Box<dyn std::error::Error>> {
    /// let place: Place = "https://pccs.example/sgx/certification/v4/".parse()?;
    /// let source = Settings::resolve(Some(place), None, "/etc/sgx_default_qcnl.conf".as_ref())?.open()?;
    /// Ok(AttestOptions::expecting(era).with_collateral(source))
    /// # }
    /// ```
    #[must_use]
    pub fn with_collateral(self, source: Arc<dyn CollateralSource>) -> Self {
        Self { verifier: Arc::new(AnyTee::new(source)), ..self }
    }

    /// Takes whoever answers: for tests, and for Coordinators in simulation, which prove nothing.
    #[must_use]
    pub fn insecure() -> Self {
        Self { insecure: true, ..Self::default() }
    }
}

impl fmt::Debug for AttestOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttestOptions")
            .field("insecure", &self.insecure)
            .field("policy", &self.policy)
            .field("nonce", &hex::encode(&self.nonce))
            .field("incarnation", &self.incarnation)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A Coordinator's certificates and evidence, checked as the options asked.
#[derive(Debug, Clone)]
pub struct Attested {
    /// DER of the root certificate: what to pin.
    pub root: Vec<u8>,
    /// DER of the intermediate certificate; it was checked that the root issued it.
    pub intermediate: Vec<u8>,
    /// Evidence as received; `None` in simulation.
    pub quote: Option<Vec<u8>>,
    /// Whether evidence was verified (not with `insecure`).
    pub verified: bool,
    /// What the evidence says; `None` if it was not verified.
    pub claims: Option<EnclaveClaims>,
    /// Which life of its deployment the Coordinator serves: another one than before after each recovery, accepted restore
    /// and import. As good as the rest: proved if `verified`, else the Coordinator's word. `None` if it was not asked for,
    /// the Coordinator cannot tell (the original's, an older one, or one whose hardware fails), or does not know (recovery
    /// mode).
    pub incarnation: Option<Incarnation>,
}

impl Attested {
    /// A client of this very Coordinator.
    #[must_use]
    pub fn client(&self, endpoint: Endpoint) -> ClientBuilder {
        Client::builder(endpoint).trust(self.trust())
    }

    /// Believe this Coordinator and nobody else.
    #[must_use]
    pub fn trust(&self) -> Trust {
        Trust::Pinned(self.root.clone())
    }

    /// The root certificate as PEM.
    ///
    /// # Errors
    /// Never, if [`attest`] made this.
    pub fn root_pem(&self) -> Result<String, ClientError> {
        certificate_pem(&self.root)
    }

    /// The intermediate certificate as PEM: what Marbles' certificates lead to.
    ///
    /// # Errors
    /// Never, if [`attest`] made this.
    pub fn intermediate_pem(&self) -> Result<String, ClientError> {
        certificate_pem(&self.intermediate)
    }

    /// Both as PEM, intermediate first: the form of certificate caches.
    ///
    /// # Errors
    /// Never, if [`attest`] made this.
    pub fn chain_pem(&self) -> Result<String, ClientError> {
        chain_pem(&self.intermediate, &self.root)
    }
}

/// Why a Coordinator was not attested.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestError {
    /// It was not said what the Coordinator must be. Nothing was sent.
    #[error("no attestation policy: it was not said what the Coordinator must be (its era configuration)")]
    NoPolicy,
    /// A nonce needs API v2.
    #[error("using custom nonce requires /api/v2, but the Coordinator does not support /api/v2")]
    NonceOnV1,
    /// There is no evidence.
    #[error(
        "verifying Coordinator quote: empty report. The Coordinator runs in simulation and proves nothing; for a test \
         deployment, say --insecure"
    )]
    NoEvidence,
    /// Evidence that is not genuine, or cannot be judged.
    #[error("verifying Coordinator quote: {0}")]
    Evidence(VerifyError),
    /// Genuine evidence of something else than was asked for.
    #[error(transparent)]
    Refused(CoordinatorRefusal),
}

/// Asks an endpoint for its chain and evidence, and checks them: the intermediate was issued by the root, the evidence
/// is genuine and bound to this root, the nonce and the incarnation, and its enclave is what the policy asks for.
///
/// # Errors
/// [`ClientError::Attestation`] if the evidence is missing or not acceptable, [`ClientError::Trust`] if the
/// intermediate certificate was not issued by the root.
pub async fn attest(endpoint: &Endpoint, options: &AttestOptions) -> Result<Attested, ClientError> {
    let policy = match (&options.policy, options.insecure) {
        (_, true) => None,
        (Some(policy), false) => Some(policy),
        (None, false) => return Err(AttestError::NoPolicy.into()),
    };
    let rest = Rest::new(endpoint.clone(), &Trust::Anyone, None, options.timeout)?.at_most(MAX_ANSWER);
    let Shown { chain, quote, nonce, incarnation } = match shown_with_incarnation(&rest, options).await? {
        Some(shown) => shown,
        None => shown(&rest, options).await?,
    };
    let (intermediate, root) = parse_chain(chain.as_bytes())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    check_issued_by(&intermediate, &root, now)?;
    let claims = match policy {
        None => None,
        Some(policy) => {
            let evidence = quote.clone().unwrap_or_default();
            let claims = verify(evidence, &options.verifier, now).await?;
            let binding = match incarnation {
                None => ReportData::binding(&[&root, &nonce]),
                Some(told) => ReportData::of_incarnation(&root, &nonce, told.as_ref()),
            };
            policy.accepts_coordinator(&claims, &binding).map_err(AttestError::Refused)?;
            match claims {
                Claims::Enclave(enclave) => Some(enclave),
                Claims::Simulation => return Err(AttestError::NoEvidence.into()),
            }
        }
    };
    let incarnation = incarnation.flatten();
    Ok(Attested { root, intermediate, quote, verified: claims.is_some(), claims, incarnation })
}

/// What a Coordinator shows of itself. Nothing of it is believed yet.
struct Shown {
    chain: String,
    quote: Option<Vec<u8>>,
    nonce: Vec<u8>,
    /// The incarnation, if the quote should be bound to one; `Some(None)`: to none, as in recovery mode.
    incarnation: Option<Option<Incarnation>>,
}

/// With the incarnation and a nonce of our own. `None` if that is not asked for, or the Coordinator cannot.
async fn shown_with_incarnation(rest: &Rest, options: &AttestOptions) -> Result<Option<Shown>, ClientError> {
    if !options.incarnation || !options.nonce.is_empty() {
        return Ok(None);
    }
    let mut nonce = vec![0; NONCE];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| ClientError::protocol("nonce", "the random source failed"))?;
    let query = [("nonce", base64_url(&nonce))];
    let query = query.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer: v3::Attestation = match rest.v3_get("/api/v3/attestation", &query).await {
        Ok(answer) => answer,
        Err(ClientError::NoV3 { .. }) => return Ok(None),
        // One of ours, from before there was this; or one whose hardware makes no new quote, and the cached one will do.
        Err(ClientError::Problem { problem, .. }) if ["no_such_path", "no_quote"].contains(&problem.code.as_str()) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let incarnation = match (answer.incarnation, answer.incarnation_id) {
        (None, None) => None,
        (Some(number), Some(id)) => {
            let id = hex::decode(id).ok().and_then(|id| id.try_into().ok());
            let id =
                id.ok_or_else(|| ClientError::protocol("attestation", "the id of the incarnation is malformed"))?;
            Some(Incarnation { number, id })
        }
        _ => return Err(ClientError::protocol("attestation", "half of the incarnation is missing")),
    };
    let quote = answer.quote.map(|Base64(bytes)| bytes);
    Ok(Some(Shown { chain: answer.cert, quote, nonce, incarnation: Some(incarnation) }))
}

/// As the original's Coordinators do.
async fn shown(rest: &Rest, options: &AttestOptions) -> Result<Shown, ClientError> {
    let nonce = base64_url(&options.nonce);
    let query: &[(&str, &str)] = if options.nonce.is_empty() { &[] } else { &[("nonce", &nonce)] };
    let mut answer = rest.get("/api/v2/quote", query).await;
    if is_405(&answer) {
        if !options.nonce.is_empty() {
            return Err(AttestError::NonceOnV1.into());
        }
        answer = rest.get("/quote", &[]).await;
    }
    let answer: v2::Quote = answer?.object("quote of the Coordinator")?;
    let quote = answer.quote.map(|Base64(bytes)| bytes);
    Ok(Shown { chain: answer.cert, quote, nonce: options.nonce.clone(), incarnation: None })
}

/// Verification may take a while, so it gets a thread of its own.
async fn verify(evidence: Vec<u8>, verifier: &Arc<dyn Verifier>, now: u64) -> Result<Claims, AttestError> {
    if evidence.is_empty() {
        return Err(AttestError::NoEvidence);
    }
    let refused = |reason: String| AttestError::Evidence(VerifyError(reason));
    let evidence = Evidence::from_wire(evidence).map_err(|error| refused(error.to_string()))?;
    let verifier = verifier.clone();
    tokio::task::spawn_blocking(move || verifier.verify(&evidence, now))
        .await
        .map_err(|_| refused("the verifier ended before its time".to_owned()))?
        .map_err(AttestError::Evidence)
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE.encode(bytes)
}
