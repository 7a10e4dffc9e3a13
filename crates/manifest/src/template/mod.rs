//! Go's `text/template` over bytes, with the functions manifests may use.
//!
//! Files and environment variables of a Marble are templates in the language upstream's users know.
//! This module reads and executes that language itself, so that text, binary content, output and
//! error messages are the same. What cannot be done exactly as Go does it is refused, never rendered
//! differently. Templates come from whoever sets the manifest: parsing and execution are bounded in
//! depth, steps and size, and no secret appears in an error.

mod ast;
mod buffer;
mod builtin;
mod certificate;
mod compare;
mod constant;
mod context;
mod dry_run;
mod encode;
mod escape;
mod eval;
mod exec;
mod float;
mod format;
mod lex;
mod marble;
mod parse;
mod pipeline;
mod printf;
mod quote;
mod references;
mod rune;
mod value;
mod work;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use zeroize::Zeroizing;

pub use context::{Context, Reserved, SecretBytes, SecretSource, SecretValue};
pub use dry_run::{DryRunError, dry_run, placeholder};
pub use marble::{CompileError, CompiledMarble, Place, RenderError, Rendered};
pub use references::References;

use ast::Tree;
use parse::Trees;
use work::Work;

/// For what a template is rendered; decides which functions it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A file: `pem`, `hex`, `base64`, `raw`.
    File,
    /// An environment variable: `pem`, `hex`, `base64`, `string`.
    Env,
}

/// Why a template is not one. The text is Go's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template: data:{line}: {message}")]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Why executing a template failed. The text is Go's, but never holds the value of a string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template: data:{line}:{column}: executing {template} at <{context}>: {message}")]
pub struct ExecError {
    /// Counted from 1.
    pub line: usize,
    /// In bytes, counted from 0.
    pub column: usize,
    /// Quoted name of the template executed: `"data"`, or one defined in it.
    pub template: String,
    /// The part of the template that failed.
    pub context: String,
    /// What is wrong.
    pub message: String,
}

/// A parsed template. Cheap to clone; executing it leaves it unchanged.
#[derive(Clone)]
pub struct Template(Arc<Parsed>);

struct Parsed {
    source: Box<[u8]>,
    trees: Trees,
    main: Arc<Tree>,
    references: References,
}

impl Template {
    /// Whether the bytes can hold an action at all. Others render as they are and need no parsing.
    #[must_use]
    pub fn has_actions(source: &[u8]) -> bool {
        source.windows(2).any(|pair| pair == b"{{")
    }

    /// Parses a template. The bytes around its actions need not be text.
    ///
    /// # Errors
    /// [`ParseError`], for what Go refuses and for the few things that are not supported.
    pub fn parse(source: &[u8], kind: Kind) -> Result<Self, ParseError> {
        let trees = parse::parse(source, kind)?;
        let main = trees.get(parse::MAIN).cloned().unwrap_or_default();
        let references = references::of(&main, trees.values().map(Arc::as_ref));
        Ok(Self(Arc::new(Parsed { source: source.into(), trees, main, references })))
    }

    /// Executes the template.
    ///
    /// # Errors
    /// [`ExecError`], for what Go refuses, for what is not supported, and if a limit is exceeded.
    pub fn execute(&self, context: &Context<'_>) -> Result<Zeroizing<Vec<u8>>, ExecError> {
        exec::Exec::run(self, context, exec::Limits::DEFAULT).0
    }

    /// Executes it as one of several, which together must not cost more than there is.
    fn execute_within(&self, context: &Context<'_>, work: &mut Work) -> Result<Zeroizing<Vec<u8>>, ExecError> {
        let own = exec::Limits::DEFAULT;
        let steps = own.steps.min(work.0);
        let (result, left) = exec::Exec::run(self, context, exec::Limits { steps, ..own });
        work.0 -= steps - left;
        result
    }

    /// The secrets it may use, whatever branches are taken.
    #[must_use]
    pub fn references(&self) -> &References {
        &self.0.references
    }

    fn source(&self) -> &[u8] {
        &self.0.source
    }

    fn main(&self) -> &Tree {
        &self.0.main
    }

    fn tree(&self, name: &[u8]) -> Option<&Tree> {
        self.0.trees.get(name).map(Arc::as_ref)
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("length", &self.0.source.len()).finish_non_exhaustive()
    }
}
