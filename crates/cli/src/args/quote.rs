//! `quote ..`

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `quote ..`
#[derive(Debug, Subcommand)]
pub enum QuoteCommand {
    /// Verify evidence of SGX, TDX or SEV-SNP: each field, the verdict, and what a package or policy asks beside it
    ///
    /// FILE is what `--save-sgx-quote` wrote, or a bare quote or report.
    /// Ends with 0 if the evidence is genuine and fits what it is compared with, else with 1. The policy is that of
    /// `--era-config` if it is given, or the package that `--package` names.
    Explain(QuoteExplainArgs),
}

/// `quote explain`
#[derive(Debug, Args)]
pub struct QuoteExplainArgs {
    /// Evidence; `-` is stdin
    pub file: PathBuf,
    /// Compare with this package of a manifest
    #[arg(long, value_name = "MANIFEST#PACKAGE")]
    pub package: Option<String>,
    /// Judge as if it were this time, such as 2026-01-31T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// DER certificate of the key that signed an SEV-SNP report (VCEK or VLEK), for a bare report
    #[arg(long, value_name = "FILE")]
    pub vek: Option<PathBuf>,
}
