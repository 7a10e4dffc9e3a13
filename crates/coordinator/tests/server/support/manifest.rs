//! A manifest with every kind of user and secret.

use serde_json::{Value, json};

use super::Identity;

pub fn admin() -> Identity {
    Identity::fixture("ecdsa-p256")
}

pub fn reader() -> Identity {
    Identity::fixture("rsa-2048")
}

/// A user without any role.
pub fn nobody() -> Identity {
    Identity::fixture("ed25519")
}

/// Not in the manifest.
pub fn stranger() -> Identity {
    Identity::fixture("ecdsa-p521")
}

/// One package, one Marble, users of every kind; no feature, no recovery key.
pub fn base() -> Value {
    json!({
        "Packages": { "frontend": { "SignerID": "c0ffee".repeat(11).split_at(64).0, "ProductID": 3, "SecurityVersion": 4 } },
        "Marbles": { "web": { "Package": "frontend", "Parameters": { "Argv": ["web"] } } },
        "Users": {
            "admin": { "Certificate": admin().pem(), "Roles": ["write", "read", "packages", "updater"] },
            "reader": { "Certificate": reader().pem(), "Roles": ["read"] },
            "nobody": { "Certificate": nobody().pem(), "Roles": [] },
        },
        "Roles": {
            "read": { "ResourceType": "Secrets", "ResourceNames": ["symShared", "certEc", "plainUnset", "symUnset"], "Actions": ["ReadSecret"] },
            "write": { "ResourceType": "Secrets", "ResourceNames": ["plainUnset", "symUnset", "certUnset"], "Actions": ["WriteSecret"] },
            "packages": { "ResourceType": "Packages", "ResourceNames": ["frontend"], "Actions": ["UpdateSecurityVersion"] },
            "updater": { "ResourceType": "Manifest", "Actions": ["UpdateManifest"] },
        },
        "Secrets": {
            "symShared": { "Type": "symmetric-key", "Size": 128, "Shared": true },
            "restricted": { "Type": "symmetric-key", "Size": 128, "Shared": true },
            "certEc": { "Type": "cert-ecdsa", "Size": 256, "Shared": true },
            "plainUnset": { "Type": "plain", "UserDefined": true },
            "symUnset": { "Type": "symmetric-key", "Size": 128, "UserDefined": true },
            "certUnset": { "Type": "cert-ed25519", "UserDefined": true },
        },
    })
}

/// The same with features switched on.
pub fn with_features(features: &[&str]) -> Value {
    let mut manifest = base();
    manifest["Config"] = json!({ "FeatureGates": features });
    manifest
}
