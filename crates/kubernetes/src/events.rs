//! Events for operators (`kubectl get events`). Best effort: sent in the background, few at a time, and forgotten.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource as _;
use kube::api::PostParams;
use kube::core::Request as Build;
use marblerun_store::cluster::Severity;
use tokio::sync::Semaphore;

use crate::caller::Caller;
use crate::kubernetes::PodReference;
use crate::verdict::{self, Asked};

const PATIENCE: Duration = Duration::from_secs(2);
/// As many at most, within as long.
const MOST: usize = 10;
const WITHIN: Duration = Duration::from_secs(300);
/// What an API server takes.
const LONGEST_MESSAGE: usize = 1024;

/// Sends events.
pub(crate) struct Events {
    pod: Option<PodReference>,
    sent: VecDeque<(Instant, &'static str, String)>,
    under_way: Arc<Semaphore>,
}

impl Events {
    pub(crate) fn new(pod: Option<PodReference>) -> Self {
        Self { pod, sent: VecDeque::new(), under_way: Arc::new(Semaphore::new(2)) }
    }

    pub(crate) fn report(&mut self, caller: &Caller, severity: Severity, reason: &'static str, message: &str) {
        let now = Instant::now();
        let Ok(permit) = Arc::clone(&self.under_way).try_acquire_owned() else { return };
        if !self.is_news(now, reason, message) {
            return;
        }
        let event = self.event(caller, severity, reason, message);
        let Ok(json) = serde_json::to_vec(&event) else { return };
        let namespace = caller.names.namespace().to_owned();
        let build = Build::new(Event::url_path(&(), Some(&namespace)));
        let Ok(request) = build.create(&PostParams::default(), json) else { return };
        let (exchange, refusals) = (caller.exchange.clone(), caller.refusals.clone());
        caller.exchange.runtime().spawn(async move {
            let _permit = permit;
            let asked = Asked { verb: "create", resource: "events", name: "", namespace: &namespace };
            let answer = verdict::of_write(asked, exchange.send(request, PATIENCE).await);
            match answer {
                Err(marblerun_store::cluster::WriteFailure::Forbidden(_)) => {
                    refusals.note(asked, "operators see what happens in the log alone, and not as Events");
                }
                Err(failure) => tracing::debug!(?failure, reason, "an Event was not taken"),
                Ok(_) => {}
            }
        });
    }

    /// Neither said a moment ago, nor one too many.
    fn is_news(&mut self, now: Instant, reason: &'static str, message: &str) -> bool {
        while self.sent.front().is_some_and(|(at, _, _)| now.duration_since(*at) >= WITHIN) {
            self.sent.pop_front();
        }
        let said = self.sent.iter().any(|(_, before, text)| *before == reason && text == message);
        if said || self.sent.len() >= MOST {
            return false;
        }
        self.sent.push_back((now, reason, message.to_owned()));
        true
    }

    fn event(&self, caller: &Caller, severity: Severity, reason: &str, message: &str) -> Event {
        let namespace = caller.names.namespace().to_owned();
        let about = |kind: &str, name: &str, uid: Option<&str>| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some(kind.to_owned()),
            name: Some(name.to_owned()),
            namespace: Some(namespace.clone()),
            uid: uid.map(str::to_owned),
            ..ObjectReference::default()
        };
        let involved_object = match &self.pod {
            Some(pod) => about("Pod", &pod.name, pod.uid.as_deref()),
            None => about("Secret", caller.names.secret(), None),
        };
        let now = Time(Timestamp::now());
        let kind = if severity == Severity::Warning { "Warning" } else { "Normal" };
        Event {
            metadata: ObjectMeta {
                generate_name: Some("marblerun-coordinator-".to_owned()),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object,
            reason: Some(reason.to_owned()),
            message: Some(cut(message)),
            type_: Some(kind.to_owned()),
            count: Some(1),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            source: Some(EventSource {
                component: Some("marblerun-coordinator".to_owned()),
                host: self.pod.as_ref().map(|pod| pod.name.clone()),
            }),
            ..Event::default()
        }
    }
}

fn cut(message: &str) -> String {
    let end = message.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= LONGEST_MESSAGE).last();
    message.get(..end.unwrap_or_default()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_sent_once_and_not_too_many_are() {
        let mut events = Events::new(None);
        let start = Instant::now();
        assert!(events.is_news(start, "Diverged", "a"));
        assert!(!events.is_news(start, "Diverged", "a"));
        let sent = (0..20).filter(|number| events.is_news(start, "Diverged", &number.to_string())).count();
        assert_eq!(sent, MOST - 1);
        assert!(events.is_news(start + WITHIN, "Diverged", "a"));
    }

    #[test]
    fn a_long_message_is_cut_where_a_character_ends() {
        assert_eq!(cut("short"), "short");
        let cut = cut(&"ä".repeat(1000));
        assert_eq!(cut.len(), LONGEST_MESSAGE);
        assert!(cut.chars().all(|c| c == 'ä'));
    }
}
