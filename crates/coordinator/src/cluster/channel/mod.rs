//! The attested channel: TLS 1.3 between two processes that know nothing of each other, and then, as the first message in
//! each direction, evidence of who they are.
//!
//! Certificates are self-made and mean nothing. Evidence is made over what only the two ends of this very connection
//! know (the TLS exporter) and over the role of its maker; so it is fresh by the randoms of both, and is of no use to
//! whoever relays it, keeps it, or sends it back. Sessions are not resumed: each channel is proved anew.
//!
//! The one that called proves itself first: the other makes no evidence for strangers.

mod tls;

use marblerun_attestation::{Evidence, MessageError, PeerIdentity, PeerMessage, ReportData};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub(super) use tls::TlsConfigs;

use super::appraiser::{AppraisalError, Appraiser, Role};
use super::times::Times;

/// In the exporter, and in what evidence is bound to.
const DOMAIN: &[u8] = b"marblerun peer v1";
const EXPORTER: &[u8] = b"EXPORTER-marblerun-peer-v1";

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChannelError {
    /// The other end did not do its part in time.
    #[error("no answer within {0:?}")]
    TimedOut(std::time::Duration),
    /// The connection broke, or does not speak TLS as this program does.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// TLS could not export what evidence is bound to.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// What came is no message.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The other end will not do.
    #[error("the peer is refused: {0}")]
    Refused(AppraisalError),
    /// This end cannot prove itself.
    #[error("no evidence can be given: {0}")]
    NoEvidence(AppraisalError),
    /// The other end says that this one will not do.
    #[error("the peer refuses this Coordinator: {0}")]
    RefusedByPeer(String),
}

/// Proves this process to whom it called, and the other way round.
pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    tls: &TlsConfigs,
    appraiser: &Appraiser,
    times: &Times,
) -> Result<(tokio_rustls::client::TlsStream<S>, PeerIdentity), ChannelError> {
    let connecting = TlsConnector::from(tls.client.clone()).connect(tls.name.clone(), stream);
    let mut stream = within(times, connecting).await??;
    let exported = stream.get_ref().1.export_keying_material([0; 32], EXPORTER, None)?;
    let attesting = async {
        prove(&mut stream, Role::Client, &exported, appraiser).await?;
        appraise(&mut stream, Role::Server, &exported, appraiser).await
    };
    let peer = within(times, attesting).await??;
    Ok((stream, peer))
}

/// Appraises who called this process, and then proves it to them.
pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    tls: &TlsConfigs,
    appraiser: &Appraiser,
    times: &Times,
) -> Result<(tokio_rustls::server::TlsStream<S>, PeerIdentity), ChannelError> {
    let mut stream = within(times, TlsAcceptor::from(tls.server.clone()).accept(stream)).await??;
    let exported = stream.get_ref().1.export_keying_material([0; 32], EXPORTER, None)?;
    let attesting = async {
        let peer = appraise(&mut stream, Role::Client, &exported, appraiser).await?;
        prove(&mut stream, Role::Server, &exported, appraiser).await?;
        Ok::<_, ChannelError>(peer)
    };
    let peer = within(times, attesting).await??;
    Ok((stream, peer))
}

async fn within<F: Future>(times: &Times, step: F) -> Result<F::Output, ChannelError> {
    timeout(times.handshake, step).await.map_err(|_| ChannelError::TimedOut(times.handshake))
}

fn binding(maker: Role, exported: &[u8; 32]) -> ReportData {
    ReportData::binding(&[DOMAIN, maker.as_bytes(), exported])
}

/// Sends own evidence; where there is none, says why.
async fn prove<S: AsyncWrite + Unpin>(
    stream: &mut S,
    own: Role,
    exported: &[u8; 32],
    appraiser: &Appraiser,
) -> Result<(), ChannelError> {
    match appraiser.issue(binding(own, exported)).await {
        Ok(evidence) => send(stream, PeerMessage::Evidence(evidence)).await,
        Err(error) => {
            let reason = format!("it cannot prove itself: {error}");
            refuse(stream, &reason).await;
            Err(ChannelError::NoEvidence(error))
        }
    }
}

/// Reads the other end's evidence; where it will not do, tells it why.
async fn appraise<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    maker: Role,
    exported: &[u8; 32],
    appraiser: &Appraiser,
) -> Result<PeerIdentity, ChannelError> {
    let evidence: Evidence = match receive(stream).await? {
        PeerMessage::Evidence(evidence) => evidence,
        PeerMessage::Refusal(reason) => return Err(ChannelError::RefusedByPeer(reason)),
    };
    match appraiser.verify(maker, evidence, binding(maker, exported)).await {
        Ok(peer) => Ok(peer),
        Err(error) => {
            refuse(stream, &error.to_string()).await;
            Err(ChannelError::Refused(error))
        }
    }
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, message: PeerMessage) -> Result<(), ChannelError> {
    stream.write_all(&message.encode()).await?;
    Ok(stream.flush().await?)
}

/// The last word, whether it is heard or not.
async fn refuse<S: AsyncWrite + Unpin>(stream: &mut S, reason: &str) {
    if send(stream, PeerMessage::Refusal(reason.to_owned())).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

async fn receive<S: AsyncRead + Unpin>(stream: &mut S) -> Result<PeerMessage, ChannelError> {
    let mut head = [0; PeerMessage::HEAD];
    stream.read_exact(&mut head).await?;
    // Bounded by the head's parser.
    let mut body = vec![0; PeerMessage::parse_head(head)?];
    stream.read_exact(&mut body).await?;
    Ok(PeerMessage::parse(head, body)?)
}

#[cfg(test)]
mod tests;
