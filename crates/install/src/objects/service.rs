//! The Services of the Coordinator.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Installation, Object, metadata};
use crate::names;
use crate::settings::Labels;
use crate::values::ValuesError;

pub(super) fn add(installation: Installation<'_>, objects: &mut Vec<Object>) -> Result<(), ValuesError> {
    let c = &installation.settings.coordinator;
    let tcp = Some("tcp".to_owned());
    let service = |name: &str, component: &str, label: &str, port: ServicePort| {
        let labels = installation.coordinator_labels(component, label);
        of(installation, name, labels, installation.coordinator_selector(), port)
    };
    let mesh = ServicePort { app_protocol: tcp.clone(), ..port(Some("grpc"), c.mesh_server_port) };
    objects.push(Object::new(&service(names::MESH_SERVICE, "mesh-api", names::MESH_SERVICE, mesh))?);
    let client = port(Some("http"), c.client_server_port);
    objects.push(Object::new(&service(names::CLIENT_SERVICE, "client-api", names::CLIENT_SERVICE, client))?);
    if installation.settings.is_distributed() {
        let key = ServicePort { app_protocol: tcp, ..port(Some("grpc"), c.key_server_port) };
        let mut key = service(&c.key_api_name, "key-api", "coordinator-key-api", key);
        // Coordinators that wait for the key are not ready, and still must find each other.
        if let Some(spec) = &mut key.spec {
            spec.publish_not_ready_addresses = Some(true);
        }
        objects.push(Object::new(&key)?);
    }
    Ok(())
}

/// A Service inside the cluster.
pub(super) fn of(
    installation: Installation<'_>,
    name: &str,
    labels: Labels,
    selector: Labels,
    port: ServicePort,
) -> Service {
    Service {
        metadata: metadata(installation, name, Some(labels)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(selector),
            ports: Some(vec![port]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// A port that is the same on both sides.
pub(super) fn port(name: Option<&str>, number: u16) -> ServicePort {
    ServicePort {
        name: name.map(str::to_owned),
        port: number.into(),
        target_port: Some(IntOrString::Int(number.into())),
        ..ServicePort::default()
    }
}
