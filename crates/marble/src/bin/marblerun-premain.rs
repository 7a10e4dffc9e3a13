//! `marblerun-premain PROGRAM [ARGS]`: activates this process as a Marble, then becomes PROGRAM.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};
use jiff::Timestamp;
use marblerun_attestation::{Backend, Build, Devices, IssueError, Tee, select};
use marblerun_marble::program::Program;
use marblerun_marble::{Config, ConfigError, Parameters, PremainError, VARIABLES, activate, files, log};
use tokio::signal::unix::{SignalKind, signal};

/// Activates this process as a Marble, then becomes PROGRAM.
///
/// Asks the Coordinator for the files, the environment and the arguments that the manifest gives this Marble
/// type, waits if the Coordinator is not ready, applies all of them or none, and becomes the program.
#[derive(Parser)]
#[command(name = "marblerun-premain", version)]
struct Options {
    /// Program to become, and its arguments. Arguments in the manifest (Argv) replace ARGS and the name the
    /// program sees itself called by. Without PROGRAM the manifest's Argv[0] is run.
    #[arg(value_name = "PROGRAM [ARGS]", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// What this program may run in.
const BUILD: Build = Build::of(option_env!("MARBLERUN_BUILD_TEE"));

const EXIT_CODES: &str = "Exit codes (those of PROGRAM, once it runs):
    1  wrong settings, or no use of the UUID file or the hardware
    2  wrong command line
    3  the Coordinator refused the activation
    4  the Coordinator did not become ready in time
    5  whoever answered is not the Coordinator that is expected
    6  files, environment or arguments could not be applied; nothing was changed
  126  PROGRAM cannot be executed
  127  PROGRAM was not found
  130, 143  interrupted or terminated while waiting";

fn main() -> ExitCode {
    let matches = command().get_matches();
    let options = match Options::from_arg_matches(&matches) {
        Ok(options) => options,
        Err(error) => error.exit(),
    };
    log::start(|name| std::env::var_os(name));
    let error = match run(&options.command) {
        Ok(Interrupted(code)) => return ExitCode::from(code),
        Err(error) => error,
    };
    tracing::error!("{error}");
    ExitCode::from(error.exit_code())
}

/// A signal came while waiting; the exit code that says so.
struct Interrupted(u8);

/// Returns only if the process does not become the program.
fn run(command: &[OsString]) -> Result<Interrupted, PremainError> {
    let config = Config::from_env(|name| std::env::var_os(name))?;
    let attestation = |error: &dyn std::fmt::Display| PremainError::Attestation(error.to_string());
    let devices = Devices::of_this_machine();
    let choice = BUILD.narrow(config.tee);
    let choice = choice.map_err(|error| ConfigError::Bad { name: "MARBLERUN_TEE", reason: error.to_string() })?;
    let tee = select(choice, &devices).map_err(|error| attestation(&BUILD.explain(&error)))?;
    let backend = match tee {
        Tee::SnpVtpm => vtpm(&devices),
        tee => Backend::open(tee, &devices),
    };
    let backend = backend.map_err(|error| attestation(&error))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| attestation(&error))?;
    let activated = runtime.block_on(async {
        tokio::select! {
            result = activate(&config, &backend, Timestamp::now()) => result.map(Ok),
            // The first process of a container gets no default treatment of these.
            code = interrupted() => Ok(Err(Interrupted(code))),
        }
    })?;
    drop(runtime);
    let parameters = match activated {
        Ok(parameters) => parameters,
        Err(interrupted) => return Ok(interrupted),
    };
    become_program(command, &parameters)
}

#[cfg(feature = "tpm")]
fn vtpm(_: &Devices) -> Result<Backend, IssueError> {
    marblerun_tpm::Vtpm::backend(|name| std::env::var(name).ok())
}

#[cfg(not(feature = "tpm"))]
fn vtpm(devices: &Devices) -> Result<Backend, IssueError> {
    Backend::open(Tee::SnpVtpm, devices)
}

fn become_program(command: &[OsString], parameters: &Parameters) -> Result<Interrupted, PremainError> {
    let program = Program::new(command, parameters, std::env::var_os("PATH").as_deref())?;
    files::stage(&parameters.files, Path::new(""))?.commit()?;
    tracing::info!(files = parameters.files.len(), variables = parameters.env.len(), "activated; becoming the program");
    Err(program.exec().into())
}

/// Waits for an interrupt (130) or a termination signal (143).
async fn interrupted() -> u8 {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    }
}

fn command() -> clap::Command {
    Options::command().version(BUILD.version()).after_help(help())
}

fn help() -> String {
    let mut text = String::from("Environment:\n");
    for variable in VARIABLES {
        text.push_str(&format!("  {}\n          {} [default: {}]\n", variable.name, variable.help, variable.default));
    }
    text.push('\n');
    text.push_str(EXIT_CODES);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shipped with the packages.
    #[test]
    fn the_manual_reference_page_is_what_the_program_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/man/marblerun-premain.1");
        let mut page = Vec::new();
        clap_mangen::Man::new(command()).render(&mut page).unwrap();
        if std::env::var_os("MARBLERUN_UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &page).unwrap();
        }
        assert!(std::fs::read(&path).unwrap_or_default() == page, "out of date: run `cargo xtask docs`");
    }
}
