//! The commands, one module each.

mod access;
mod audit;
mod backup;
mod certificate;
mod cluster;
mod context;
mod demo;
mod kubernetes;
mod manifest;
mod package_info;
mod quote;
mod recover;
mod reference;
mod seal;
mod secret;
mod state;
mod status;
mod update;
mod version;

use anyhow::Result;
use marblerun_client::{Client, Identity};

use crate::args::{At, ClientCert, Command, Global};
use crate::identity::Credentials;
use crate::output::{Busy, Output};
use crate::trust;

/// Runs one command.
pub async fn run(global: &Global, output: &Output<'_>, command: Command) -> Result<()> {
    // These tell what they do by themselves.
    let tells = matches!(command, Command::Demo(_) | Command::Install(_) | Command::Check(_));
    let _busy = (!tells).then(Busy::start);
    match command {
        Command::Install(args) => kubernetes::install(global, output, &args).await,
        Command::Uninstall(args) => kubernetes::uninstall(global, output, &args).await,
        Command::Check(args) => kubernetes::check(global, output, &args).await,
        Command::Precheck { cluster } => kubernetes::precheck(output, &cluster).await,
        Command::Doctor { cluster } => kubernetes::doctor(global, output, &cluster).await,
        Command::Manifest(command) => manifest::run(global, output, command).await,
        Command::Certificate(command) => certificate::run(global, output, command).await,
        Command::Secret(args) => secret::run(global, output, args).await,
        Command::Status { at } => status::run(global, output, &at).await,
        Command::Recover(args) => recover::run(global, output, args).await,
        Command::RecoverWithSignature(args) => recover::run_with_signature(global, output, args).await,
        Command::Backup(command) => backup::run(global, output, command).await,
        Command::Cluster(command) => cluster::run(global, output, command).await,
        Command::Restore(command) => cluster::restore(global, output, command).await,
        Command::Kek(command) => cluster::kek(global, output, command).await,
        Command::Seal(command) => seal::run(global, output, command).await,
        Command::Audit(command) => audit::run(global, output, command).await,
        Command::State(command) => state::run(global, output, command).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Access(command) => access::run(global, output, command).await,
        Command::Context(command) => context::run(global, output, command).await,
        Command::Quote(command) => quote::run(global, output, command).await,
        Command::PackageInfo { path } => package_info::run(output, &path),
        Command::Version { at } => version::run(global, output, &at).await,
        Command::Completion { shell } => reference::completion(shell),
        Command::GenerateReference => reference::markdown(),
        Command::GenerateMan { dir } => reference::man_pages(&dir),
    }
}

/// The user that a command acts for: of its flags or environment, else of the context.
fn identity(global: &Global, coordinator: &str, client: &ClientCert) -> Result<Identity> {
    Credentials::of(&global.credentials_at(coordinator, client)?)?.load()
}

/// A client of the Coordinator, for that user.
async fn user_client(global: &Global, at: &At, user: &ClientCert) -> Result<Client> {
    let coordinator = global.coordinator(at)?;
    let identity = identity(global, &coordinator, user)?;
    trust::connect(global, &coordinator, Some(identity)).await
}
