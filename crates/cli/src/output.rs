//! What goes to stdout, what to stderr, and what to a file.

use std::cell::Cell;
use std::io::{IsTerminal as _, Write as _};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::builder::styling::{AnsiColor, Style};
use console::Term;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::{Format, Global};
use crate::failure::Kind;
use crate::files;

/// Where and how a command prints.
pub struct Output<'a> {
    format: Format,
    file: Option<&'a str>,
    /// Whether the one document has been printed.
    printed: Cell<bool>,
    /// Exit code of a success.
    code: Cell<u8>,
}

impl<'a> Output<'a> {
    /// As the global options say.
    pub fn new(global: &'a Global) -> Self {
        Self { format: global.format(), file: global.output_file(), printed: Cell::new(false), code: Cell::new(0) }
    }

    /// Whether stdout must be one document, JSON or YAML.
    pub fn is_structured(&self) -> bool {
        self.format != Format::Text
    }

    /// Whether data goes to a terminal, before somebody's eyes.
    pub fn is_terminal(&self) -> bool {
        matches!(self.file, None | Some("-")) && std::io::stdout().is_terminal()
    }

    /// What the command ends with if it succeeds.
    pub fn set_code(&self, code: u8) {
        self.code.set(code);
    }

    /// As set with [`Output::set_code`], else 0.
    pub fn code(&self) -> u8 {
        self.code.get()
    }

    /// The file named with `--output`.
    pub fn file(&self) -> Option<&'a str> {
        self.file
    }

    /// A line of progress that upstream prints to stdout and scripts may look for. Not part of the data.
    pub fn progress(&self, line: &str) {
        // With `-o -`, JSON or YAML, stdout belongs to the data alone.
        if self.is_structured() || self.file == Some("-") {
            note(line);
        } else {
            // A reader that went away is told by the write of the data.
            let _ = write_stdout(format!("{line}\n").as_bytes());
        }
    }

    /// The result of a command: `text` for people, or `value` as one document. Goes to the file named with `--output`, if
    /// any.
    pub fn result<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) -> Result<()> {
        self.result_to(self.file.filter(|path| *path != "-"), value, text)
    }

    /// As [`Output::result`], of a command for which `--output` names where something else goes.
    pub fn report<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) -> Result<()> {
        self.result_to(None, value, text)
    }

    fn result_to<T: Serialize>(&self, file: Option<&str>, value: &T, text: impl FnOnce() -> String) -> Result<()> {
        let text = if self.is_structured() {
            document(self.format, value)?
        } else {
            match text() {
                text if text.is_empty() => return Ok(()),
                text => {
                    text + "
"
                }
            }
        };
        if let Some(path) = file {
            return files::write_private(path.as_ref(), text.as_bytes());
        }
        self.printed.set(self.is_structured());
        write_stdout(text.as_bytes())
    }

    /// The failure of a command: always a line on stderr, and the document if none has been printed.
    pub fn failure(&self, kind: Kind, message: &str, hint: Option<&str>) {
        if self.is_structured() && !self.printed.get() {
            print_error_document(self.format, kind, message, hint);
        }
        let (error, plain) = (ERROR.render(), ERROR.render_reset());
        note(&format!("{error}Error:{plain} {}", shown(message)));
        if let Some(hint) = hint {
            let (style, plain) = (HINT.render(), HINT.render_reset());
            note(&format!("{style}Hint:{plain} {}", shown(hint)));
        }
    }

    /// Exactly these bytes, to the file or stdout.
    pub fn exactly(&self, bytes: &[u8]) -> Result<()> {
        match self.file {
            Some(path) if path != "-" => {
                files::write_private(path.as_ref(), bytes).with_context(|| format!("writing {path}"))
            }
            _ => write_stdout(bytes),
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

/// The document that stands on stdout where one was asked for and the command failed.
pub fn print_error_document(format: Format, kind: Kind, message: &str, hint: Option<&str>) {
    let error = json!({"error": {"kind": kind, "message": message, "hint": hint}});
    // Nothing is left to do if the reader is gone.
    let _ = document(format, &error).and_then(|text| write_stdout(text.as_bytes()));
}

/// One document with a line end.
fn document<T: Serialize>(format: Format, value: &T) -> Result<String> {
    Ok(match format {
        Format::Yaml => serde_saphyr::to_string(&serde_json::to_value(value)?)?,
        Format::Json | Format::Text => serde_json::to_string_pretty(value)? + "\n",
    })
}

/// Writes to stdout; unlike `print!`, a reader that went away is an error and not a panic.
pub fn write_stdout(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).context("writing to stdout")
}

/// Something the user should know. Always to stderr.
pub fn warn(text: &str) {
    let (style, plain) = (WARNING.render(), WARNING.render_reset());
    note(&format!("{style}Warning:{plain} {}", shown(text)));
}

/// A line that is no part of the data. Always to stderr.
pub fn note(text: &str) {
    // If nobody can hear it, that is no reason to end.
    let _ = writeln!(anstream::stderr(), "{text}");
}

// Shown on a terminal only, and not with NO_COLOR or TERM=dumb: `anstream` takes them out elsewhere.
const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// Held by who draws on the terminal.
static TERMINAL: Mutex<()> = Mutex::new(());

/// Keeps the terminal for a question.
pub fn hold_terminal() -> MutexGuard<'static, ()> {
    TERMINAL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks for a secret on the terminal, without showing it. `None` if there is no terminal.
pub fn ask_secret(prompt: &str) -> std::io::Result<Option<Zeroizing<String>>> {
    let terminal = Term::stderr();
    if !terminal.is_term() {
        return Ok(None);
    }
    let _guard = hold_terminal();
    terminal.clear_line()?;
    terminal.write_str(prompt)?;
    Ok(Some(Zeroizing::new(terminal.read_secure_line()?)))
}

/// A text in which nothing can steer a terminal: it may be somebody else's, even a stranger's.
pub fn shown(text: &str) -> String {
    // Marks of writing direction can make a line read as another one.
    let steers = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if steers(c) && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A line of a description: a label and a value.
pub fn row(label: &str, value: &str) -> String {
    format!("  {label:<22} {}", shown(value).replace(['\n', '\t'], "\u{fffd}"))
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
