//! From bytes to a [`Manifest`]. Nothing is required here and nothing is judged: what a manifest must contain is the
//! business of the checks. Names of fields, and how they decode, are upstream's to the letter.

mod certificate;
mod file;
mod time;
mod url;

use crate::decode_object;
use crate::gojson::{self, Context, Decode, Decoded, Errors, Value};
use crate::model::{
    Config, Infrastructure, Manifest, Marble, Package, Parameters, Role, SecretDefinition, TlsEntry, TlsTag, User,
};

/// Why bytes are no manifest: every mistake found, each with its path. `Display` is the one upstream would report.
pub type DecodeError = Errors;

impl Manifest {
    /// Decodes a raw manifest.
    ///
    /// # Errors
    /// If it is not JSON, or a field has the wrong type or unreadable content.
    pub fn decode(raw: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_with_notes(raw).map(|decoded| decoded.value)
    }

    /// Decodes a raw manifest and tells what in it is accepted but looks like a mistake: unknown fields, names given
    /// twice, repaired text.
    ///
    /// # Errors
    /// As [`Manifest::decode`].
    pub fn decode_with_notes(raw: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        gojson::from_slice(raw)
    }
}

decode_object!(Manifest as "Manifest" {
    "Packages" => packages,
    "Infrastructures" => infrastructures,
    "Marbles" => marbles,
    "Users" => users,
    "Secrets" => secrets,
    "RecoveryKeys" => recovery_keys,
    "Roles" => roles,
    "TLS" => tls,
    "Config" => config,
});

impl Decode for Package {
    fn decode(&mut self, value: Value<'_>, context: &mut Context) {
        let known = [
            "Debug",
            "UniqueID",
            "SignerID",
            "ProductID",
            "SecurityVersion",
            "AcceptedTCBStatuses",
            "AcceptedAdvisories",
            "TDX",
            "SNP",
        ];
        context.fields(value, "Package", &known, |context, field, value| {
            let is_given = value.kind() != gojson::Kind::Null;
            match field {
                "Debug" => self.debug.decode(value, context),
                "UniqueID" => self.unique_id.decode(value, context),
                "SignerID" => self.signer_id.decode(value, context),
                "ProductID" => self.product_id.decode(value, context),
                "SecurityVersion" => self.security_version.decode(value, context),
                "AcceptedTCBStatuses" => {
                    self.accepted_tcb_statuses.decode(value, context);
                    self.tcb_statuses_given = is_given;
                }
                "AcceptedAdvisories" => {
                    self.accepted_advisories.decode(value, context);
                    self.advisories_given = is_given;
                }
                "TDX" => self.tdx.decode(value, context),
                "SNP" => self.snp.decode(value, context),
                _ => {}
            }
        });
    }

    fn go_type() -> String {
        "Package".to_owned()
    }
}

decode_object!(Infrastructure as "Infrastructure" {
    "CPUSVN" => cpu_svn,
    "QESVN" => qe_svn,
    "PCESVN" => pce_svn,
    "RootCA" => root_ca,
});

decode_object!(Marble as "Marble" {
    "Package" => package,
    "MaxActivations" => max_activations,
    "Parameters" => parameters,
    "TLS" => tls,
    "DisableSecretBinding" => disable_secret_binding,
});

decode_object!(Parameters as "Parameters" { "Files" => files, "Env" => env, "Argv" => argv });

decode_object!(User as "User" { "Certificate" => certificate, "Roles" => roles });

decode_object!(Role as "Role" {
    "ResourceType" => resource_type,
    "ResourceNames" => resource_names,
    "Actions" => actions,
});

decode_object!(SecretDefinition as "Secret" {
    "Type" => kind,
    "Size" => size,
    "Shared" => shared,
    "UserDefined" => user_defined,
    "Cert" => cert,
    "ValidFor" => valid_for,
    "Private" => private,
    "Public" => public,
});

decode_object!(TlsTag as "TLStag" { "Outgoing" => outgoing, "Incoming" => incoming });

decode_object!(TlsEntry as "TLSTagEntry" {
    "Port" => port,
    "Addr" => addr,
    "Cert" => cert,
    "DisableClientAuth" => disable_client_auth,
});

decode_object!(Config as "Config" {
    "SealMode" => seal_mode,
    "FeatureGates" => feature_gates,
    "UpdateThreshold" => update_threshold,
    "RecoveryThreshold" => recovery_threshold,
    "RotateRootSecret" => rotate_root_secret,
});

#[cfg(test)]
mod tests;
