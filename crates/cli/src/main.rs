//! How does a person use all this? The `marblerun` command.
//!
//! Payload goes to stdout, warnings and progress to stderr. Exit code 0 is success and 1 any error,
//! as scripts written for upstream's command expect; 130 and 143 tell of a signal.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod files;
mod hint;
mod identity;
mod interrupt;
mod manifest_file;
mod output;
mod policy;
mod recovery_key;
mod token;
mod trust;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::args::Cli;
use crate::hint::hint;
use crate::output::{Output, print_error_document, write_stdout};

fn main() -> ExitCode {
    let Cli { global, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output::new(&global);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.failure(&format!("cannot start: {error}"), None);
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(interrupt::or_end(commands::run(&global, &output, command))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            let cache = trust::cache_path(&global).ok();
            output.failure(&message(&error), hint(&error, cache.as_deref()).as_deref());
            ExitCode::FAILURE
        }
        Err(interrupt::Interrupted(code)) => {
            output.failure("interrupted", None);
            ExitCode::from(code)
        }
    }
}

/// Help that was asked for, also by naming a group alone, goes to stdout. Anything else is an error.
fn usage(error: &clap::Error) -> ExitCode {
    let help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    // Nothing is left to do if the terminal is gone.
    if help {
        let _ = write_stdout(error.to_string().as_bytes());
        return ExitCode::SUCCESS;
    }
    if asks_for_json(std::env::args_os().skip(1)) {
        let text = error.to_string();
        print_error_document(text.strip_prefix("error: ").unwrap_or(&text).trim_end(), None);
    }
    let _ = error.print();
    ExitCode::FAILURE
}

/// Whether a command line that could not be understood asks for JSON.
fn asks_for_json(arguments: impl Iterator<Item = OsString>) -> bool {
    let arguments: Vec<String> = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .take_while(|argument| argument != "--")
        .collect();
    let two_words = arguments
        .windows(2)
        .any(|pair| matches!(pair, [option, value] if ["--output", "-o", "--format"].contains(&option.as_str()) && value == "json"));
    two_words
        || arguments.iter().any(|word| ["--output=json", "-ojson", "-o=json", "--format=json"].contains(&word.as_str()))
}

/// An error with its causes in one line. Causes that the text before them tells already are left out.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_was_told_is_not_told_again() {
        let twice = anyhow::anyhow!("no such file").context("reading x: no such file").context("backup");
        assert_eq!(message(&twice), "backup: reading x: no such file");
        assert_eq!(message(&anyhow::anyhow!("inner").context("outer")), "outer: inner");
    }
}
