//! Executes a template: walks its nodes, keeps variables, writes output.
//!
//! Bounds, so that no manifest can stall or exhaust the Coordinator: steps taken, bytes made on the
//! way, bytes of output, and nesting of everything that recurses.

use zeroize::Zeroizing;

use super::ast::{Branch, List, Loop, Node, Site, Tree};
use super::buffer::Buffer;
use super::context::Context;
use super::format::Printer;
use super::quote;
use super::value::{Record, Text, Value};
use super::{ExecError, Template, work};

/// How far an execution may go.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Nodes visited and loop iterations, and what they cost beyond that (see [`work`](super::work)).
    pub(super) steps: u64,
    /// Bytes of output.
    pub(super) output: usize,
    /// Bytes of strings made on the way, all together.
    pub(super) made: usize,
    /// Nested blocks, parentheses and template calls, all together.
    pub(super) depth: usize,
}

impl Limits {
    /// What no honest template comes near to.
    pub(super) const DEFAULT: Self = Self { steps: 5_000_000, output: 64 << 20, made: 64 << 20, depth: 250 };
}

/// The message for values whose truth in Go we do not know.
pub(super) const NO_TRUTH: &str = "testing an unset certificate is not supported; test .Private or .Public";

/// Why walking stops.
pub(super) enum Stop {
    Break,
    Continue,
    Error(Box<ExecError>),
}

/// An execution.
pub(super) struct Exec<'a> {
    template: &'a Template,
    pub(super) context: &'a Context<'a>,
    tree: &'a Tree,
    site: Option<Site<'a>>,
    pub(super) variables: Vec<(&'a str, Value<'a>)>,
    depth: usize,
    /// What is left of each, but for the depth, which is the limit.
    pub(super) left: Limits,
    out: Buffer,
}

impl<'a> Exec<'a> {
    /// Runs it. Also answers how many steps are left.
    pub(super) fn run(
        template: &'a Template,
        context: &'a Context<'a>,
        limits: Limits,
    ) -> (Result<Zeroizing<Vec<u8>>, ExecError>, u64) {
        let tree = template.main();
        let dot = Value::Record(Record::Root);
        let mut exec = Self {
            template,
            context,
            tree,
            site: None,
            variables: vec![("$", dot.clone())],
            depth: 0,
            left: limits,
            out: Buffer::new(template.source().len() + 256, limits.output),
        };
        let result = exec.list(&dot, &tree.root);
        let left = exec.left.steps;
        match result {
            Ok(()) | Err(Stop::Break | Stop::Continue) => (Ok(exec.out.into_bytes()), left),
            Err(Stop::Error(error)) => (Err(*error), left),
        }
    }

    /// Remembers what is being evaluated, for error messages.
    pub(super) fn at(&mut self, site: Site<'a>) {
        self.site = Some(site);
    }

    /// An error at the current site.
    pub(super) fn error<T>(&self, message: impl Into<String>) -> Result<T, Stop> {
        let (position, context) = self.site.map_or((0, String::new()), |site| (site.position(), site.text()));
        let before = self.template.source().get(..position).unwrap_or_default();
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
        Err(Stop::Error(Box::new(ExecError {
            line: 1 + before.iter().filter(|b| **b == b'\n').count(),
            column: position - line_start,
            template: quote::to_string(&self.tree.name),
            context,
            message: message.into(),
        })))
    }

    /// Enters something that recurses; every entry is matched by [`Self::leave`] unless an error ends it all.
    pub(super) fn enter(&mut self) -> Result<(), Stop> {
        let limit = self.left.depth;
        if self.depth == limit {
            return self.error(format!("exceeded maximum template depth ({limit})"));
        }
        self.depth += 1;
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Counts towards the limit of steps.
    pub(super) fn spend(&mut self, steps: u64) -> Result<(), Stop> {
        match self.left.steps.checked_sub(steps) {
            Some(left) => {
                self.left.steps = left;
                Ok(())
            }
            None => {
                self.left.steps = 0;
                self.error("template takes too many steps")
            }
        }
    }

    fn list(&mut self, dot: &Value<'a>, list: &'a List) -> Result<(), Stop> {
        list.nodes.iter().try_for_each(|node| self.node(dot, node))
    }

    /// A block of its own, as the body of an `if`.
    fn block(&mut self, dot: &Value<'a>, list: &'a List) -> Result<(), Stop> {
        self.enter()?;
        let result = self.list(dot, list);
        self.leave();
        result
    }

    fn node(&mut self, dot: &Value<'a>, node: &'a Node) -> Result<(), Stop> {
        self.spend(1)?;
        match node {
            Node::Text(range) => {
                self.at(Site::Node(node));
                self.spend(work::of_copying(range.len()))?;
                self.out.extend(self.template.source().get(range.clone()).unwrap_or_default());
                self.check_output()
            }
            Node::Action { pipe, .. } => {
                self.at(Site::Node(node));
                let value = self.pipeline(dot, pipe)?;
                if pipe.declared.is_empty() {
                    self.at(Site::Node(node));
                    self.write(&value)?;
                }
                Ok(())
            }
            Node::If(branch) => self.branch(dot, branch, false),
            Node::With(branch) => self.branch(dot, branch, true),
            Node::Range(branch) => {
                self.at(Site::Node(node));
                let mark = self.variables.len();
                let result = self.range(dot, branch);
                self.variables.truncate(mark);
                match result {
                    Err(Stop::Break) => Ok(()),
                    other => other,
                }
            }
            Node::Template { name, pipe, .. } => self.invoke(dot, node, name, pipe.as_ref()),
            Node::Break => Err(Stop::Break),
            Node::Continue => Err(Stop::Continue),
        }
    }

    fn write(&mut self, value: &Value<'a>) -> Result<(), Stop> {
        let before = self.out.len();
        match value {
            Value::Invalid => self.out.extend(b"<no value>"),
            Value::Text(text) => self.out.extend(text.as_slice()),
            value => {
                let mut printer = Printer::new(&mut self.out);
                printer.value(value, 'v');
                if let Err(reason) = printer.finish() {
                    return self.error(reason);
                }
            }
        }
        self.spend(work::of_copying(self.out.len() - before))?;
        self.check_output()
    }

    fn check_output(&self) -> Result<(), Stop> {
        if self.out.overflowed() { self.error(super::builtin::TOO_LARGE) } else { Ok(()) }
    }

    /// `if` or `with`: the first arm whose pipeline is true.
    fn branch(&mut self, dot: &Value<'a>, branch: &'a Branch, with: bool) -> Result<(), Stop> {
        let mark = self.variables.len();
        let result = self.branch_arms(dot, branch, with);
        self.variables.truncate(mark);
        result
    }

    fn branch_arms(&mut self, dot: &Value<'a>, branch: &'a Branch, with: bool) -> Result<(), Stop> {
        for (pipe, list) in &branch.arms {
            let value = self.pipeline(dot, pipe)?;
            if self.truth(&value)? {
                return self.block(if with { &value } else { dot }, list);
            }
        }
        branch.otherwise.as_ref().map_or(Ok(()), |list| self.block(dot, list))
    }

    pub(super) fn truth(&mut self, value: &Value<'a>) -> Result<bool, Stop> {
        if let Value::Secrets(source) = value {
            self.spend(work::of_items(source.names().len()))?;
        }
        value.truth().map_or_else(|| self.error(NO_TRUTH), Ok)
    }

    fn range(&mut self, dot: &Value<'a>, branch: &'a Loop) -> Result<(), Stop> {
        let value = self.pipeline(dot, &branch.pipe)?;
        let ran = match &value {
            Value::Int(_) | Value::Uint(_) | Value::Byte(_) => self.range_number(branch, &value)?,
            Value::Bytes(list) => {
                for (index, byte) in list.as_slice().iter().enumerate() {
                    self.iteration(branch, position(index), &Value::Byte(*byte))?;
                }
                !list.as_slice().is_empty()
            }
            Value::Strings(list) => {
                for (index, text) in list.as_slice().iter().enumerate() {
                    self.spend(work::of_copying(text.len()))?;
                    self.iteration(branch, position(index), &Value::open_text(text))?;
                }
                !list.as_slice().is_empty()
            }
            Value::Secrets(source) => {
                let mut names = source.names();
                self.spend(work::of_items(names.len()))?;
                names.sort_unstable();
                for name in &names {
                    // A source may lose a name in between; there is nothing to show for it then.
                    let secret = source.secret(name).map_or(Value::Invalid, Value::Secret);
                    self.spend(work::of_copying(name.len()) + work::of_result(&secret))?;
                    self.iteration(branch, Value::open_text(name), &secret)?;
                }
                !names.is_empty()
            }
            Value::Invalid => false,
            Value::Bool(flag) => return self.error(format!("range can't iterate over {flag}")),
            Value::Float(_) => {
                let mut shown = Buffer::new(32, usize::MAX);
                Printer::new(&mut shown).value(&value, 'v');
                let shown = shown.into_bytes();
                return self.error(format!("range can't iterate over {}", String::from_utf8_lossy(&shown)));
            }
            // The value may be secret; its type must do.
            other => return self.error(format!("range can't iterate over a value of type {}", other.type_name())),
        };
        match &branch.otherwise {
            Some(list) if !ran => self.block(dot, list),
            _ => Ok(()),
        }
    }

    /// Counts up to a number. Whether it is more than zero.
    fn range_number(&mut self, branch: &'a Loop, number: &Value<'a>) -> Result<bool, Stop> {
        let count = match number {
            Value::Int(count) => u64::try_from(*count).unwrap_or(0),
            Value::Uint(count) => *count,
            Value::Byte(count) => u64::from(*count),
            _ => 0,
        };
        if branch.pipe.declared.len() > 1 {
            let shown = match number {
                Value::Int(negative) if *negative < 0 => negative.to_string(),
                _ => count.to_string(),
            };
            return self.error(format!("can't use {shown} to iterate over more than one variable"));
        }
        for index in 0..count {
            let item = match number {
                Value::Int(_) => Value::Int(index.cast_signed()),
                Value::Byte(_) => Value::Byte(u8::try_from(index).unwrap_or(u8::MAX)),
                _ => Value::Uint(index),
            };
            self.iteration(branch, Value::Invalid, &item)?;
        }
        Ok(count > 0)
    }

    fn iteration(&mut self, branch: &'a Loop, index: Value<'a>, item: &Value<'a>) -> Result<(), Stop> {
        self.spend(1)?;
        let mark = self.variables.len();
        match branch.pipe.declared.as_slice() {
            [] => {}
            [only] if branch.pipe.is_assign => self.assign(only, item.clone())?,
            [first, second, ..] if branch.pipe.is_assign => {
                self.assign(first, index)?;
                self.assign(second, item.clone())?;
            }
            [_] => self.set_top(1, item.clone()),
            [_, _, ..] => {
                self.set_top(1, item.clone());
                self.set_top(2, index);
            }
        }
        let result = self.block(item, &branch.body);
        self.variables.truncate(mark);
        match result {
            Err(Stop::Continue) => Ok(()),
            other => other,
        }
    }

    /// Gives a new value to the variable declared last under that name.
    pub(super) fn assign(&mut self, name: &str, value: Value<'a>) -> Result<(), Stop> {
        self.spend_on_variables()?;
        match self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            Some((_, slot)) => {
                *slot = value;
                Ok(())
            }
            None => self.error(format!("undefined variable: {name}")),
        }
    }

    /// For going through the variables in search of one.
    pub(super) fn spend_on_variables(&mut self) -> Result<(), Stop> {
        self.spend(work::of_items(self.variables.len() / 32))
    }

    fn set_top(&mut self, nth: usize, value: Value<'a>) {
        if let Some((_, slot)) = self.variables.iter_mut().rev().nth(nth - 1) {
            *slot = value;
        }
    }

    /// `{{template "name" pipeline}}`
    fn invoke(
        &mut self,
        dot: &Value<'a>,
        node: &'a Node,
        name: &[u8],
        pipe: Option<&'a super::ast::Pipe>,
    ) -> Result<(), Stop> {
        self.at(Site::Node(node));
        let Some(tree) = self.template.tree(name) else {
            return self.error(format!("template {} not defined", quote::to_string(name)));
        };
        let dot = pipe.map_or(Ok(Value::Invalid), |pipe| self.pipeline(dot, pipe))?;
        let caller = (self.tree, self.site);
        let variables = std::mem::replace(&mut self.variables, vec![("$", dot.clone())]);
        self.at(Site::Node(node));
        self.enter()?;
        self.tree = tree;
        let result = self.list(&dot, &tree.root);
        (self.tree, self.site) = caller;
        self.variables = variables;
        self.leave();
        result
    }
}

fn position<'v>(index: usize) -> Value<'v> {
    Value::Int(i64::try_from(index).unwrap_or(i64::MAX))
}

/// A name as a value that lives as long as the template.
pub(super) fn literal(text: &[u8]) -> Value<'_> {
    Value::Text(Text::Literal(text))
}
