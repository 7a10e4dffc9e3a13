//! The secrets one Marble instance can see. Each is fetched or generated when a template first asks for
//! it, so a Marble costs what it uses, and a definition that cannot be made breaks no Marble but its own.

use std::cell::RefCell;
use std::collections::BTreeMap;

use jiff::Timestamp;
use marblerun_manifest::model::{Marble, SecretDefinition};
use marblerun_manifest::template::{SecretSource, SecretValue};
use marblerun_pki::{PkiError, Secret, SecretDerivation, generate_per_marble};
use marblerun_state::{ActiveManifest, State};

use crate::core::parameters::visible;

/// Current and previous secrets of one instance.
pub(super) struct MarbleSecrets<'a> {
    state: &'a State,
    manifest: &'a ActiveManifest,
    marble_type: &'a str,
    uuid: &'a str,
    now: Timestamp,
    made: [RefCell<BTreeMap<String, Option<SecretValue>>>; 2],
    failure: RefCell<Option<PkiError>>,
}

/// One of the two generations, as templates see it.
pub(super) struct Generation<'a> {
    secrets: &'a MarbleSecrets<'a>,
    is_previous: bool,
}

impl<'a> MarbleSecrets<'a> {
    pub(super) fn new(
        state: &'a State,
        manifest: &'a ActiveManifest,
        marble_type: &'a str,
        marble: &Marble,
        uuid: &'a str,
        now: Timestamp,
    ) -> Self {
        let marble_type = if marble.disable_secret_binding { "" } else { marble_type };
        Self { state, manifest, marble_type, uuid, now, made: Default::default(), failure: RefCell::default() }
    }

    /// `.Secrets`
    pub(super) fn current(&'a self) -> Generation<'a> {
        Generation { secrets: self, is_previous: false }
    }

    /// `.Previous.Secrets`
    pub(super) fn previous(&'a self) -> Generation<'a> {
        Generation { secrets: self, is_previous: true }
    }

    /// The first secret that could not be made.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.borrow().as_ref().map(ToString::to_string)
    }

    fn value(&self, name: &str, is_previous: bool) -> Option<SecretValue> {
        let made = self.made.get(usize::from(is_previous))?;
        if let Some(value) = made.borrow().get(name) {
            return value.clone();
        }
        let stored = if is_previous { self.state.previous_secret(name) } else { self.state.secret(name) };
        let value = stored.and_then(|stored| {
            if stored.shared || stored.user_defined {
                return Some(visible(stored));
            }
            self.generate(name, stored, is_previous)
                .map(|secret| visible(&secret))
                .map_err(|error| self.failure.borrow_mut().get_or_insert(error).to_string())
                .ok()
        });
        made.borrow_mut().insert(name.to_owned(), value.clone());
        value
    }

    fn generate(&self, name: &str, stored: &Secret, is_previous: bool) -> Result<Secret, PkiError> {
        let root_secret = if is_previous { self.state.previous_root_secret() } else { self.state.root_secret() };
        // The stored form says what kind and size it was; how its certificate looks stands in the manifest.
        let template = self.manifest.manifest.secrets.get(name).and_then(|definition| definition.cert.clone());
        let definition = SecretDefinition {
            kind: stored.kind.as_str().to_owned(),
            size: stored.size,
            shared: false,
            user_defined: false,
            valid_for: stored.valid_for,
            cert: template,
            private: None,
            public: None,
        };
        let derivation =
            SecretDerivation { root_secret: &root_secret.0, uuid: self.uuid, marble_type: self.marble_type };
        generate_per_marble(name, &definition, self.state.authority(), derivation, self.now)
    }
}

impl SecretSource for Generation<'_> {
    fn secret(&self, name: &str) -> Option<SecretValue> {
        self.secrets.value(name, self.is_previous)
    }

    fn names(&self) -> Vec<String> {
        let state = self.secrets.state;
        if self.is_previous {
            state.previous_secrets().map(|(name, _)| name.to_owned()).collect()
        } else {
            state.secrets().map(|(name, _)| name.to_owned()).collect()
        }
    }
}
