//! The commands, one module each.

mod audit;
mod backup;
mod certificate;
mod demo;
mod manifest;
mod recover;
mod reference;
mod secret;
mod state;
mod status;

use anyhow::Result;

use crate::args::{Command, Global};
use crate::output::{Busy, Output};

/// Runs one command.
pub async fn run(global: &Global, output: &Output<'_>, command: Command) -> Result<()> {
    // The demo tells what it does by itself.
    let _busy = (!matches!(command, Command::Demo(_))).then(Busy::start);
    match command {
        Command::Manifest(command) => manifest::run(global, output, command).await,
        Command::Certificate(command) => certificate::run(global, output, command).await,
        Command::Secret(args) => secret::run(global, output, args).await,
        Command::Status { coordinator } => status::run(global, output, &coordinator).await,
        Command::Recover(args) => recover::run(global, output, args).await,
        Command::RecoverWithSignature(args) => recover::run_with_signature(global, output, args).await,
        Command::Backup(command) => backup::run(global, output, command).await,
        Command::Audit(command) => audit::run(global, output, command).await,
        Command::State(command) => state::run(output, command),
        Command::Demo(args) => demo::run(args).await,
        Command::Version => version(output),
        Command::Completion { shell } => reference::completion(shell),
        Command::GenerateReference => reference::markdown(),
        Command::GenerateMan { dir } => reference::man_pages(&dir),
    }
}

fn version(output: &Output<'_>) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let commit = option_env!("MARBLERUN_COMMIT").unwrap_or("0000000000000000000000000000000000000000");
    output.result(&serde_json::json!({"version": version, "commit": commit}), || {
        format!("CLI Version: v{version} \nCommit: {commit}")
    })
}
