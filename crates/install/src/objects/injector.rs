//! The webhook that makes Marbles of pods. Its configuration comes last: from then on such pods wait for it.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ServiceReference, WebhookClientConfig,
};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, HTTPGetAction, PodSpec, PodTemplateSpec, Probe, SecretVolumeSource,
    ServiceAccount, ServicePort, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::labels::{both, injector_selector, labels, matching};
use super::{Custom, Installation, Object, given, metadata, network, pod, role, service, some};
use crate::names;
use crate::settings::{Labels, Tee};
use crate::values::ValuesError;

/// Where the program listens.
const PORT: i32 = 8443;
const CERTIFICATES: &str = "/etc/webhook/certs";
const ISSUER_NAME: &str = "marble-injector-selfsigned-issuer";
const ISSUER: Custom = Custom { group: "cert-manager.io", kind: "Issuer", plural: "issuers" };
const CERTIFICATE: Custom = Custom { group: "cert-manager.io", kind: "Certificate", plural: "certificates" };

pub(super) fn add(installation: Installation<'_>, objects: &mut Vec<Object>) -> Result<(), ValuesError> {
    let i = &installation.settings.marble_injector;
    if !i.start {
        return Ok(());
    }
    let own = |component: &str| installation.injector_labels(component, names::INJECTOR);
    objects.push(Object::new(&ServiceAccount {
        metadata: metadata(installation, names::INJECTOR, Some(own("admission-controller-account"))),
        // It answers the API server and asks it nothing.
        automount_service_account_token: Some(false),
        image_pull_secrets: role::pull_secrets(installation),
        ..ServiceAccount::default()
    })?);
    let port = ServicePort { port: 443, target_port: Some(IntOrString::Int(PORT)), ..ServicePort::default() };
    let selector = labels([("app.kubernetes.io/name", names::INJECTOR)]);
    let service = service::of(installation, names::INJECTOR, own("admission-controller-svc"), selector, port);
    objects.push(Object::new(&service)?);
    if i.replicas > 1 {
        let own = own("admission-controller-disruption-budget");
        let selector = matching(injector_selector());
        let budget = network::budget(installation, names::INJECTOR, own, selector, &i.pod_disruption_budget);
        objects.extend(budget.as_ref().map(Object::new).transpose()?);
    }
    if i.use_cert_manager {
        cert_manager(installation, objects)?;
    }
    objects.push(Object::new(&deployment(installation))?);
    objects.push(Object::new(&configuration(installation)?)?);
    Ok(())
}

fn cert_manager(installation: Installation<'_>, objects: &mut Vec<Object>) -> Result<(), ValuesError> {
    let domain = &installation.settings.cluster_domain;
    let metadata = |name: &str, component: &str| {
        metadata(installation, name, Some(installation.injector_labels(component, names::INJECTOR)))
    };
    let issuer = metadata(ISSUER_NAME, "admission-controller-selfsigned-issuer");
    objects.push(Object::custom(ISSUER, &issuer, json!({"selfSigned": {}}))?);
    let host = names::injector_host(installation.namespace);
    objects.push(Object::custom(
        CERTIFICATE,
        &metadata(names::WEBHOOK_CERTIFICATE, "admission-controller-serving-cert"),
        json!({
            "secretName": names::WEBHOOK_SECRET,
            "dnsNames": [host, format!("{host}.{domain}")],
            "issuerRef": {"kind": "Issuer", "name": ISSUER_NAME},
        }),
    )?);
    Ok(())
}

fn deployment(installation: Installation<'_>) -> Deployment {
    let i = &installation.settings.marble_injector;
    let own = both(
        installation.injector_labels("admission-controller", names::INJECTOR),
        installation.control_plane("admission-controller"),
    );
    let annotations = labels([("openservicemesh.io/sidecar-injection", "disabled")]);
    Deployment {
        metadata: metadata(installation, names::INJECTOR, Some(own.clone())),
        spec: Some(DeploymentSpec {
            replicas: Some(i.replicas),
            selector: matching(injector_selector()),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(installation.pod_labels(own)),
                    annotations: Some(installation.pod_annotations(annotations)),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod_spec(installation)),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn pod_spec(installation: Installation<'_>) -> PodSpec {
    let i = &installation.settings.marble_injector;
    PodSpec {
        service_account_name: Some(names::INJECTOR.to_owned()),
        automount_service_account_token: Some(false),
        priority_class_name: given(&i.priority_class_name),
        security_context: i.pod_security_context.clone(),
        node_selector: (!i.node_selector.is_empty()).then(|| i.node_selector.clone()),
        tolerations: some(i.tolerations.clone()),
        topology_spread_constraints: Some(vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(matching(injector_selector())),
            ..TopologySpreadConstraint::default()
        }]),
        containers: vec![container(installation)],
        volumes: Some(vec![Volume {
            name: "webhook-certs".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(names::WEBHOOK_SECRET.to_owned()),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        }]),
        ..PodSpec::default()
    }
}

fn container(installation: Installation<'_>) -> Container {
    let (settings, i) = (installation.settings, &installation.settings.marble_injector);
    let repository = given(&i.repository).unwrap_or_else(|| settings.coordinator.repository.clone());
    // In simulation a Marble that asked for SGX would wait for ever.
    let resource = if settings.tee() == Tee::Simulation { "" } else { i.resource_key.as_str() };
    let mesh = format!("{}.{}:{}", names::MESH_SERVICE, installation.namespace, settings.coordinator.mesh_server_port);
    let health = Probe {
        http_get: Some(HTTPGetAction {
            scheme: Some("HTTPS".to_owned()),
            path: Some("/healthz".to_owned()),
            port: IntOrString::Int(PORT),
            ..HTTPGetAction::default()
        }),
        ..Probe::default()
    };
    Container {
        name: names::INJECTOR.to_owned(),
        image: Some(pod::image(&repository, &i.image, installation.injector_version(), &i.hash)),
        image_pull_policy: given(&i.pull_policy),
        security_context: i.security_context.clone(),
        args: Some(vec![
            format!("-coordAddr={mesh}"),
            format!("-tlsCertFile={CERTIFICATES}/tls.crt"),
            format!("-tlsKeyFile={CERTIFICATES}/tls.key"),
            format!("-clusterDomain={}", settings.cluster_domain),
            format!("-sgxResource={resource}"),
        ]),
        env: Some(vec![EnvVar {
            name: "EDG_HTTP_ERROR_LOG_LEVEL".to_owned(),
            value: Some(i.http_error_log_level.clone()),
            value_from: None,
        }]),
        ports: Some(vec![ContainerPort {
            name: Some("http".to_owned()),
            container_port: PORT,
            ..ContainerPort::default()
        }]),
        liveness_probe: Some(health.clone()),
        readiness_probe: Some(health),
        resources: i.resources.clone(),
        volume_mounts: Some(vec![VolumeMount {
            name: "webhook-certs".to_owned(),
            mount_path: CERTIFICATES.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }
}

fn configuration(installation: Installation<'_>) -> Result<MutatingWebhookConfiguration, ValuesError> {
    let (i, namespace) = (&installation.settings.marble_injector, installation.namespace);
    let name = names::webhook_configuration(namespace);
    let annotations: Option<Labels> = i.ca_bundle.is_empty().then(|| {
        labels([("cert-manager.io/inject-ca-from", format!("{namespace}/{}", names::WEBHOOK_CERTIFICATE).as_str())])
    });
    let ca_bundle = given(&i.ca_bundle)
        .map(|text| serde_json::from_value::<ByteString>(text.into()))
        .transpose()
        .map_err(|_| ValuesError::Type("marbleInjector.CABundle is not base64".to_owned()))?;
    Ok(MutatingWebhookConfiguration {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(installation.injector_labels("admission-controller-configuration", names::INJECTOR)),
            annotations,
            ..ObjectMeta::default()
        },
        webhooks: Some(vec![MutatingWebhook {
            name: format!("{name}.cluster.local"),
            admission_review_versions: vec!["v1".to_owned(), "v1beta1".to_owned()],
            side_effects: "None".to_owned(),
            failure_policy: given(&i.failure_policy),
            timeout_seconds: Some(i.timeout_seconds),
            client_config: WebhookClientConfig {
                service: Some(ServiceReference {
                    name: names::INJECTOR.to_owned(),
                    namespace: namespace.to_owned(),
                    path: Some("/mutate".to_owned()),
                    port: None,
                }),
                ca_bundle,
                url: None,
            },
            rules: Some(vec![RuleWithOperations {
                operations: Some(vec!["CREATE".to_owned()]),
                api_groups: Some(vec![String::new()]),
                api_versions: Some(vec!["v1".to_owned()]),
                resources: Some(vec!["pods".to_owned()]),
                scope: Some("Namespaced".to_owned()),
            }]),
            namespace_selector: i.namespace_selector.clone(),
            object_selector: i.object_selector.clone(),
            ..MutatingWebhook::default()
        }]),
    })
}
