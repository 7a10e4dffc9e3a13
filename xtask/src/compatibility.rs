//! The table of what the original has and how it is here: written from `docs/compatibility.toml`, and held against the
//! tests that it names and the pages that it speaks of, so that it cannot claim what is not so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

const DATA: &str = "docs/compatibility.toml";
const PAGE: &str = "docs/src/reference/compatibility.md";

/// Writes the page.
pub fn write(root: &Path) -> Result<()> {
    let table = Table::read(root)?;
    let wrong = table.check(root);
    ensure!(wrong.is_empty(), "{DATA} says what is not so:\n{}", wrong.join("\n"));
    fs::write(root.join(PAGE), table.render()?).with_context(|| format!("writing {PAGE}"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    section: Vec<Section>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    title: String,
    #[serde(default)]
    text: String,
    /// Where names of rows are looked up.
    page: Option<String>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    item: String,
    is: Is,
    #[serde(default)]
    seen: bool,
    #[serde(default)]
    note: String,
    #[serde(default)]
    tests: Vec<String>,
    name: Option<String>,
    command: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Is {
    Same,
    Better,
    Unsupported,
}

impl Is {
    fn claims(self) -> bool {
        matches!(self, Self::Same | Self::Better)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Better => "better",
            Self::Unsupported => "not supported",
        }
    }
}

impl Table {
    fn read(root: &Path) -> Result<Self> {
        let text = fs::read_to_string(root.join(DATA)).with_context(|| format!("reading {DATA}"))?;
        toml::from_str(&text).with_context(|| format!("reading {DATA}"))
    }

    fn rows(&self) -> impl Iterator<Item = (&Section, &Row)> {
        self.section.iter().flat_map(|section| section.rows.iter().map(move |row| (section, row)))
    }

    /// What is claimed and not so.
    fn check(&self, root: &Path) -> Vec<String> {
        let mut files = Files { root, read: BTreeMap::new() };
        let mut wrong = Vec::new();
        for (section, row) in self.rows() {
            let found = check_tests(row, &mut files).into_iter().chain(check_name(section, row, &mut files));
            wrong.extend(found.map(|what| format!("{}: {}: {what}", section.title, row.item)));
        }
        wrong
    }

    fn render(&self) -> Result<String> {
        let mut page = String::from(
            "# Compatibility\n\n<!-- Made by `cargo xtask docs` from docs/compatibility.toml; a test compares it with that. -->\n\n\
             What the original MarbleRun 1.9 has, and how it is here. *Same*: its clients, scripts and operators see no \
             difference. *Better*: they see the one that is told. Every such row names the tests that prove it; they \
             run with every change.\n\n\
             No program of the original was ever run together with one of this project. A tick in the third column means that \
             what the tests expect was observed on the running original: its answers, files, output. *Never* means **never run \
             against the real thing**: it follows its description alone, or it has no such thing.\n\n",
        );
        let mut counts: BTreeMap<Is, usize> = BTreeMap::new();
        self.rows().for_each(|(_, row)| *counts.entry(row.is).or_default() += 1);
        let counts: Vec<String> = counts.iter().map(|(is, count)| format!("{count} {}", is.word())).collect();
        let never = self.rows().filter(|(_, row)| row.is.claims() && !row.seen).count();
        writeln!(
            page,
            "{}. Of what is the same or better, {never} rows were never run against the real thing.",
            counts.join(", ")
        )?;
        for section in &self.section {
            section.render(&mut page)?;
        }
        Ok(page)
    }
}

impl Section {
    fn render(&self, page: &mut String) -> Result<()> {
        writeln!(page, "\n## {}\n", self.title)?;
        if !self.text.is_empty() {
            writeln!(page, "{}\n", self.text)?;
        }
        writeln!(page, "| the original | here | observed | how, or why not | proved by |\n|---|---|---|---|---|")?;
        for row in &self.rows {
            let observed = match (row.is.claims(), row.seen) {
                (false, _) => "",
                (true, true) => "✓",
                (true, false) => "never",
            };
            let tests: Vec<String> = row.tests.iter().map(|test| format!("`{}`", test_name(test))).collect();
            let cells =
                [&row.item, row.is.word(), observed, &row.note, &tests.join(" ")].map(|cell| cell.replace('|', "\\|"));
            writeln!(page, "| {} |", cells.join(" | "))?;
        }
        Ok(())
    }
}

/// Files of the workspace, read once.
struct Files<'a> {
    root: &'a Path,
    read: BTreeMap<String, Option<String>>,
}

impl Files<'_> {
    fn get(&mut self, path: &str) -> Option<&str> {
        let root = self.root;
        let text = self.read.entry(path.to_owned()).or_insert_with(|| fs::read_to_string(root.join(path)).ok());
        text.as_deref()
    }
}

/// How a test is shown: its name, and before the words of a story the name of its file.
fn test_name(test: &str) -> String {
    match test.split_once(".case::") {
        Some((file, words)) => format!("{}: {words}", file.rsplit('/').next().unwrap_or(file)),
        None => test.rsplit("::").next().unwrap_or(test).to_owned(),
    }
}

fn check_tests(row: &Row, files: &mut Files<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    if row.is.claims() && row.tests.is_empty() {
        wrong.push("no test proves it".to_owned());
    }
    if row.is == Is::Unsupported && row.note.is_empty() {
        wrong.push("it is not told why it is not supported".to_owned());
    }
    if row.is == Is::Better && row.note.is_empty() {
        wrong.push("it is not told how it is better".to_owned());
    }
    for test in &row.tests {
        let Some((path, name)) = test.split_once("::") else {
            wrong.push(format!("{test} is not FILE::TEST"));
            continue;
        };
        match files.get(path) {
            None => wrong.push(format!("{path} does not exist")),
            Some(source) if !has(path, source, name) => wrong.push(format!("{path} has no test {name}")),
            Some(_) => {}
        }
    }
    wrong
}

/// Whether a file has that test: a function of Rust, or a part of a story of the command line.
fn has(path: &str, source: &str, name: &str) -> bool {
    if path.ends_with(".case") { has_story(source, name) } else { has_test(source, name) }
}

/// Whether a comment of these words stands above a command, which the story runs.
fn has_story(source: &str, name: &str) -> bool {
    let mut is_named = false;
    source.lines().any(|line| {
        if let Some(comment) = line.strip_prefix("# ") {
            is_named = comment == name;
        }
        is_named && line.starts_with("$ ")
    })
}

/// Whether a function of that name stands below an attribute that makes it a test.
fn has_test(source: &str, name: &str) -> bool {
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") || line.starts_with("#[rstest") {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn ")) {
            if is_test && rest.strip_prefix(name).is_some_and(|rest| rest.starts_with('(')) {
                return true;
            }
            is_test = false;
        }
    }
    false
}

fn check_name(section: &Section, row: &Row, files: &mut Files<'_>) -> Option<String> {
    let name = row.name.as_deref()?;
    let Some(page) = &section.page else { return Some("the section names no page".to_owned()) };
    let Some(text) = files.get(page) else { return Some(format!("{page} does not exist")) };
    let text = match &row.command {
        Some(command) => below(text, command),
        None => text,
    };
    match (row.is, stands_in(text, name)) {
        (Is::Same | Is::Better, false) => Some(format!("{page} does not know {name}")),
        (Is::Unsupported, true) => Some(format!("{page} knows {name}, so it is supported")),
        _ => None,
    }
}

/// The part of a page below the heading of a command, up to the next heading. Empty if there is none.
fn below<'a>(page: &'a str, command: &str) -> &'a str {
    let headings = [
        format!("\n## `marblerun {command} <"),
        format!("\n## `marblerun {command} ["),
        format!("\n## `marblerun {command}`"),
        format!("\n## {command}\n"),
    ];
    let Some(start) = headings.iter().find_map(|heading| page.find(heading).map(|at| at + 1)) else { return "" };
    let part = page.get(start..).unwrap_or_default();
    part.find("\n## ").and_then(|end| part.get(..end)).unwrap_or(part)
}

/// Whether a name stands there as a whole word.
fn stands_in(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, found)| {
        let goes_on = |next: char| next.is_ascii_alphanumeric() || matches!(next, '_' | '-' | '/');
        !text.get(at + found.len()..).and_then(|rest| rest.chars().next()).is_some_and(goes_on)
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn what_the_table_claims_is_so_and_the_page_is_what_it_says() {
        let table = Table::read(&root()).unwrap();
        let wrong = table.check(&root());
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let page = fs::read_to_string(root().join(PAGE)).unwrap_or_default();
        assert!(page == table.render().unwrap(), "out of date: run `cargo xtask docs`");
    }

    fn wrong(row: &str, page: &str, source: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        fs::write(dir.join("page.md"), page).unwrap();
        for name in ["tests.rs", "story.case"] {
            fs::write(dir.join(name), source).unwrap();
        }
        let text = format!("[[section]]\ntitle = \"S\"\npage = \"page.md\"\nrows = [{{ {row} }}]\n");
        toml::from_str::<Table>(&text).unwrap().check(dir)
    }

    #[test]
    fn a_claim_needs_a_test_that_exists_and_is_one() {
        let source = "#[test]\n#[ignore]\nfn one() {}\nfn helper() {}\n#[tokio::test]\nasync fn two_more() {}\n";
        let row = |test: &str| wrong(&format!("item = \"i\", is = \"same\", tests = [\"{test}\"]"), "", source);
        assert!(row("tests.rs::one").is_empty() && row("tests.rs::two_more").is_empty());
        for test in ["tests.rs::helper", "tests.rs::two", "tests.rs::none", "other.rs::one", "one"] {
            assert_eq!(row(test).len(), 1, "{test}");
        }
        assert_eq!(wrong("item = \"i\", is = \"same\"", "", "").len(), 1);
        assert_eq!(wrong("item = \"i\", is = \"unsupported\"", "", "").len(), 1, "a reason is owed");
    }

    #[test]
    fn a_part_of_a_story_is_named_by_its_words_and_runs_something() {
        let source = "# Nothing but words.\n# One.\n@coordinator\n$ true\n> # Output.\n# Two, and more.\n$ true\n";
        let row =
            |name: &str| wrong(&format!("item = \"i\", is = \"same\", tests = [\"story.case::{name}\"]"), "", source);
        assert!(row("One.").is_empty() && row("Two, and more.").is_empty());
        for name in ["One", "Nothing but words.", "Output.", "Two", ""] {
            assert_eq!(row(name).len(), 1, "{name}");
        }
    }

    #[test]
    fn what_is_claimed_stands_in_its_page_and_what_is_not_supported_does_not() {
        let page = "# P\n\n## `marblerun a b <X>`\n\n| `--flag <F>` |\n\n## `marblerun a`\n\n| `--flagged` |\n\n## `marblerun a c [Y]`\n\n| `--third` |\n";
        let row = |is: &str, name: &str, command: &str| {
            let test = if is == "same" { "tests = [\"tests.rs::t\"]" } else { "note = \"n\"" };
            let command = if command.is_empty() { String::new() } else { format!("command = \"{command}\",") };
            wrong(
                &format!("item = \"i\", is = \"{is}\", name = \"{name}\", {command} {test}"),
                page,
                "#[test]\nfn t() {}",
            )
        };
        assert!(row("same", "--flag", "a b").is_empty() && row("same", "--flagged", "a").is_empty());
        assert!(row("same", "--third", "a c").is_empty());
        assert_eq!(row("same", "--flag", "a").len(), 1, "a longer name is another one");
        assert_eq!(row("same", "--flag", "c").len(), 1);
        assert_eq!(row("unsupported", "--flag", "a b").len(), 1);
        assert!(row("unsupported", "--flag", "a").is_empty());
    }
}
