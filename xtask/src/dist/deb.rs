//! The Debian package: an `ar` archive of what it says of itself and of its files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::contents::{Place, programs};
use super::elf::Linkage;
use super::hosts;
use super::programs::Programs;
use super::release::Release;
use super::tree::{Content, Tree, gzip};

const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// The package, as bytes.
pub fn package(root: &Path, release: &Release, built: &Programs, files: &Tree) -> Result<Vec<u8>> {
    let mut linkage = Linkage::default();
    for name in programs(Place::Package) {
        linkage.merge(Linkage::of(built.get(name)?)?);
    }
    let mut control = Tree::default();
    control.file("control", 0o644, about(release, &depends(&linkage)?, files.size().div_ceil(1024)));
    let settings: String = files
        .iter()
        .filter(|(path, entry)| path.starts_with("etc/") && matches!(entry.content, Content::File(_)))
        .map(|(path, _)| format!("/{path}\n"))
        .collect();
    control.file("conffiles", 0o644, settings);
    for name in SCRIPTS {
        control.file(name, 0o755, hosts::text(&root.join("packaging/debian").join(name))?);
    }

    let mut package = ar::Builder::new(Vec::new());
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", gzip(&control.archive(release.time)?, release.effort)?),
        ("data.tar.gz", gzip(&files.archive(release.time)?, release.effort)?),
    ];
    for (name, bytes) in members {
        let mut header = ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64);
        header.set_mode(0o100_644);
        header.set_mtime(release.time);
        package.append(&header, bytes.as_slice()).with_context(|| format!("putting {name} into the package"))?;
    }
    package.into_inner().context("ending the package")
}

/// `marblerun_VERSION_ARCH.deb`, or `marblerun-TEE_..`: it can take the place of the one for every environment.
pub fn file_name(release: &Release) -> String {
    format!("{}_{}_{}.deb", release.suffixed("marblerun"), version(release), release.debian_architecture)
}

/// What comes before a release sorts before it: `1.0.0~rc.1`.
fn version(release: &Release) -> String {
    release.version.replacen('-', "~", 1)
}

/// Name and address of who makes the package, from the variables that Debian's own tools take them from.
fn maintainer() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let name = variable("DEBFULLNAME").unwrap_or_else(|| "MarbleRun".to_owned());
    format!("{name} <{}>", variable("DEBEMAIL").unwrap_or_else(|| "marblerun@localhost".to_owned()))
}

fn about(release: &Release, depends: &str, kib: u64) -> String {
    let instead = release.tee.map_or("", |_| "Provides: marblerun\nConflicts: marblerun\nReplaces: marblerun\n");
    let name = release.suffixed("marblerun");
    let alone = release.tee.map_or_else(String::new, |tee| {
        format!(" .\n The Coordinator and premain of this package run in one environment alone\n {}.\n", tee.note())
    });
    format!(
        "Package: {name}\n\
         Version: {}\n\
         Architecture: {}\n\
         Maintainer: {}\n\
         Installed-Size: {kib}\n\
         Depends: {depends}, systemd | systemd-standalone-sysusers | systemd-sysusers\n\
         {instead}\
         Section: admin\n\
         Priority: optional\n\
         Description: control plane of confidential deployments\n \
         A Coordinator attests the services of a deployment against a manifest, and\n \
         hands each its certificates, secrets, files and arguments. Its state is sealed\n \
         to the platform, is backed up by copying one file, and comes back with\n \
         recovery keys when the platform is lost.\n \
         .\n \
         The package has the Coordinator, as a service that does not start by itself,\n \
         the marblerun command, and marblerun-premain, which starts services as Marbles.\n{alone}",
        version(release),
        release.debian_architecture,
        maintainer(),
    )
}

/// Packages that the libraries are in, as old as the symbols allow.
fn depends(linkage: &Linkage) -> Result<String> {
    let mut least: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for library in &linkage.needed {
        let (package, prefix) = match library.as_str() {
            "libgcc_s.so.1" => ("libgcc-s1", "GCC_"),
            "libc.so.6" | "libm.so.6" | "libdl.so.2" | "libpthread.so.0" | "librt.so.1" => ("libc6", "GLIBC_"),
            loader if loader.starts_with("ld-linux") => ("libc6", "GLIBC_"),
            other => bail!("{other} is needed; say in xtask/src/dist/deb.rs which package it is in"),
        };
        let none = BTreeSet::new();
        let versions = linkage.versions.get(library).unwrap_or(&none);
        for version in versions.iter().filter_map(|version| numbers(version.strip_prefix(prefix)?)) {
            let least = least.entry(package).or_default();
            *least = version.max(std::mem::take(least));
        }
    }
    let one = |(package, version): (&&str, &Vec<u64>)| {
        let version: Vec<String> = version.iter().map(u64::to_string).collect();
        format!("{package} (>= {})", version.join("."))
    };
    Ok(least.iter().map(one).collect::<Vec<_>>().join(", "))
}

fn numbers(version: &str) -> Option<Vec<u64>> {
    version.split('.').map(|number| number.parse().ok()).collect()
}

/// What Debian's packages tell about themselves in their folder of documentation.
pub fn documentation(tree: &mut Tree, root: &Path, release: &Release) -> Result<()> {
    let folder = "usr/share/doc/marblerun";
    let time = jiff::Timestamp::from_second(i64::try_from(release.time)?)?;
    let time = jiff::fmt::rfc2822::to_string(&time.to_zoned(jiff::tz::TimeZone::UTC))?;
    let entry = format!(
        "{} ({}) unstable; urgency=medium\n\n  * What is new stands in CHANGELOG.md.\n\n -- {}  {time}\n",
        release.suffixed("marblerun"),
        version(release),
        maintainer(),
    );
    tree.file(&format!("{folder}/changelog.gz"), 0o644, gzip(entry.as_bytes(), 9)?);
    let changes = hosts::text(&root.join("CHANGELOG.md"))?;
    tree.file(&format!("{folder}/CHANGELOG.md.gz"), 0o644, gzip(changes.as_bytes(), 9)?);
    tree.file(&format!("{folder}/copyright"), 0o644, hosts::text(&root.join("packaging/debian/copyright"))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linkage(libraries: &[(&str, &[&str])]) -> Linkage {
        let mut linkage = Linkage::default();
        for (library, versions) in libraries {
            linkage.needed.insert((*library).to_owned());
            linkage
                .versions
                .insert((*library).to_owned(), versions.iter().map(|version| (*version).to_owned()).collect());
        }
        linkage
    }

    #[test]
    fn the_package_asks_for_libraries_as_old_as_its_programs_allow() {
        let linkage = linkage(&[
            ("libc.so.6", &["GLIBC_2.2.5", "GLIBC_2.34", "GLIBC_2.9", "GLIBC_ABI_DT_RELR"]),
            ("libm.so.6", &["GLIBC_2.29"]),
            ("libgcc_s.so.1", &["GCC_3.0", "GCC_4.2.0"]),
        ]);
        assert_eq!(depends(&linkage).unwrap(), "libc6 (>= 2.34), libgcc-s1 (>= 4.2.0)");
    }

    #[test]
    fn a_library_of_an_unknown_package_is_an_error_and_not_forgotten() {
        assert!(depends(&linkage(&[("libtss2-esys.so.0", &[])])).unwrap_err().to_string().contains("libtss2"));
    }

    #[test]
    fn a_version_before_the_release_sorts_before_it() {
        let mut release = Release::sample();
        assert_eq!(file_name(&release), "marblerun_1.2.3_amd64.deb");
        release.tee = Some(super::super::release::Tee::Tdx);
        assert_eq!(file_name(&release), "marblerun-tdx_1.2.3_amd64.deb");
        let about = about(&release, "libc6", 1);
        assert!(about.starts_with("Package: marblerun-tdx\n") && about.contains("\nConflicts: marblerun\n"), "{about}");
        assert!(about.ends_with(
            "\n .\n The Coordinator and premain of this package run in one environment alone\n (for Intel TDX alone).\n"
        ));
        release.tee = None;
        release.version = "2.0.0-rc.1".to_owned();
        assert_eq!(version(&release), "2.0.0~rc.1");
    }
}
