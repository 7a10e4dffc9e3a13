//! Completion scripts, man pages and the command reference, all from the definition of the command line.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use clap::{Command, CommandFactory as _};

use crate::args::Cli;
use crate::examples;
use crate::failure::Kind;
use crate::output::write_stdout;

/// Prints a completion script.
pub fn completion(shell: clap_complete::Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut examples::command(), "marblerun", &mut script);
    write_stdout(&script)
}

/// Writes one man page for each command.
pub fn man_pages(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("making folder {}", dir.display()))?;
    clap_mangen::generate_to(examples::command(), dir).context("writing man pages")
}

/// Prints the reference of all commands.
pub fn markdown() -> Result<()> {
    write_stdout(reference_page()?.as_bytes())
}

/// The reference of all commands, as Markdown (`docs/src/reference/cli.md`).
fn reference_page() -> Result<String> {
    let mut text = String::from(
        "# The `marblerun` command\n\nGenerated from the program (`cargo xtask docs`).\n\
         Every command also takes the global options at the end of this page.\n",
    );
    let mut root = examples::command();
    root.build();
    for command in root.get_subcommands().filter(|command| visible(command)) {
        describe(&mut text, command, "marblerun")?;
    }
    writeln!(text, "\n## Global options\n")?;
    options(&mut text, root.get_arguments())?;
    text.push_str(ENVIRONMENT);
    text.push_str(EXIT_CODES);
    for kind in Kind::ALL {
        writeln!(
            text,
            "| {} | `{}` | {} |",
            kind.exit_code(),
            serde_json::to_value(kind)?.as_str().unwrap_or_default(),
            kind.meaning()
        )?;
    }
    text.push_str(STATUS_CODES);
    Ok(text)
}

const ENVIRONMENT: &str = "\n## Environment\n
What a flag or argument says comes first, then the environment, then the context, then the default.\n
| variable | meaning |
|---|---|
| `MARBLERUN_CONTEXT` | context to use, as `--context` |
| `MARBLERUN_ENDPOINT` | address of the Coordinator where a command line names none |
| `MARBLERUN_CERT`, `MARBLERUN_KEY` | files of the user's certificate and key, as `--cert` and `--key` |
| `KUBECONFIG` | kubeconfig files, separated by `:`, of the commands over a cluster (`install`, `uninstall`, `check`, `precheck`, `doctor`) |
| `HTTPS_PROXY`, `NO_PROXY` | the way to the API server of a cluster |
| `XDG_CONFIG_HOME`, `HOME` | where contexts and certificates are kept: `$XDG_CONFIG_HOME/marblerun`, else `$HOME/.config/marblerun` |
| `NO_COLOR`, `TERM=dumb` | no colours, also on a terminal |
";

const EXIT_CODES: &str = "\n## Exit codes\n
0 is success and 1 any failure, as scripts made for the original command expect; 130 is an end by Ctrl-C. With `--exit-code`, failures are told apart:\n
| code | kind | meaning |
|---|---|---|
";

const STATUS_CODES: &str = "\n`kind` stands in the error document of `--output json` in any case.\n
`status --exit-code` ends with 0 if Marbles are accepted, 3 in recovery mode, 4 if a manifest is awaited, and 5 in any other state.
`check --exit-code` ends with 3 if nothing is installed.
`access explain --exit-code` ends with 12 if nobody may do what was asked.
";

fn visible(command: &Command) -> bool {
    !command.is_hide_set() && command.get_name() != "help"
}

fn describe(text: &mut String, command: &Command, parent: &str) -> Result<()> {
    let name = format!("{parent} {}", command.get_name());
    let children: Vec<&Command> = command.get_subcommands().filter(|command| visible(command)).collect();
    let positionals: String =
        command.get_positionals().fold(String::new(), |text, argument| format!("{text} {argument}"));
    writeln!(text, "\n## `{name}{positionals}`\n")?;
    if let Some(about) = command.get_long_about().or_else(|| command.get_about()) {
        writeln!(text, "{about}\n")?;
    }
    // Options of the whole program stand at the end of the page; those of a group, at the group.
    let everywhere = Cli::command();
    // One with another meaning here is told here.
    let is_everywhere = |argument: &clap::Arg| {
        let same = |global: &clap::Arg| global.get_id() == argument.get_id() && told(global) == told(argument);
        everywhere.get_arguments().any(same)
    };
    let of_group = !children.is_empty();
    options(
        text,
        command.get_arguments().filter(|argument| !is_everywhere(argument) && (of_group || !argument.is_global_set())),
    )?;
    if let Some(examples) = command.get_after_help() {
        let lines = examples.to_string().replace("Examples:\n", "").replace("\n  ", "\n");
        writeln!(text, "```sh\n{}\n```", lines.trim_start())?;
    }
    for child in children {
        describe(text, child, &name)?;
    }
    Ok(())
}

fn told(argument: &clap::Arg) -> String {
    argument.get_help().map(ToString::to_string).unwrap_or_default()
}

fn options<'a>(text: &mut String, arguments: impl Iterator<Item = &'a clap::Arg>) -> Result<()> {
    let mut rows = String::new();
    for argument in arguments.filter(|argument| !argument.is_hide_set() && argument.get_id() != "help") {
        let help = told(argument);
        let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = match defaults.join(",") {
            value if value.is_empty() || value == "false" => String::new(),
            value => format!(" (default `{value}`)"),
        };
        let default = match argument.get_env() {
            Some(variable) => format!("{default} (env `{}`)", variable.to_string_lossy()),
            None => default,
        };
        let short = argument.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
        writeln!(
            rows,
            "| {short}`{}` | {}{default} |",
            argument.to_string().replace('|', "\\|"),
            help.replace('|', "\\|")
        )?;
    }
    if !rows.is_empty() {
        writeln!(text, "| argument | meaning |\n|---|---|\n{rows}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_page_is_what_the_program_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/cli.md");
        let page = reference_page().unwrap();
        if std::env::var_os("MARBLERUN_UPDATE_DOCS").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        assert!(std::fs::read_to_string(&path).unwrap() == page, "out of date: run `cargo xtask docs`");
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
