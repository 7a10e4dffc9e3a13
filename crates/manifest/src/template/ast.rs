//! A parsed template as a tree, and how its parts read in error messages.

use super::builtin::Func;
use super::constant::Number;
use super::quote;

/// A named template: the main text, or a `define` or `block`.
#[derive(Default)]
pub(super) struct Tree {
    /// As in `{{define "name"}}`; the main text is `data`.
    pub(super) name: Box<[u8]>,
    pub(super) root: List,
}

/// Nodes in sequence.
#[derive(Default)]
pub(super) struct List {
    pub(super) nodes: Vec<Node>,
}

/// Text or an action. Positions are byte offsets in the template.
pub(super) enum Node {
    /// A range of the template's bytes.
    Text(std::ops::Range<usize>),
    Action {
        pos: usize,
        pipe: Pipe,
    },
    If(Branch),
    With(Branch),
    Range(Box<Loop>),
    Template {
        pos: usize,
        name: Box<[u8]>,
        pipe: Option<Pipe>,
    },
    Break,
    Continue,
}

/// `if` or `with`, with its `else if` or `else with` arms.
pub(super) struct Branch {
    pub(super) arms: Vec<(Pipe, List)>,
    pub(super) otherwise: Option<List>,
}

/// `range`.
pub(super) struct Loop {
    pub(super) pipe: Pipe,
    pub(super) body: List,
    pub(super) otherwise: Option<List>,
}

/// Commands joined by `|`, with the variables that take the result.
pub(super) struct Pipe {
    pub(super) pos: usize,
    /// `=`, not `:=`.
    pub(super) is_assign: bool,
    /// Names with their `$`.
    pub(super) declared: Vec<Box<str>>,
    /// Never empty.
    pub(super) commands: Vec<Command>,
}

/// Operands side by side.
pub(super) struct Command {
    pub(super) pos: usize,
    /// What is evaluated, or the function that is called.
    pub(super) first: Operand,
    /// Its arguments.
    pub(super) arguments: Vec<Operand>,
}

/// A term with its place.
pub(super) struct Operand {
    pub(super) pos: usize,
    pub(super) term: Term,
}

/// The smallest thing that has a value.
pub(super) enum Term {
    Bool(bool),
    Dot,
    Nil,
    Number(Number),
    Text {
        /// As written, with its quotes.
        quoted: Box<[u8]>,
        value: Box<[u8]>,
    },
    /// `.A.B`
    Field(Vec<Box<str>>),
    /// `$x.A.B`: the name with its `$`, and the fields.
    Variable(Box<str>, Vec<Box<str>>),
    Function(Func),
    /// In parentheses.
    Pipe(Box<Pipe>),
    /// A function or parenthesised pipeline with fields after it.
    Chain(Box<Operand>, Vec<Box<str>>),
}

/// The part of a template that is being evaluated, for error messages.
#[derive(Clone, Copy)]
pub(super) enum Site<'t> {
    Node(&'t Node),
    Pipe(&'t Pipe),
    Command(&'t Command),
    Operand(&'t Operand),
}

impl Site<'_> {
    /// Where it stands. Only sites that can fail have one.
    pub(super) fn position(self) -> usize {
        match self {
            Site::Node(Node::Action { pos, .. } | Node::Template { pos, .. }) => *pos,
            Site::Node(Node::Range(branch)) => branch.pipe.pos,
            Site::Node(_) => 0,
            Site::Pipe(pipe) => pipe.pos,
            Site::Command(command) => command.pos,
            Site::Operand(operand) => operand.pos,
        }
    }

    /// How it reads.
    pub(super) fn text(self) -> String {
        let mut out = Vec::new();
        match self {
            Site::Node(Node::Action { pipe, .. }) => {
                out.extend_from_slice(b"{{");
                pipe.write(&mut out);
                out.extend_from_slice(b"}}");
            }
            Site::Node(Node::Template { name, pipe, .. }) => {
                out.extend_from_slice(b"{{template ");
                out.extend_from_slice(quote::to_string(name).as_bytes());
                if let Some(pipe) = pipe {
                    out.push(b' ');
                    pipe.write(&mut out);
                }
                out.extend_from_slice(b"}}");
            }
            Site::Node(Node::Range(branch)) => branch.pipe.write(&mut out),
            Site::Node(_) => {}
            Site::Pipe(pipe) => pipe.write(&mut out),
            Site::Command(command) => command.write(&mut out),
            Site::Operand(operand) => operand.write(&mut out),
        }
        super::rune::lossy(&out)
    }
}

impl Pipe {
    fn write(&self, out: &mut Vec<u8>) {
        for (index, name) in self.declared.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(name.as_bytes());
        }
        if !self.declared.is_empty() {
            out.extend_from_slice(if self.is_assign { b" = " } else { b" := " });
        }
        for (index, command) in self.commands.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b" | ");
            }
            command.write(out);
        }
    }
}

impl Command {
    fn write(&self, out: &mut Vec<u8>) {
        self.first.write_nested(out);
        for argument in &self.arguments {
            out.push(b' ');
            argument.write_nested(out);
        }
    }
}

impl Operand {
    /// How it reads; a pipeline without its parentheses.
    pub(super) fn text(&self) -> String {
        Site::Operand(self).text()
    }

    /// The same, byte for byte.
    pub(super) fn written(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write_nested(&self, out: &mut Vec<u8>) {
        if matches!(self.term, Term::Pipe(_)) {
            out.push(b'(');
            self.write(out);
            out.push(b')');
        } else {
            self.write(out);
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match &self.term {
            Term::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Term::Dot => out.push(b'.'),
            Term::Nil => out.extend_from_slice(b"nil"),
            Term::Number(number) => out.extend_from_slice(&number.written),
            Term::Text { quoted, .. } => out.extend_from_slice(quoted),
            Term::Field(fields) => write_fields(fields, out),
            Term::Variable(name, fields) => {
                out.extend_from_slice(name.as_bytes());
                write_fields(fields, out);
            }
            Term::Function(function) => out.extend_from_slice(function.name().as_bytes()),
            Term::Pipe(pipe) => pipe.write(out),
            Term::Chain(operand, fields) => {
                operand.write_nested(out);
                write_fields(fields, out);
            }
        }
    }
}

fn write_fields(fields: &[Box<str>], out: &mut Vec<u8>) {
    for field in fields {
        out.push(b'.');
        out.extend_from_slice(field.as_bytes());
    }
}
