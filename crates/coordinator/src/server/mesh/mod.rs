//! The Marble API: gRPC over HTTP/2, one method.
//!
//! tonic decodes and encodes; around it stands what makes refusals those that upstream's clients know:
//! texts for unknown methods, `ResourceExhausted` for messages above the limit, and a time limit.

mod request_body;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Body;
use marblerun_api::marble::marble_server::{Marble, MarbleServer};
use marblerun_api::marble::{ActivationReq, ActivationResp, Parameters};
use tonic::{Code, Status};
use tower::Service as _;
use zeroize::Zeroizing;

use crate::core::{Activated, ActivationError, ActivationRequest};
use crate::server::App;
use crate::server::http::service::Sender;
use request_body::RequestBody;

const SERVICE: &str = "rpc.Marble";
const ACTIVATE: &str = "/rpc.Marble/Activate";

/// Largest message taken, as upstream.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// Answers one call.
pub(super) async fn serve<B>(app: Arc<App>, sender: Sender, request: Request<B>) -> Response<tonic::body::Body>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if let Some(status) = not_grpc(&request) {
        let mut response = Response::new(tonic::body::Body::empty());
        *response.status_mut() = status;
        return response;
    }
    if request.uri().path() != ACTIVATE {
        return unknown(request.uri().path()).into_http();
    }
    let (total, share) = (app.limits.body_total, Arc::new(Mutex::new(app.mesh_bodies.share())));
    let mut server = MarbleServer::new(Activation { app, sender }).max_decoding_message_size(MAX_MESSAGE);
    let request = request.map(|body| RequestBody::new(body, MAX_MESSAGE, total, share.clone()));
    let answer = server.call(request).await;
    // Until here, the message took its room.
    drop(share);
    match answer {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn not_grpc<B>(request: &Request<B>) -> Option<StatusCode> {
    if request.method() != Method::POST {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_grpc = content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    (!is_grpc).then_some(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

fn unknown(path: &str) -> Status {
    let (service, method) = path.strip_prefix('/').and_then(|path| path.rsplit_once('/')).unwrap_or((path, ""));
    Status::unimplemented(match service == SERVICE {
        true => format!("unknown method {method} for service {SERVICE}"),
        false => format!("unknown service {service}"),
    })
}

/// One call of `Activate`.
struct Activation {
    app: Arc<App>,
    sender: Sender,
}

#[tonic::async_trait]
impl Marble for Activation {
    async fn activate(
        &self,
        request: tonic::Request<ActivationReq>,
    ) -> Result<tonic::Response<ActivationResp>, Status> {
        let started = Instant::now();
        let request_id = uuid::Uuid::new_v4().simple().to_string();
        self.app.metrics.grpc_started();
        let ActivationReq { quote, csr, marble_type, uuid } = request.into_inner();
        let request = ActivationRequest { quote, csr, marble_type, uuid };
        let activated = self.app.coordinator.activate(self.sender.certificate.as_ref(), request).await;
        let answer = activated.map(answer).map_err(|error| status(&error));

        let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
        self.app.metrics.grpc_finished(code);
        let (peer, ms) = (self.sender.address, u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        match &answer {
            Ok(_) => tracing::info!(request_id, method = ACTIVATE, ?code, ms, %peer, "call"),
            Err(status) if code == Code::Internal => {
                tracing::error!(request_id, method = ACTIVATE, ?code, error = status.message(), ms, %peer, "call");
            }
            Err(status) => {
                tracing::warn!(request_id, method = ACTIVATE, ?code, error = status.message(), ms, %peer, "call");
            }
        }
        answer.map(tonic::Response::new)
    }
}

fn answer(activated: Activated) -> ActivationResp {
    fn plain(map: BTreeMap<String, Zeroizing<Vec<u8>>>) -> HashMap<String, Vec<u8>> {
        map.into_iter().map(|(name, mut value)| (name, std::mem::take(&mut *value))).collect()
    }
    let Activated { uuid: _, files, env, argv } = activated;
    ActivationResp { parameters: Some(Parameters { files: plain(files), env: plain(env), argv }) }
}

fn status(error: &ActivationError) -> Status {
    let code = match error {
        ActivationError::WrongState(_) => Code::FailedPrecondition,
        ActivationError::NoCertificate(_) => Code::Unauthenticated,
        ActivationError::Refused(_) => Code::PermissionDenied,
        ActivationError::BadRequest(_) => Code::InvalidArgument,
        ActivationError::Internal(_) => Code::Internal,
        ActivationError::Unavailable(_) => Code::Unavailable,
    };
    Status::new(code, error.message())
}
