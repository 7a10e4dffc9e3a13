//! How does a person use all this? The `marblerun` command.
//!
//! Payload goes to stdout, warnings and progress to stderr. Exit code 0 is success and 1 any error,
//! as scripts written for upstream's command expect.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod files;
mod manifest_file;
mod output;
mod trust;

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::args::Cli;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked_for = matches!(
                error.kind(),
                ErrorKind::DisplayHelp
                    | ErrorKind::DisplayVersion
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            );
            // Nothing is left to do if the terminal is gone.
            let _ = error.print();
            return if asked_for { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
    };
    let json = cli.global.wants_json();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("Error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if json {
                println!("{}", serde_json::json!({"error": {"message": format!("{error:#}"), "hint": hint(&error)}}));
            }
            eprintln!("Error: {error:#}");
            if let Some(hint) = hint(&error) {
                eprintln!("Hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

/// What to do next, where the error itself cannot know.
fn hint(error: &anyhow::Error) -> Option<&'static str> {
    let client = error.chain().find_map(|cause| cause.downcast_ref::<marblerun_client::ClientError>())?;
    match client {
        marblerun_client::ClientError::Transport { untrusted: true, .. } => Some(
            "the Coordinator's certificate is not the cached root. It may be another deployment, or be in recovery mode \
             (then it has a temporary root): 'marblerun status -i ADDRESS' tells. If the change is right, \
             'marblerun manifest verify' verifies it and renews the cache.",
        ),
        marblerun_client::ClientError::Unauthorized { .. } => {
            Some("give the certificate and key of a user of the manifest with --cert and --key.")
        }
        _ => None,
    }
}
