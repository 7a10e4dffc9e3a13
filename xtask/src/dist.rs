//! `cargo xtask dist`: what people get who run MarbleRun and do not build it: a tar archive, a Debian package, container
//! images, and the checksums of all of them. The same sources, built by the same compiler over the same packages of
//! Debian, give the same bytes.

mod contents;
mod crates;
mod deb;
mod debian;
mod elf;
mod filesystem;
mod hosts;
mod image;
mod libraries;
mod programs;
mod release;
mod sbom;
mod tee;
mod tree;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use sha2::{Digest as _, Sha256};

use contents::{IMAGES, Place};
use crates::Metadata;
use filesystem::Debian;
use hosts::Layout;
use image::Layer;
use programs::Programs;
use release::Release;
use tree::{Tree, gzip};

/// How programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Profile {
    /// To be given out.
    Release,
    /// For tests: not optimised, and they tell where they were built.
    Dev,
}

pub use programs::BUILD_TEE;
pub use release::Tee;

/// What to make, and of what.
#[derive(Debug, Args)]
pub struct Options {
    /// Make it for this trusted execution environment alone: the Coordinator and premain then run in no other, whatever they
    /// are told
    #[arg(long, value_enum)]
    tee: Option<Tee>,
    /// Folder for what is made; emptied first [default: dist in the target folder, with --tee dist-TEE]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How the programs are built
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
    /// Build nothing; take the programs in this folder
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// Names of all programs that are packaged.
pub fn program_names() -> impl Iterator<Item = &'static str> {
    contents::PROGRAMS.iter().map(|program| program.name)
}

/// Makes everything.
pub fn run(options: &Options) -> Result<()> {
    let root = crate::root()?;
    // Tests wait for it.
    let effort = if options.profile == Profile::Release { 9 } else { 1 };
    let release = Release::of(&root, options.tee, effort)?;
    let folder = match (&options.programs, options.profile) {
        (Some(folder), _) => folder.clone(),
        (None, Profile::Release) => programs::build(&root, &release)?,
        (None, Profile::Dev) => crate::build_programs_for(options.tee, &crate::SELF_CONTAINED)?,
    };
    let built = Programs::read(&folder)?;
    programs::ensure_built_for(&built, options.tee)?;
    if options.profile == Profile::Release {
        programs::ensure_no_folders(&built, &root)?;
    }
    let debian = Debian::fetch(&crate::cache()?.join("debian"))?;
    let metadata = Metadata::read(&root, &release.target)?;
    let maker = Maker { root, release, built, debian, metadata };

    let out = match &options.out {
        Some(out) => out.clone(),
        None => crate::target_dir()?.join(maker.release.suffixed("dist")),
    };
    let mut made = Tree::default();
    maker.archive(&mut made)?;
    maker.package(&mut made)?;
    maker.images(&mut made)?;
    checksums(&mut made);
    if out.exists() {
        std::fs::remove_dir_all(&out).with_context(|| format!("removing folder {}", out.display()))?;
    }
    made.write(&out)?;
    for (path, _) in made.iter().filter(|(path, _)| is_given_out(path)) {
        println!("{}", out.join(path).display());
    }
    println!("measured in a TEE, besides what is said in share/marblerun/tee/measured:");
    for (name, digest) in tee::inputs(&maker.built)? {
        println!("{digest}  {name}");
    }
    Ok(())
}

/// Everything that things are made of.
struct Maker {
    root: PathBuf,
    release: Release,
    built: Programs,
    debian: Debian,
    metadata: Metadata,
}

impl Maker {
    /// What is in the programs of a place, and under which licences.
    fn licences(
        &self,
        tree: &mut Tree,
        folder: &str,
        of: &str,
        place: Place,
        parts: &BTreeSet<sbom::Part>,
    ) -> Result<()> {
        let programs: Vec<&str> = contents::programs(place).collect();
        let crates = self.metadata.crates(&programs)?;
        tree.file(&format!("{folder}/sbom.cdx.json"), 0o644, sbom::document(of, &self.release, &crates, parts)?);
        tree.file(&format!("{folder}/licences.gz"), 0o644, gzip(crates::licences(&crates)?.as_bytes(), 9)?);
        Ok(())
    }

    fn host(&self, layout: &Layout) -> Result<Tree> {
        let mut tree = hosts::files(layout, &self.root, &self.built, self.release.tee)?;
        let folder = format!("{}share/doc/marblerun", layout.prefix);
        self.licences(&mut tree, &folder, "marblerun", layout.place, &BTreeSet::new())?;
        Ok(tree)
    }

    fn archive(&self, made: &mut Tree) -> Result<()> {
        let name = self.release.name();
        let mut tree = self.host(&hosts::ARCHIVE)?;
        for file in ["LICENSE", "CHANGELOG.md"] {
            tree.file(&format!("share/doc/marblerun/{file}"), 0o644, hosts::text(&self.root.join(file))?);
        }
        let mut below = Tree::default();
        below.graft(&name, &tree);
        made.file(&format!("{name}.tar.gz"), 0o644, gzip(&below.archive(self.release.time)?, self.release.effort)?);
        Ok(())
    }

    fn package(&self, made: &mut Tree) -> Result<()> {
        let mut tree = self.host(&hosts::PACKAGE)?;
        deb::documentation(&mut tree, &self.root, &self.release)?;
        let package = deb::package(&self.root, &self.release, &self.built, &tree)?;
        made.file(&deb::file_name(&self.release), 0o644, package);
        Ok(())
    }

    fn images(&self, made: &mut Tree) -> Result<()> {
        // Of what runs in a TEE alone.
        for plan in IMAGES.iter().filter(|plan| self.release.tee.is_none() || plan.is_measured) {
            let image = self.release.suffixed(plan.name);
            let (system, parts) = filesystem::system(plan, &self.debian, &self.built)?;
            let mut programs = filesystem::programs_of(plan, &self.built)?;
            let folder = "usr/share/doc/marblerun";
            self.licences(&mut programs, folder, plan.name, Place::Image(plan.name), &parts)?;
            programs.file(&format!("{folder}/copyright"), 0o644, hosts::text(&self.root.join("LICENSE"))?);
            let sbom = programs.bytes(&format!("{folder}/sbom.cdx.json")).unwrap_or_default().to_vec();
            let layers = [
                Layer { about: "libraries and tools of Debian", tree: &system },
                Layer { about: "programs", tree: &programs },
            ];
            let layout = image::layout(plan, &self.release, &layers)?;
            made.graft(&format!("images/{image}"), &layout);
            made.file(&format!("images/{image}.tar"), 0o644, layout.archive(self.release.time)?);
            made.file(&format!("images/{image}.cdx.json"), 0o644, sbom);
        }
        Ok(())
    }
}

/// Files to hand on. Layouts of images are folders: their archives are.
fn is_given_out(path: &str) -> bool {
    [".gz", ".deb", ".tar", ".json", "SHA256SUMS"].iter().any(|end| path.ends_with(end))
        && path.matches('/').count() < 2
}

/// As `sha256sum --check` reads it.
fn checksums(made: &mut Tree) {
    let mut sums = String::new();
    for (path, _) in made.iter().filter(|(path, _)| is_given_out(path)) {
        let bytes = made.bytes(path).unwrap_or_default();
        sums.push_str(&format!("{}  {path}\n", hex::encode(Sha256::digest(bytes))));
    }
    made.file("SHA256SUMS", 0o644, sums);
}

/// Runs a command whose output matters only if it fails.
fn quietly(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_of_every_file_that_is_handed_on() {
        let mut made = Tree::default();
        made.file("a.deb", 0o644, "");
        made.file("images/coordinator.tar", 0o644, "");
        made.file("images/coordinator/index.json", 0o644, "");
        checksums(&mut made);
        let sums = String::from_utf8(made.bytes("SHA256SUMS").unwrap().to_vec()).unwrap();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sums, format!("{empty}  a.deb\n{empty}  images/coordinator.tar\n"));
    }
}
