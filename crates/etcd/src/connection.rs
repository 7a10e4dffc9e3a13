//! One member at a time. A call goes to one member once; after a failure the next call goes to the next one, with
//! certificates read anew.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use tokio::runtime::Handle;
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::config::{ConfigError, EtcdConfig};
use crate::wire::kv_client::KvClient;
use crate::wire::{TxnRequest, TxnResponse};

/// Cluster protocol, section 10.
const CONNECTING: Duration = Duration::from_secs(3);
pub(crate) const READING: Duration = Duration::from_secs(5);
pub(crate) const WRITING: Duration = Duration::from_secs(10);
/// Ten times what etcd takes in one request.
const LONGEST_MESSAGE: usize = 16 << 20;
/// The runtime may be late by this much before a caller stops to wait for it.
const SLACK: Duration = Duration::from_secs(2);

/// Why etcd cannot be spoken to at all.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// What is configured makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file cannot be read.
    #[error("{variable} ({}): {source}", .path.display())]
    File {
        /// Which variable names it.
        variable: &'static str,
        /// Which file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Certificates or keys cannot be used.
    #[error("the certificates for etcd cannot be used: {0}")]
    Tls(String),
}

/// Sends requests.
#[derive(Clone)]
pub(crate) struct Connection {
    config: Arc<EtcdConfig>,
    runtime: Handle,
    current: Arc<Mutex<Current>>,
}

#[derive(Default)]
struct Current {
    member: usize,
    channel: Option<Channel>,
}

impl Connection {
    /// Checks the files; no member is asked yet.
    pub(crate) fn new(config: Arc<EtcdConfig>, runtime: Handle) -> Result<Self, ConnectError> {
        // rustls asks for one; whoever installed another one first has decided.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let this = Self { config, runtime, current: Arc::default() };
        this.channel()?;
        Ok(this)
    }

    pub(crate) fn config(&self) -> &EtcdConfig {
        &self.config
    }

    /// To the member whose turn it is. To be called where a runtime is entered.
    pub(crate) fn channel(&self) -> Result<Channel, ConnectError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = &current.channel {
            return Ok(channel.clone());
        }
        let uri = self.config.endpoints.get(current.member % self.config.endpoints.len().max(1));
        let uri = uri.ok_or(ConfigError::NoEndpoint)?.clone();
        let is_tls = uri.scheme_str() == Some("https");
        let mut endpoint = Channel::builder(uri)
            .connect_timeout(CONNECTING)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true);
        if is_tls {
            endpoint = endpoint.tls_config(tls(&self.config)?).map_err(|error| ConnectError::Tls(chain(&error)))?;
        }
        let channel = Endpoint::connect_lazy(&endpoint);
        current.channel = Some(channel.clone());
        Ok(channel)
    }

    /// The next call goes to another member.
    pub(crate) fn turn(&self) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.member = current.member.wrapping_add(1);
        current.channel = None;
    }

    /// Sends one transaction and waits, on a thread that is none of the runtime's.
    pub(crate) fn wait_for(&self, request: TxnRequest, deadline: Duration) -> Result<TxnResponse, Status> {
        let (sender, answer) = mpsc::sync_channel(1);
        let this = self.clone();
        let task = self.runtime.spawn(async move {
            // Whoever asked may have stopped to wait.
            let _ = sender.send(this.send(request, deadline).await);
        });
        answer.recv_timeout(deadline + SLACK).unwrap_or_else(|_| {
            task.abort();
            Err(Status::cancelled("this process is too busy, or ending"))
        })
    }

    /// Sends one transaction.
    pub(crate) async fn send(&self, request: TxnRequest, deadline: Duration) -> Result<TxnResponse, Status> {
        let channel = self.channel().map_err(|error| Status::unavailable(error.to_string()))?;
        let mut client = KvClient::new(channel)
            .max_decoding_message_size(LONGEST_MESSAGE)
            .max_encoding_message_size(LONGEST_MESSAGE);
        let answer = tokio::time::timeout(deadline, client.txn(request)).await;
        let answer = answer
            .unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("no answer within {} s", deadline.as_secs()))));
        match answer {
            Err(status) if is_of_the_member(&status) => {
                self.turn();
                Err(self.explained(status))
            }
            answer => answer.map(tonic::Response::into_inner),
        }
    }

    /// etcd closes the connection of a client without a certificate, and says nothing that would be heard.
    fn explained(&self, status: Status) -> Status {
        if self.config.identity.is_some() || self.config.ca_file.is_none() {
            return status;
        }
        let told = std::error::Error::source(&status).map(|cause| format!(": {}", chain(cause))).unwrap_or_default();
        let hint = "if etcd wants client certificates, set MARBLERUN_ETCD_CERT_FILE and MARBLERUN_ETCD_KEY_FILE";
        Status::new(status.code(), format!("{}{told}; {hint}", status.message()))
    }
}

/// Whether another member may do better.
fn is_of_the_member(status: &Status) -> bool {
    use tonic::Code;
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::Internal | Code::Cancelled
    )
}

fn tls(config: &EtcdConfig) -> Result<ClientTlsConfig, ConnectError> {
    let read = |variable, path: &std::path::Path| {
        std::fs::read(path).map_err(|source| ConnectError::File { variable, path: path.to_owned(), source })
    };
    let mut tls = ClientTlsConfig::new();
    if let Some(path) = &config.ca_file {
        tls = tls.ca_certificate(Certificate::from_pem(read("MARBLERUN_ETCD_CA_FILE", path)?));
    }
    if let Some((certificate, key)) = &config.identity {
        let certificate = read("MARBLERUN_ETCD_CERT_FILE", certificate)?;
        tls = tls.identity(Identity::from_pem(certificate, read("MARBLERUN_ETCD_KEY_FILE", key)?));
    }
    Ok(tls)
}

/// What went wrong, with all its causes; the outermost say little.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
