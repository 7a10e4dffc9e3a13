//! The secrets templates see in a dry run: real ones where they exist already, and for those that only an
//! activation or a user will make, samples with the same parts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use marblerun_manifest::model::{SecretDefinition, SecretKind};
use marblerun_manifest::template::{SecretSource, SecretValue, placeholder};
use marblerun_pki::{Authority, Secret, generate_shared};

use crate::core::parameters::visible;

/// Secrets for a dry run.
pub(super) struct DryRunSecrets<'a> {
    definitions: &'a BTreeMap<String, SecretDefinition>,
    real: &'a dyn Fn(&str) -> Option<Arc<Secret>>,
    authority: &'a Authority,
    now: Timestamp,
    samples: RefCell<BTreeMap<String, Option<SecretValue>>>,
}

impl<'a> DryRunSecrets<'a> {
    /// `real` gives the secrets that have a value by now.
    pub(super) fn new(
        definitions: &'a BTreeMap<String, SecretDefinition>,
        real: &'a dyn Fn(&str) -> Option<Arc<Secret>>,
        authority: &'a Authority,
        now: Timestamp,
    ) -> Self {
        Self { definitions, real, authority, now, samples: RefCell::default() }
    }

    fn sample(&self, name: &str) -> Option<SecretValue> {
        let definition = self.definitions.get(name)?;
        let kind = SecretKind::from_name(&definition.kind)?;
        if definition.user_defined || !kind.is_certificate() {
            return Some(placeholder(definition));
        }
        // Templates may look into the certificate of a Marble. What it says is the definition's; the key in
        // it need not be of the kind to come, and this one is made in no time.
        let quick = SecretKind::CertEcdsa.as_str().to_owned();
        let quick = SecretDefinition { kind: quick, size: 256, ..definition.clone() };
        let made = generate_shared(name, &quick, self.authority, self.now).ok()?;
        Some(SecretValue { kind: Some(kind), size: definition.size, ..visible(&made) })
    }
}

impl SecretSource for DryRunSecrets<'_> {
    fn secret(&self, name: &str) -> Option<SecretValue> {
        if let Some(secret) = (self.real)(name) {
            return Some(visible(&secret));
        }
        if let Some(sample) = self.samples.borrow().get(name) {
            return sample.clone();
        }
        let sample = self.sample(name);
        self.samples.borrow_mut().insert(name.to_owned(), sample.clone());
        sample
    }

    fn names(&self) -> Vec<String> {
        self.definitions.keys().cloned().collect()
    }
}
