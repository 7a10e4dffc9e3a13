//! All templates of one Marble type: compiled when the manifest is set, rendered at each activation.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Context, ExecError, Kind, ParseError, References, Template};
use crate::model::{File, Parameters};

/// Where content goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A file, by its path.
    File(String),
    /// An environment variable, by its name.
    Env(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => write!(f, "file {path}"),
            Place::Env(name) => write!(f, "env variable {name}"),
        }
    }
}

/// Why content cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {error}")]
pub struct CompileError {
    /// Which content.
    pub place: Place,
    /// What is wrong with it.
    pub error: ParseError,
}

/// Why content cannot be rendered for a Marble.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A template failed.
    #[error("parsing secrets for {}: {error}", quoted(place))]
    Template {
        /// Which content.
        place: Place,
        /// What failed.
        error: ExecError,
    },
    /// A variable would hold a NUL byte, which no environment can.
    #[error("parsing secrets for {}: content contains null bytes", quoted(place))]
    Nul {
        /// Which content.
        place: Place,
    },
}

fn quoted(place: &Place) -> String {
    match place {
        Place::File(path) => format!("file {}", super::quote::to_string(path.as_bytes())),
        Place::Env(name) => format!("env variable {}", super::quote::to_string(name.as_bytes())),
    }
}

/// What a Marble is started with, values filled in.
#[derive(Default)]
pub struct Rendered {
    /// Path to content.
    pub files: BTreeMap<String, Zeroizing<Vec<u8>>>,
    /// Variable to value.
    pub env: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

/// The parameters of a Marble type, ready to be rendered. Cheap to clone.
#[derive(Clone, Default)]
pub struct CompiledMarble {
    files: Arc<BTreeMap<String, Content>>,
    env: Arc<BTreeMap<String, Content>>,
    argv: Arc<[String]>,
    references: Arc<References>,
}

/// Content without actions is copied as it is.
enum Content {
    Plain(Box<[u8]>),
    Template(Template),
}

impl CompiledMarble {
    /// Compiles all templates.
    ///
    /// # Errors
    /// All templates that cannot be parsed, files first, each in the order of their names.
    pub fn compile(parameters: &Parameters) -> Result<Self, Vec<CompileError>> {
        let mut errors = Vec::new();
        let mut references = References::default();
        let mut compile = |entries: &BTreeMap<String, File>, kind: Kind| {
            let mut compiled = BTreeMap::new();
            for (name, file) in entries {
                match Content::compile(file, kind) {
                    Ok(content) => {
                        if let Content::Template(template) = &content {
                            references.merge(template.references());
                        }
                        compiled.insert(name.clone(), content);
                    }
                    Err(error) => errors.push(CompileError { place: Place::of(kind, name), error }),
                }
            }
            compiled
        };
        let files = compile(&parameters.files, Kind::File);
        let env = compile(&parameters.env, Kind::Env);
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            files: Arc::new(files),
            env: Arc::new(env),
            argv: parameters.argv.as_slice().into(),
            references: Arc::new(references),
        })
    }

    /// Renders everything.
    ///
    /// # Errors
    /// The first content that fails, files first, each in the order of their names.
    pub fn render(&self, context: &Context<'_>) -> Result<Rendered, RenderError> {
        let mut rendered = Rendered::default();
        for (path, content) in self.files.iter() {
            let bytes = content
                .render(context)
                .map_err(|error| RenderError::Template { place: Place::File(path.clone()), error })?;
            rendered.files.insert(path.clone(), bytes);
        }
        for (name, content) in self.env.iter() {
            let place = || Place::Env(name.clone());
            let bytes = content.render(context).map_err(|error| RenderError::Template { place: place(), error })?;
            if bytes.contains(&0) {
                return Err(RenderError::Nul { place: place() });
            }
            rendered.env.insert(name.clone(), bytes);
        }
        Ok(rendered)
    }

    /// The argument vector; never a template.
    #[must_use]
    pub fn argv(&self) -> &[String] {
        &self.argv
    }

    /// The secrets its templates may use.
    #[must_use]
    pub fn references(&self) -> &References {
        &self.references
    }
}

impl fmt::Debug for CompiledMarble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledMarble")
            .field("files", &self.files.keys())
            .field("env", &self.env.keys())
            .field("references", &self.references)
            .finish_non_exhaustive()
    }
}

impl Place {
    pub(super) fn of(kind: Kind, name: &str) -> Self {
        match kind {
            Kind::File => Place::File(name.to_owned()),
            Kind::Env => Place::Env(name.to_owned()),
        }
    }
}

impl Content {
    fn compile(file: &File, kind: Kind) -> Result<Self, ParseError> {
        if file.no_templates || !Template::has_actions(&file.data) {
            return Ok(Content::Plain(file.data.as_slice().into()));
        }
        Template::parse(&file.data, kind).map(Content::Template)
    }

    fn render(&self, context: &Context<'_>) -> Result<Zeroizing<Vec<u8>>, ExecError> {
        match self {
            Content::Plain(bytes) => Ok(Zeroizing::new(bytes.to_vec())),
            Content::Template(template) => template.execute(context),
        }
    }
}
