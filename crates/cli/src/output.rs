//! What goes to stdout, what to stderr, and what to a file.

use std::cell::Cell;
use std::io::Write as _;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use console::Term;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::Global;
use crate::files;

/// Where and how a command prints.
pub struct Output<'a> {
    json: bool,
    file: Option<&'a str>,
    /// Whether the one JSON document has been printed.
    printed: Cell<bool>,
}

impl<'a> Output<'a> {
    /// As the global options say.
    pub fn new(global: &'a Global) -> Self {
        Self { json: global.wants_json(), file: global.output_file(), printed: Cell::new(false) }
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
            // A reader that went away is told by the write of the data.
            let _ = write_stdout(format!("{line}\n").as_bytes());
        }
    }

    /// The result of a command: `text` for people, or `value` as JSON. Goes to the file named with `--output`, if any.
    pub fn result<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) -> Result<()> {
        self.result_to(self.file.filter(|path| *path != "-"), value, text)
    }

    /// As [`Output::result`], of a command for which `--output` names where something else goes.
    pub fn report<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) -> Result<()> {
        self.result_to(None, value, text)
    }

    fn result_to<T: Serialize>(&self, file: Option<&str>, value: &T, text: impl FnOnce() -> String) -> Result<()> {
        let mut text = if self.json { serde_json::to_string_pretty(value)? } else { text() };
        if text.is_empty() {
            return Ok(());
        }
        text.push('\n');
        if let Some(path) = file {
            return files::write_private(path.as_ref(), text.as_bytes());
        }
        self.printed.set(self.json);
        write_stdout(text.as_bytes())
    }

    /// The failure of a command: always a line on stderr, and the JSON document if none has been printed.
    pub fn failure(&self, message: &str, hint: Option<&str>) {
        if self.json && !self.printed.get() {
            print_error_document(message, hint);
        }
        eprintln!("Error: {message}");
        if let Some(hint) = hint {
            eprintln!("Hint: {hint}");
        }
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
                if bytes.ends_with(b"\n") { Ok(()) } else { write_stdout(b"\n") }
            }
        }
    }
}

/// The document that stands on stdout where JSON was asked for and the command failed.
pub fn print_error_document(message: &str, hint: Option<&str>) {
    let document = json!({"error": {"message": message, "hint": hint}});
    // Nothing is left to do if the reader is gone.
    let _ = write_stdout(format!("{document}\n").as_bytes());
}

/// Writes to stdout; unlike `print!`, a reader that went away is an error and not a panic.
pub fn write_stdout(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).context("writing to stdout")
}

/// Something the user should know. Always to stderr.
pub fn warn(text: &str) {
    eprintln!("Warning: {text}");
}

/// Held by who draws on the terminal.
static TERMINAL: Mutex<()> = Mutex::new(());

/// Asks for a secret on the terminal, without showing it. `None` if there is no terminal.
pub fn ask_secret(prompt: &str) -> std::io::Result<Option<Zeroizing<String>>> {
    let terminal = Term::stderr();
    if !terminal.is_term() {
        return Ok(None);
    }
    let _guard = TERMINAL.lock().unwrap_or_else(PoisonError::into_inner);
    terminal.clear_line()?;
    terminal.write_str(prompt)?;
    Ok(Some(Zeroizing::new(terminal.read_secure_line()?)))
}

/// A line of a description: a label, and a value in which nothing can steer a terminal. What a sealed file says is
/// somebody else's text.
pub fn row(label: &str, value: &str) -> String {
    let value: String = value.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    format!("  {label:<22} {value}")
}

/// How long a command may take before it shows that it is at work.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two pictures of the spinner.
const TICK: Duration = Duration::from_millis(120);

/// Shows on a terminal (stderr) that a command is at work and for how long, if it takes over a second.
pub struct Busy {
    done: std::sync::mpsc::Sender<()>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Busy {
    /// Starts to wait.
    pub fn start() -> Self {
        let (done, finished) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            if finished.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let style = ProgressStyle::with_template("{spinner} working, {elapsed}");
            let bar = ProgressBar::new_spinner().with_elapsed(PATIENCE);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            // Until the command ends, either way; not over a question.
            while finished.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                if let Ok(_guard) = TERMINAL.try_lock() {
                    bar.tick();
                }
            }
            bar.finish_and_clear();
        });
        Self { done, thread: Some(thread) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // The thread may have ended.
        let _ = self.done.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_sealed_file_cannot_steer_a_terminal_or_forge_a_line() {
        assert_eq!(
            row("recovery", "a\u{1b}[2J\n  condition b"),
            "  recovery               a\u{fffd}[2J\u{fffd}  condition b"
        );
        assert_eq!(row("user", "é < &"), "  user                   é < &");
    }
}
