//! Whose certificate the webhook has: cert-manager's, the user's, or one made here.

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use marblerun_install::values::UserValues;
use marblerun_install::webhook_certificate::{WebhookCertificate, Worth, judge};
use marblerun_install::{Object, names};
use serde_json::{Value, json};

use super::super::cluster::{Cluster, Told as _};

const CERT_MANAGER: &str = "cert-manager.io";

/// The webhook's certificate.
#[derive(Debug)]
pub struct Prepared {
    /// The Secret that is to be made or changed.
    pub secret: Option<Object>,
    /// Whether that is a certificate in place of another.
    pub is_renewed: bool,
    /// In words.
    pub told: String,
}

/// Sees to it that the webhook has a certificate, and puts into the values how it is known.
pub async fn prepare(
    cluster: &Cluster,
    user: &mut UserValues,
    live: Option<&MutatingWebhookConfiguration>,
    now: Timestamp,
) -> Result<Prepared> {
    let without = |told: &str| Prepared { secret: None, is_renewed: false, told: told.to_owned() };
    let bundle = ["marbleInjector", "CABundle"];
    if user.get(&bundle).and_then(Value::as_str).is_some_and(|text| !text.is_empty()) {
        return Ok(without("its certificate is yours (marbleInjector.CABundle)"));
    }
    let wanted = ["marbleInjector", "useCertManager"];
    let uses_cert_manager = match user.get(&wanted).and_then(Value::as_bool) {
        Some(wanted) => wanted,
        None => cluster.serves(CERT_MANAGER).await?,
    };
    user.put(&wanted, json!(uses_cert_manager));
    if uses_cert_manager {
        return Ok(without("cert-manager makes its certificate"));
    }
    let secret = cluster.here::<Secret>().get_opt(names::WEBHOOK_SECRET).await.told("reading the webhook's Secret")?;
    let known = known_authorities(live);
    let found = secret.as_ref().map(|secret| Found::of(secret, &known));
    let (authorities, prepared) = decide(&cluster.namespace, found, &known, now)?;
    user.put(&bundle, json!(BASE64_STANDARD.encode(authorities)));
    Ok(prepared)
}

/// What the Secret has.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Vec<u8>,
    is_ours: bool,
    kind: Option<String>,
}

impl Found {
    fn of(secret: &Secret, known: &str) -> Self {
        let data = |name: &str| secret.data.as_ref().and_then(|data| data.get(name)).map(|bytes| bytes.0.clone());
        let label = secret.metadata.labels.as_ref().and_then(|labels| labels.get(names::MANAGED_BY));
        Self {
            certificate: data("tls.crt").unwrap_or_default(),
            key: data("tls.key").unwrap_or_default(),
            // The original's Secrets have none; who vouches for them stands in the webhook's configuration alone.
            authorities: data("ca.crt").unwrap_or_else(|| known.as_bytes().to_vec()),
            is_ours: label.is_some_and(|manager| manager == names::MANAGER),
            kind: secret.type_.clone(),
        }
    }
}

/// The CAs that the API server believes now.
fn known_authorities(live: Option<&MutatingWebhookConfiguration>) -> String {
    let bundles = live.and_then(|live| live.webhooks.as_ref()).into_iter().flatten();
    bundles
        .filter_map(|webhook| webhook.client_config.ca_bundle.as_ref())
        .map(|bundle| String::from_utf8_lossy(&bundle.0).into_owned())
        .collect()
}

/// Keeps what is good, makes what is missing. Answers who is to be believed, too.
fn decide(namespace: &str, found: Option<Found>, known: &str, now: Timestamp) -> Result<(Vec<u8>, Prepared)> {
    let kind = found.as_ref().and_then(|found| found.kind.clone());
    let mut earlier = known.to_owned();
    let mut why = "a certificate was made for it".to_owned();
    let is_renewed = found.is_some();
    if let Some(found) = found {
        match judge(namespace, &found.certificate, Some(&found.key), &found.authorities, now) {
            Worth::Good { until } => {
                let told = format!("its certificate is good until {}", day(until));
                let ours = found.is_ours.then(|| {
                    let key = String::from_utf8_lossy(&found.key);
                    object(namespace, kind.as_deref(), &found.certificate, &key, &found.authorities)
                });
                let prepared = Prepared { secret: ours.transpose()?, is_renewed: false, told };
                return Ok((found.authorities, prepared));
            }
            // Whoever made it may renew it, too.
            Worth::NearTheEnd { until } if !found.is_ours => {
                let told =
                    format!("its certificate, made by others, expires on {}; renew it, or delete it", day(until));
                return Ok((found.authorities, Prepared { secret: None, is_renewed: false, told }));
            }
            Worth::NearTheEnd { until } => {
                why = format!("its certificate would expire on {}, so another was made", day(until));
            }
            Worth::Useless(reason) => why = format!("its certificate was of no use ({reason}), so another was made"),
        }
        if !found.authorities.is_empty() {
            earlier = String::from_utf8_lossy(&found.authorities).into_owned();
        }
    }
    let made = WebhookCertificate::make(namespace, &earlier, now)?;
    let authorities = made.authorities.into_bytes();
    let secret = object(namespace, kind.as_deref(), made.certificate.as_bytes(), &made.key, &authorities)?;
    Ok((authorities, Prepared { secret: Some(secret), is_renewed, told: why }))
}

/// The type of a Secret cannot be changed; any will do.
fn object(namespace: &str, kind: Option<&str>, certificate: &[u8], key: &str, authorities: &[u8]) -> Result<Object> {
    let data =
        [("tls.crt", certificate.to_vec()), ("tls.key", key.as_bytes().to_vec()), ("ca.crt", authorities.to_vec())];
    Ok(Object::new(&Secret {
        metadata: ObjectMeta {
            name: Some(names::WEBHOOK_SECRET.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some([("app.kubernetes.io/part-of".to_owned(), "marblerun".to_owned())].into()),
            ..ObjectMeta::default()
        },
        type_: Some(kind.unwrap_or("Opaque").to_owned()),
        data: Some(data.into_iter().map(|(name, bytes)| (name.to_owned(), ByteString(bytes))).collect()),
        ..Secret::default()
    })?)
}

fn day(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2027-01-01T00:00:00Z".parse().unwrap()
    }

    fn made(authorities: bool) -> Found {
        let made = WebhookCertificate::make("ns", "", now()).unwrap();
        Found {
            certificate: made.certificate.into_bytes(),
            key: made.key.as_bytes().to_vec(),
            authorities: if authorities { made.authorities.into_bytes() } else { Vec::new() },
            is_ours: true,
            kind: Some("Opaque".to_owned()),
        }
    }

    #[test]
    fn a_good_certificate_is_kept_and_one_of_somebody_else_is_not_even_written() {
        let found = made(true);
        let (authorities, prepared) = decide("ns", Some(found.clone()), "", now()).unwrap();
        assert_eq!(authorities, found.authorities);
        let kept = prepared.secret.unwrap().body["data"]["tls.crt"].clone();
        assert_eq!(kept, json!(BASE64_STANDARD.encode(&found.certificate)));
        let foreign = Found { is_ours: false, ..found };
        let (_, prepared) = decide("ns", Some(foreign), "", now()).unwrap();
        assert!(prepared.secret.is_none() && !prepared.is_renewed);
    }

    #[test]
    fn a_certificate_near_its_end_is_replaced_and_the_old_one_stays_trusted() {
        let found = made(true);
        let later = now() + jiff::SignedDuration::from_hours(24 * 3600);
        let (authorities, prepared) = decide("ns", Some(found.clone()), "", later).unwrap();
        assert!(prepared.is_renewed && prepared.secret.is_some(), "{}", prepared.told);
        assert!(!matches!(judge("ns", &found.certificate, None, &authorities, later), Worth::Useless(_)));
        let foreign = Found { is_ours: false, ..found };
        let (_, prepared) = decide("ns", Some(foreign), "", later).unwrap();
        assert!(prepared.secret.is_none() && prepared.told.contains("made by others"), "{}", prepared.told);
    }

    #[test]
    fn a_certificate_that_nobody_vouches_for_is_replaced() {
        let (_, prepared) = decide("ns", Some(made(false)), "", now()).unwrap();
        assert!(prepared.is_renewed && prepared.told.contains("of no use"), "{}", prepared.told);
        let (_, prepared) = decide("ns", None, "", now()).unwrap();
        assert!(!prepared.is_renewed && prepared.secret.is_some());
    }
}
