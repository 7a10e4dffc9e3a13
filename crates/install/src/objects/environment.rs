//! The environment of the Coordinator: first that of the original chart, in its order.

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};

use super::{Installation, given, mounts};
use crate::names;
use crate::settings::{AzureCredentials, Coordinator, Tee};
use crate::values::ValuesError;

/// The Secret with Azure credentials, if the installation makes it.
pub(super) const AZURE_SECRET: &str = "coordinator-azure-credentials";
/// What is in it.
pub(super) const AZURE_KEYS: [&str; 3] = ["AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"];

/// Whether the installation makes the Secret with Azure credentials.
pub(super) fn has_own_azure_secret(azure: &AzureCredentials) -> bool {
    azure.secret_name.is_empty() && !azure.enable_workload_identity && azure.is_whole()
}

/// All of it. A name that came twice would make it a matter of luck which value counts.
pub(super) fn environment(installation: Installation<'_>) -> Result<Vec<EnvVar>, ValuesError> {
    let mut all = own(installation);
    for extra in &installation.settings.coordinator.extra_env {
        if all.iter().any(|variable| variable.name == extra.name) {
            return Err(ValuesError::Type(format!(
                "coordinator.extraEnv has {}, which is set already, by another value or by another entry",
                extra.name
            )));
        }
        all.push(extra.clone());
    }
    Ok(all)
}

fn own(installation: Installation<'_>) -> Vec<EnvVar> {
    let (settings, c) = (installation.settings, &installation.settings.coordinator);
    let distributed = settings.is_distributed();
    let mut all = Vec::new();
    let mut set = |name: &str, value: String| {
        all.push(EnvVar { name: name.to_owned(), value: Some(value), value_from: None });
    };
    if c.debug_logging {
        set("EDG_DEBUG_LOGGING", "1".to_owned());
    }
    set("EDG_HTTP_ERROR_LOG_LEVEL", c.http_error_log_level.clone());
    set("EDG_COORDINATOR_MESH_ADDR", format!("{}:{}", c.mesh_server_host, c.mesh_server_port));
    set("EDG_COORDINATOR_CLIENT_ADDR", format!("{}:{}", c.client_server_host, c.client_server_port));
    set("EDG_COORDINATOR_DNS_NAMES", dns_names(installation).join(","));
    set("EDG_COORDINATOR_SEAL_DIR", c.seal_dir.clone());
    set("OE_SIMULATION", if settings.tee() == Tee::Simulation { "1" } else { "0" }.to_owned());
    all.extend(azure_credentials(&c.azure_credentials));
    let mut set = |name: &str, value: String| {
        all.push(EnvVar { name: name.to_owned(), value: Some(value), value_from: None });
    };
    set("EDG_AZURE_HSM_KEY_NAME", c.azure_hsm.key_name.clone());
    set("EDG_AZURE_HSM_KEY_VERSION", c.azure_hsm.key_version.clone());
    set("EDG_AZURE_HSM_VAULT_URL", c.azure_hsm.vault_url.clone());
    set("EDG_MAA_URL", c.azure_hsm.maa_url.clone());
    if distributed {
        set("EDG_STORE_BACKEND", c.store_backend.clone());
        set("EDG_K8S_STATE_NAME", c.state_secret_name.clone());
        set("EDG_K8S_SERVICE_NAME", c.key_api_name.clone());
        set("EDG_K8S_KEK_MAP", c.kek_config_map.clone());
        set("EDG_K8S_NAMESPACE", installation.namespace.to_owned());
        set("EDG_DISTRIBUTED_COORDINATOR", "1".to_owned());
    }
    set("MARBLERUN_TEE", settings.tee().name().to_owned());
    if distributed {
        set("MARBLERUN_KEY_ADDR", format!(":{}", c.key_server_port));
    }
    if c.metrics.enabled {
        set("EDG_COORDINATOR_PROMETHEUS_ADDR", format!(":{}", c.metrics.port));
    }
    for (name, value) in [
        ("EDG_LOG_FORMAT", &c.log_format),
        ("MARBLERUN_ROLLBACK", &c.rollback),
        ("MARBLERUN_RECOVERY_RESET", &c.recovery_reset),
        ("MARBLERUN_MARBLE_GRACE", &c.marble_grace),
        ("MARBLERUN_OFFLINE_GRACE", &c.offline_grace),
        ("MARBLERUN_PEER_MIN_SVN", &c.peer_min_svn),
        ("MARBLERUN_STATE_INLINE_MAX", &c.state_parts.inline_max),
    ] {
        if let Some(value) = given(value) {
            set(name, value);
        }
    }
    for (name, value) in hardware(c) {
        if let Some(value) = value {
            set(name, value);
        }
    }
    all
}

/// What the state is sealed with and evidence is verified with.
fn hardware(c: &Coordinator) -> [(&'static str, Option<String>); 16] {
    let (seal, collateral) = (&c.seal, &c.collateral);
    let of_secret = |secret: &str, path: String| (!secret.is_empty()).then_some(path);
    let folder = of_secret(&collateral.config_map, mounts::COLLATERAL.to_owned());
    [
        ("MARBLERUN_SEAL", given(&seal.backends)),
        ("MARBLERUN_SEAL_PASSPHRASE_FILE", of_secret(&seal.passphrase.secret_name, mounts::passphrase())),
        ("MARBLERUN_SEAL_PKCS11_CONFIG", of_secret(&seal.pkcs11.secret_name, mounts::token())),
        ("MARBLERUN_SEAL_PKCS11_KEY_ID", given(&seal.pkcs11.key_id)),
        ("MARBLERUN_SEAL_PKCS11_KEY_LABEL", given(&seal.pkcs11.key_label)),
        ("MARBLERUN_TPM", given(&seal.tpm.path)),
        ("MARBLERUN_TPM_PCRS", given(&seal.tpm.pcrs)),
        ("MARBLERUN_TPM_UNIQUE_PCRS", given(&seal.tpm.unique_pcrs)),
        ("MARBLERUN_TPM_NAME", given(&seal.tpm.name)),
        ("MARBLERUN_TPM_COUNTER", given(&seal.tpm.counter)),
        (
            "MARBLERUN_TPM_OWNER_PASSWORD_FILE",
            of_secret(&seal.tpm.owner_password_secret_name, mounts::owner_password()),
        ),
        ("MARBLERUN_SNP_PRODUCT_KEY", given(&seal.snp.product_key)),
        ("MARBLERUN_SNP_VMPL", given(&seal.snp.vmpl)),
        ("MARBLERUN_COLLATERAL", given(&collateral.url).or(folder)),
        ("MARBLERUN_COLLATERAL_CACHE", given(&collateral.cache_dir)),
        ("MARBLERUN_KDS_URL", given(&collateral.kds_url)),
    ]
}

fn azure_credentials(azure: &AzureCredentials) -> Vec<EnvVar> {
    if azure.enable_workload_identity || (azure.secret_name.is_empty() && !has_own_azure_secret(azure)) {
        return Vec::new();
    }
    let secret = given(&azure.secret_name).unwrap_or_else(|| AZURE_SECRET.to_owned());
    let of_secret = |key: &str| EnvVar {
        name: format!("EDG_{key}"),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector { name: secret.clone(), key: key.to_owned(), optional: None }),
            ..EnvVarSource::default()
        }),
    };
    AZURE_KEYS.into_iter().map(of_secret).collect()
}

/// Names of the Coordinator's certificates: first those of the original chart, in its order.
fn dns_names(installation: Installation<'_>) -> Vec<String> {
    let (c, namespace) = (&installation.settings.coordinator, installation.namespace);
    let domain = &installation.settings.cluster_domain;
    let mut services = vec![names::MESH_SERVICE, names::CLIENT_SERVICE];
    let mut all: Vec<String> = given(&c.hostname).into_iter().collect();
    all.push("localhost".to_owned());
    all.extend(services.iter().map(|service| (*service).to_owned()));
    all.extend(services.iter().map(|service| format!("{service}.{namespace}")));
    all.extend(services.iter().map(|service| format!("{service}.{namespace}.svc.{domain}")));
    if installation.settings.is_distributed() {
        let key = c.key_api_name.as_str();
        all.extend([key.to_owned(), format!("{key}.{namespace}"), format!("{key}.{namespace}.svc.{domain}")]);
        services.push(key);
    }
    all.extend(services.iter().map(|service| format!("{service}.{namespace}.svc")));
    all
}
