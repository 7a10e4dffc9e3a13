//! What is installed on a host, beside the programs: man pages, completions, the unit of the Coordinator, its user.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::contents::{Place, programs};
use super::programs::Programs;
use super::release::Tee;
use super::tree::{Tree, gzip};

/// Where things of a host belong.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Which of the programs.
    pub place: Place,
    /// Above `bin`, `share` and `lib`.
    pub prefix: &'static str,
    /// Folder of the programs on the host.
    pub programs: &'static str,
    /// The default settings of the Coordinator.
    pub settings: &'static str,
    /// Below `share`: completions of zsh.
    pub zsh: &'static str,
    /// Whether man pages are compressed.
    pub compressed: bool,
}

/// The tar archive, to be unpacked over `/usr/local`.
pub const ARCHIVE: Layout = Layout {
    place: Place::Archive,
    prefix: "",
    programs: "/usr/local/bin",
    settings: "share/doc/marblerun/marblerun-coordinator.default",
    zsh: "zsh/site-functions",
    compressed: false,
};

/// The Debian package.
pub const PACKAGE: Layout = Layout {
    place: Place::Package,
    prefix: "usr/",
    programs: "/usr/bin",
    settings: "etc/default/marblerun-coordinator",
    zsh: "zsh/vendor-completions",
    compressed: true,
};

/// All files.
pub fn files(layout: &Layout, root: &Path, built: &Programs, tee: Option<Tee>) -> Result<Tree> {
    let mut tree = Tree::default();
    let prefix = layout.prefix;
    for name in programs(layout.place) {
        tree.file(&format!("{prefix}bin/{name}"), 0o755, built.get(name)?);
    }
    for (name, page) in manual(root, built)? {
        let section = name.rsplit('.').next().unwrap_or_default();
        let path = format!("{prefix}share/man/man{section}/{name}");
        if layout.compressed {
            tree.file(&format!("{path}.gz"), 0o644, gzip(&page, 9)?);
        } else {
            tree.file(&path, 0o644, page);
        }
    }
    let completions = [
        ("bash", "bash-completion/completions/marblerun".to_owned()),
        ("zsh", format!("{}/_marblerun", layout.zsh)),
        ("fish", "fish/vendor_completions.d/marblerun.fish".to_owned()),
    ];
    for (shell, path) in completions {
        tree.file(&format!("{prefix}share/{path}"), 0o644, completion(built, shell)?);
    }
    let packaging = root.join("packaging");
    let unit = text(&packaging.join("marblerun-coordinator.service"))?.replace("@programs@", layout.programs);
    tree.file(&format!("{prefix}lib/systemd/system/marblerun-coordinator.service"), 0o644, unit);
    tree.file(&format!("{prefix}lib/sysusers.d/marblerun.conf"), 0o644, text(&packaging.join("marblerun.sysusers"))?);
    super::tee::files(&mut tree, layout, root, built, tee)?;
    tree.file(layout.settings, 0o644, text(&packaging.join("marblerun-coordinator.default"))?);
    Ok(tree)
}

/// Man pages by file name: those of the command come from the command, the others from the documentation.
fn manual(root: &Path, built: &Programs) -> Result<Vec<(String, Vec<u8>)>> {
    let scratch = tempfile::tempdir()?;
    super::quietly(built.run("marblerun").arg("generate-man").arg(scratch.path()))?;
    let mut pages = Vec::new();
    for folder in [scratch.path(), &root.join("docs/man")] {
        for entry in std::fs::read_dir(folder).with_context(|| format!("reading folder {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_known = pages.iter().any(|(known, _): &(String, Vec<u8>)| *known == name);
            ensure!(!is_known, "{} is a page that the command makes itself; remove it", path.display());
            pages.push((name, std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?));
        }
    }
    Ok(pages)
}

fn completion(built: &Programs, shell: &str) -> Result<Vec<u8>> {
    let mut command = built.run("marblerun");
    let output = command.args(["completion", shell]).output().with_context(|| format!("starting {command:?}"))?;
    ensure!(output.status.success(), "{command:?} ended with {}", output.status);
    Ok(output.stdout)
}

/// A text file of the project.
pub fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}
