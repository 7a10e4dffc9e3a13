//! Builds the tree of a template from its tokens.
//!
//! Each named template (`define`, `block`) has a parser of its own with three tokens of look-ahead,
//! over one lexer, as in Go: the line of a parse error is that of the token read last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ast::{Branch, List, Loop, Node, Tree};
use super::lex::{Item, Keyword, Lexer, Token};
use super::{Kind, ParseError, quote};

/// Nested blocks and parentheses. Go allows 10,000 parentheses on a stack that grows.
const MAX_DEPTH: usize = 100;

/// Variables in scope at the same time: each use of one goes through them.
pub(super) const MAX_VARIABLES: usize = 1_000;

/// Named templates by name.
pub(super) type Trees = BTreeMap<Box<[u8]>, Arc<Tree>>;

/// What all parsers of a template share.
pub(super) struct Shared<'s> {
    source: &'s [u8],
    lexer: Lexer<'s>,
    pub(super) kind: Kind,
    trees: Trees,
    /// Names of trees that hold something.
    filled: BTreeSet<Box<[u8]>>,
    depth: usize,
}

/// The parser of one named template.
pub(super) struct Parser<'p, 's> {
    pub(super) shared: &'p mut Shared<'s>,
    tokens: [Item<'s>; 3],
    ahead: usize,
    /// Variables in scope, with their `$`.
    pub(super) variables: Vec<Box<str>>,
    /// Line of the left delimiter of the current action; 0 between actions.
    action_line: usize,
    range_depth: usize,
}

/// A node, or the word that ends a list of nodes.
enum Parsed {
    Node(Node),
    End,
    Else,
}

impl Parsed {
    fn word(&self) -> &'static str {
        match self {
            Parsed::Else => "{{else}}",
            _ => "{{end}}",
        }
    }
}

/// Parses a template; the main text goes by the name `data`.
pub(super) fn parse(source: &[u8], kind: Kind) -> Result<Trees, ParseError> {
    let mut shared =
        Shared { source, lexer: Lexer::new(source), kind, trees: BTreeMap::new(), filled: BTreeSet::new(), depth: 0 };
    Parser::new(&mut shared).main()?;
    Ok(shared.trees)
}

/// Name of the main text.
pub(super) const MAIN: &[u8] = b"data";

impl<'p, 's> Parser<'p, 's> {
    fn new(shared: &'p mut Shared<'s>) -> Self {
        let nothing = || Item { token: Token::Error, pos: 0, text: b"".into(), line: 0 };
        Self {
            shared,
            tokens: [nothing(), nothing(), nothing()],
            ahead: 0,
            variables: vec!["$".into()],
            action_line: 0,
            range_depth: 0,
        }
    }

    /// A parser for a template inside this one.
    fn inner(&mut self) -> Parser<'_, 's> {
        Parser::new(&mut *self.shared)
    }

    // Tokens.

    pub(super) fn next(&mut self) -> Item<'s> {
        if self.ahead > 0 {
            self.ahead -= 1;
        } else {
            self.tokens[0] = self.shared.lexer.next_item();
        }
        self.current()
    }

    fn current(&self) -> Item<'s> {
        self.tokens.get(self.ahead).unwrap_or(&self.tokens[0]).clone()
    }

    pub(super) fn backup(&mut self) {
        self.ahead += 1;
    }

    /// Takes two tokens back, the later of which is still there.
    pub(super) fn backup2(&mut self, first: Item<'s>) {
        self.tokens[1] = first;
        self.ahead = 2;
    }

    /// Takes three tokens back, the latest of which is still there.
    pub(super) fn backup3(&mut self, first: Item<'s>, second: Item<'s>) {
        self.tokens[1] = second;
        self.tokens[2] = first;
        self.ahead = 3;
    }

    pub(super) fn peek(&mut self) -> Item<'s> {
        let item = self.next();
        self.backup();
        item
    }

    pub(super) fn next_non_space(&mut self) -> Item<'s> {
        loop {
            let item = self.next();
            if item.token != Token::Space {
                return item;
            }
        }
    }

    pub(super) fn peek_non_space(&mut self) -> Item<'s> {
        let item = self.next_non_space();
        self.backup();
        item
    }

    // Errors.

    pub(super) fn error<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError { line: self.tokens[0].line, message: message.into() })
    }

    pub(super) fn unexpected<T>(&self, item: &Item<'s>, context: &str) -> Result<T, ParseError> {
        if item.token != Token::Error {
            return self.error(format!("unexpected {} in {context}", item.describe()));
        }
        let message = item.describe();
        let line = self.action_line;
        if line == 0 || line == item.line {
            return self.error(message);
        }
        let action = if message.ends_with(" action") { "" } else { " in action" };
        self.error(format!("{message}{action} started at data:{line}"))
    }

    pub(super) fn enter(&mut self) -> Result<(), ParseError> {
        if self.shared.depth >= MAX_DEPTH {
            return self.error("max expression depth exceeded");
        }
        self.shared.depth += 1;
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.shared.depth -= 1;
    }

    // Templates.

    fn main(&mut self) -> Result<(), ParseError> {
        let mut root = List::default();
        loop {
            let item = self.peek();
            if item.token == Token::End {
                break;
            }
            if item.token == Token::LeftDelim {
                let delim = self.next();
                if self.next_non_space().token == Token::Keyword(Keyword::Define) {
                    self.inner().definition()?;
                    continue;
                }
                self.backup2(delim);
            }
            match self.text_or_action()? {
                Parsed::Node(node) => root.nodes.push(node),
                word => return self.error(format!("unexpected {}", word.word())),
            }
        }
        self.add(MAIN.into(), root)
    }

    /// `{{define "name"}}`, the word `define` being past.
    fn definition(&mut self) -> Result<(), ParseError> {
        const CONTEXT: &str = "define clause";
        let item = self.next_non_space();
        let name = self.template_name(&item, CONTEXT)?;
        self.right_delim(CONTEXT)?;
        self.enter()?;
        let (root, word) = self.item_list()?;
        self.leave();
        if !matches!(word, Parsed::End) {
            return self.error(format!("unexpected {} in {CONTEXT}", word.word()));
        }
        self.add(name, root)
    }

    /// Keeps a tree under its name. A blank one gives way to another.
    fn add(&mut self, name: Box<[u8]>, root: List) -> Result<(), ParseError> {
        let is_blank = is_blank(&root, self.shared.source);
        if self.shared.filled.contains(&name) {
            if is_blank {
                return Ok(());
            }
            return self.error(format!("template: multiple definition of template {}", quote::to_string(&name)));
        }
        if !is_blank {
            self.shared.filled.insert(name.clone());
        }
        self.shared.trees.insert(name.clone(), Arc::new(Tree { name, root }));
        Ok(())
    }

    fn template_name(&mut self, item: &Item<'s>, context: &str) -> Result<Box<[u8]>, ParseError> {
        if !matches!(item.token, Token::String | Token::RawString) {
            return self.unexpected(item, context);
        }
        quote::unquote(&item.text).map_or_else(|| self.error("invalid syntax"), |name| Ok(name.into()))
    }

    // Nodes.

    /// Nodes up to an `end` or `else`, which is returned with them.
    fn item_list(&mut self) -> Result<(List, Parsed), ParseError> {
        let mut list = List::default();
        while self.peek_non_space().token != Token::End {
            match self.text_or_action()? {
                Parsed::Node(node) => list.nodes.push(node),
                word => return Ok((list, word)),
            }
        }
        self.error("unexpected EOF")
    }

    fn text_or_action(&mut self) -> Result<Parsed, ParseError> {
        let item = self.next_non_space();
        match item.token {
            Token::Text => Ok(Parsed::Node(Node::Text(item.pos..item.pos + item.text.len()))),
            Token::LeftDelim => {
                self.action_line = item.line;
                let parsed = self.action();
                self.action_line = 0;
                parsed
            }
            _ => self.unexpected(&item, "input"),
        }
    }

    fn action(&mut self) -> Result<Parsed, ParseError> {
        let item = self.next_non_space();
        let Token::Keyword(keyword) = item.token else { return self.plain_action() };
        let node = match keyword {
            Keyword::Block => self.block()?,
            Keyword::Break => self.loop_word(Node::Break, "{{break}}")?,
            Keyword::Continue => self.loop_word(Node::Continue, "{{continue}}")?,
            Keyword::Else => {
                if matches!(self.peek_non_space().token, Token::Keyword(Keyword::If | Keyword::With)) {
                    // Left for the parser of the branch.
                    return Ok(Parsed::Else);
                }
                self.right_delim("else")?;
                return Ok(Parsed::Else);
            }
            Keyword::EndBlock => {
                self.right_delim("end")?;
                return Ok(Parsed::End);
            }
            Keyword::If => Node::If(self.branch(Keyword::If)?),
            Keyword::With => Node::With(self.branch(Keyword::With)?),
            Keyword::Range => Node::Range(Box::new(self.range()?)),
            Keyword::Template => self.invocation()?,
            Keyword::Define | Keyword::Dot | Keyword::Nil => return self.plain_action(),
        };
        Ok(Parsed::Node(node))
    }

    /// A pipeline, its first token being the one just read.
    fn plain_action(&mut self) -> Result<Parsed, ParseError> {
        self.backup();
        let pos = self.peek().pos;
        let pipe = self.pipeline("command", Token::RightDelim)?;
        Ok(Parsed::Node(Node::Action { pos, pipe }))
    }

    fn right_delim(&mut self, context: &str) -> Result<(), ParseError> {
        let item = self.next_non_space();
        if item.token == Token::RightDelim { Ok(()) } else { self.unexpected(&item, context) }
    }

    fn loop_word(&mut self, node: Node, word: &str) -> Result<Node, ParseError> {
        self.right_delim(word)?;
        if self.range_depth == 0 {
            return self.error(format!("{word} outside {{{{range}}}}"));
        }
        Ok(node)
    }

    /// `if` or `with`, with all `else if` or `else with` after it.
    fn branch(&mut self, keyword: Keyword) -> Result<Branch, ParseError> {
        let context = if keyword == Keyword::If { "if" } else { "with" };
        let scope = self.variables.len();
        let mut arms = Vec::new();
        self.enter()?;
        let otherwise = loop {
            let pipe = self.pipeline(context, Token::RightDelim)?;
            let (list, word) = self.item_list()?;
            arms.push((pipe, list));
            if !matches!(word, Parsed::Else) {
                break None;
            }
            if self.peek().token == Token::Keyword(keyword) {
                self.next();
                continue;
            }
            break Some(self.last_list()?);
        };
        self.leave();
        self.variables.truncate(scope);
        Ok(Branch { arms, otherwise })
    }

    fn range(&mut self) -> Result<Loop, ParseError> {
        let scope = self.variables.len();
        self.enter()?;
        let pipe = self.pipeline("range", Token::RightDelim)?;
        self.range_depth += 1;
        let (body, word) = self.item_list()?;
        self.range_depth -= 1;
        let otherwise = if matches!(word, Parsed::Else) { Some(self.last_list()?) } else { None };
        self.leave();
        self.variables.truncate(scope);
        Ok(Loop { pipe, body, otherwise })
    }

    /// The nodes after an `else`.
    fn last_list(&mut self) -> Result<List, ParseError> {
        match self.item_list()? {
            (list, Parsed::End) => Ok(list),
            (_, word) => self.error(format!("expected end; found {}", word.word())),
        }
    }

    fn block(&mut self) -> Result<Node, ParseError> {
        const CONTEXT: &str = "block clause";
        let item = self.next_non_space();
        let name = self.template_name(&item, CONTEXT)?;
        let pipe = self.pipeline(CONTEXT, Token::RightDelim)?;
        self.enter()?;
        let mut inner = self.inner();
        let (root, word) = inner.item_list()?;
        if !matches!(word, Parsed::End) {
            return self.error(format!("unexpected {} in {CONTEXT}", word.word()));
        }
        inner.add(name.clone(), root)?;
        self.leave();
        Ok(Node::Template { pos: item.pos, name, pipe: Some(pipe) })
    }

    fn invocation(&mut self) -> Result<Node, ParseError> {
        const CONTEXT: &str = "template clause";
        let item = self.next_non_space();
        let name = self.template_name(&item, CONTEXT)?;
        let pipe = if self.next_non_space().token == Token::RightDelim {
            None
        } else {
            self.backup();
            Some(self.pipeline(CONTEXT, Token::RightDelim)?)
        };
        Ok(Node::Template { pos: item.pos, name, pipe })
    }
}

/// Nothing but blanks (in Go's wide sense) between comments.
fn is_blank(list: &List, source: &[u8]) -> bool {
    list.nodes.iter().all(|node| match node {
        Node::Text(range) => {
            let text = source.get(range.clone()).unwrap_or_default();
            std::str::from_utf8(text).is_ok_and(|text| text.chars().all(is_white))
        }
        _ => false,
    })
}

/// Go's `unicode.IsSpace`.
fn is_white(c: char) -> bool {
    c.is_whitespace()
}
