//! What a Marble is started with: files and variables from the templates of its manifest.
//!
//! Templates are compiled once for a manifest and shared by all activations under it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use marblerun_manifest::Manifest;
use marblerun_manifest::model::{Marble, SecretDefinition, SecretKind};
use marblerun_manifest::template::{
    CompiledMarble, Context, RenderError, Rendered, Reserved, SecretBytes, SecretSource, SecretValue,
};
use marblerun_pki::{Authority, MarbleLeaf, Secret, pem};
use marblerun_state::ActiveManifest;
use zeroize::Zeroizing;

use crate::core::candidate;
use crate::core::marble_secrets::MarbleSecrets;
use crate::core::ttls;

/// The compiled templates of all Marbles of a manifest.
pub(super) struct CompiledManifest {
    pub(super) manifest: Arc<ActiveManifest>,
    marbles: BTreeMap<String, CompiledMarble>,
    /// Marble types whose activation makes RSA keys.
    slow: BTreeSet<String>,
    warnings: OnceLock<Vec<String>>,
}

/// What could not be provided.
pub(super) enum ProvideError {
    Ttls(String),
    Parameter(String),
}

impl CompiledManifest {
    /// Compiles every file and variable.
    ///
    /// # Errors
    /// Where the first mistake is, and what; a manifest in force has none.
    pub(super) fn new(manifest: Arc<ActiveManifest>) -> Result<Self, String> {
        let compile = |(name, marble): (&String, &Marble)| match CompiledMarble::compile(&marble.parameters) {
            Ok(compiled) => Ok((name.clone(), compiled)),
            Err(errors) => {
                let first = errors.first().map(ToString::to_string).unwrap_or_default();
                Err(format!("in Marble {name}: {first}"))
            }
        };
        let marbles = manifest.manifest.marbles.iter().map(compile).collect::<Result<_, String>>()?;
        let slow = slow_types(&manifest.manifest, &marbles);
        Ok(Self { manifest, marbles, slow, warnings: OnceLock::new() })
    }

    /// Whether activating a Marble of this type keeps a core busy for long.
    pub(super) fn is_slow(&self, marble_type: &str) -> bool {
        self.slow.contains(marble_type)
    }

    /// What an operator should know about the manifest. Found once.
    pub(super) fn warnings(&self, now: Timestamp) -> &[String] {
        self.warnings.get_or_init(|| candidate::warnings_of(&self.manifest.raw, now))
    }

    /// Executes the templates of all Marbles that may use one of these secrets.
    ///
    /// # Errors
    /// Where it failed, and why.
    pub(super) fn dry_run_of<'n>(
        &self,
        names: impl Iterator<Item = &'n str> + Clone,
        secrets: &dyn SecretSource,
    ) -> Result<(), String> {
        let reserved = Reserved::dummy();
        let context = Context { reserved: &reserved, secrets, previous_secrets: secrets };
        for (marble, compiled) in &self.marbles {
            let references = compiled.references();
            if !names.clone().any(|name| references.uses(name) || references.uses_previous(name)) {
                continue;
            }
            compiled.render(&context).map_err(|error| match error {
                RenderError::Template { place, error } => format!("in Marble {marble}: {place}: {error}"),
                RenderError::Nul { place } => format!("in Marble {marble}: {place}: content contains null bytes"),
            })?;
        }
        Ok(())
    }

    /// Everything a Marble gets besides its arguments.
    pub(super) fn provide(
        &self,
        marble_type: &str,
        authority: &Authority,
        leaf: &MarbleLeaf,
        secrets: &MarbleSecrets<'_>,
    ) -> Result<Rendered, ProvideError> {
        let unknown = || ProvideError::Parameter("requested value not set".to_owned());
        let manifest: &Manifest = &self.manifest.manifest;
        let marble = manifest.marbles.get(marble_type).ok_or_else(unknown)?;
        let compiled = self.marbles.get(marble_type).ok_or_else(unknown)?;

        let (current, previous) = (secrets.current(), secrets.previous());
        let ttls = ttls::config(manifest, marble, authority, leaf, &current).map_err(ProvideError::Ttls)?;
        let reserved = reserved(authority, leaf);
        let context = Context { reserved: &reserved, secrets: &current, previous_secrets: &previous };
        let mut rendered = compiled.render(&context).map_err(|error| ProvideError::Parameter(error.to_string()))?;
        // What the Coordinator says stands above what the manifest says.
        if let Some(ttls) = ttls {
            rendered.env.insert(ttls::VARIABLE.to_owned(), ttls);
        }
        rendered.env.extend(predefined(authority, leaf).map_err(ProvideError::Parameter)?);
        Ok(rendered)
    }
}

/// Marble types that may use an RSA key of their own, in a template or for a port.
fn slow_types(manifest: &Manifest, marbles: &BTreeMap<String, CompiledMarble>) -> BTreeSet<String> {
    let is_rsa = |definition: &SecretDefinition| {
        definition.kind == SecretKind::CertRsa.as_str() && !definition.shared && !definition.user_defined
    };
    let keys: Vec<&str> =
        manifest.secrets.iter().filter(|(_, secret)| is_rsa(secret)).map(|(name, _)| name.as_str()).collect();
    let uses_one = |name: &String, marble: &Marble| {
        let in_templates = marbles.get(name).is_some_and(|compiled| {
            let references = compiled.references();
            keys.iter().any(|key| references.uses(key) || references.uses_previous(key))
        });
        let tags = marble.tls.iter().filter_map(|tag| manifest.tls.get(tag));
        in_templates || tags.flat_map(|tag| &tag.incoming).any(|entry| keys.contains(&entry.cert.as_str()))
    };
    let marbles = manifest.marbles.iter().filter(|(name, marble)| uses_one(name, marble));
    marbles.map(|(name, _)| name.clone()).collect()
}

/// The variables every Marble gets.
fn predefined(authority: &Authority, leaf: &MarbleLeaf) -> Result<BTreeMap<String, Zeroizing<Vec<u8>>>, String> {
    let encode = |label, contents: &[u8]| {
        let text = pem::encode(label, contents).map_err(|error| error.to_string())?;
        Ok::<_, String>(Zeroizing::new(text.as_bytes().to_vec()))
    };
    let mut chain = encode(pem::CERTIFICATE, &leaf.certificate)?;
    chain.extend_from_slice(&encode(pem::CERTIFICATE, &authority.intermediate_certificate)?);
    let root_ca = encode(pem::CERTIFICATE, &authority.marble_root_certificate)?;
    let coordinator_root = encode(pem::CERTIFICATE, &authority.root_certificate)?;
    Ok(BTreeMap::from([
        ("MARBLE_PREDEFINED_ROOT_CA".to_owned(), root_ca),
        ("MARBLE_PREDEFINED_MARBLE_CERTIFICATE_CHAIN".to_owned(), chain),
        ("MARBLE_PREDEFINED_PRIVATE_KEY".to_owned(), encode(pem::PRIVATE_KEY, &leaf.private_key)?),
        ("MARBLE_PREDEFINED_COORDINATOR_ROOT_CA".to_owned(), coordinator_root),
    ]))
}

/// `.MarbleRun`
fn reserved(authority: &Authority, leaf: &MarbleLeaf) -> Reserved {
    let certificate = |der: &[u8]| SecretValue { cert: Some(Arc::from(der)), ..SecretValue::default() };
    Reserved {
        root_ca: certificate(&authority.marble_root_certificate),
        marble_cert: SecretValue {
            private: Some(SecretBytes::from(leaf.private_key.as_slice())),
            public: Some(SecretBytes::from(leaf.public_key.as_slice())),
            ..certificate(&leaf.certificate)
        },
        coordinator_root: certificate(&authority.root_certificate),
        coordinator_intermediate: certificate(&authority.intermediate_certificate),
    }
}

/// A secret as templates see it.
pub(super) fn visible(secret: &Secret) -> SecretValue {
    let bytes = |value: &Option<Zeroizing<Vec<u8>>>| value.as_ref().map(|bytes| SecretBytes::from(bytes.as_slice()));
    SecretValue {
        kind: Some(secret.kind),
        size: secret.size,
        shared: secret.shared,
        user_defined: secret.user_defined,
        valid_for: secret.valid_for,
        cert: secret.certificate.as_deref().map(Arc::from),
        private: bytes(&secret.private),
        public: bytes(&secret.public),
    }
}
