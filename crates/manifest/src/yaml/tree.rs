//! The nodes of the first document. Aliases point at nodes that stand before them, so nothing is copied yet.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::{MAX_DEPTH, Warning, YamlError};

/// Index of a node in its [`Tree`].
pub(super) type NodeId = usize;

/// One document.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    root: Option<NodeId>,
}

impl Tree {
    /// Whether there is no document at all.
    pub(super) fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    pub(super) fn root(&self) -> Option<NodeId> {
        self.root
    }

    pub(super) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id)
    }
}

#[derive(Debug)]
pub(super) struct Node {
    /// From 1.
    pub line: usize,
    pub kind: NodeKind,
}

#[derive(Debug)]
pub(super) enum NodeKind {
    Scalar(Scalar),
    Sequence(Vec<NodeId>),
    /// Keys and values in turn.
    Mapping(Vec<NodeId>),
    Alias(NodeId),
}

#[derive(Debug)]
pub(super) struct Scalar {
    pub text: String,
    /// The whole tag; empty if there is none.
    pub tag: String,
    /// Not in quotes and no block.
    pub is_plain: bool,
}

impl Scalar {
    /// Whether this, as a key, merges other mappings in.
    pub(super) fn is_merge(&self) -> bool {
        self.text == "<<" && (self.tag.is_empty() && self.is_plain || self.tag == "!" || self.tag == MERGE_TAG)
    }
}

const MERGE_TAG: &str = "tag:yaml.org,2002:merge";

/// Reads the first document.
pub(super) fn read(text: &str, warnings: &mut Vec<Warning>) -> Result<Tree, YamlError> {
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::default();
    loop {
        match parser.next_event() {
            None | Some(Ok((Event::StreamEnd, _))) => break,
            Some(Ok((Event::DocumentEnd, span))) => {
                if !matches!(parser.next_event(), None | Some(Ok((Event::StreamEnd, _)))) {
                    let text = "only the first document of the file counts; the rest is dropped";
                    warnings.push(Warning::new("several-documents", span.start.line(), text));
                }
                break;
            }
            Some(Ok((event, span))) => builder.take(event, span)?,
            Some(Err(error)) => return Err(syntax_error(&error)),
        }
    }
    Ok(builder.tree)
}

fn syntax_error(error: &ScanError) -> YamlError {
    let marker = error.marker();
    YamlError::Syntax { line: marker.line(), column: marker.col() + 1, text: error.info().to_owned() }
}

#[derive(Default)]
struct Builder {
    tree: Tree,
    open: Vec<NodeId>,
    anchors: BTreeMap<usize, NodeId>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), YamlError> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.map(|tag| full(&tag)).unwrap_or_default();
                let is_plain = style == ScalarStyle::Plain;
                let kind = NodeKind::Scalar(Scalar { text: text.into_owned(), tag, is_plain });
                self.add(line, kind, anchor);
            }
            Event::SequenceStart(anchor, _) => self.enter(line, NodeKind::Sequence(Vec::new()), anchor)?,
            Event::MappingStart(anchor, _) => self.enter(line, NodeKind::Mapping(Vec::new()), anchor)?,
            Event::SequenceEnd | Event::MappingEnd => {
                self.open.pop();
            }
            Event::Alias(anchor) => {
                let target = self.anchors.get(&anchor).copied();
                let Some(target) = target else {
                    return Err(YamlError::Meaning { line, text: "unknown anchor referenced".to_owned() });
                };
                self.add(line, NodeKind::Alias(target), 0);
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn enter(&mut self, line: usize, kind: NodeKind, anchor: usize) -> Result<(), YamlError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(YamlError::Meaning { line, text: format!("nested deeper than {MAX_DEPTH} levels") });
        }
        let id = self.add(line, kind, anchor);
        self.open.push(id);
        Ok(())
    }

    fn add(&mut self, line: usize, kind: NodeKind, anchor: usize) -> NodeId {
        let id = self.tree.nodes.len();
        self.tree.nodes.push(Node { line, kind });
        if anchor != 0 {
            self.anchors.insert(anchor, id);
        }
        match self.open.last().and_then(|parent| self.tree.nodes.get_mut(*parent)) {
            Some(Node { kind: NodeKind::Sequence(children) | NodeKind::Mapping(children), .. }) => children.push(id),
            _ => self.tree.root = Some(id),
        }
        id
    }
}

fn full(tag: &Tag) -> String {
    format!("{}{}", tag.handle, tag.suffix)
}
