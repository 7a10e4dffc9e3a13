//! The labels with which the author of a pod asks for a Marble.

use super::decision::{Refusal, Stop};
use super::pod::Node;

/// Prefix of all of them.
pub(super) const PREFIX: &str = "marblerun/";
/// Marble type: a name in the manifest.
pub(super) const TYPE: &str = "marblerun/marbletype";
/// The one container that is the Marble.
pub(super) const CONTAINER: &str = "marblerun/marblecontainer";
/// `disabled`: SGX resources are not injected.
pub(super) const RESOURCE_INJECTION: &str = "marblerun/resource-injection";

/// What the labels of a pod ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Labels<'a> {
    /// Never empty.
    pub(super) marble_type: &'a str,
    /// `None`: every container.
    pub(super) container: Option<&'a str>,
    /// As written.
    pub(super) resource_injection: Option<&'a str>,
}

impl<'a> Labels<'a> {
    pub(super) fn read(pod: &Node<'a>) -> Result<Self, Stop> {
        let labels = match pod.child("metadata")? {
            Some(metadata) => metadata.child("labels")?,
            None => None,
        };
        let labels = labels.ok_or(Refusal::NoType)?;
        let marble_type = match labels.text(TYPE)? {
            None => return Err(Refusal::NoType.into()),
            Some("") => return Err(Refusal::EmptyType.into()),
            Some(marble_type) => marble_type,
        };
        Ok(Self {
            marble_type,
            container: labels.text(CONTAINER)?.filter(|name| !name.is_empty()),
            resource_injection: labels.text(RESOURCE_INJECTION)?,
        })
    }

    /// As upstream: exactly `disabled` switches it off.
    pub(super) fn wants_resources(&self) -> bool {
        self.resource_injection != Some("disabled")
    }

    /// The directory of the UUID file. The type is taken as it is written.
    pub(super) fn uuid_directory(&self) -> String {
        format!("/{}-uid", self.marble_type)
    }
}
