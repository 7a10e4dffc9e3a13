//! How does a person use all this? The `marblerun` command.
//!
//! Payload goes to stdout, warnings and progress to stderr. Exit code 0 is success and 1 any error,
//! as scripts written for upstream's command expect; `--exit-code` tells kinds of failure apart, and 130 and 143 tell
//! of a signal.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod context;
mod examples;
mod failure;
mod files;
mod hint;
mod identity;
mod incarnation;
mod interrupt;
mod manifest_file;
mod output;
mod policy;
mod private_key;
mod prompt;
mod recovery_data;
mod recovery_key;
mod state_secret;
mod token;
mod trust;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::FromArgMatches as _;
use clap::error::ErrorKind;

use crate::args::{Cli, Command, Format, Global};
use crate::failure::Kind;
use crate::hint::hint;
use crate::interrupt::Interrupted;
use crate::output::{Output, print_error_document, write_stdout};

fn main() -> ExitCode {
    let Cli { global, command } = match parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output::new(&global);
    match run(&global, &output, command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let kind = Kind::of(&error);
            let hint = hint(&error, |address| trust::cache_path(&global, address).ok());
            output.failure(kind, &message(&error), hint.as_deref());
            ExitCode::from(if global.exit_code { kind.exit_code() } else { 1 })
        }
    }
}

/// Runs a command; answers the exit code.
fn run(global: &Global, output: &Output<'_>, command: Command) -> Result<u8> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("cannot start")?;
    let ended = runtime.block_on(interrupt::or_end(commands::run(global, output, command)));
    match ended {
        Ok(done) => {
            // Connections may still be ending on other threads, with keys of a token, whose module must not be in use
            // any more when this process exits.
            runtime.shutdown_timeout(Duration::from_secs(1));
            done.map(|()| output.code())
        }
        Err(Interrupted(code)) => {
            // Somebody may still be asked something.
            runtime.shutdown_background();
            output.failure(Kind::Other, "interrupted", None);
            Ok(code)
        }
    }
}

/// Reads the command line. As with upstream's command, options of a command may also stand before its name.
fn parse(arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    let command = examples::command();
    let read = |arguments: Vec<OsString>| {
        command.clone().try_get_matches_from(arguments).and_then(|matches| Cli::from_arg_matches(&matches))
    };
    match read(arguments.clone()) {
        Err(error) if error.kind() == ErrorKind::UnknownArgument => {
            // If that does not help, the first error is the one about what was typed.
            read(options_last(&command, &arguments)).map_err(|_| error)
        }
        // A group that is named with nothing but options tells what it can do, as it does when named alone.
        Err(error) if error.kind() == ErrorKind::MissingSubcommand => {
            read(arguments.into_iter().chain([OsString::from("--help")]).collect())
        }
        other => other,
    }
}

/// The command line with what stands between the words of a command moved behind them.
fn options_last(command: &clap::Command, arguments: &[OsString]) -> Vec<OsString> {
    let mut node = command;
    let (mut words, mut moved) = (Vec::new(), Vec::new());
    let mut rest = arguments.iter();
    words.extend(rest.next());
    while node.has_subcommands() && node.get_positionals().next().is_none() {
        let Some(argument) = rest.next() else { break };
        match node.find_subcommand(argument) {
            Some(found) => {
                words.push(argument);
                node = found;
            }
            None => moved.push(argument),
        }
    }
    words.into_iter().chain(rest).chain(moved).cloned().collect()
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
    let arguments = words(std::env::args_os().skip(1));
    if let Some(format) = asked_format(&arguments) {
        let text = error.to_string();
        print_error_document(format, Kind::Usage, text.strip_prefix("error: ").unwrap_or(&text).trim_end(), None);
    }
    let _ = error.print();
    let is_told_apart = arguments.iter().any(|argument| argument == "--exit-code");
    ExitCode::from(if is_told_apart { Kind::Usage.exit_code() } else { 1 })
}

/// The words of a command line, up to the end of its options.
fn words(arguments: impl Iterator<Item = OsString>) -> Vec<String> {
    arguments.map(|argument| argument.to_string_lossy().into_owned()).take_while(|argument| argument != "--").collect()
}

/// Which kind of document a command line that could not be understood asks for.
fn asked_format(arguments: &[String]) -> Option<Format> {
    let structured = |name: &str| Format::from_name(name).filter(|format| *format != Format::Text);
    let two_words = arguments.windows(2).find_map(|pair| match pair {
        [option, value] if ["--output", "-o", "--format"].contains(&option.as_str()) => structured(value),
        _ => None,
    });
    let one_word = || {
        arguments.iter().find_map(|word| {
            let value = ["--output=", "--format=", "-o=", "-o"].iter().find_map(|start| word.strip_prefix(start))?;
            structured(value)
        })
    };
    two_words.or_else(one_word)
}

/// An error with its causes in one line. Causes that the text before them tells already are left out.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string().trim_end().to_owned();
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
    fn options_may_stand_before_the_command_they_belong_to() {
        let parse = |line: &str| super::parse(line.split(' ').map(OsString::from).collect());
        for line in [
            "marblerun -c a -k b secret get x h:1",
            "marblerun manifest update -c a -k b cancel h:1",
            "marblerun manifest -u get h:1 -s",
            "marblerun recover-with-signature -s sig secret h:1",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
        for line in ["marblerun -z status h:1", "marblerun -c", "marblerun -c a", "marblerun -c a -k b status h:1"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_cause_that_was_told_is_not_told_again() {
        let twice = anyhow::anyhow!("no such file").context("reading x: no such file").context("backup");
        assert_eq!(message(&twice), "backup: reading x: no such file");
        assert_eq!(message(&anyhow::anyhow!("inner").context("outer")), "outer: inner");
    }
}
