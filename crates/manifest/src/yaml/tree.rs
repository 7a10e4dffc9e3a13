//! The nodes of the first document. Aliases point at nodes that stand before them, so nothing is copied yet.

use std::collections::BTreeMap;

use super::scanner::{Scanner, TokenKind};
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
    let prefixes =
        BTreeMap::from([("!".to_owned(), "!".to_owned()), ("!!".to_owned(), "tag:yaml.org,2002:".to_owned())]);
    let mut reader =
        Reader { scanner: Scanner::new(text), tree: Tree::default(), anchors: BTreeMap::new(), prefixes, depth: 0 };
    reader.tree.root = reader.document()?;
    let end = reader.scanner.peek()?;
    let line = end.mark.line;
    if end.kind == TokenKind::DocumentEnd {
        reader.scanner.next()?;
    }
    // What follows is not read, so it need not even be YAML.
    if !reader.scanner.peek().is_ok_and(|token| token.kind == TokenKind::End) {
        let text = "only the first document of the file counts; the rest is dropped";
        warnings.push(Warning::new("several-documents", line, text));
    }
    Ok(reader.tree)
}

struct Reader {
    scanner: Scanner,
    tree: Tree,
    anchors: BTreeMap<String, NodeId>,
    /// Tag handle to what it stands for.
    prefixes: BTreeMap<String, String>,
    depth: usize,
}

/// Anchor, tag and place of a node.
struct Properties {
    anchor: Option<String>,
    tag: String,
    line: usize,
}

impl Reader {
    fn next_is(&mut self, kinds: &[TokenKind]) -> Result<bool, YamlError> {
        Ok(kinds.contains(&self.scanner.peek()?.kind))
    }

    fn line(&mut self) -> Result<usize, YamlError> {
        Ok(self.scanner.peek()?.mark.line)
    }

    fn document(&mut self) -> Result<Option<NodeId>, YamlError> {
        let is_explicit = self.directives()?;
        if !is_explicit && self.next_is(&[TokenKind::End])? {
            return Ok(None);
        }
        if is_explicit {
            let token = self.scanner.next()?;
            if token.kind != TokenKind::DocumentStart {
                return Err(token.mark.error("did not find expected <document start>"));
            }
            let line = self.line()?;
            if matches!(
                self.scanner.peek()?.kind,
                TokenKind::Version(_)
                    | TokenKind::TagPrefix(..)
                    | TokenKind::DocumentStart
                    | TokenKind::DocumentEnd
                    | TokenKind::End
            ) {
                return Ok(Some(self.empty(line)));
            }
        }
        self.node(true, false).map(Some)
    }

    /// Directives before the document; `true` if there are any, or the document starts with `---`.
    fn directives(&mut self) -> Result<bool, YamlError> {
        let mut has_version = false;
        let mut handles = Vec::new();
        loop {
            let token = self.scanner.peek()?;
            let mark = token.mark;
            match token.kind.clone() {
                TokenKind::Version(_) if has_version => return Err(mark.error("found duplicate %YAML directive")),
                TokenKind::Version(false) => return Err(mark.error("found incompatible YAML document")),
                TokenKind::Version(true) => has_version = true,
                TokenKind::TagPrefix(handle, _) if handles.contains(&handle) => {
                    return Err(mark.error("found duplicate %TAG directive"));
                }
                TokenKind::TagPrefix(handle, prefix) => {
                    handles.push(handle.clone());
                    self.prefixes.insert(handle, prefix);
                }
                kind => return Ok(has_version || !handles.is_empty() || kind == TokenKind::DocumentStart),
            }
            self.scanner.next()?;
        }
    }

    /// A node with everything inside it. `indentless`: a sequence may stand at the column of the key before it.
    fn node(&mut self, block: bool, indentless: bool) -> Result<NodeId, YamlError> {
        let start = self.scanner.peek()?.mark;
        if self.depth >= MAX_DEPTH {
            return Err(YamlError::Meaning {
                line: start.line,
                text: format!("nested deeper than {MAX_DEPTH} levels"),
            });
        }
        self.depth += 1;
        let node = self.node_here(block, indentless);
        self.depth -= 1;
        node
    }

    fn node_here(&mut self, block: bool, indentless: bool) -> Result<NodeId, YamlError> {
        let token = self.scanner.peek()?;
        let start = token.mark;
        if let TokenKind::Alias(name) = &token.kind {
            let target = self.anchors.get(name).copied().ok_or_else(|| YamlError::Meaning {
                line: start.line,
                text: format!("unknown anchor '{name}' referenced"),
            })?;
            self.scanner.next()?;
            return Ok(self.add(start.line, NodeKind::Alias(target)));
        }
        let properties = self.properties()?;
        let kind = self.scanner.peek()?.kind.clone();
        match kind {
            TokenKind::BlockEntry if indentless => self.indentless_sequence(properties),
            TokenKind::Scalar { text, is_plain } => {
                self.scanner.next()?;
                Ok(self.scalar(properties, text, is_plain))
            }
            TokenKind::FlowSequence => self.flow_sequence(properties),
            TokenKind::FlowMapping => self.flow_mapping(properties),
            TokenKind::BlockSequence if block => self.block_sequence(properties),
            TokenKind::BlockMapping if block => self.block_mapping(properties),
            _ if properties.anchor.is_some() || !properties.tag.is_empty() => {
                Ok(self.scalar(properties, String::new(), true))
            }
            _ => Err(self.scanner.peek()?.mark.error("did not find expected node content")),
        }
    }

    fn properties(&mut self) -> Result<Properties, YamlError> {
        let line = self.line()?;
        let mut properties = Properties { anchor: None, tag: String::new(), line };
        let mut tag = None;
        loop {
            let token = self.scanner.peek()?;
            match token.kind.clone() {
                TokenKind::Anchor(name) if properties.anchor.is_none() => properties.anchor = Some(name),
                TokenKind::Tag(handle, suffix) if tag.is_none() => tag = Some((handle, suffix, token.mark)),
                _ => break,
            }
            self.scanner.next()?;
        }
        if let Some((handle, suffix, mark)) = tag {
            let prefix = match handle.as_str() {
                "" => "",
                handle => self.prefixes.get(handle).ok_or_else(|| mark.error("found undefined tag handle"))?,
            };
            properties.tag = format!("{prefix}{suffix}");
        }
        Ok(properties)
    }

    fn add(&mut self, line: usize, kind: NodeKind) -> NodeId {
        self.tree.nodes.push(Node { line, kind });
        self.tree.nodes.len() - 1
    }

    fn scalar(&mut self, properties: Properties, text: String, is_plain: bool) -> NodeId {
        let scalar = Scalar { text, tag: properties.tag, is_plain };
        let id = self.add(properties.line, NodeKind::Scalar(scalar));
        if let Some(anchor) = properties.anchor {
            self.anchors.insert(anchor, id);
        }
        id
    }

    fn empty(&mut self, line: usize) -> NodeId {
        self.scalar(Properties { anchor: None, tag: String::new(), line }, String::new(), true)
    }

    /// Adds a collection before its children, so that its anchor is known among them.
    fn collection(&mut self, properties: Properties, kind: NodeKind) -> NodeId {
        let id = self.add(properties.line, kind);
        if let Some(anchor) = properties.anchor {
            self.anchors.insert(anchor, id);
        }
        id
    }

    fn push(&mut self, parent: NodeId, child: NodeId) {
        if let Some(Node { kind: NodeKind::Sequence(children) | NodeKind::Mapping(children), .. }) =
            self.tree.nodes.get_mut(parent)
        {
            children.push(child);
        }
    }

    /// A node, or an empty one if the next token is one of those that end it.
    fn node_unless(&mut self, ends: &[TokenKind], block: bool, line: usize) -> Result<NodeId, YamlError> {
        if self.next_is(ends)? { Ok(self.empty(line)) } else { self.node(block, block) }
    }

    fn block_sequence(&mut self, properties: Properties) -> Result<NodeId, YamlError> {
        self.scanner.next()?;
        let id = self.collection(properties, NodeKind::Sequence(Vec::new()));
        loop {
            let token = self.scanner.next()?;
            match token.kind {
                TokenKind::BlockEntry if self.next_is(&[TokenKind::BlockEntry, TokenKind::BlockEnd])? => {
                    let child = self.empty(token.mark.line);
                    self.push(id, child);
                }
                TokenKind::BlockEntry => {
                    let child = self.node(true, false)?;
                    self.push(id, child);
                }
                TokenKind::BlockEnd => return Ok(id),
                _ => return Err(token.mark.error("did not find expected '-' indicator")),
            }
        }
    }

    fn indentless_sequence(&mut self, properties: Properties) -> Result<NodeId, YamlError> {
        let id = self.collection(properties, NodeKind::Sequence(Vec::new()));
        while self.next_is(&[TokenKind::BlockEntry])? {
            let line = self.scanner.next()?.mark.line;
            let ends = [TokenKind::BlockEntry, TokenKind::Key, TokenKind::Value, TokenKind::BlockEnd];
            let child = if self.next_is(&ends)? { self.empty(line) } else { self.node(true, false)? };
            self.push(id, child);
        }
        Ok(id)
    }

    fn block_mapping(&mut self, properties: Properties) -> Result<NodeId, YamlError> {
        const ENDS: [TokenKind; 3] = [TokenKind::Key, TokenKind::Value, TokenKind::BlockEnd];
        self.scanner.next()?;
        let id = self.collection(properties, NodeKind::Mapping(Vec::new()));
        loop {
            let token = self.scanner.next()?;
            match token.kind {
                TokenKind::Key => {}
                TokenKind::BlockEnd => return Ok(id),
                _ => return Err(token.mark.error("did not find expected key")),
            }
            let key = self.node_unless(&ENDS, true, token.mark.line)?;
            let line = self.line()?;
            let value = if self.next_is(&[TokenKind::Value])? {
                self.scanner.next()?;
                self.node_unless(&ENDS, true, line)?
            } else {
                self.empty(line)
            };
            self.push(id, key);
            self.push(id, value);
        }
    }

    fn flow_sequence(&mut self, properties: Properties) -> Result<NodeId, YamlError> {
        self.scanner.next()?;
        let id = self.collection(properties, NodeKind::Sequence(Vec::new()));
        let mut is_first = true;
        loop {
            if !is_first && !self.next_is(&[TokenKind::FlowSequenceEnd])? {
                let token = self.scanner.next()?;
                if token.kind != TokenKind::FlowEntry {
                    return Err(token.mark.error("did not find expected ',' or ']'"));
                }
            }
            is_first = false;
            let child = match self.scanner.peek()?.kind {
                TokenKind::FlowSequenceEnd => {
                    self.scanner.next()?;
                    return Ok(id);
                }
                TokenKind::Key => self.flow_pair()?,
                _ => self.node(false, false)?,
            };
            self.push(id, child);
        }
    }

    /// A mapping of one pair without braces, in a flow sequence.
    fn flow_pair(&mut self) -> Result<NodeId, YamlError> {
        const ENDS: [TokenKind; 2] = [TokenKind::FlowEntry, TokenKind::FlowSequenceEnd];
        let line = self.scanner.next()?.mark.line;
        let id = self.add(line, NodeKind::Mapping(Vec::new()));
        let has_key =
            !matches!(self.scanner.peek()?.kind, TokenKind::Value | TokenKind::FlowEntry | TokenKind::FlowSequenceEnd);
        let key = if has_key {
            self.node(false, false)?
        } else {
            // Upstream's reader drops a token here.
            self.scanner.next()?;
            self.empty(line)
        };
        let line = self.line()?;
        let value = if self.next_is(&[TokenKind::Value])? {
            self.scanner.next()?;
            self.node_unless(&ENDS, false, line)?
        } else {
            self.empty(line)
        };
        self.push(id, key);
        self.push(id, value);
        Ok(id)
    }

    fn flow_mapping(&mut self, properties: Properties) -> Result<NodeId, YamlError> {
        const ENDS: [TokenKind; 3] = [TokenKind::Value, TokenKind::FlowEntry, TokenKind::FlowMappingEnd];
        self.scanner.next()?;
        let id = self.collection(properties, NodeKind::Mapping(Vec::new()));
        let mut is_first = true;
        loop {
            if !is_first && !self.next_is(&[TokenKind::FlowMappingEnd])? {
                let token = self.scanner.next()?;
                if token.kind != TokenKind::FlowEntry {
                    return Err(token.mark.error("did not find expected ',' or '}'"));
                }
            }
            is_first = false;
            let line = self.line()?;
            let (key, value) = match self.scanner.peek()?.kind {
                TokenKind::FlowMappingEnd => {
                    self.scanner.next()?;
                    return Ok(id);
                }
                TokenKind::Key => {
                    self.scanner.next()?;
                    let key = self.node_unless(&ENDS, false, line)?;
                    (key, self.flow_value()?)
                }
                _ => {
                    let key = self.node(false, false)?;
                    let line = self.line()?;
                    (key, self.empty(line))
                }
            };
            self.push(id, key);
            self.push(id, value);
        }
    }

    fn flow_value(&mut self) -> Result<NodeId, YamlError> {
        const ENDS: [TokenKind; 2] = [TokenKind::FlowEntry, TokenKind::FlowMappingEnd];
        let line = self.line()?;
        if !self.next_is(&[TokenKind::Value])? {
            return Ok(self.empty(line));
        }
        self.scanner.next()?;
        self.node_unless(&ENDS, false, line)
    }
}
