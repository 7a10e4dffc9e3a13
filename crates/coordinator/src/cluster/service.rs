//! What an appraised peer is answered. Whether it may have what it asks for is decided at each call.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _, stream};
use marblerun_api::key::api_server::Api;
use marblerun_api::key::{GetKeyEncryptionKeyRequest, GetKeyEncryptionKeyResponse};
use marblerun_api::peer::peers_server::Peers;
use marblerun_api::peer::{CeremonyPart, Greeting, HelloRequest};
use marblerun_attestation::{PeerIdentity, PeerRefusal};
use marblerun_state::BootId;
use marblerun_store::cluster::{KekId, NotGiven};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::peers::Inner;
use super::{greeting, union};
use crate::core::Union;

/// More ids than a state has slots are not looked at.
const MOST_WANTED: usize = 16;

/// One peer on one channel.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) inner: Arc<Inner>,
    pub(super) peer: Arc<PeerIdentity>,
    pub(super) address: SocketAddr,
}

type Parts = Pin<Box<dyn Stream<Item = Result<CeremonyPart, Status>> + Send>>;

#[tonic::async_trait]
impl Api for Caller {
    async fn get_key_encryption_key(
        &self,
        request: Request<GetKeyEncryptionKeyRequest>,
    ) -> Result<Response<GetKeyEncryptionKeyResponse>, Status> {
        self.inner.appraiser.policy().accepts_receiver(&self.peer).map_err(|refusal| self.denied("key", &refusal))?;
        let wanted = request.into_inner().wanted;
        if wanted.len() > MOST_WANTED {
            return Err(Status::invalid_argument("too many key ids"));
        }
        let wanted: Option<Vec<KekId>> = wanted.iter().map(|id| Some(KekId(id.as_slice().try_into().ok()?))).collect();
        let wanted = wanted.ok_or_else(|| Status::invalid_argument("a key id has 16 bytes"))?;
        let giving = timeout(self.inner.times.call, self.inner.node.give(&wanted)).await;
        let kek = match giving.map_err(|_| Status::deadline_exceeded("the shared state did not answer in time"))? {
            Ok(kek) => kek,
            Err(error @ NotGiven::NoKey) => return Err(Status::failed_precondition(error.to_string())),
            Err(error @ NotGiven::NotValidated(_)) => return Err(Status::unavailable(error.to_string())),
        };
        tracing::info!(peer = %self.address, kek = hex::encode(kek.id().0), "key encryption key given to a peer");
        Ok(Response::new(GetKeyEncryptionKeyResponse { key: kek.expose().to_vec() }))
    }
}

#[tonic::async_trait]
impl Peers for Caller {
    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<Greeting>, Status> {
        self.inner.appraiser.meeting().accepts(&self.peer).map_err(|refusal| self.denied("greeting", &refusal))?;
        if let Ok(boot) = request.into_inner().boot.as_slice().try_into() {
            self.inner.greeted_by(BootId(boot));
        }
        Ok(Response::new(greeting::encode(&self.inner.node.greeting())))
    }

    type CeremonyStream = Parts;

    async fn ceremony(&self, request: Request<Streaming<CeremonyPart>>) -> Result<Response<Parts>, Status> {
        let policy = self.inner.appraiser.policy();
        let handling = async {
            let mut theirs = union::collect(request.into_inner().map(|part| part.map_err(|status| status.to_string())))
                .await
                .map_err(Status::invalid_argument)?;
            if policy.accepts_giver(&self.peer).is_err() {
                theirs = theirs.without_secrets();
            }
            let mine = match self.inner.recovering() {
                Some(coordinator) => coordinator.hear_of_recovery(theirs).await,
                None => Union::default(),
            };
            Ok::<_, Status>(if policy.accepts_receiver(&self.peer).is_ok() { mine } else { mine.without_secrets() })
        };
        let mine = timeout(self.inner.times.call, handling).await;
        let mine = mine.map_err(|_| Status::deadline_exceeded("the recovery in progress took too long"))??;
        Ok(Response::new(Box::pin(stream::iter(union::parts(&mine).into_iter().map(Ok)))))
    }
}

impl Caller {
    fn denied(&self, what: &str, refusal: &PeerRefusal) -> Status {
        tracing::warn!(peer = %self.address, %refusal, "a peer gets no {what}");
        Status::permission_denied(refusal.to_string())
    }
}
