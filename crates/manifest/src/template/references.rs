//! Which secrets a template may use, found without executing it.
//!
//! A secret can be reached only through a field named `Secrets`, so every such field in the text is
//! looked at. Where it is not followed by a constant name, all secrets count as used; where it is not
//! clear whether the current or the previous ones are meant, both do. So the answer may hold too much,
//! never too little.

use std::collections::BTreeSet;

use super::ast::{List, Node, Operand, Pipe, Term, Tree};
use super::builtin::Func;

/// The secrets a template may use. Names need not be defined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// `.Secrets.NAME`
    pub secrets: BTreeSet<String>,
    /// `.Previous.Secrets.NAME`
    pub previous_secrets: BTreeSet<String>,
    /// `.Secrets` as a whole.
    pub all_secrets: bool,
    /// `.Previous.Secrets` as a whole.
    pub all_previous_secrets: bool,
}

impl References {
    /// Whether the current generation of a secret may be used.
    #[must_use]
    pub fn uses(&self, name: &str) -> bool {
        self.all_secrets || self.secrets.contains(name)
    }

    /// Whether the previous generation of a secret may be used.
    #[must_use]
    pub fn uses_previous(&self, name: &str) -> bool {
        self.all_previous_secrets || self.previous_secrets.contains(name)
    }

    /// Adds the references of another template.
    pub fn merge(&mut self, other: &References) {
        self.secrets.extend(other.secrets.iter().cloned());
        self.previous_secrets.extend(other.previous_secrets.iter().cloned());
        self.all_secrets |= other.all_secrets;
        self.all_previous_secrets |= other.all_previous_secrets;
    }
}

/// The references of a main text and all templates in it.
pub(super) fn of<'t>(main: &Tree, trees: impl Iterator<Item = &'t Tree>) -> References {
    let mut references = References::default();
    let named: Vec<&Tree> = trees.filter(|tree| tree.name != main.name).collect();
    // The main text can be called by its name, with another dot.
    let everything = || named.iter().copied().chain([main]);
    let root = !everything().any(|tree| calls(&tree.root, &main.name));
    Scan { found: &mut references, root_variable: root }.list(&main.root, root);
    for tree in named {
        Scan { found: &mut references, root_variable: false }.list(&tree.root, false);
    }
    references
}

/// Whether a template of that name is invoked anywhere in a list.
fn calls(list: &List, wanted: &[u8]) -> bool {
    let maybe = |list: &Option<List>| list.as_ref().is_some_and(|list| calls(list, wanted));
    list.nodes.iter().any(|node| match node {
        Node::Template { name, .. } => **name == *wanted,
        Node::If(branch) | Node::With(branch) => {
            branch.arms.iter().any(|(_, list)| calls(list, wanted)) || maybe(&branch.otherwise)
        }
        Node::Range(branch) => calls(&branch.body, wanted) || maybe(&branch.otherwise),
        _ => false,
    })
}

struct Scan<'r> {
    found: &'r mut References,
    /// `$` is the data as a whole.
    root_variable: bool,
}

/// Which generation a field `Secrets` leads to.
#[derive(Clone, Copy)]
enum Generation {
    Current,
    Previous,
    Unknown,
}

impl Scan<'_> {
    /// `root` says that the dot is the data as a whole.
    fn list(&mut self, list: &List, root: bool) {
        for node in &list.nodes {
            match node {
                Node::Text(_) | Node::Break | Node::Continue => {}
                Node::Action { pipe, .. } => self.pipe(pipe, root),
                Node::If(branch) | Node::With(branch) => {
                    let inner = root && matches!(node, Node::If(_));
                    for (pipe, list) in &branch.arms {
                        self.pipe(pipe, root);
                        self.list(list, inner);
                    }
                    branch.otherwise.iter().for_each(|list| self.list(list, root));
                }
                Node::Range(branch) => {
                    self.pipe(&branch.pipe, root);
                    self.list(&branch.body, false);
                    branch.otherwise.iter().for_each(|list| self.list(list, root));
                }
                Node::Template { pipe, .. } => pipe.iter().for_each(|pipe| self.pipe(pipe, root)),
            }
        }
    }

    fn pipe(&mut self, pipe: &Pipe, root: bool) {
        for command in &pipe.commands {
            let mut arguments = command.arguments.as_slice();
            if let (Term::Function(Func::Index), [item, name, ..]) = (&command.first.term, arguments) {
                self.operand(item, root, constant(name));
                arguments = arguments.get(1..).unwrap_or_default();
            }
            self.operand(&command.first, root, None);
            arguments.iter().for_each(|argument| self.operand(argument, root, None));
        }
    }

    /// `index` is the constant this operand is indexed with.
    fn operand(&mut self, operand: &Operand, root: bool, index: Option<&[u8]>) {
        match &operand.term {
            Term::Field(fields) => self.fields(fields, root, index),
            Term::Variable(name, fields) => self.fields(fields, self.root_variable && **name == *"$", index),
            Term::Chain(operand, fields) => {
                self.operand(operand, root, None);
                self.fields(fields, false, index);
            }
            Term::Pipe(pipe) => self.pipe(pipe, root),
            _ => {}
        }
    }

    fn fields(&mut self, fields: &[Box<str>], root: bool, index: Option<&[u8]>) {
        let mut before = None;
        let mut rest = fields.iter();
        while let Some(field) = rest.next() {
            if **field != *"Secrets" {
                before = Some(&**field);
                continue;
            }
            let generation = match before {
                None if root => Generation::Current,
                Some("SecretsWrapper") => Generation::Current,
                Some("Previous") => Generation::Previous,
                _ => Generation::Unknown,
            };
            match rest.next() {
                Some(name) => self.add(generation, name),
                None => match index {
                    // A name that is no text is nobody's.
                    Some(name) => std::str::from_utf8(name).into_iter().for_each(|name| self.add(generation, name)),
                    None => self.add_all(generation),
                },
            }
            before = None;
        }
    }

    fn add(&mut self, generation: Generation, name: &str) {
        if !matches!(generation, Generation::Previous) {
            self.found.secrets.insert(name.to_owned());
        }
        if !matches!(generation, Generation::Current) {
            self.found.previous_secrets.insert(name.to_owned());
        }
    }

    fn add_all(&mut self, generation: Generation) {
        self.found.all_secrets |= !matches!(generation, Generation::Previous);
        self.found.all_previous_secrets |= !matches!(generation, Generation::Current);
    }
}

fn constant(operand: &Operand) -> Option<&[u8]> {
    match &operand.term {
        Term::Text { value, .. } => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::References;
    use crate::template::{Kind, Template};

    fn references(template: &str) -> References {
        Template::parse(template.as_bytes(), Kind::File).unwrap().references().clone()
    }

    /// As `current names | previous names`, `*` for all.
    fn shown(template: &str) -> String {
        let found = references(template);
        let list = |names: &std::collections::BTreeSet<String>, all: bool| {
            let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
            names.extend(all.then_some("*"));
            names.join(" ")
        };
        let (current, previous) =
            (list(&found.secrets, found.all_secrets), list(&found.previous_secrets, found.all_previous_secrets));
        format!("{current}|{previous}")
    }

    #[test]
    fn names_are_found_wherever_they_stand() {
        for (template, expected) in [
            ("no secret {{ pem .MarbleRun.RootCA.Cert }}", "|"),
            ("{{ hex .Secrets.a }}{{ pem .Secrets.b.Cert }}", "a b|"),
            ("{{ hex .Previous.Secrets.a }}", "|a"),
            ("{{ hex .SecretsWrapper.Secrets.a }}", "a|"),
            ("{{ hex (index .Secrets \"a-b\") }}{{ (index .Previous.Secrets \"c\").Size }}", "a-b|c"),
            ("{{ $x := .Secrets.a }}{{ hex $x }}", "a|"),
            ("{{ if .Secrets.a }}{{ hex .Secrets.b }}{{ else }}{{ hex .Secrets.c }}{{ end }}", "a b c|"),
            ("{{ range 3 }}{{ hex $.Secrets.a }}{{ end }}", "a|"),
            ("{{ .Secrets.a | hex }}{{ print (hex .Secrets.b) (.Secrets.c.Private | hex) }}", "a b c|"),
            ("{{ index .Secrets \"\\xff\" }}", "|"),
        ] {
            assert_eq!(shown(template), expected, "{template}");
        }
    }

    #[test]
    fn what_is_not_clear_counts_as_used() {
        for (template, expected) in [
            ("{{ range .Secrets }}{{ end }}", "*|"),
            ("{{ len .Previous.Secrets }}", "|*"),
            ("{{ index .Secrets (print \"a\") }}", "*|"),
            ("{{ \"a\" | index .Secrets }}", "*|"),
            ("{{ $s := .Secrets }}{{ hex $s.a }}", "*|"),
            ("{{ with .Previous }}{{ hex .Secrets.a }}{{ end }}", "a|a"),
            ("{{ $p := .Previous }}{{ hex $p.Secrets.a }}{{ range $p.Secrets }}{{ end }}", "a *|a *"),
            (
                "{{ define \"T\" }}{{ hex .Secrets.a }}{{ hex $.Secrets.b }}{{ end }}{{ template \"T\" .Previous }}",
                "a b|a b",
            ),
            ("{{ block \"T\" .Previous }}{{ hex .Secrets.a }}{{ end }}", "a|a"),
            ("{{ hex .Secrets.a }}{{ if 0 }}{{ template \"data\" .Previous }}{{ end }}", "a|a"),
            ("{{ (print 1).Secrets.a }}", "a|a"),
        ] {
            assert_eq!(shown(template), expected, "{template}");
        }
    }

    #[test]
    fn a_name_is_looked_up_with_or_without_all() {
        let some = references("{{ hex .Secrets.a }}{{ len .Previous.Secrets }}");
        assert!(some.uses("a") && !some.uses("b") && some.uses_previous("b"));
        let mut merged = references("{{ hex .Secrets.b }}");
        merged.merge(&some);
        assert!(merged.uses("a") && merged.uses("b") && merged.all_previous_secrets);
    }
}
