//! Stories of the command line, as data: each file in `tests/cases` says what is typed, and what must come of it.
//!
//! ```text
//! # Lines of explanation.
//! @coordinator          starts a Coordinator (simulation); its address is $C
//! @lose-host            restarts it on a host that cannot open its state: recovery mode
//! $ marblerun status $C a line for `sh`, in a folder of the story's own ($D); fixtures of manifests are in $F, of keys in $K
//! > a line of stdout    `[..]` stands for anything in a line, a line `...` for any lines
//! ! a line of stderr
//! ? 1                   exit code, if it is not 0
//! ```
//!
//! Files are written and looked at with the shell. `MARBLERUN_UPDATE_CASES=1` writes what came out into the files.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::{Arguments, Trial};
use marblerun_testkit::Coordinator;

/// A command and what must come of it.
#[derive(Default, Clone)]
struct Step {
    command: String,
    stdout: Vec<String>,
    stderr: Vec<String>,
    code: i32,
}

/// A line of a story that does something.
enum Part {
    /// Explanation or empty line, kept as it is.
    Text(String),
    /// `@..`
    Directive(String),
    /// `$ ..` with what follows it.
    Step(Step),
}

fn parse(text: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            parts.push(Part::Step(Step { command: command.to_owned(), ..Step::default() }));
            continue;
        }
        let expectation = line.split_at_checked(1).filter(|(mark, _)| [">", "!", "?"].contains(mark));
        if let (Some((mark, rest)), Some(Part::Step(step))) = (expectation, parts.last_mut()) {
            let rest = rest.strip_prefix(' ').unwrap_or(rest).to_owned();
            match mark {
                ">" => step.stdout.push(rest),
                "!" => step.stderr.push(rest),
                _ => step.code = rest.parse().unwrap(),
            }
            continue;
        }
        assert!(line.is_empty() || line.starts_with('#') || line.starts_with('@'), "what is this? {line}");
        parts.push(match line.strip_prefix('@') {
            Some(directive) => Part::Directive(directive.to_owned()),
            None => Part::Text(line.to_owned()),
        });
    }
    parts
}

fn write(parts: &[Part]) -> String {
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Text(line) => writeln!(text, "{line}").unwrap(),
            Part::Directive(line) => writeln!(text, "@{line}").unwrap(),
            Part::Step(step) => {
                writeln!(text, "$ {}", step.command).unwrap();
                for (mark, lines) in [('>', &step.stdout), ('!', &step.stderr)] {
                    lines.iter().for_each(|line| writeln!(text, "{}", format!("{mark} {line}").trim_end()).unwrap());
                }
                if step.code != 0 {
                    writeln!(text, "? {}", step.code).unwrap();
                }
            }
        }
    }
    text
}

/// Where a story plays.
struct Stage {
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    coordinator: Option<Coordinator>,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        fs::create_dir(dir.path().join("work")).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { dir, runtime, coordinator: None }
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    fn direct(&mut self, directive: &str) {
        let seal = self.dir.path().join("seal");
        let host = self.dir.path().join("host-key");
        let builder = Coordinator::builder(&seal).host_key(&host);
        let builder = match directive {
            "coordinator" => builder,
            "lose-host" => {
                let old = self.coordinator.take().unwrap();
                let builder = builder.same_ports(&old);
                old.kill().unwrap();
                fs::remove_file(&host).unwrap();
                builder
            }
            other => panic!("there is no @{other}"),
        };
        self.coordinator = Some(self.runtime.block_on(builder.start()).unwrap());
    }

    fn names(&self) -> Vec<(&'static str, String)> {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifest/tests/fixtures/manifests");
        let mut names = vec![
            ("F", fixtures.canonicalize().unwrap().display().to_string()),
            ("K", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").display().to_string()),
            ("D", self.work().canonicalize().unwrap().display().to_string()),
            ("HOME", self.dir.path().join("home").display().to_string()),
        ];
        if let Some(coordinator) = &self.coordinator {
            names.push(("C", coordinator.client_addr.to_string()));
        }
        names
    }

    fn run(&self, command: &str) -> Step {
        let program = Path::new(env!("CARGO_BIN_EXE_marblerun")).parent().unwrap();
        let names = self.names();
        let output = Command::new("sh")
            .args(["-c", command])
            .current_dir(self.work())
            .env_clear()
            .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", program.display()))
            .envs(names.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let lines = |bytes: &[u8]| {
            let mut text = String::from_utf8_lossy(bytes).into_owned();
            for (name, value) in &names {
                text = text.replace(value, &format!("${name}"));
            }
            text.lines().map(|line| line.trim_end().to_owned()).collect()
        };
        Step {
            command: command.to_owned(),
            stdout: lines(&output.stdout),
            stderr: lines(&output.stderr),
            code: output.status.code().unwrap(),
        }
    }
}

/// Whether lines are as expected.
fn fits(expected: &[String], actual: &[String]) -> bool {
    match (expected.split_first(), actual.split_first()) {
        (None, None) => true,
        (Some((any, rest)), _) if any == "..." => {
            (0..=actual.len()).any(|skipped| fits(rest, actual.get(skipped..).unwrap()))
        }
        (Some((pattern, expected)), Some((line, actual))) => line_fits(pattern, line) && fits(expected, actual),
        _ => false,
    }
}

fn line_fits(pattern: &str, line: &str) -> bool {
    let Some((before, after)) = pattern.split_once("[..]") else { return pattern.trim_end() == line };
    let Some(rest) = line.strip_prefix(before) else { return false };
    (0..=rest.len()).filter_map(|skipped| rest.get(skipped..)).any(|rest| line_fits(after, rest))
}

/// Plays every file, found when the tests are run: a new one needs no compiler.
fn main() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut trials = vec![Trial::test("a_wildcard_stands_for_any_part_of_a_line_and_dots_for_any_lines", || {
        wildcards();
        Ok(())
    })];
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        trials.push(Trial::test(name, move || {
            play(&path);
            Ok(())
        }));
    }
    trials.sort_by(|a, b| a.name().cmp(b.name()));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn play(path: &Path) {
    let update = std::env::var_os("MARBLERUN_UPDATE_CASES").is_some();
    let mut parts = parse(&fs::read_to_string(path).unwrap());
    let mut stage = Stage::new();
    for part in &mut parts {
        match part {
            Part::Text(_) => {}
            Part::Directive(directive) => stage.direct(directive),
            Part::Step(step) => {
                let mut actual = stage.run(&step.command);
                let right = (fits(&step.stdout, &actual.stdout), fits(&step.stderr, &actual.stderr));
                if right == (true, true) && step.code == actual.code {
                    continue;
                }
                if update {
                    // What fitted keeps its wildcards.
                    if right.0 {
                        actual.stdout.clone_from(&step.stdout);
                    }
                    if right.1 {
                        actual.stderr.clone_from(&step.stderr);
                    }
                    *step = actual;
                    continue;
                }
                let (expected, came) = (write(&[Part::Step(step.clone())]), write(&[Part::Step(actual)]));
                panic!("{}\nexpected:\n{expected}\nbut:\n{came}", path.display());
            }
        }
    }
    if update {
        fs::write(path, write(&parts)).unwrap();
    }
}

fn wildcards() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (expected, actual, fit) in [
        ("a [..] c", "a b c", true),
        ("a [..] c", "a b d", false),
        ("[..]b[..]", "abc", true),
        ("a\n...\nd", "a\nb\nc\nd", true),
        ("a\n...\nd", "a\nb", false),
        ("a", "a\nb", false),
        ("", "a", false),
        ("...", "", true),
    ] {
        assert_eq!(fits(&lines(expected), &lines(actual)), fit, "{expected:?} {actual:?}");
    }
}
