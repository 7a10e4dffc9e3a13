//! Examples of every command: shown by `--help`, in the man pages and in the reference. Tests parse them all, so that
//! none can go out of date.

use clap::{Command, CommandFactory as _};

use crate::args::Cli;

/// Command (without `marblerun`), and what to type.
const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "install",
        &[
            "marblerun install --repository registry.example/marblerun --distributed-deployment --replicas 3",
            "marblerun install --repository registry.example/marblerun --simulation",
            "marblerun install --values values.yaml --dry-run",
            "marblerun install --values values.yaml --dry-run=client --output yaml > marblerun.yaml",
        ],
    ),
    ("uninstall", &["marblerun uninstall", "marblerun uninstall --delete-state --yes"]),
    ("check", &["marblerun check --timeout 300"]),
    ("precheck", &["marblerun precheck --kube-context production"]),
    ("doctor", &["marblerun doctor", "marblerun doctor --namespace marblerun --output json"]),
    (
        "manifest set",
        &[
            "marblerun manifest set manifest.json coordinator.example:4433 --recoverydata recovery.json",
            "marblerun manifest set manifest.yaml localhost:4433 --insecure --recoverydata recovery.json",
        ],
    ),
    (
        "manifest get",
        &[
            "marblerun manifest get coordinator.example:4433 --output manifest.json",
            "marblerun manifest get coordinator.example:4433 --display-update",
        ],
    ),
    (
        "manifest verify",
        &[
            "marblerun manifest verify manifest.json coordinator.example:4433",
            "marblerun manifest verify d99ab7feb5df5699d939b3bdc2ede38e19ee5780fb5de1c52dd914946e727ccc localhost:4433",
        ],
    ),
    ("manifest log", &["marblerun manifest log coordinator.example:4433 --output json"]),
    ("manifest signature", &["marblerun manifest signature manifest.yaml"]),
    ("manifest check", &["marblerun manifest check manifest.yaml --output json"]),
    (
        "manifest update apply",
        &["marblerun manifest update apply update.json coordinator.example:4433 --cert alice.crt --key alice.key"],
    ),
    (
        "manifest update acknowledge",
        &[
            "marblerun manifest update get coordinator.example:4433 --output pending.json",
            "marblerun manifest update acknowledge pending.json coordinator.example:4433 -c bob.crt -k bob.key -r recovery.json",
        ],
    ),
    (
        "manifest update cancel",
        &["marblerun manifest update cancel coordinator.example:4433 --cert alice.crt --key alice.key"],
    ),
    (
        "manifest update get",
        &[
            "marblerun manifest update get coordinator.example:4433 --output pending.json",
            "marblerun manifest update get coordinator.example:4433 --missing",
        ],
    ),
    ("certificate root", &["marblerun certificate root coordinator.example:4433 --output root.pem"]),
    ("certificate intermediate", &["marblerun certificate intermediate coordinator.example:4433 --output -"]),
    ("certificate chain", &["marblerun certificate chain coordinator.example:4433"]),
    (
        "secret set",
        &[
            "marblerun secret set secrets.json coordinator.example:4433 --cert alice.crt --key alice.key",
            "marblerun secret set server.pem coordinator.example:4433 --from-pem server -c alice.crt -k alice.key",
        ],
    ),
    (
        "secret get",
        &[
            "marblerun secret get apiKey dbKey coordinator.example:4433 --cert alice.crt --key alice.key --output secrets.json",
            "marblerun secret get apiKey --field value --encoding raw --context prod",
        ],
    ),
    ("status", &["marblerun status coordinator.example:4433", "marblerun status coordinator.example:4433 --exit-code"]),
    (
        "recover",
        &[
            "marblerun recover recovery.json coordinator.example:4433 --data --key recovery-key.pem",
            "marblerun recover secret coordinator.example:4433 --key recovery-key.pem",
        ],
    ),
    (
        "recover-with-signature",
        &["marblerun recover-with-signature secret coordinator.example:4433 --signature secret.sig"],
    ),
    (
        "recover-with-signature public-key",
        &["marblerun recover-with-signature public-key coordinator.example:4433 --output coordinator-key.pem"],
    ),
    (
        "recover-with-signature encrypt-secret",
        &[
            "marblerun recover-with-signature encrypt-secret secret --coordinator-pub-key coordinator-key.pem --output secret.enc",
        ],
    ),
    (
        "recover-with-signature sign-secret",
        &["marblerun recover-with-signature sign-secret secret --key recovery-key.pem --output secret.sig"],
    ),
    (
        "backup create",
        &[
            "marblerun backup create /var/lib/marblerun /backups",
            "marblerun backup create coordinator.example:4433 /backups --cert alice.crt --key alice.key",
            "marblerun backup create --kubernetes /backups --namespace marblerun",
        ],
    ),
    ("backup list", &["marblerun backup list /backups --output json", "marblerun backup list --kubernetes"]),
    ("backup inspect", &["marblerun backup inspect /backups/sealed_data"]),
    (
        "backup verify",
        &["marblerun backup verify /backups/sealed_data --key recovery-key.pem --recoverydata recovery.json"],
    ),
    (
        "backup restore",
        &[
            "marblerun backup restore /backups/sealed_data /var/lib/marblerun",
            "marblerun backup restore /backups/marblerun-state.yaml --kubernetes --dry-run",
            "marblerun backup restore /backups/marblerun-state.yaml --kubernetes --yes",
        ],
    ),
    (
        "cluster status",
        &["marblerun cluster status coordinator.example:4433", "marblerun cluster status --context prod --output json"],
    ),
    ("restore accept", &["marblerun restore accept coordinator.example:4433 --cert alice.crt --key alice.key"]),
    ("restore reject", &["marblerun restore reject coordinator.example:4433 --cert alice.crt --key alice.key --yes"]),
    (
        "kek rotate",
        &[
            "marblerun kek rotate coordinator.example:4433 --cert alice.crt --key alice.key",
            "marblerun kek rotate --context prod --revoke",
        ],
    ),
    ("seal rotate", &["marblerun seal rotate coordinator.example:4433 --cert alice.crt --key alice.key"]),
    (
        "seal slot list",
        &[
            "marblerun seal slot list coordinator.example:4433 --cert alice.crt --key alice.key",
            "marblerun seal slot list --context prod --output json",
        ],
    ),
    ("seal slot add", &["marblerun seal slot add pkcs11 coordinator.example:4433 --cert alice.crt --key alice.key"]),
    (
        "seal slot test",
        &["marblerun seal slot test --context prod", "marblerun seal slot test --context prod --slot pkcs11"],
    ),
    ("seal slot remove", &["marblerun seal slot remove passphrase --context prod --yes"]),
    ("seal slot rotate", &["marblerun seal slot rotate pkcs11 --context prod"]),
    (
        "state inspect",
        &[
            "marblerun state inspect /backups/sealed_data",
            "marblerun state inspect /backups/sealed_data --key recovery-key.pem --format json",
        ],
    ),
    (
        "state export",
        &[
            "marblerun state export /backups/sealed_data --to upstream --key recovery-key.pem --output exported",
            "marblerun state export --kubernetes --to upstream-kubernetes --key recovery-key.pem --output upstream.yaml",
        ],
    ),
    (
        "audit log",
        &[
            "marblerun audit log coordinator.example:4433 --cert alice.crt --key alice.key",
            "marblerun audit log coordinator.example:4433 -c alice.crt -k alice.key --output audit-1.jsonl",
        ],
    ),
    (
        "audit verify",
        &[
            "marblerun audit verify audit-1.jsonl audit-2.jsonl --root root.pem",
            "marblerun audit verify /backups/sealed_data --key recovery-key.pem",
        ],
    ),
    ("demo", &["marblerun demo --keep"]),
    (
        "access explain",
        &[
            "marblerun access explain manifest.json",
            "marblerun access explain coordinator.example:4433 --user alice --action WriteSecret --resource apiKey",
        ],
    ),
    (
        "context add",
        &[
            "marblerun context add prod coordinator.example:4433 --root root.pem --cert alice.crt --key alice.key --use",
            "marblerun context add local localhost:4433 --insecure",
        ],
    ),
    ("context use", &["marblerun context use prod", "marblerun context use --none"]),
    ("context list", &["marblerun context list --output json"]),
    ("context show", &["marblerun context show prod"]),
    ("context rm", &["marblerun context rm local --yes"]),
    (
        "quote explain",
        &[
            "marblerun quote explain coordinator.quote --era-config coordinator-era.json",
            "marblerun quote explain marble.quote --collateral ./collateral --package manifest.json#backend",
            "marblerun quote explain guest.report --vek vcek.der --at 2026-01-31T12:00:00Z --output json",
        ],
    ),
    (
        "package-info",
        &["marblerun package-info ./signed-program", "marblerun package-info ./occlum-instance --output json"],
    ),
    ("version", &["marblerun version", "marblerun version --output yaml"]),
    (
        "completion",
        &[
            "marblerun completion bash > /etc/bash_completion.d/marblerun",
            "marblerun completion zsh > ~/.zfunc/_marblerun",
            "marblerun completion fish > ~/.config/fish/completions/marblerun.fish",
        ],
    ),
    ("generate-man", &["marblerun generate-man /usr/local/share/man/man1"]),
];

/// The command line with its examples.
pub fn command() -> Command {
    EXAMPLES.iter().fold(Cli::command(), |command, (path, lines)| {
        let words: Vec<&str> = path.split(' ').collect();
        attach(command, &words, lines)
    })
}

fn attach(command: Command, path: &[&str], lines: &[&str]) -> Command {
    match path.split_first() {
        // Names that do not exist are found by a test.
        Some((first, rest)) if command.find_subcommand(first).is_some() => {
            command.mut_subcommand(first, |inner| attach(inner, rest, lines))
        }
        Some(_) => command,
        None => command.after_help(format!("Examples:\n  {}", lines.join("\n  "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command that does something, but for those that are hidden.
    fn commands(command: &Command, parent: &str, found: &mut Vec<String>) {
        for child in command.get_subcommands().filter(|child| !child.is_hide_set() && child.get_name() != "help") {
            let name = format!("{parent}{}", child.get_name());
            if !child.is_arg_required_else_help_set() {
                found.push(name.clone());
            }
            commands(child, &format!("{name} "), found);
        }
    }

    #[test]
    fn every_command_has_examples_and_no_other() {
        let mut found = Vec::new();
        commands(&Cli::command(), "", &mut found);
        found.sort();
        let mut given: Vec<&str> = EXAMPLES.iter().map(|(path, _)| *path).collect();
        given.sort_unstable();
        assert_eq!(found, given);
    }

    #[test]
    fn what_the_page_about_kubernetes_says_can_be_typed() {
        let page = include_str!("../../../docs/src/how-to/install-kubernetes.md");
        let lines: Vec<&str> = page.lines().filter(|line| line.starts_with("marblerun ")).collect();
        assert!(lines.len() > 8, "{lines:?}");
        for line in lines {
            let parsed = command().try_get_matches_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn every_example_can_be_typed() {
        for (path, lines) in EXAMPLES {
            for line in *lines {
                let words = line.split(' ').take_while(|word| *word != ">");
                let parsed = command().try_get_matches_from(words);
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                let name = path.split(' ').next().unwrap();
                assert_eq!(parsed.unwrap().subcommand_name(), Some(name), "{line}");
            }
        }
    }
}
