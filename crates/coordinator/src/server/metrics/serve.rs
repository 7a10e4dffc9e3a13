//! `/metrics`, `/events`, `/healthz`, `/readyz` over plain HTTP; any method, nothing else.

use std::sync::Arc;

use http::{Request, StatusCode};
use marblerun_api::bytes::Base64;
use serde::Serialize;

use super::exposition::CONTENT_TYPE;
use crate::core::ActivationEvent;
use crate::server::http::envelope::{self, Answer};
use crate::server::{App, ready};

const TEXT: &str = "text/plain; charset=utf-8";

/// Answers a request.
pub(in crate::server) async fn serve<B>(app: Arc<App>, request: Request<B>) -> Answer {
    match request.uri().path() {
        "/metrics" => match app.metrics.scrape() {
            Ok(text) => envelope::text(StatusCode::OK, CONTENT_TYPE, text),
            Err(_) => envelope::text(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the metrics could not be encoded\n"),
        },
        "/events" => events(&app.coordinator.observer().events()),
        "/healthz" => envelope::json(StatusCode::OK, &ready::health()),
        "/readyz" => {
            let (status, readiness) = ready::readiness(&app.coordinator);
            envelope::json(status, &readiness)
        }
        _ => envelope::text(StatusCode::NOT_FOUND, TEXT, "404 page not found\n"),
    }
}

#[derive(Serialize)]
struct Event<'a> {
    time: String,
    activation: Activation<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Activation<'a> {
    marble_type: &'a str,
    uuid: &'a str,
    quote: Option<Base64>,
}

/// `null` where there is none, as upstream.
fn events(events: &[ActivationEvent]) -> Answer {
    let events: Vec<_> = events
        .iter()
        .map(|event| Event {
            time: event.time.to_string(),
            activation: Activation {
                marble_type: &event.marble_type,
                uuid: &event.uuid,
                quote: (!event.quote.is_empty()).then(|| Base64(event.quote.to_vec())),
            },
        })
        .collect();
    envelope::json_line(&(!events.is_empty()).then_some(events))
}
