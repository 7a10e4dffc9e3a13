//! The Deployment of the Coordinator.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::labels::both;
use super::{Installation, Object, metadata, pod, storage};
use crate::names;
use crate::settings::Labels;
use crate::values::ValuesError;

pub(super) fn add(installation: Installation<'_>, objects: &mut Vec<Object>) -> Result<(), ValuesError> {
    objects.push(Object::new(&deployment(installation)?)?);
    Ok(())
}

fn deployment(installation: Installation<'_>) -> Result<Deployment, ValuesError> {
    let labels =
        both(installation.coordinator_labels("coordinator", "coordinator"), installation.coordinator_selector());
    let mut pod_labels = installation.pod_labels(labels.clone());
    if installation.settings.coordinator.azure_credentials.enable_workload_identity {
        pod_labels.insert("azure.workload.identity/use".to_owned(), "true".to_owned());
    }
    let annotations = annotations(installation);
    Ok(Deployment {
        metadata: metadata(installation, names::COORDINATOR, Some(labels)),
        spec: Some(DeploymentSpec {
            replicas: Some(installation.settings.coordinator.replicas),
            selector: installation.coordinators(),
            strategy: Some(strategy(installation)),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(pod_labels),
                    annotations: (!annotations.is_empty()).then_some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod::coordinator(installation)?),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    })
}

fn strategy(installation: Installation<'_>) -> DeploymentStrategy {
    if installation.settings.is_on_volume() {
        // Two Coordinators must never work on one volume.
        return DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None };
    }
    // One that can give the key to a new one is always there.
    let rolling = &installation.settings.coordinator.rolling_update;
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_surge: rolling.max_surge.clone(),
            max_unavailable: rolling.max_unavailable.clone(),
        }),
    }
}

/// A changed quote provider's file is mounted only in a new pod, so its hash makes one.
fn annotations(installation: Installation<'_>) -> Labels {
    let mut own = Labels::new();
    if let Some(dcap) = &installation.settings.dcap {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, storage::qcnl(dcap).as_bytes());
        let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        own.insert("checksum/dcap-config".to_owned(), hex);
    }
    installation.pod_annotations(own)
}
