//! Labels: those that tell what an object is, and those that selectors use, which never change.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::Installation;
use crate::names;
use crate::settings::Labels;

/// A component of the control plane, by the name of its label.
const COORDINATOR: &str = "coordinator";

impl Installation<'_> {
    /// The Coordinator's release.
    pub(super) fn coordinator_version(&self) -> &str {
        or(&self.settings.coordinator.version, self.app_version)
    }

    /// The injector's release.
    pub(super) fn injector_version(&self) -> &str {
        or(&self.settings.marble_injector.version, self.app_version)
    }

    /// Labels of an object of the Coordinator.
    pub(super) fn coordinator_labels(&self, component: &str, name: &str) -> Labels {
        self.labels(component, name, self.coordinator_version())
    }

    /// Labels of an object of the injector.
    pub(super) fn injector_labels(&self, component: &str, name: &str) -> Labels {
        self.labels(component, name, self.injector_version())
    }

    fn labels(&self, component: &str, name: &str, version: &str) -> Labels {
        labels([
            ("app.kubernetes.io/component", component),
            ("app.kubernetes.io/created-by", &self.settings.global.created_by),
            ("app.kubernetes.io/name", name),
            ("app.kubernetes.io/part-of", "marblerun"),
            ("app.kubernetes.io/version", version),
        ])
    }

    /// Labels of the control plane.
    pub(super) fn control_plane(&self, component: &str) -> Labels {
        let global = &self.settings.global;
        labels([
            (global.coordinator_component_label.as_str(), component),
            (global.coordinator_namespace_label.as_str(), self.namespace),
        ])
    }

    /// What the Coordinator's pods are selected by.
    pub(super) fn coordinator_selector(&self) -> Labels {
        self.control_plane(COORDINATOR)
    }

    /// The same, as a selector.
    pub(super) fn coordinators(&self) -> LabelSelector {
        matching(self.coordinator_selector())
    }

    /// Labels of a pod: its own, and where they do not contradict, the user's.
    pub(super) fn pod_labels(&self, own: Labels) -> Labels {
        let mut all = self.settings.global.pod_labels.clone();
        all.extend(own);
        all
    }

    /// Annotations of a pod, likewise.
    pub(super) fn pod_annotations(&self, own: Labels) -> Labels {
        let mut all = self.settings.global.pod_annotations.clone();
        all.extend(own);
        all
    }
}

/// What the injector's pods are selected by.
pub(super) fn injector_selector() -> Labels {
    labels([("app.kubernetes.io/name", names::INJECTOR), ("app.kubernetes.io/part-of", "marblerun")])
}

/// A selector of exactly these labels.
pub(super) fn matching(labels: Labels) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

/// Labels from pairs.
pub(super) fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Two sets of labels in one.
pub(super) fn both(mut one: Labels, other: Labels) -> Labels {
    one.extend(other);
    one
}

fn or<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}
