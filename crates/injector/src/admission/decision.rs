//! From a pod to what is to become of it.

use json_patch::Patch;
use serde_json::Value;

use super::additions::Additions;
use super::environment::Environment;
use super::labels::{self, Labels};
use super::pod::{InvalidPod, Node};
use super::rules::Rules;
use super::sgx;
use super::uuid_volume::UuidVolume;
use super::warnings::{self, Subject};

/// What becomes of a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// It is refused.
    Denied(Refusal),
    /// It becomes a Marble.
    Injected {
        /// Type of the Marble.
        marble_type: String,
        /// What is added to it; empty if it has all of it.
        patch: Patch,
        /// For the person who creates it.
        warnings: Vec<String>,
    },
}

/// Why a pod is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has no type. It reached the webhook by selectors other than the chart's.
    #[error("Missing [{}] label, request denied", labels::TYPE)]
    NoType,
    /// Its type is empty.
    #[error("Empty [{}] label, request denied", labels::TYPE)]
    EmptyType,
    /// The container that is to be the Marble does not exist.
    #[error(
        "Label [{}] names container {name:?}, which this pod does not have, request denied. It has {present}",
        labels::CONTAINER
    )]
    NoSuchContainer {
        /// As labelled.
        name: String,
        /// The containers there are.
        present: String,
    },
    /// This program has a fault. A pod without its environment must not start.
    #[error("The injector failed on this pod, request denied. Its log has the cause under request uid {uid:?}")]
    Fault {
        /// UID of the request.
        uid: String,
    },
}

/// Why there is no patch.
#[derive(Debug)]
pub(super) enum Stop {
    Refused(Refusal),
    Invalid(InvalidPod),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<InvalidPod> for Stop {
    fn from(invalid: InvalidPod) -> Self {
        Self::Invalid(invalid)
    }
}

/// Decides on a pod that is to be created in a namespace.
///
/// # Errors
/// [`InvalidPod`] if it is no pod.
pub fn decide(pod: &Value, namespace: &str, request_uid: &str, rules: &Rules) -> Result<Decision, InvalidPod> {
    match inject(pod, namespace, request_uid, rules) {
        Ok(injected) => Ok(injected),
        Err(Stop::Refused(refusal)) => Ok(Decision::Denied(refusal)),
        Err(Stop::Invalid(invalid)) => Err(invalid),
    }
}

fn inject(pod: &Value, namespace: &str, request_uid: &str, rules: &Rules) -> Result<Decision, Stop> {
    let pod = Node::root(pod)?;
    let labels = Labels::read(&pod)?;
    let spec = pod.child("spec")?;
    let marbles = match &spec {
        Some(spec) => select(spec, &labels)?,
        None => select_of(&[], &[], &labels)?,
    };
    let environment = Environment::new(rules, &labels, namespace);
    let sgx = sgx::wanted(&rules.sgx, &labels);
    let mut additions = Additions::default();
    if let Some(spec) = &spec {
        let volume = UuidVolume::choose(spec, request_uid)?;
        let mut volume_needed = false;
        for container in &marbles {
            environment.append(container, &mut additions)?;
            // Needed if any container needs it, whatever the others mount.
            volume_needed |= volume.mount(container, &labels, &mut additions)?;
            if let Some(sgx) = sgx {
                sgx.limit(container, &mut additions)?;
            }
        }
        if volume_needed {
            volume.add(spec, &mut additions)?;
        }
        if let Some(sgx) = sgx {
            sgx.tolerate(spec, &mut additions)?;
        }
    }
    let subject = Subject { pod, spec, marbles, labels, environment, namespace, rules };
    Ok(Decision::Injected {
        marble_type: labels.marble_type.to_owned(),
        patch: additions.into_patch(),
        warnings: warnings::about(&subject)?,
    })
}

fn select<'a>(spec: &Node<'a>, labels: &Labels<'_>) -> Result<Vec<Node<'a>>, Stop> {
    select_of(&spec.children("containers")?, &spec.children("initContainers")?, labels)
}

/// The containers that become Marbles: all but init containers, or the one that is named. Init containers end,
/// or prepare for others, so that one is a Marble only if its author says so.
fn select_of<'a>(
    containers: &[Node<'a>],
    init_containers: &[Node<'a>],
    labels: &Labels<'_>,
) -> Result<Vec<Node<'a>>, Stop> {
    let Some(wanted) = labels.container else { return Ok(containers.to_vec()) };
    for container in containers.iter().chain(init_containers) {
        if container.text("name")? == Some(wanted) {
            return Ok(vec![container.clone()]);
        }
    }
    let present = format!("{}; {}", list("containers", containers)?, list("init containers", init_containers)?);
    Err(Refusal::NoSuchContainer { name: wanted.to_owned(), present }.into())
}

/// Names of containers, as far as a message has room for them.
fn list(kind: &str, containers: &[Node<'_>]) -> Result<String, InvalidPod> {
    const MOST: usize = 10;
    if containers.is_empty() {
        return Ok(format!("no {kind}"));
    }
    let mut names = Vec::new();
    for container in containers.iter().take(MOST) {
        names.push(format!("{:?}", container.text("name")?.unwrap_or_default()));
    }
    if containers.len() > MOST {
        names.push(format!("{} more", containers.len() - MOST));
    }
    Ok(format!("{kind} {}", names.join(", ")))
}
