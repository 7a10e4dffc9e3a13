//! What the Coordinator keeps and reads: its volume, the quote provider's file, Azure credentials.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolumeClaim, PersistentVolumeClaimSpec, Secret, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use super::environment::{AZURE_KEYS, AZURE_SECRET, has_own_azure_secret};
use super::labels::both;
use super::{Installation, Object, given, metadata};
use crate::names;
use crate::settings::Dcap;
use crate::values::ValuesError;

/// The ConfigMap with the quote provider's file.
pub(super) const DCAP_CONFIG: &str = "coordinator-dcap-config";
/// The file.
pub(super) const QCNL_FILE: &str = "sgx_default_qcnl.conf";

pub(super) fn add(installation: Installation<'_>, objects: &mut Vec<Object>) -> Result<(), ValuesError> {
    let c = &installation.settings.coordinator;
    let azure = &c.azure_credentials;
    if has_own_azure_secret(azure) {
        let values = [&azure.client_id, &azure.tenant_id, &azure.client_secret];
        let data =
            AZURE_KEYS.iter().zip(values).map(|(key, value)| ((*key).to_owned(), ByteString(value.clone().into())));
        objects.push(Object::new(&Secret {
            metadata: metadata(installation, AZURE_SECRET, None),
            type_: Some("Opaque".to_owned()),
            data: Some(data.collect()),
            ..Secret::default()
        })?);
    }
    if let Some(dcap) = &installation.settings.dcap {
        let labels = installation.coordinator_labels("dcap-config", DCAP_CONFIG);
        objects.push(Object::new(&ConfigMap {
            metadata: metadata(
                installation,
                DCAP_CONFIG,
                Some(both(labels, installation.control_plane("dcap-config"))),
            ),
            data: Some([(QCNL_FILE.to_owned(), qcnl(dcap))].into()),
            ..ConfigMap::default()
        })?);
    }
    if installation.settings.is_on_volume() && c.pvc_name.is_empty() {
        objects.push(Object::new(&claim(installation))?);
    }
    Ok(())
}

fn claim(installation: Installation<'_>) -> PersistentVolumeClaim {
    let c = &installation.settings.coordinator;
    let labels = installation.coordinator_labels("persistent-storage", names::VOLUME_CLAIM);
    let requests = [("storage".to_owned(), Quantity(c.storage_size.clone()))].into();
    PersistentVolumeClaim {
        metadata: metadata(installation, names::VOLUME_CLAIM, Some(labels)),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: given(&c.storage_class),
            resources: Some(VolumeResourceRequirements { requests: Some(requests), limits: None }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// The quote provider's file: the user's, or one of an address.
pub(super) fn qcnl(dcap: &Dcap) -> String {
    if let Some(file) = given(&dcap.qcnl_config) {
        return file;
    }
    let is_secure = match &dcap.use_secure_cert {
        Value::Bool(secure) => *secure,
        Value::String(text) => text.eq_ignore_ascii_case("true"),
        _ => false,
    };
    format!("{{\n  \"pccs_url\": {},\n  \"use_secure_cert\": {is_secure}\n}}\n", go_json(&dcap.pccs_url))
}

/// As Go writes JSON, which is safe inside HTML: the pod's annotation has a hash of it.
fn go_json(text: &str) -> String {
    let escaped = |letter| match letter {
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => format!("\\u{:04x}", u32::from(letter)),
        other => other.to_string(),
    };
    Value::String(text.to_owned()).to_string().chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_true_makes_the_quote_provider_insist_on_a_valid_certificate() {
        let file = |secure: Value| {
            qcnl(&Dcap { pccs_url: "https://p/?a&b".to_owned(), use_secure_cert: secure, ..Dcap::default() })
        };
        let expected = "{\n  \"pccs_url\": \"https://p/?a\\u0026b\",\n  \"use_secure_cert\": true\n}\n";
        assert_eq!(file(true.into()), expected);
        assert_eq!(file("TRUE".into()), expected);
        for other in [Value::Bool(false), "no".into(), 1.into(), Value::Null] {
            assert!(file(other).contains("false"));
        }
    }
}
