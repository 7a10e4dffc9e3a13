//! The certificate the API server sees. Its files are looked at for each connection, off the threads that serve,
//! and read when they have changed; so whoever renews them need not tell. A pair that cannot be used,
//! such as one of which only the first file has been replaced yet, leaves the one before in use.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::Mutex;
use x509_cert::der::Decode as _;
use zeroize::Zeroizing;

/// Certificates that end sooner than this are said to.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// The pair of files, and the certificate in use.
#[derive(Debug)]
pub(super) struct ServingCertificate {
    files: Files,
    current: ArcSwap<CertifiedKey>,
    /// Of the files that were read last, whether or not they could be used.
    seen: Mutex<Stamp>,
}

/// A pair that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("the webhook's {what} {} cannot be read: {cause}; -{flag} names the file", path.display())]
    Unreadable {
        /// What it should hold.
        what: &'static str,
        /// File.
        path: PathBuf,
        /// Cause.
        cause: io::Error,
        /// Flag of the file.
        flag: &'static str,
    },
    /// A file does not hold what it should.
    #[error("the webhook's {what} {} is not one in PEM form: {cause}", path.display())]
    Unusable {
        /// What it should hold.
        what: &'static str,
        /// File.
        path: PathBuf,
        /// Cause.
        cause: String,
    },
    /// Both can be read, but not used together.
    #[error("the certificate {} and the key {} cannot be used together: {cause}", certificate.display(), key.display())]
    Pair {
        /// Certificate file.
        certificate: PathBuf,
        /// Key file.
        key: PathBuf,
        /// Cause.
        cause: rustls::Error,
    },
}

impl ServingCertificate {
    /// Reads the pair for the first time.
    pub(super) async fn load(certificate: PathBuf, key: PathBuf) -> Result<Self, CertificateError> {
        let files = Files { certificate, key };
        let stamp = files.stamp();
        let pair = files.read()?;
        announce(&pair, Timestamp::now());
        Ok(Self { files, current: ArcSwap::from_pointee(pair), seen: Mutex::new(stamp) })
    }

    /// Takes the files' certificate if they have changed.
    pub(super) async fn refresh(&self) {
        let mut seen = self.seen.lock().await;
        let (files, before) = (self.files.clone(), *seen);
        let look = move || {
            // Before the files are read: what changes meanwhile is seen next time.
            let stamp = files.stamp();
            (stamp != before).then(|| (files.read(), stamp))
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(None) => {}
            Ok(Some((pair, stamp))) => {
                *seen = stamp;
                match pair {
                    Ok(pair) => {
                        announce(&pair, Timestamp::now());
                        self.current.store(Arc::new(pair));
                    }
                    Err(error) => tracing::error!("{error}. The certificate before stays in use"),
                }
            }
            Err(error) => tracing::error!(%error, "the certificate could not be looked at"),
        }
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// TLS with whatever certificate is current.
pub(super) fn server_config(certificate: Arc<ServingCertificate>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A resumed session would go by the certificate of an earlier one.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[derive(Debug, Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// What tells that a file is another one than before; `None`: it cannot be looked at. A Secret that is mounted is
/// replaced by way of a symbolic link, which changes the inode.
type Stamp = [Option<(u64, u64, u64, SystemTime)>; 2];

impl Files {
    fn stamp(&self) -> Stamp {
        [&self.certificate, &self.key].map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.dev(), metadata.ino(), metadata.len(), metadata.modified().ok()?))
        })
    }

    fn read(&self) -> Result<CertifiedKey, CertificateError> {
        const CERTIFICATE: (&str, &str) = ("certificate", "tlsCertFile");
        const KEY: (&str, &str) = ("key", "tlsKeyFile");
        let unusable = |what, path: &Path, cause: String| CertificateError::Unusable { what, path: path.into(), cause };
        let chain = read(&self.certificate, CERTIFICATE)?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain)
            .collect::<Result<_, _>>()
            .map_err(|error| unusable(CERTIFICATE.0, &self.certificate, error.to_string()))?;
        if chain.is_empty() {
            return Err(unusable(CERTIFICATE.0, &self.certificate, "it has no block CERTIFICATE".to_owned()));
        }
        let key = read(&self.key, KEY)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| unusable(KEY.0, &self.key, error.to_string()))?;
        // Also checks that the one belongs to the other.
        CertifiedKey::from_der(chain, key, &provider()).map_err(|cause| CertificateError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            cause,
        })
    }
}

fn read(path: &Path, (what, flag): (&'static str, &'static str)) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    std::fs::read(path).map(Zeroizing::new).map_err(|cause| CertificateError::Unreadable {
        what,
        path: path.to_owned(),
        cause,
        flag,
    })
}

/// Says which certificate is in use. Once it ends, no labelled pod is created any more.
fn announce(pair: &CertifiedKey, now: Timestamp) {
    let end = pair.end_entity_cert().ok().and_then(|certificate| {
        let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
        let end = certificate.tbs_certificate().validity().not_after.to_unix_duration();
        Timestamp::from_second(i64::try_from(end.as_secs()).ok()?).ok()
    });
    match end {
        Some(end) if end.duration_since(now) < SOON.try_into().unwrap_or_default() => {
            tracing::warn!(%end, "the webhook's certificate ends soon; then no pods of Marbles are created until it is renewed");
        }
        Some(end) => tracing::info!(%end, "the webhook has a certificate"),
        None => tracing::warn!("the webhook has a certificate of which no end can be read"),
    }
}
