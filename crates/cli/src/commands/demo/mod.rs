//! `marblerun demo`: the whole story on one machine, told step by step. Every step drives the real
//! programs, as a user would from a shell; nothing is played but the host's seal key (a file).

mod marble;
mod story;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::args::DemoArgs;

/// Runs the demo, or (for the demo itself) one of its Marbles.
pub async fn run(args: DemoArgs) -> Result<()> {
    if let Some(role) = args.marble {
        return marble::run(&role).await;
    }
    let programs = Programs::find(args.bin_dir)?;
    match args.dir {
        Some(dir) => {
            std::fs::create_dir_all(&dir).with_context(|| format!("making folder {}", dir.display()))?;
            if dir.read_dir()?.next().is_some() {
                bail!("{} is not empty; the demo wants a folder of its own", dir.display());
            }
            story::tell(&programs, &dir, args.keep).await
        }
        None => {
            let dir = tempfile::Builder::new().prefix("marblerun-demo-").tempdir()?;
            let told = story::tell(&programs, dir.path(), args.keep).await;
            if args.keep && told.is_ok() {
                // The Coordinator that was left running needs its files.
                let _ = dir.keep();
            }
            told
        }
    }
}

/// The programs of the story.
struct Programs {
    marblerun: PathBuf,
    coordinator: PathBuf,
    premain: PathBuf,
}

impl Programs {
    fn find(bin_dir: Option<PathBuf>) -> Result<Self> {
        let marblerun = std::env::current_exe().context("finding this program")?;
        let beside = marblerun.parent().map(PathBuf::from).unwrap_or_default();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs: Vec<PathBuf> = match bin_dir {
            Some(dir) => vec![dir],
            None => std::iter::once(beside).chain(std::env::split_paths(&path)).collect(),
        };
        let find = |name: &str| {
            dirs.iter()
                .map(|dir| dir.join(name))
                .find(|file| file.is_file())
                .with_context(|| format!("{name} is neither beside this program nor in PATH; say --bin-dir DIR"))
        };
        Ok(Self { coordinator: find("marblerun-coordinator")?, premain: find("marblerun-premain")?, marblerun })
    }

    /// How to call this program: by its name where a shell finds it by that, else with its folder.
    fn as_typed(&self) -> String {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|dir| dir.join("marblerun")).find(|file| file.is_file());
        let same = found.and_then(|file| file.canonicalize().ok()) == self.marblerun.canonicalize().ok();
        if same { "marblerun".to_owned() } else { self.marblerun.display().to_string() }
    }
}
