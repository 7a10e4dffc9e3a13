//! What is released: the version, the commit and the time that stand in everything made of it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;

/// A trusted execution environment that programs can be built for, and then run in no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tee {
    /// Intel SGX.
    Sgx,
    /// Intel TDX.
    Tdx,
    /// AMD SEV-SNP.
    Snp,
}

impl Tee {
    /// As `MARBLERUN_TEE` names it, and names of what is made for it end.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sgx => "sgx",
            Self::Tdx => "tdx",
            Self::Snp => "snp",
        }
    }

    /// What programs that were built for it say of their version.
    pub fn note(self) -> &'static str {
        match self {
            Self::Sgx => "(for Intel SGX alone)",
            Self::Tdx => "(for Intel TDX alone)",
            Self::Snp => "(for AMD SEV-SNP alone)",
        }
    }
}

/// What is released, and for which machines.
#[derive(Debug, Clone)]
pub struct Release {
    /// Version of the programs.
    pub version: String,
    /// Commit they are made of, where that is known.
    pub commit: Option<String>,
    /// The only environment that the programs run in, if they were built for one.
    pub tee: Option<Tee>,
    /// Seconds since 1970: when that was. The time of every file.
    pub time: u64,
    /// The compiler's name of the machines (`x86_64-unknown-linux-gnu`).
    pub target: String,
    /// Version of the compiler.
    pub compiler: String,
    /// How hard to compress what is large, from 1 to 9.
    pub effort: u32,
    /// The processor as Rust calls it (`x86_64`).
    pub architecture: &'static str,
    /// As Debian and container images call it (`amd64`).
    pub debian_architecture: &'static str,
}

impl Release {
    /// Of the work tree at `root`, for machines as this one.
    pub fn of(root: &Path, tee: Option<Tee>, effort: u32) -> Result<Self> {
        let (architecture, debian_architecture) = match std::env::consts::ARCH {
            "x86_64" => ("x86_64", "amd64"),
            "aarch64" => ("aarch64", "arm64"),
            other => bail!(
                "packages and images are made for x86_64 and aarch64, and on machines of that kind; this is {other}"
            ),
        };
        let git = |arguments: &[&str]| -> Option<String> {
            let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let changed = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
        let commit =
            git(&["rev-parse", "HEAD"]).map(|commit| if changed { format!("{commit}-modified") } else { commit });
        let time = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(seconds) => {
                seconds.parse().with_context(|| format!("SOURCE_DATE_EPOCH={seconds:?} is no number of seconds"))?
            }
            Err(_) => git(&["log", "-1", "--format=%ct"])
                .and_then(|seconds| seconds.parse().ok())
                .context("the time of the commit is not known; set SOURCE_DATE_EPOCH to the seconds since 1970")?,
        };
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let told = Command::new(&rustc).arg("-vV").current_dir(root).output().context("starting rustc")?;
        ensure!(told.status.success(), "rustc -vV ended with {}", told.status);
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        let say = |what: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(what));
            line.map(|line| line.trim().to_owned()).with_context(|| format!("rustc does not tell its {what}"))
        };
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit,
            tee,
            time,
            target: say("host:")?,
            compiler: say("release:")?,
            effort,
            architecture,
            debian_architecture,
        })
    }

    /// The time, as RFC 3339.
    pub fn created(&self) -> Result<String> {
        let seconds = i64::try_from(self.time).context("a time far from now")?;
        Ok(jiff::Timestamp::from_second(seconds).context("a time far from now")?.to_string())
    }

    /// `marblerun-VERSION-ARCH`, with what it was built for.
    pub fn name(&self) -> String {
        self.suffixed(&format!("marblerun-{}-{}", self.version, self.architecture))
    }

    /// The name of something that is made of the programs: `coordinator`, or `coordinator-snp`.
    pub fn suffixed(&self, name: &str) -> String {
        self.tee.map_or_else(|| name.to_owned(), |tee| format!("{name}-{}", tee.name()))
    }

    /// Any, for tests.
    #[cfg(test)]
    pub fn sample() -> Self {
        Self {
            version: "1.2.3".into(),
            commit: Some("c0ffee".into()),
            tee: None,
            time: 1_700_000_000,
            target: "x86_64-unknown-linux-gnu".into(),
            compiler: "1.95.0".into(),
            effort: 6,
            architecture: "x86_64",
            debian_architecture: "amd64",
        }
    }
}
