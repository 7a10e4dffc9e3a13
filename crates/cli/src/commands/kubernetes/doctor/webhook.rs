//! Does the webhook work? Where it does not, no Marble starts.

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::PostParams;
use marblerun_install::names;
use marblerun_install::webhook_certificate::{Worth, judge};
use serde_json::json;

use super::super::cluster::{Cluster, is_forbidden, plain};
use super::super::installation::Installation;
use super::finding::Finding;
use super::network::{endpoints, judge_service};

pub async fn examine(cluster: &Cluster, installation: &Installation, now: Timestamp) -> Vec<Finding> {
    let (webhook, injector) = (&installation.webhook, &installation.injector);
    let Some(webhook) = webhook else {
        return injector
            .iter()
            .map(|_| {
                Finding::warn(
                    "webhook",
                    format!(
                        "there is an injector, but no {} that you may see",
                        names::webhook_configuration(&cluster.namespace)
                    ),
                    "'marblerun install' makes it",
                )
            })
            .collect();
    };
    if injector.is_none() {
        return vec![Finding::fail(
            "webhook",
            "the webhook is configured, but there is no injector: pods of Marbles are refused",
            "'marblerun install' makes it; 'marblerun uninstall' removes the webhook, too",
        )];
    }
    let mut findings = Vec::new();
    match cluster.here::<Secret>().get_opt(names::WEBHOOK_SECRET).await {
        Ok(secret) => findings.push(judge_certificate(&cluster.namespace, secret.as_ref(), webhook, now)),
        Err(error) => findings.push(Finding::unseen("webhook", &plain(error).to_string())),
    }
    findings.push(match endpoints(cluster, names::INJECTOR).await {
        Ok(ready) => judge_service("webhook", names::INJECTOR, ready),
        Err(error) => Finding::unseen("webhook", &plain(error).to_string()),
    });
    findings.push(ask(cluster, webhook).await);
    findings
}

fn judge_certificate(
    namespace: &str,
    secret: Option<&Secret>,
    webhook: &MutatingWebhookConfiguration,
    now: Timestamp,
) -> Finding {
    let Some(secret) = secret else {
        let text = format!("Secret {} with its certificate is missing", names::WEBHOOK_SECRET);
        return Finding::fail("webhook", text, "'marblerun install' makes it");
    };
    let data = |name: &str| secret.data.as_ref().and_then(|data| data.get(name)).map(|value| value.0.as_slice());
    let bundles = webhook.webhooks.iter().flatten().filter_map(|webhook| webhook.client_config.ca_bundle.as_ref());
    let bundle: Vec<u8> = bundles.flat_map(|bundle| bundle.0.iter().copied()).collect();
    let day = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
    match judge(namespace, data("tls.crt").unwrap_or_default(), data("tls.key"), &bundle, now) {
        Worth::Good { until } => {
            Finding::ok("webhook", format!("the API server trusts its certificate, until {}", day(until)))
        }
        Worth::NearTheEnd { until } => Finding::warn(
            "webhook",
            format!("its certificate expires on {}; then no Marble starts any more", day(until)),
            "run the same 'marblerun install' again: it makes another",
        ),
        Worth::Useless(why) => Finding::fail(
            "webhook",
            format!("the API server does not trust its certificate: {why}"),
            "run the same 'marblerun install' again: it makes another",
        ),
    }
}

/// The API server asks the webhook about a pod that is never made.
async fn ask(cluster: &Cluster, webhook: &MutatingWebhookConfiguration) -> Finding {
    let pod = json!({
        "metadata": {"generateName": "marblerun-doctor-", "labels": {names::MARBLE_TYPE: "doctor"}},
        "spec": {
            "containers": [{
                "name": "marble",
                "image": "marble",
                "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "10m", "memory": "16Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "runAsNonRoot": true,
                    "capabilities": {"drop": ["ALL"]},
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
            }],
        },
    });
    let pod: Pod = match serde_json::from_value(pod) {
        Ok(pod) => pod,
        Err(error) => return Finding::unseen("webhook", &error.to_string()),
    };
    let trial = PostParams { dry_run: true, ..PostParams::default() };
    match cluster.here::<Pod>().create(&trial, &pod).await {
        Ok(made) => judge_answer(&made),
        Err(error) if is_forbidden(&error) && !is_about_webhook(&error.to_string(), webhook) => {
            Finding::unseen("webhook", &plain(error).to_string())
        }
        Err(error) => {
            let text = plain(error).to_string();
            if is_about_webhook(&text, webhook) {
                let advice = "see injector and its Service; the API server must reach port 8443 of its pods";
                Finding::fail("webhook", format!("pods of Marbles are refused: {text}"), advice)
            } else {
                Finding::unseen("webhook", &text)
            }
        }
    }
}

fn is_about_webhook(text: &str, webhook: &MutatingWebhookConfiguration) -> bool {
    webhook.webhooks.iter().flatten().any(|webhook| text.contains(&webhook.name))
}

fn judge_answer(made: &Pod) -> Finding {
    let containers = made.spec.iter().flat_map(|spec| spec.containers.iter());
    let mut variables = containers.flat_map(|container| container.env.iter().flatten());
    if variables.any(|variable| variable.name == "EDG_MARBLE_TYPE") {
        return Finding::ok("webhook", "it answers: pods become Marbles");
    }
    Finding::warn(
        "webhook",
        "a pod with the label of a Marble stayed as it was in this namespace",
        "see marbleInjector.namespaceSelector and objectSelector; with failurePolicy Ignore an injector that is down is \
         not noticed otherwise",
    )
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use marblerun_install::webhook_certificate::WebhookCertificate;

    use super::super::finding::Level;
    use super::*;

    fn configuration(bundle: &str) -> MutatingWebhookConfiguration {
        serde_json::from_value(json!({"metadata": {}, "webhooks": [{
            "name": "marble-injector-ns.cluster.local", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"caBundle": BASE64_STANDARD.encode(bundle)},
        }]}))
        .unwrap()
    }

    fn secret(made: &WebhookCertificate) -> Secret {
        let (certificate, key) =
            (BASE64_STANDARD.encode(&made.certificate), BASE64_STANDARD.encode(made.key.as_bytes()));
        serde_json::from_value(json!({"metadata": {}, "data": {"tls.crt": certificate, "tls.key": key}})).unwrap()
    }

    #[test]
    fn a_certificate_is_good_if_the_configured_ca_vouches_for_it() {
        let now: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        let (one, two) =
            (WebhookCertificate::make("ns", "", now).unwrap(), WebhookCertificate::make("ns", "", now).unwrap());
        let level =
            |secret: Option<&Secret>, bundle: &str| judge_certificate("ns", secret, &configuration(bundle), now).level;
        assert_eq!(level(Some(&secret(&one)), &one.authorities), Level::Ok);
        assert_eq!(level(Some(&secret(&one)), &two.authorities), Level::Fail);
        assert_eq!(level(Some(&secret(&one)), ""), Level::Fail);
        assert_eq!(level(None, &one.authorities), Level::Fail);
    }

    #[test]
    fn a_pod_that_stays_as_it_was_was_not_seen_by_the_webhook() {
        let pod = |env: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [{"name": "c", "env": env}]}}))
                .unwrap()
        };
        assert_eq!(judge_answer(&pod(json!([{"name": "EDG_MARBLE_TYPE", "value": "doctor"}]))).level, Level::Ok);
        assert_eq!(judge_answer(&pod(json!([]))).level, Level::Warn);
        let failed = "failed calling webhook \"marble-injector-ns.cluster.local\": no endpoints available";
        assert!(
            is_about_webhook(failed, &configuration("")) && !is_about_webhook("exceeded quota", &configuration(""))
        );
    }
}
