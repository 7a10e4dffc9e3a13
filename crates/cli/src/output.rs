//! What goes to stdout, what to stderr, and what to a file.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::args::Global;
use crate::files;

/// Where and how a command prints.
pub struct Output<'a> {
    json: bool,
    file: Option<&'a str>,
}

impl<'a> Output<'a> {
    /// As the global options say.
    pub fn new(global: &'a Global) -> Self {
        Self { json: global.wants_json(), file: global.output_file() }
    }

    /// Whether stdout must be one JSON document.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The file named with `--output`.
    pub fn file(&self) -> Option<&'a str> {
        self.file
    }

    /// A line of progress that upstream prints to stdout and scripts may look for. Not part of the data.
    pub fn progress(&self, line: &str) {
        // With `-o -` or JSON, stdout belongs to the data alone.
        if self.json || self.file == Some("-") {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }

    /// The result of a command: `text` for people, or `value` as JSON.
    pub fn result<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) -> Result<()> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(value)?);
        } else {
            let text = text();
            if !text.is_empty() {
                println!("{text}");
            }
        }
        Ok(())
    }

    /// Data that can go to a file: written there (then `saved` is told), or printed.
    pub fn data(&self, bytes: &[u8], saved: impl FnOnce(&str) -> Option<String>) -> Result<()> {
        match self.file {
            Some("-") => write_stdout(bytes),
            Some(path) => {
                files::write_private(path.as_ref(), bytes).with_context(|| format!("writing {path}"))?;
                if let Some(line) = saved(path) {
                    self.progress(&line);
                }
                Ok(())
            }
            None => {
                write_stdout(bytes)?;
                if !bytes.ends_with(b"\n") {
                    println!();
                }
                Ok(())
            }
        }
    }
}

fn write_stdout(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).context("writing to stdout")
}

/// Something the user should know. Always to stderr.
pub fn warn(text: &str) {
    eprintln!("Warning: {text}");
}
