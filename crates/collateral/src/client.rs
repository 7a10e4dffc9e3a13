//! HTTP as sources of collateral need it: small answers, soon, over TLS.

use std::sync::Arc;
use std::time::Duration;

use marblerun_attestation::tls::{Anyone, Judge, ServerVerifier, Shown};
use reqwest::header::HeaderMap;
use rustls::client::danger::ServerCertVerifier;

/// For each thing that is asked for.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// Larger answers are not collateral.
const MAX_ANSWER: usize = 4 << 20;

/// Asks services.
#[derive(Debug, Clone)]
pub(crate) struct Http(reqwest::Client);

/// An answer.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Http {
    /// `secure`: the other end must have a certificate that this machine trusts.
    pub(crate) fn new(secure: bool) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = if secure {
            match rustls_platform_verifier::Verifier::new(Arc::clone(&provider)) {
                Ok(verifier) => Arc::new(verifier),
                // Told when somebody is asked, not before: all may be at hand already.
                Err(error) => Arc::new(ServerVerifier::new(Nobody { reason: error.to_string() }, &provider)),
            }
        } else {
            // What comes is signed, and is checked elsewhere.
            Arc::new(ServerVerifier::new(Anyone, &provider))
        };
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(TIMEOUT)
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::limited(3))
            .build();
        client.map(Self).map_err(|error| error.to_string())
    }

    pub(crate) async fn get(&self, url: &str) -> Result<Answer, String> {
        let fail = |error: reqwest::Error| {
            let mut text = format!("GET {url}");
            let mut cause: Option<&dyn std::error::Error> = Some(&error);
            while let Some(error) = cause {
                if error.source().is_none() || error.source().is_none_or(|next| next.source().is_none()) {
                    text = format!("{text}: {error}");
                }
                cause = error.source();
            }
            text
        };
        let mut response = self.0.get(url).send().await.map_err(fail)?;
        if !response.status().is_success() {
            return Err(format!("GET {url}: HTTP {}", response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(fail)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return Err(format!("GET {url}: more than {MAX_ANSWER} bytes"));
            }
        }
        Ok(Answer { headers: response.headers().clone(), body })
    }
}

/// Believes nobody, as this machine trusts nobody.
#[derive(Debug)]
struct Nobody {
    reason: String,
}

impl Judge for Nobody {
    fn judge(&self, _: &Shown<'_>) -> Result<(), rustls::Error> {
        Err(rustls::Error::General(format!("this machine has no certificates to trust: {}", self.reason)))
    }
}
