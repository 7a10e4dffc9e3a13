//! The three requests of a release, in order: a token of Azure's login, a token of Azure Attestation, the key.

use std::sync::Arc;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls_pki_types::UnixTime;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use zeroize::{Zeroize as _, Zeroizing};

use crate::release::{Asked, ReleasedKey};
use crate::transport::{Call, Transport};
use crate::wrapping_key::WrappingKey;
use crate::{Config, Credential, Jws, KeyName, ReleaseError};

/// Makes evidence of this program that carries a hash, in the form it has on the wire; empty in simulation.
pub type Attest = Arc<dyn Fn(&[u8; 32]) -> Result<Vec<u8>, String> + Send + Sync>;

const LOGIN: &str = "the login service of Azure";
const MAA: &str = "Azure Attestation";
const VAULT: &str = "the vault";

/// Version 1 of Open Enclave's report header, type 2: an SGX quote for remote attestation follows.
const OPEN_ENCLAVE_SGX: &[u8] = &[1, 0, 0, 0, 2, 0, 0, 0];
/// Larger than any token file.
const MAX_TOKEN: u64 = 64 << 10;

/// The key, and which version it is.
pub(crate) struct Released {
    pub version: KeyName,
    pub key: Zeroizing<Vec<u8>>,
}

/// Asks for a version of the configured key, or the newest.
pub(crate) async fn release(
    config: &Config,
    attest: &Attest,
    version: Option<&KeyName>,
) -> Result<Released, ReleaseError> {
    let wrapping_key = WrappingKey::generate()?;
    // Before anything is sent: without evidence there is nothing to ask for.
    let evidence = evidence(attest, &wrapping_key)?;
    let transport = Transport::new(&config.roots, config.deadline)?;
    let login = login(config, &transport).await?;
    let attested = attested(config, &transport, &evidence, &wrapping_key).await?;
    let nonce = nonce()?;

    let asked = Asked { vault: config.vault.host(), key_name: &config.key_name, key_version: version, nonce: &nonce };
    let version_segment = version.map(|version| format!("/{}", version.as_str())).unwrap_or_default();
    let answer = transport
        .send(&Call {
            service: VAULT,
            url: format!(
                "{}/keys/{}{version_segment}/release?api-version=2025-07-01",
                config.vault.base(),
                config.key_name.as_str()
            ),
            content_type: "application/json",
            body: Zeroizing::new(
                json!({"enc": "RSA_AES_KEY_WRAP_384", "nonce": nonce, "target": attested.as_str()}).to_string(),
            ),
            bearer: Some(login.expose_secret()),
        })
        .await?;
    let token = field(&answer, "value", VAULT)?;
    let jws = Jws::parse(token).map_err(|error| ReleaseError::NotBelieved(error.to_string()))?;
    let payload = jws
        .verify(&config.roots, config.vault.host(), UnixTime::now())
        .map_err(|error| ReleaseError::NotBelieved(error.to_string()))?;
    let released = ReleasedKey::read(payload, &asked)?;
    Ok(Released { key: wrapping_key.unwrap(&released.wrapped)?, version: released.version })
}

fn evidence(attest: &Attest, key: &WrappingKey) -> Result<Vec<u8>, ReleaseError> {
    let evidence = attest(&key.jwks_hash()).map_err(ReleaseError::NoEvidence)?;
    if evidence.is_empty() {
        return Err(ReleaseError::NoEvidence(
            "OE_UNSUPPORTED: this program runs in simulation, and no vault releases a key to that".to_owned(),
        ));
    }
    if !evidence.starts_with(OPEN_ENCLAVE_SGX) {
        return Err(ReleaseError::NoEvidence(
            "it is not of SGX. Azure Attestation judges evidence of other hardware by other requests, which this \
             program does not make"
                .to_owned(),
        ));
    }
    Ok(evidence)
}

/// 128 random bits, in letters that survive JSON as they are.
fn nonce() -> Result<String, ReleaseError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| ReleaseError::Crypto("the random source"))?;
    Ok(BASE64URL.encode(bytes))
}

async fn login(config: &Config, transport: &Transport) -> Result<SecretString, ReleaseError> {
    let mut form = Form::new();
    form.add("client_id", &config.client_id).add("grant_type", "client_credentials").add("scope", &config.scope);
    match &config.credential {
        Credential::ClientSecret(secret) => form.add("client_secret", secret.expose_secret()),
        Credential::FederatedToken(file) => {
            let token = read_token(file).map_err(|reason| ReleaseError::Refused {
                service: LOGIN,
                reason: format!("the federated token {}: {reason}", file.display()),
            })?;
            form.add("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
                .add("client_assertion", token.trim())
        }
    };
    let mut answer = transport
        .send(&Call {
            service: LOGIN,
            url: format!("{}/{}/oauth2/v2.0/token", config.authority, config.tenant_id),
            content_type: "application/x-www-form-urlencoded",
            body: form.0,
            bearer: None,
        })
        .await?;
    let token = SecretString::from(field(&answer, "access_token", LOGIN)?);
    if let Some(Value::String(copy)) = answer.get_mut("access_token") {
        copy.zeroize();
    }
    Ok(token)
}

/// A token that says what Azure Attestation makes of the evidence. The vault verifies it.
async fn attested(
    config: &Config,
    transport: &Transport,
    evidence: &[u8],
    key: &WrappingKey,
) -> Result<String, ReleaseError> {
    let body = json!({
        "report": BASE64URL.encode(evidence),
        "runtimeData": {"data": BASE64URL.encode(key.jwks()), "dataType": "Binary"},
    });
    let answer = transport
        .send(&Call {
            service: MAA,
            url: format!("{}/attest/OpenEnclave?api-version=2020-10-01", config.maa_url),
            content_type: "application/json",
            body: Zeroizing::new(body.to_string()),
            bearer: None,
        })
        .await?;
    field(&answer, "token", MAA).map(str::to_owned)
}

fn field<'a>(answer: &'a Value, name: &str, service: &'static str) -> Result<&'a str, ReleaseError> {
    answer
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| ReleaseError::NoAnswer { service, reason: format!("its answer has no {name:?}") })
}

fn read_token(file: &std::path::Path) -> Result<Zeroizing<String>, String> {
    use std::io::Read as _;
    let mut token = Zeroizing::new(String::new());
    let opened = std::fs::File::open(file).map_err(|error| error.to_string())?;
    let length = opened.take(MAX_TOKEN + 1).read_to_string(&mut token).map_err(|error| error.to_string())?;
    match length as u64 {
        0 => Err("it is empty".to_owned()),
        length if length > MAX_TOKEN => Err("it is too long".to_owned()),
        _ => Ok(token),
    }
}

/// A body of `application/x-www-form-urlencoded`.
struct Form(Zeroizing<String>);

impl Form {
    fn new() -> Self {
        // Room for a large token, so that growing leaves no copies behind.
        Self(Zeroizing::new(String::with_capacity(16 << 10)))
    }

    fn add(&mut self, name: &str, value: &str) -> &mut Self {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        self.0.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
        self
    }
}
