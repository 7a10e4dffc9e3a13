//! etcd, the API server, the controllers and kubectl, built once from pinned sources into the user's cache: no cluster,
//! container or root is needed, and every developer tests against the same versions.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

/// Names a folder to take them from, instead of the cache.
pub const VARIABLE: &str = "MARBLERUN_KUBE_BIN";

/// Every script that builds some, below `xtask/kube`. They skip what is there.
const SCRIPTS: [&str; 2] = ["build-kube.sh", "helm/build-helm.sh"];
const NAMES: [&str; 5] = ["etcd", "kubectl", "kube-apiserver", "kube-controller-manager", "helm"];
/// What each of them notes to have built from, beside the binaries, and the pinned modules.
const PINNED: [(&str, &str); 2] = [(".go.sum", "go.sum"), (".helm.go.sum", "helm/go.sum")];

/// From this version on, Go fetches the newer one that a module asks for.
const SELF_UPDATING: Version = Version(1, 21);

/// Builds what is missing, and tells the folder.
pub fn install() -> Result<PathBuf> {
    let cache = crate::cache()?;
    let folder = std::env::var_os(VARIABLE).map_or_else(|| cache.join("kube"), PathBuf::from);
    let sources = crate::root()?.join("xtask/kube");
    let scripts: Vec<PathBuf> = SCRIPTS.iter().map(|name| sources.join(name)).filter(|path| path.is_file()).collect();
    let work = cache.join("kube-build");
    let mut builds: Vec<Command> = scripts.iter().map(Command::new).collect();
    if needs_go(&folder, &sources, scripts.len() == SCRIPTS.len()) {
        let go = Go::find(needed(&sources)?)?;
        builds.iter_mut().try_for_each(|build| go.prepare(build, &work))?;
    }
    for build in &mut builds {
        crate::run(build.arg("--out").arg(&folder))?;
    }
    if work.is_dir() {
        remove(&work)?;
    }
    Ok(folder)
}

/// Whether anything will be built, as the scripts decide it.
fn needs_go(folder: &Path, sources: &Path, helm: bool) -> bool {
    let missing = NAMES.iter().filter(|name| helm || **name != "helm").any(|name| !folder.join(name).is_file());
    let of_others = PINNED.iter().any(|(noted, pinned)| {
        // Without a note they are somebody's own.
        std::fs::read(folder.join(noted)).is_ok_and(|noted| std::fs::read(sources.join(pinned)).ok() != Some(noted))
    });
    missing || of_others
}

/// The version that `go.mod` asks for.
fn needed(sources: &Path) -> Result<Version> {
    let path = sources.join("go.mod");
    let module = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let line = module.lines().find_map(|line| line.strip_prefix("go "));
    line.and_then(Version::parse).with_context(|| format!("{} names no version of Go", path.display()))
}

/// Major and minor version of Go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim().splitn(3, |c: char| !c.is_ascii_digit());
        Some(Self(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

struct Go {
    version: Version,
    needed: Version,
}

impl Go {
    /// Missing, it is installed as the other tools of the tests are.
    fn find(needed: Version) -> Result<Self> {
        if !crate::is_installed("go") {
            crate::install_packages(&["golang-go"]).with_context(|| advice(needed, "Go is not installed"))?;
        }
        let answer = Command::new("go").args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").output();
        let answer = String::from_utf8(answer.context("starting go")?.stdout)?;
        let version = answer.trim().strip_prefix("go").and_then(Version::parse);
        let version = version.with_context(|| advice(needed, &format!("`go env GOVERSION` answers {answer:?}")))?;
        ensure!(
            version >= needed.min(SELF_UPDATING),
            advice(needed, &format!("the installed Go is {}.{}", version.0, version.1))
        );
        Ok(Self { version, needed })
    }

    /// What the compiler caches is gigabytes that nobody needs afterwards; a user's own caches are left alone.
    fn prepare(&self, build: &mut Command, work: &Path) -> Result<()> {
        if self.version < self.needed {
            build.env("GOTOOLCHAIN", "auto");
        }
        if std::env::var_os("GOCACHE").is_none() {
            build.env("GOCACHE", work.join("compiled"));
        }
        let modules = Command::new("go").args(["env", "GOMODCACHE"]).output().context("starting go")?;
        if !Path::new(String::from_utf8(modules.stdout)?.trim()).is_dir() {
            build.env("GOMODCACHE", work.join("modules"));
        }
        Ok(())
    }
}

fn advice(needed: Version, problem: &str) -> String {
    format!(
        "{problem}: etcd and kube-apiserver, which the tests run against, are built with Go {}.{} or newer. \
         Install it from https://go.dev/dl, or name a folder with the binaries in {VARIABLE}",
        needed.0, needed.1
    )
}

/// Go makes its modules read-only, folders too.
fn remove(work: &Path) -> Result<()> {
    let status = Command::new("chmod").args(["-R", "u+w"]).arg(work).status().context("starting chmod")?;
    if !status.success() {
        bail!("{} cannot be made writable, so it cannot be removed", work.display());
    }
    std::fs::remove_dir_all(work).with_context(|| format!("removing {}", work.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go_are_compared_as_numbers() {
        assert_eq!(Version::parse("1.26.0"), Some(Version(1, 26)));
        assert_eq!(Version::parse("1.24rc1"), Some(Version(1, 24)));
        assert_eq!(Version::parse("1.9"), Some(Version(1, 9)));
        assert_eq!(Version::parse("devel"), None);
        assert!(Version(1, 9) < Version(1, 21));
    }

    #[test]
    fn the_pinned_module_names_a_version() {
        let sources = crate::root().unwrap().join("xtask/kube");
        assert!(needed(&sources).unwrap() >= SELF_UPDATING);
    }

    #[test]
    fn go_is_needed_for_what_is_missing_or_of_other_versions_alone() {
        let (folder, sources) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |place: &tempfile::TempDir, name: &str, text: &str| {
            std::fs::write(place.path().join(name), text).unwrap();
        };
        let needs = |helm| needs_go(folder.path(), sources.path(), helm);
        write(&sources, "go.sum", "new");
        assert!(needs(false));
        NAMES.iter().filter(|name| **name != "helm").for_each(|name| write(&folder, name, ""));
        assert!(!needs(false), "a folder of the user's own");
        assert!(needs(true));
        write(&folder, "helm", "");
        assert!(!needs(true));
        write(&folder, ".go.sum", "old");
        assert!(needs(true));
        write(&folder, ".go.sum", "new");
        assert!(!needs(true));
        write(&folder, ".helm.go.sum", "old");
        assert!(needs(true));
    }
}
