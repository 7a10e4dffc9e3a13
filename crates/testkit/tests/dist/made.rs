//! Made once, of the programs that the tests are built with.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use marblerun_testkit::binary;
use tempfile::TempDir;

/// What was made, in a folder that the last test removes.
pub fn made() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        // Nothing that is static is dropped; so it lies where the next run replaces it.
        let out = programs().join("dist-of-tests");
        make(&out, "packaged", &[]);
        out
    })
}

fn programs() -> PathBuf {
    binary("xtask").parent().unwrap().to_path_buf()
}

/// Those that packages hold: without what needs a library of the system. `cargo xtask test` puts them there.
fn packaged(folder: &str) -> PathBuf {
    let programs = programs().join(folder);
    assert!(programs.is_dir(), "{} is made by `cargo xtask test`", programs.display());
    programs
}

fn make(out: &Path, programs: &str, more: &[&str]) {
    run(&mut making(out, programs, more));
}

/// The command that makes things of the programs in a folder.
pub fn making(out: &Path, programs: &str, more: &[&str]) -> Command {
    let mut command = Command::new(binary("xtask"));
    command.args(["dist", "--profile", "dev", "--programs"]).arg(packaged(programs)).arg("--out").arg(out).args(more);
    // A work tree need not be under version control.
    command.env("SOURCE_DATE_EPOCH", "1700000000");
    command
}

/// Runs it; answers what it wrote to stdout.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} ended with {}\n{stdout}{stderr}", output.status);
    stdout.into_owned()
}

/// The only file with that end.
pub fn file(end: &str) -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir(made()).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.to_string_lossy().ends_with(end));
    assert_eq!(found.len(), 1, "{end}: {found:?}");
    found.remove(0)
}

/// Whether things can be made here.
pub fn is_debian() -> bool {
    let found = Command::new("apt-get").arg("--version").output().is_ok();
    if !found {
        eprintln!("SKIPPED: packages and images are made on Debian and its descendants");
    }
    found
}

/// Whether they can, and this process may do what runtimes and package managers do.
pub fn is_debian_and_root() -> bool {
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root {
        eprintln!("SKIPPED: only root can run containers and install packages");
    }
    is_debian() && root
}

#[test]
fn checksums_hold_and_the_same_inputs_give_the_same_bytes() {
    if !is_debian() {
        return;
    }
    run(Command::new("sha256sum").args(["--check", "--strict", "--quiet", "SHA256SUMS"]).current_dir(made()));
    let dir = TempDir::new().unwrap();
    make(&dir.path().join("again"), "packaged", &[]);
    let sums = |out: &Path| std::fs::read_to_string(out.join("SHA256SUMS")).unwrap();
    let first = sums(made());
    assert_eq!(first.lines().count(), 2 + 2 * images().len(), "{first}");
    assert_eq!(first, sums(&dir.path().join("again")));
}

/// Folders of the images' layouts.
pub fn images() -> Vec<PathBuf> {
    let images = std::fs::read_dir(made().join("images")).unwrap().map(|entry| entry.unwrap().path());
    images.filter(|path| path.is_dir()).collect()
}
