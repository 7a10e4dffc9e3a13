//! A watch on its way through the proxy: event after event, until something happens to it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::perform::{Body, BoxError, failure};
use super::{Fault, Link};

struct Watch {
    events: Incoming,
    /// When what happens to it.
    end: Option<(Instant, Fault)>,
    /// Nothing is put into the middle of an event.
    between_events: bool,
    link: watch::Receiver<Link>,
    ended: bool,
}

/// The events of the API server, with that fault.
pub fn with_fault(events: Incoming, fault: Fault, link: watch::Receiver<Link>) -> Body {
    let at = |after: Duration| Some((Instant::now() + after, fault));
    let end = match fault {
        Fault::EndWatch { after } | Fault::StallWatch { after } | Fault::ExpireWatch { after } => at(after),
        _ => None,
    };
    let watch = Watch { events, end, between_events: true, link, ended: false };
    StreamBody::new(unfold(watch, next)).boxed_unsync()
}

async fn next(mut watch: Watch) -> Option<(Result<Frame<Bytes>, BoxError>, Watch)> {
    if watch.ended {
        return None;
    }
    let due = watch.end.filter(|_| watch.between_events);
    let happens = async {
        match due {
            Some((at, fault)) => {
                sleep_until(at).await;
                fault
            }
            None => std::future::pending().await,
        }
    };
    let next = tokio::select! {
        biased;
        () = silence(&mut watch.link) => Next::Silence,
        fault = happens => Next::Fault(fault),
        frame = watch.events.frame() => Next::Frame(frame?),
    };
    match next {
        Next::Frame(frame) => {
            if let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) {
                watch.between_events = data.ends_with(b"\n");
            }
            Some((frame.map_err(BoxError::from), watch))
        }
        Next::Fault(Fault::ExpireWatch { .. }) => {
            watch.ended = true;
            Some((Ok(Frame::data(gone())), watch))
        }
        Next::Fault(Fault::StallWatch { .. }) => std::future::pending().await,
        Next::Fault(_) => None,
        Next::Silence => {
            let _ = watch.link.wait_for(|link| *link != Link::Silent).await;
            watch.ended = true;
            Some((Err("nothing got through for a while".into()), watch))
        }
    }
}

enum Next {
    Frame(Result<Frame<Bytes>, hyper::Error>),
    Fault(Fault),
    Silence,
}

async fn silence(link: &mut watch::Receiver<Link>) {
    let _ = link.wait_for(|link| *link == Link::Silent).await;
}

/// What the API server tells a watch whose place in history is compacted.
fn gone() -> Bytes {
    let status = failure(410, None);
    Bytes::from(format!("{{\"type\":\"ERROR\",\"object\":{status}}}\n"))
}
