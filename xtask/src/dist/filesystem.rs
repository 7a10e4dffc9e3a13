//! The files of an image: a system with no more in it than its programs need, then the programs.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::contents::{BUSYBOX, DEBIAN, LIBRARIES, Place, Plan, RESOLVER, USER, programs};
use super::debian::{self, Copyright, Package};
use super::libraries;
use super::programs::Programs;
use super::sbom::Part;
use super::tree::{Content, Tree};

/// The packages of Debian that images take parts of.
pub struct Debian(Vec<Package>);

impl Debian {
    /// Gets them, with those that their licences stand in.
    pub fn fetch(cache: &Path) -> Result<Self> {
        let names: Vec<&str> = DEBIAN.iter().map(|(name, _)| *name).collect();
        let mut packages = debian::fetch(&names, cache)?;
        let of = |package: &Package| match package.copyright() {
            Copyright::Of(other) => Some(other.to_owned()),
            _ => None,
        };
        let others: BTreeSet<String> = packages.iter().filter_map(of).collect();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        packages.extend(if others.is_empty() { Vec::new() } else { debian::fetch(&others, cache)? });
        Ok(Self(packages))
    }

    fn package(&self, name: &str) -> Result<&Package> {
        self.0
            .iter()
            .find(|package| package.name == name)
            .with_context(|| format!("the package {name} was not fetched"))
    }

    fn copyright(&self, package: &Package) -> Result<&[u8]> {
        let mut package = self.package(&package.name)?;
        loop {
            match package.copyright() {
                Copyright::Text(text) => return Ok(text),
                Copyright::Of(other) if other != package.name => package = self.package(other)?,
                _ => anyhow::bail!("the package {} does not tell its licence", package.name),
            }
        }
    }
}

/// The system of an image, with what it took from Debian.
pub fn system(plan: &Plan, debian: &Debian, built: &Programs) -> Result<(Tree, BTreeSet<Part>)> {
    let mut tree = Tree::default();
    for (path, mode) in [("dev", 0o755), ("proc", 0o755), ("run", 0o755), ("sys", 0o755), ("tmp", 0o1777)] {
        tree.folder(path, mode, 0);
    }
    let mut used = BTreeSet::from(["base-files"]);
    let release =
        debian.package("base-files")?.files.bytes("usr/lib/os-release").context("base-files tells no release")?;
    tree.file("usr/lib/os-release", 0o644, release);
    tree.link("etc/os-release", "../usr/lib/os-release");

    let mut programs: Vec<&[u8]> =
        programs(Place::Image(plan.name)).map(|name| built.get(name)).collect::<Result<_>>()?;
    if plan.shell {
        // Not busybox-static: its shell prefers the programs inside it to those in the image, `tar` too.
        let busybox = debian.package("busybox")?.files.bytes("usr/bin/busybox").context("no busybox in its package")?;
        tree.file("usr/bin/busybox", 0o755, busybox);
        for name in BUSYBOX {
            tree.link(&format!("usr/bin/{name}"), "busybox");
        }
        used.insert("busybox");
        programs.push(busybox);
    }
    let (libraries, of) = libraries::closure(&programs, &RESOLVER, &debian.0)?;
    tree.graft("", &libraries);
    used.extend(LIBRARIES.iter().filter(|name| of.contains(*name)));
    // 64-bit x86 has its loader in lib64.
    for (link, target) in [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("sbin", "usr/bin")] {
        if link == "bin" || link == "sbin" || tree.get(target).is_some() {
            tree.link(link, target);
        }
    }

    if plan.certificates {
        tree.file("etc/ssl/certs/ca-certificates.crt", 0o644, certificates(debian.package("ca-certificates")?));
        used.insert("ca-certificates");
    }
    names(&mut tree, plan.folder);
    (plan.more)(&mut tree);

    let mut parts = BTreeSet::new();
    for name in used {
        let package = debian.package(name)?;
        tree.file(&format!("usr/share/doc/{name}/copyright"), 0o644, debian.copyright(package)?);
        // Where scanners look for what is installed.
        tree.file(&format!("var/lib/dpkg/status.d/{name}"), 0o644, package.control.as_bytes());
        let licence = DEBIAN.iter().find(|(of, _)| *of == name).context("a package without a licence")?.1;
        parts.insert(Part {
            name: name.to_owned(),
            version: package.version.clone(),
            source: package.source.clone(),
            licence: licence.to_owned(),
        });
    }
    Ok((tree, parts))
}

/// Who is who, and where.
fn names(tree: &mut Tree, home: &str) {
    let nobody = "/nonexistent:/bin/false";
    tree.file(
        "etc/passwd",
        0o644,
        format!("root:x:0:0:root:{nobody}\nmarblerun:x:{USER}:{USER}:MarbleRun:{home}:/bin/false\nnobody:x:65534:65534:nobody:{nobody}\n"),
    );
    tree.file("etc/group", 0o644, format!("root:x:0:\nmarblerun:x:{USER}:\nnogroup:x:65534:\n"));
    tree.file("etc/nsswitch.conf", 0o644, "passwd: files\ngroup: files\nhosts: files dns\n");
    // Most runtimes put theirs in its place.
    tree.file("etc/hosts", 0o644, "127.0.0.1 localhost\n::1 localhost\n");
}

/// All certificates of the package in one file, as Debian puts them together.
fn certificates(package: &Package) -> Vec<u8> {
    let mut bundle = Vec::new();
    for (path, entry) in package.files.iter() {
        if let (true, Content::File(pem)) = (path.starts_with("usr/share/ca-certificates/"), &entry.content) {
            bundle.extend_from_slice(pem);
            if !pem.ends_with(b"\n") {
                bundle.push(b'\n');
            }
        }
    }
    bundle
}

/// The programs of an image.
pub fn programs_of(plan: &Plan, built: &Programs) -> Result<Tree> {
    let mut tree = Tree::default();
    for name in programs(Place::Image(plan.name)) {
        tree.file(&format!("usr/bin/{name}"), 0o755, built.get(name)?);
    }
    Ok(tree)
}
