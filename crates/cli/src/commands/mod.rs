//! The commands, one module each.

mod access;
mod backup;
mod certificate;
mod context;
mod demo;
mod manifest;
mod package_info;
mod recover;
mod reference;
mod secret;
mod status;
mod update;
mod version;

use anyhow::{Context as _, Result};
use marblerun_client::Identity;

use crate::args::{ClientCert, Command, Global};
use crate::failure::Failure;
use crate::files;
use crate::output::{Busy, Output};

/// Runs one command.
pub async fn run(global: &Global, output: &Output<'_>, command: Command) -> Result<()> {
    // The demo tells what it does by itself.
    let _busy = (!matches!(command, Command::Demo(_))).then(Busy::start);
    match command {
        Command::Manifest(command) => manifest::run(global, output, command).await,
        Command::Certificate(command) => certificate::run(global, output, command).await,
        Command::Secret(args) => secret::run(global, output, args).await,
        Command::Status { at } => status::run(global, output, &at).await,
        Command::Recover(args) => recover::run(global, output, args).await,
        Command::RecoverWithSignature(args) => recover::run_with_signature(global, output, args).await,
        Command::Backup(command) => backup::run(global, output, command).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Access(command) => access::run(global, output, command).await,
        Command::Context(command) => context::run(global, output, command).await,
        Command::PackageInfo { path } => package_info::run(output, &path),
        Command::Version { at } => version::run(global, output, &at).await,
        Command::Completion { shell } => reference::completion(shell),
        Command::GenerateReference => reference::markdown(),
        Command::GenerateMan { dir } => reference::man_pages(&dir),
    }
}

/// The user that a command acts for: of its flags or environment, else of the context. Certificate and key come together.
fn identity(global: &Global, coordinator: &str, client: &ClientCert) -> Result<Identity> {
    let ClientCert { cert: Some(cert), key: Some(key) } = global.credentials_at(coordinator, client)? else {
        return Err(Failure::usage("this needs a user's certificate and key: give both --cert and --key"));
    };
    Identity::from_pem(&files::read(&cert)?, &files::read(&key)?)
        .with_context(|| format!("reading {} and {}", cert.display(), key.display()))
}
