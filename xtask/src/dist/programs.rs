//! The programs as they are given out: built without the names of this machine's folders in them, and stripped.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::contents::PROGRAMS;
use super::release::{Release, Tee};

/// Tells the compiler which environment the programs are for.
pub const BUILD_TEE: &str = "MARBLERUN_BUILD_TEE";
/// Programs that decide which environment they run in.
const DECIDING: [&str; 2] = ["marblerun-coordinator", "marblerun-premain"];

/// All programs that are given out, by name.
pub struct Programs {
    /// Where they were built.
    folder: PathBuf,
    stripped: BTreeMap<&'static str, Vec<u8>>,
}

impl Programs {
    /// Strips the programs in a folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let mut stripped = BTreeMap::new();
        for program in PROGRAMS {
            let (from, to) = (folder.join(program.name), scratch.path().join(program.name));
            ensure!(from.is_file(), "{} was not built", from.display());
            super::quietly(Command::new("strip").arg("--strip-all").arg("-o").arg(&to).arg(&from))
                .context("stripping (strip is in the package binutils)")?;
            stripped.insert(program.name, std::fs::read(&to)?);
        }
        Ok(Self { folder: folder.to_path_buf(), stripped })
    }

    /// The bytes of one.
    pub fn get(&self, name: &str) -> Result<&[u8]> {
        self.stripped.get(name).map(Vec::as_slice).with_context(|| format!("there is no program {name}"))
    }

    /// A command that runs one.
    pub fn run(&self, name: &str) -> Command {
        Command::new(self.folder.join(name))
    }

    /// Whether one of these texts stands in a program.
    pub fn leak<'a>(&self, texts: &'a [String]) -> Option<(&'static str, &'a str)> {
        self.stripped.iter().find_map(|(name, bytes)| {
            let found = texts.iter().find(|text| contains(bytes, text.as_bytes()))?;
            Some((*name, found.as_str()))
        })
    }
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    !text.is_empty() && bytes.windows(text.len()).any(|window| window == text)
}

/// Builds all programs with the release profile; answers their folder.
///
/// The same sources must give the same bytes wherever they lie, so the names of folders are replaced in what the
/// compilers write down.
pub fn build(root: &Path, release: &Release) -> Result<PathBuf> {
    let folders = folders(root)?;
    let mut command = crate::cargo();
    command.current_dir(root).args(["build", "--locked", "--workspace", "--bins", crate::RELEASE]);
    command.args(crate::SELF_CONTAINED);
    command.env("CARGO_ENCODED_RUSTFLAGS", rust_flags(&folders));
    let flags = std::env::var("CFLAGS").unwrap_or_default();
    command.env("CFLAGS", c_flags(&flags, &folders));
    command.env("MARBLERUN_COMMIT", release.commit.as_deref().unwrap_or_default());
    command.env(BUILD_TEE, release.tee.map_or("", Tee::name));
    crate::run(&mut command)?;
    Ok(crate::target_dir()?.join("release"))
}

/// Refuses programs that were built for something else than what is made of them.
pub fn ensure_built_for(programs: &Programs, tee: Option<Tee>) -> Result<()> {
    for name in DECIDING {
        let mut command = programs.run(name);
        let output = command.arg("--version").output().with_context(|| format!("starting {command:?}"))?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let is_right = match tee {
            Some(tee) => version.ends_with(tee.note()),
            None => !version.ends_with(')'),
        };
        ensure!(
            output.status.success() && is_right,
            "{name} says that it is {version:?}: it was not built for {}",
            tee.map_or("every environment", Tee::name)
        );
    }
    Ok(())
}

/// Refuses programs that tell where they were built.
pub fn ensure_no_folders(programs: &Programs, root: &Path) -> Result<()> {
    let texts: Vec<String> = folders(root)?.into_iter().map(|(folder, _)| folder).collect();
    if let Some((program, text)) = programs.leak(&texts) {
        anyhow::bail!("{program} contains {text}: the same sources would give other bytes elsewhere");
    }
    Ok(())
}

/// Folders of this machine, and what stands for them. Of one below another, the compiler takes the later.
fn folders(root: &Path) -> Result<Vec<(String, &'static str)>> {
    let cargo = match std::env::var_os("CARGO_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?).join(".cargo"),
    };
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a folder whose name is no text");
    Ok(vec![(text(root)?, "/marblerun"), (text(&crate::target_dir()?)?, "/target"), (text(&cargo)?, "/cargo")])
}

/// Arguments of rustc, in the form cargo takes them.
fn rust_flags(folders: &[(String, &str)]) -> OsString {
    let flags = folders.iter().map(|(from, to)| format!("--remap-path-prefix={from}={to}"));
    flags.collect::<Vec<_>>().join("\u{1f}").into()
}

/// Arguments of the C compiler.
fn c_flags(given: &str, folders: &[(String, &str)]) -> String {
    folders
        .iter()
        .fold(given.to_owned(), |flags, (from, to)| format!("{flags} -ffile-prefix-map={from}={to}"))
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_is_replaced_for_both_compilers() {
        let folders = [("/a b".to_owned(), "/marblerun"), ("/c".to_owned(), "/cargo")];
        assert_eq!(rust_flags(&folders), "--remap-path-prefix=/a b=/marblerun\u{1f}--remap-path-prefix=/c=/cargo");
        assert_eq!(c_flags("-O2", &folders[1..]), "-O2 -ffile-prefix-map=/c=/cargo");
    }

    #[test]
    fn a_folder_in_a_program_is_found() {
        let programs =
            Programs { folder: PathBuf::new(), stripped: [("marblerun", b"\0/home/me/x\0".to_vec())].into() };
        let texts = ["/nowhere".to_owned(), "/home/me".to_owned()];
        assert_eq!(programs.leak(&texts), Some(("marblerun", "/home/me")));
        assert_eq!(programs.leak(&texts[..1]), None);
    }
}
