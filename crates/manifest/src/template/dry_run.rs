//! The dry run: every template of a manifest is executed with test data before the manifest counts.

use std::fmt;

use super::{Context, Kind, Place, Reserved, SecretBytes, SecretSource, SecretValue, Template, Work};
use crate::model::{File, Manifest, SecretDefinition, SecretKind};

/// A template that does not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DryRunError {
    /// Marble type.
    pub marble: String,
    /// Which content.
    pub place: Place,
    /// What is wrong: the text of a [`super::ParseError`] or [`super::ExecError`], or that there is a NUL byte.
    pub reason: String,
}

/// What is said of a variable that holds NUL.
const NUL: &str = "content contains null bytes";

impl fmt::Display for DryRunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in Marble {}: ", self.marble)?;
        match &self.place {
            // Upstream words this one differently.
            Place::Env(name) if self.reason == NUL => write!(f, "env variable: {name}: {NUL}"),
            place => write!(f, "{place}: {}", self.reason),
        }
    }
}

impl std::error::Error for DryRunError {}

/// Failures that are told of one manifest; with these, what else fails is not looked for.
const MAX_FAILURES: usize = 1_000;

/// Executes all templates of a manifest and returns those that fail, by Marble, files first. All together have a
/// limit of steps: where it is reached, the rest fails too.
///
/// `values` gives the secrets that have a value: generated ones, and uploaded ones when secrets are
/// uploaded. For any other secret of the manifest its [`placeholder`] is used. Previous secrets are
/// the same as the current ones.
#[must_use]
pub fn dry_run(manifest: &Manifest, values: &dyn SecretSource) -> Vec<DryRunError> {
    let reserved = Reserved::dummy();
    let secrets = TestData { manifest, values };
    let context = Context { reserved: &reserved, secrets: &secrets, previous_secrets: &secrets };
    let (mut errors, mut work) = (Vec::new(), Work::of_a_manifest());
    for (marble, definition) in &manifest.marbles {
        let files = definition.parameters.files.iter().map(|entry| (Kind::File, entry));
        let env = definition.parameters.env.iter().map(|entry| (Kind::Env, entry));
        for (kind, (name, file)) in files.chain(env) {
            if let Err(reason) = check(file, kind, &context, &mut work) {
                errors.push(DryRunError { marble: marble.clone(), place: Place::of(kind, name), reason });
            }
            if errors.len() == MAX_FAILURES {
                return errors;
            }
        }
    }
    errors
}

fn check(file: &File, kind: Kind, context: &Context<'_>, work: &mut Work) -> Result<(), String> {
    if kind == Kind::Env && file.data.contains(&0) {
        return Err(NUL.to_owned());
    }
    if file.no_templates || !Template::has_actions(&file.data) {
        return Ok(());
    }
    let template = Template::parse(&file.data, kind).map_err(|error| error.to_string())?;
    let rendered = template.execute_within(context, work).map_err(|error| error.to_string())?;
    // No environment can hold it, and a Marble would find out only when it starts.
    if kind == Kind::Env && rendered.contains(&0) {
        return Err(NUL.to_owned());
    }
    Ok(())
}

/// The secrets of a manifest with what values there are.
struct TestData<'a> {
    manifest: &'a Manifest,
    values: &'a dyn SecretSource,
}

impl SecretSource for TestData<'_> {
    fn secret(&self, name: &str) -> Option<SecretValue> {
        let definition = self.manifest.secrets.get(name)?;
        Some(self.values.secret(name).unwrap_or_else(|| placeholder(definition)))
    }

    fn names(&self) -> Vec<String> {
        self.manifest.secrets.keys().cloned().collect()
    }
}

/// Placeholders of symmetric keys are not made longer than this, in bytes.
const MAX_PLACEHOLDER: u64 = 1 << 20;

/// A stand-in for the value of a secret: a dummy byte in each part, but for a generated symmetric key
/// bytes of its length and no certificate.
#[must_use]
pub fn placeholder(definition: &SecretDefinition) -> SecretValue {
    let kind = SecretKind::from_name(&definition.kind);
    let mut value = SecretValue::dummy();
    if kind == Some(SecretKind::SymmetricKey) && !definition.user_defined {
        let length = usize::try_from((definition.size / 8).min(MAX_PLACEHOLDER)).unwrap_or(0);
        let key = Some(SecretBytes::from(vec![b'A'; length].as_slice()));
        value = SecretValue { private: key.clone(), public: key, ..SecretValue::default() };
    }
    value.kind = kind;
    value.size = definition.size;
    value.shared = definition.shared;
    value.user_defined = definition.user_defined;
    value.valid_for = definition.valid_for;
    value
}
