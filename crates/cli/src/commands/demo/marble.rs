//! The demo's Marbles: a server and a client that know each other by the certificates they were given.
//!
//! Both take everything from the environment that the Coordinator made for them: chain, key, the root
//! to trust, and a shared secret, of which each proves knowledge by a digest bound to its own name.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Plays `server` (until killed) or `client` (once).
pub async fn run(role: &str) -> Result<()> {
    let address: SocketAddr = env("DEMO_ADDRESS")?.parse().context("DEMO_ADDRESS")?;
    match role {
        "server" => serve(address).await,
        "client" => call(address).await,
        other => bail!("there is no demo Marble {other:?}"),
    }
}

fn env(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: was this started by marblerun-premain?"))
}

type Chain = Vec<CertificateDer<'static>>;

fn identity() -> Result<(Chain, PrivateKeyDer<'static>, RootCertStore)> {
    let chain = env("MARBLE_PREDEFINED_MARBLE_CERTIFICATE_CHAIN")?;
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Chain, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(env("MARBLE_PREDEFINED_PRIVATE_KEY")?.as_bytes())?;
    // The Coordinator's root, not the Marble root: so trust outlives a rotation of the intermediate.
    let root = CertificateDer::from_pem_slice(env("MARBLE_PREDEFINED_COORDINATOR_ROOT_CA")?.as_bytes())?;
    let mut roots = RootCertStore::empty();
    roots.add(root)?;
    Ok((chain, key, roots))
}

/// Digest of the shared secret: equal on both sides, and not the secret.
fn proof() -> Result<String> {
    let secret = hex::decode(env("DEMO_SHARED_SECRET")?).context("DEMO_SHARED_SECRET")?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &secret);
    Ok(hex::encode(digest.as_ref().get(..8).unwrap_or_default()))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

async fn serve(address: SocketAddr) -> Result<()> {
    let (chain, key, roots) = identity()?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let answer = format!("{}\n", proof()?);
    let listener = TcpListener::bind(address).await?;
    loop {
        let (tcp, _) = listener.accept().await?;
        // One bad client must not end the server.
        let served = async {
            let mut tls = acceptor.accept(tcp).await?;
            tls.write_all(answer.as_bytes()).await?;
            tls.shutdown().await
        };
        if let Err(error) = served.await {
            eprintln!("demo server: {error}");
        }
    }
}

async fn call(address: SocketAddr) -> Result<()> {
    let (chain, key, roots) = identity()?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    let tcp = TcpStream::connect(address).await.context("connecting to the demo server")?;
    let name = ServerName::try_from("localhost")?;
    let mut tls = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await?;
    let (theirs, ours) = (answer.trim(), proof()?);
    if theirs != ours {
        bail!("the server knows another secret: {theirs} instead of {ours}");
    }
    println!("{ours}");
    Ok(())
}
