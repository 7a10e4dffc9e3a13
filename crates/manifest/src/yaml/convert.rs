//! From nodes to JSON values: aliases expanded within bounds, merge keys merged, duplicate keys refused.

use std::collections::{BTreeMap, BTreeSet};

use super::json::{Json, float_key};
use super::scalar::{self, Resolved};
use super::tree::{NodeId, NodeKind, Scalar, Tree};
use super::{MAX_DEPTH, Warning, YamlError};

/// The value of the document; `null` if there is none.
pub(super) fn convert(tree: &Tree, warnings: &mut Vec<Warning>) -> Result<Json, YamlError> {
    let Some(root) = tree.root() else { return Ok(Json::Null) };
    let mut converter = Converter {
        tree,
        warnings,
        duplicates: Vec::new(),
        warned: BTreeSet::new(),
        depth: 0,
        aliases: Vec::new(),
        steps: 0,
        alias_steps: 0,
    };
    let value = converter.value(root)?;
    if converter.duplicates.is_empty() { Ok(value) } else { Err(YamlError::DuplicateKeys(converter.duplicates)) }
}

struct Converter<'t> {
    tree: &'t Tree,
    warnings: &'t mut Vec<Warning>,
    duplicates: Vec<String>,
    /// Nodes that were warned about; aliases bring the converter to a node more than once.
    warned: BTreeSet<NodeId>,
    depth: usize,
    /// Alias nodes being expanded.
    aliases: Vec<NodeId>,
    steps: usize,
    alias_steps: usize,
}

/// A mapping under construction: the key as JSON has it, what it was in YAML, and the value.
type Entries = BTreeMap<Vec<u8>, (Resolved, Json)>;

impl Converter<'_> {
    fn value(&mut self, id: NodeId) -> Result<Json, YamlError> {
        let Some(node) = self.tree.node(id) else { return Ok(Json::Null) };
        let line = node.line;
        self.step(line)?;
        match &node.kind {
            NodeKind::Scalar(scalar) => {
                let resolved = self.scalar(id, line, scalar, false)?;
                json(resolved).ok_or_else(|| meaning(line, format!("{} is no number in JSON", scalar.text)))
            }
            NodeKind::Alias(target) => self.through_alias(id, line, |converter| converter.value(*target)),
            NodeKind::Sequence(children) => self.deeper(line, |converter| {
                let list: Result<Vec<Json>, YamlError> = children.iter().map(|child| converter.value(*child)).collect();
                list.map(Json::List)
            }),
            NodeKind::Mapping(children) => {
                let mut entries = Entries::new();
                self.deeper(line, |converter| converter.mapping(children, &mut entries))?;
                Ok(Json::Map(entries.into_iter().map(|(key, (_, value))| (key, value)).collect()))
            }
        }
    }

    fn mapping(&mut self, children: &[NodeId], entries: &mut Entries) -> Result<(), YamlError> {
        for pair in children.chunks(2) {
            let &[key, value] = pair else { continue };
            if matches!(self.tree.node(key).map(|node| &node.kind), Some(NodeKind::Scalar(key)) if key.is_merge()) {
                self.merge(value, entries)?;
                continue;
            }
            let (name, resolved) = self.key(key)?;
            let line = self.tree.node(value).map_or(0, |node| node.line);
            let value = self.value(value)?;
            match entries.get(&name) {
                None => {
                    entries.insert(name, (resolved, value));
                }
                Some((other, _)) if *other == resolved => {
                    self.duplicates.push(format!("line {line}: key {} already set in map", shown(&name, &resolved)));
                }
                // Upstream keeps one of them, whichever comes last in a random order.
                Some(_) => {
                    let name = String::from_utf8_lossy(&name);
                    self.duplicates.push(format!("line {line}: two keys of this map become {name:?} in JSON"));
                }
            }
        }
        Ok(())
    }

    /// A key as JSON has it, and what it was.
    fn key(&mut self, id: NodeId) -> Result<(Vec<u8>, Resolved), YamlError> {
        let Some(node) = self.tree.node(id) else { return Err(meaning(0, "no key")) };
        let line = node.line;
        self.step(line)?;
        match &node.kind {
            NodeKind::Alias(target) => self.through_alias(id, line, |converter| converter.key(*target)),
            NodeKind::Scalar(scalar) => {
                let resolved = self.scalar(id, line, scalar, true)?;
                let name = match &resolved {
                    Resolved::Text(text) => text.clone(),
                    Resolved::Bool(value) => value.to_string().into_bytes(),
                    Resolved::Int(number) => number.to_string().into_bytes(),
                    Resolved::Float(number) => float_key(*number).into_bytes(),
                    Resolved::Null => return Err(meaning(line, "unsupported map key: null")),
                    Resolved::Uint(number) => return Err(meaning(line, format!("unsupported map key: {number}"))),
                };
                Ok((name, resolved))
            }
            NodeKind::Sequence(_) | NodeKind::Mapping(_) => Err(meaning(line, "invalid map key: a list or a map")),
        }
    }

    /// Merges the mapping, or the list of mappings, that stands under `<<`.
    fn merge(&mut self, id: NodeId, entries: &mut Entries) -> Result<(), YamlError> {
        let Some(node) = self.tree.node(id) else { return Ok(()) };
        match &node.kind {
            NodeKind::Sequence(children) => {
                // Backwards, as earlier ones take precedence.
                children.iter().rev().try_for_each(|child| self.merge_one(*child, entries))
            }
            _ => self.merge_one(id, entries),
        }
    }

    fn merge_one(&mut self, id: NodeId, entries: &mut Entries) -> Result<(), YamlError> {
        let Some(node) = self.tree.node(id) else { return Ok(()) };
        let line = node.line;
        self.step(line)?;
        match &node.kind {
            NodeKind::Mapping(children) => self.deeper(line, |converter| converter.mapping(children, entries)),
            NodeKind::Alias(target) => match self.tree.node(*target).map(|node| &node.kind) {
                Some(NodeKind::Mapping(children)) => self.through_alias(id, line, |converter| {
                    converter.step(line)?;
                    converter.deeper(line, |converter| converter.mapping(children, entries))
                }),
                _ => Err(meaning(line, WANT_MAP)),
            },
            _ => Err(meaning(line, WANT_MAP)),
        }
    }

    fn scalar(&mut self, id: NodeId, line: usize, scalar: &Scalar, is_key: bool) -> Result<Resolved, YamlError> {
        let resolved = scalar::resolve(scalar).map_err(|text| meaning(line, text))?;
        if scalar.is_plain && scalar.tag.is_empty() && self.warnings.len() < MAX_WARNINGS && self.warned.insert(id) {
            self.warnings.extend(surprise(line, &scalar.text, &resolved, is_key));
        }
        Ok(resolved)
    }

    fn deeper<T>(&mut self, line: usize, run: impl FnOnce(&mut Self) -> Result<T, YamlError>) -> Result<T, YamlError> {
        if self.depth >= MAX_DEPTH {
            return Err(meaning(line, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.depth += 1;
        let outcome = run(self);
        self.depth -= 1;
        outcome
    }

    fn through_alias<T>(
        &mut self,
        id: NodeId,
        line: usize,
        run: impl FnOnce(&mut Self) -> Result<T, YamlError>,
    ) -> Result<T, YamlError> {
        if self.aliases.contains(&id) {
            return Err(meaning(line, "anchor value contains itself"));
        }
        self.aliases.push(id);
        let outcome = run(self);
        self.aliases.pop();
        outcome
    }

    /// Counts the work, most of which must not come from aliases (a bound against small files that grow without end;
    /// the figures are those of upstream's reader).
    fn step(&mut self, line: usize) -> Result<(), YamlError> {
        self.steps += 1;
        self.alias_steps += usize::from(!self.aliases.is_empty());
        let share = self.alias_steps as f64 / self.steps as f64;
        if self.alias_steps > 100 && self.steps > 1_000 && share > allowed_alias_share(self.steps) {
            return Err(meaning(line, "document contains excessive aliasing"));
        }
        Ok(())
    }
}

const WANT_MAP: &str = "map merge requires map or sequence of maps as the value";

/// How many surprises are told.
const MAX_WARNINGS: usize = 100;

fn allowed_alias_share(steps: usize) -> f64 {
    let (low, high) = (400_000.0, 4_000_000.0);
    let steps = (steps as f64).clamp(low, high);
    0.99 - 0.89 * (steps - low) / (high - low)
}

fn meaning(line: usize, text: impl Into<String>) -> YamlError {
    YamlError::Meaning { line, text: text.into() }
}

/// `None` for numbers JSON does not have.
fn json(resolved: Resolved) -> Option<Json> {
    Some(match resolved {
        Resolved::Null => Json::Null,
        Resolved::Bool(value) => Json::Bool(value),
        Resolved::Int(number) => Json::Int(number),
        Resolved::Uint(number) => Json::Uint(number),
        Resolved::Float(number) if number.is_finite() => Json::Float(number),
        Resolved::Float(_) => return None,
        Resolved::Text(text) => Json::Text(text),
    })
}

fn shown(name: &[u8], resolved: &Resolved) -> String {
    let name = String::from_utf8_lossy(name);
    if matches!(resolved, Resolved::Text(_)) { format!("{name:?}") } else { name.into_owned() }
}

/// What a plain scalar became, if that is not what most people expect.
fn surprise(line: usize, text: &str, resolved: &Resolved, is_key: bool) -> Option<Warning> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    match resolved {
        Resolved::Bool(value) if is_key => {
            let text = format!("the key {text} is read as \"{value}\"; put it in quotes if {text} is meant");
            Some(Warning::new("boolean-key", line, text))
        }
        Resolved::Bool(value) if !matches!(text.to_ascii_lowercase().as_str(), "true" | "false") => {
            let text = format!("{text} is read as {value}; put it in quotes if text is meant");
            Some(Warning::new("boolean-word", line, text))
        }
        Resolved::Int(number)
            if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            Some(Warning::new("octal-number", line, format!("{text} is read as an octal number, {number}")))
        }
        Resolved::Float(number) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(Warning::new(
                "inexact-number",
                line,
                format!("{text} is too large to be kept exactly; it becomes {number:e}"),
            ))
        }
        _ => None,
    }
}
