//! The configuration reference: the page of the documentation that lists every option, made from the
//! options themselves so that it cannot fall behind.

use std::fmt::Write as _;

use clap::CommandFactory;

use super::Options;

/// `docs/src/reference/configuration.md`, whole.
#[must_use]
pub fn reference_page() -> String {
    let mut page = String::from(HEAD);
    let command = Options::command();
    for argument in command.get_arguments() {
        let Some(flag) = argument.get_long() else { continue };
        if matches!(flag, "help" | "version") {
            continue;
        }
        let variable =
            argument.get_env().map_or_else(|| "-".to_owned(), |name| format!("`{}`", name.to_string_lossy()));
        let default = argument
            .get_default_values()
            .first()
            .map(|value| value.to_string_lossy().into_owned())
            .filter(|value| !value.is_empty())
            .map_or_else(|| "-".to_owned(), |value| format!("`{value}`"));
        let meaning = argument.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|");
        // Writing to a string cannot fail.
        let _ = writeln!(page, "| {variable} | `--{flag}` | {default} | {meaning} |");
    }
    page.push_str(TAIL);
    page
}

const HEAD: &str = "\
# Configuration of the Coordinator

<!-- Made from the program's options; a test compares it with them. -->

The Coordinator has no configuration file. Each option is an environment variable or a flag; a flag wins.
A variable that is set but empty counts as not set. `marblerun-coordinator --help` tells the same.

| Variable | Flag | Default | Meaning |
| --- | --- | --- | --- |
";

const TAIL: &str = "
Addresses are written as `host:port`, `[address]:port`, or `:port` for every address of the machine, IPv4 and IPv6.

Single sealing backends have variables of their own, without flags: [TPM](../how-to/seal-tpm.md) (`MARBLERUN_TPM`, ..), [SEV-SNP](../how-to/seal-snp.md)
(`MARBLERUN_SNP_PRODUCT_KEY`, `MARBLERUN_SNP_VMPL`), [Azure Managed HSM](../how-to/seal-azure-hsm.md) (`EDG_MAA_URL`, `EDG_AZURE_HSM_VAULT_URL`,
`EDG_AZURE_HSM_KEY_NAME`, `EDG_AZURE_CLIENT_ID`, `EDG_AZURE_TENANT_ID`, and either `EDG_AZURE_CLIENT_SECRET` or both `EDG_AZURE_AUTHORITY_HOST` and
`EDG_AZURE_FEDERATED_TOKEN_FILE`). A manifest with the feature gate `AzureHSMSealing` needs those and a Coordinator that seals nothing without the HSM
(`MARBLERUN_SEAL=platform+azure-hsm`); it is refused rather than sealed with less.
";
