//! What the pod of the Coordinator is given beside its state, the quote provider's file and `/tmp`: files of Secrets and
//! ConfigMaps that the user made, and parts of the node.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, HostPathVolumeSource, KeyToPath, SecretVolumeSource, Volume, VolumeMount,
};

use super::Installation;

/// Folder of collateral.
pub(super) const COLLATERAL: &str = "/etc/marblerun/collateral";
const PASSPHRASE: &str = "/etc/marblerun/passphrase";
const PKCS11: &str = "/etc/marblerun/pkcs11";
const TPM_OWNER: &str = "/etc/marblerun/tpm-owner";
const CONFIGFS: &str = "/sys/kernel/config";

/// The file with the passphrase.
pub(super) fn passphrase() -> String {
    format!("{PASSPHRASE}/passphrase")
}

/// The configuration file of the token.
pub(super) fn token() -> String {
    format!("{PKCS11}/token.json")
}

/// The file with the password of the TPM's owner.
pub(super) fn owner_password() -> String {
    format!("{TPM_OWNER}/password")
}

/// Each volume, and where it is mounted.
pub(super) fn given(installation: Installation<'_>) -> Vec<(Volume, VolumeMount)> {
    let c = &installation.settings.coordinator;
    let seal = &c.seal;
    let mut all = Vec::new();
    for (name, secret, file, folder) in [
        ("passphrase", &seal.passphrase.secret_name, Some((&seal.passphrase.secret_key, "passphrase")), PASSPHRASE),
        ("pkcs11", &seal.pkcs11.secret_name, None, PKCS11),
        (
            "tpm-owner",
            &seal.tpm.owner_password_secret_name,
            Some((&seal.tpm.owner_password_secret_key, "password")),
            TPM_OWNER,
        ),
    ] {
        if !secret.is_empty() {
            let item = |(key, path): (&String, &str)| KeyToPath { key: key.clone(), path: path.to_owned(), mode: None };
            let source = SecretVolumeSource {
                secret_name: Some(secret.clone()),
                items: file.map(|file| vec![item(file)]),
                ..SecretVolumeSource::default()
            };
            all.push((Volume { secret: Some(source), ..named(name) }, read_only(name, folder)));
        }
    }
    if !c.collateral.config_map.is_empty() {
        let source =
            ConfigMapVolumeSource { name: c.collateral.config_map.clone(), ..ConfigMapVolumeSource::default() };
        let volume = Volume { config_map: Some(source), ..named("collateral") };
        all.push((volume, read_only("collateral", COLLATERAL)));
    }
    if c.configfs {
        all.push(of_node("configfs", CONFIGFS, "Directory"));
    }
    let device = |(number, path): (usize, &String)| of_node(&format!("device-{number}"), path, "CharDevice");
    all.extend(c.devices.iter().enumerate().map(device));
    all
}

fn named(name: &str) -> Volume {
    Volume { name: name.to_owned(), ..Volume::default() }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

fn read_only(name: &str, path: &str) -> VolumeMount {
    VolumeMount { read_only: Some(true), ..mount(name, path) }
}

/// The same place in the node and in the container.
fn of_node(name: &str, path: &str, kind: &str) -> (Volume, VolumeMount) {
    let source = HostPathVolumeSource { path: path.to_owned(), type_: Some(kind.to_owned()) };
    (Volume { host_path: Some(source), ..named(name) }, mount(name, path))
}
