//! Packages of the Debian that this is built on: parts of them go into images. They come through `apt-get`, which checks
//! Debian's signatures; what was downloaded once is kept, and used again only if it is what `apt-get` would download.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use super::tree::{Content, Tree};

/// A package, unpacked.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Name and version of the source it was built from.
    pub source: (String, String),
    /// Its control data, as written.
    pub control: String,
    /// Its files, with `/bin`, `/sbin` and `/lib*` below `/usr`.
    pub files: Tree,
}

/// Where a package is to be had.
#[derive(Debug, PartialEq, Eq)]
struct Offer {
    file: String,
    sha256: String,
}

/// These packages, in that order.
pub fn fetch(names: &[&str], cache: &Path) -> Result<Vec<Package>> {
    let offers = offers(names).or_else(|error| {
        // The lists of packages may be absent.
        update().map_err(|_| error).and_then(|()| offers(names))
    })?;
    std::fs::create_dir_all(cache).with_context(|| format!("making folder {}", cache.display()))?;
    let mut missing: Vec<&str> = Vec::new();
    for (name, offer) in names.iter().zip(&offers) {
        missing.extend((!offer.is_at(&cache.join(&offer.file))).then_some(*name));
    }
    if !missing.is_empty() {
        // Or old, and name what is gone.
        download(&missing, cache).or_else(|_| update().and_then(|()| download(&missing, cache)))?;
    }
    let offers = if missing.is_empty() { offers } else { self::offers(names)? };
    offers.iter().map(|offer| read(&cache.join(&offer.file), offer)).collect()
}

fn offers(names: &[&str]) -> Result<Vec<Offer>> {
    let told = output(Command::new("apt-get").args(["--quiet", "--print-uris", "download"]).args(names))?;
    let told: Vec<Offer> = told.lines().filter_map(offer).collect();
    let of = |name: &&str| told.iter().find(|offer| offer.file.starts_with(&format!("{name}_")));
    names
        .iter()
        .map(|name| {
            let offer = of(name).with_context(|| format!("apt-get does not know the package {name}"))?;
            Ok(Offer { file: offer.file.clone(), sha256: offer.sha256.clone() })
        })
        .collect()
}

/// One line of what `apt-get --print-uris` tells: `'URI' FILE SIZE SHA256:HEX`.
fn offer(line: &str) -> Option<Offer> {
    let mut words = line.split_whitespace().skip(1);
    let file = words.next()?.to_owned();
    let sha256 = words.nth(1)?.strip_prefix("SHA256:")?.to_owned();
    Some(Offer { file, sha256 })
}

impl Offer {
    fn is_at(&self, path: &Path) -> bool {
        std::fs::read(path).is_ok_and(|bytes| hex::encode(Sha256::digest(bytes)) == self.sha256)
    }
}

/// Into a folder of its own first: others may be using the cache.
fn download(names: &[&str], cache: &Path) -> Result<()> {
    let here = tempfile::tempdir_in(cache)?;
    let mut command = Command::new("apt-get");
    command.args(["--quiet", "download"]).args(names).current_dir(here.path());
    // As root apt-get would hand the work to a user who may not write here, and say so.
    command.args(["-o", "APT::Sandbox::User=root"]);
    super::quietly(&mut command)?;
    for entry in std::fs::read_dir(here.path())? {
        let entry = entry?;
        std::fs::rename(entry.path(), cache.join(entry.file_name()))?;
    }
    Ok(())
}

fn update() -> Result<()> {
    super::quietly(Command::new("apt-get").args(["--quiet", "update"]))
        .context("the lists of packages are absent or old; run apt-get update as root")
}

fn read(path: &Path, offer: &Offer) -> Result<Package> {
    ensure!(offer.is_at(path), "{} is not what apt-get offers; remove it and try again", path.display());
    let field = |name: &str| -> Result<String> {
        Ok(output(Command::new("dpkg-deb").arg("--field").arg(path).arg(name))?.trim().to_owned())
    };
    let (name, version) = (field("Package")?, field("Version")?);
    let source = source(&field("Source")?, &name, &version);
    let control = output(Command::new("dpkg-deb").arg("--field").arg(path))?;
    let archive = bytes(Command::new("dpkg-deb").arg("--fsys-tarfile").arg(path))?;
    let mut files = Tree::default();
    for (path, entry) in Tree::unpack(archive.as_slice()).with_context(|| format!("reading {}", path.display()))?.iter()
    {
        files.put(&below_usr(path), entry.clone());
    }
    Ok(Package { name, version, source, control, files })
}

/// The field is empty where it says nothing new: `NAME`, or `NAME (VERSION)`.
fn source(field: &str, name: &str, version: &str) -> (String, String) {
    match field.split_once(" (") {
        Some((source, version)) => (source.to_owned(), version.trim_end_matches(')').to_owned()),
        None if field.is_empty() => (name.to_owned(), version.to_owned()),
        None => (field.to_owned(), version.to_owned()),
    }
}

/// Where a path is once `/bin`, `/sbin` and `/lib*` are links into `/usr`.
pub fn below_usr(path: &str) -> String {
    let path = path.trim_start_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    if ["bin", "sbin", "lib", "lib32", "lib64", "libx32"].contains(&first) {
        format!("usr/{path}")
    } else {
        path.to_owned()
    }
}

impl Package {
    /// The file at a path, through links: each path on the way, and the bytes at its end.
    pub fn follow(&self, path: &str) -> Option<(Vec<String>, &[u8])> {
        let mut way = vec![below_usr(path)];
        for _ in 0..8 {
            let here = way.last()?.clone();
            match &self.files.get(&here)?.content {
                Content::File(bytes) => return Some((way, bytes)),
                Content::Link(target) => way.push(below_usr(&resolve(&here, target))),
                Content::Folder => return None,
            }
        }
        None
    }

    /// Path of the library of that name.
    pub fn library(&self, name: &str) -> Option<&str> {
        let below = |path: &str| path.starts_with("usr/lib") && !path.contains("/gconv/");
        self.files.iter().map(|(path, _)| path).find(|path| below(path) && path.rsplit('/').next() == Some(name))
    }

    /// The text of its licence, or the package whose text is meant.
    pub fn copyright(&self) -> Copyright<'_> {
        let folder = format!("usr/share/doc/{}", self.name);
        match (self.files.bytes(&format!("{folder}/copyright")), self.files.get(&folder).map(|entry| &entry.content)) {
            (Some(text), _) => Copyright::Text(text),
            (None, Some(Content::Link(other))) => Copyright::Of(other),
            _ => Copyright::Missing,
        }
    }
}

/// Where the text of a licence is.
#[derive(Debug, PartialEq, Eq)]
pub enum Copyright<'a> {
    /// Here.
    Text(&'a [u8]),
    /// In that package.
    Of(&'a str),
    /// Nowhere.
    Missing,
}

/// Where a link leads.
fn resolve(link: &str, target: &str) -> String {
    if target.starts_with('/') {
        return target.to_owned();
    }
    let mut path = PathBuf::from(link);
    path.pop();
    for step in Path::new(target) {
        if step == ".." {
            path.pop();
        } else {
            path.push(step);
        }
    }
    path.display().to_string()
}

fn output(command: &mut Command) -> Result<String> {
    String::from_utf8(bytes(command)?).context("an answer that is no text")
}

fn bytes(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| {
        format!("starting {command:?} (images take parts of Debian's packages: build them on Debian)")
    })?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_a_file_and_its_fingerprint() {
        let line = "'http://host/pool/b/busybox-static_1.35.0%2bb1_amd64.deb' busybox-static_1%3a1.35.0+b1_amd64.deb 928188 SHA256:3d3f";
        let expected = Offer { file: "busybox-static_1%3a1.35.0+b1_amd64.deb".to_owned(), sha256: "3d3f".to_owned() };
        assert_eq!(offer(line), Some(expected));
        assert_eq!(offer("Reading package lists..."), None);
        assert_eq!(offer("'http://host/x.deb' x.deb 1 MD5Sum:3d3f"), None, "no fingerprint that proves anything");
    }

    #[test]
    fn the_source_of_a_package_is_told_where_it_has_another_name_or_version() {
        let of = |field| source(field, "libgcc-s1", "12.2.0-14");
        assert_eq!(of("gcc-12"), ("gcc-12".to_owned(), "12.2.0-14".to_owned()));
        assert_eq!(of("busybox (1:1.35.0-4)"), ("busybox".to_owned(), "1:1.35.0-4".to_owned()));
        assert_eq!(of(""), ("libgcc-s1".to_owned(), "12.2.0-14".to_owned()));
    }

    #[test]
    fn a_file_is_found_through_links_wherever_the_package_put_it() {
        let mut files = Tree::default();
        files.file("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", 0o755, "loader");
        files.link("usr/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
        files.link("usr/lib/x86_64-linux-gnu/libz.so.1", "../x86_64-linux-gnu/libz.so.1.2");
        files.file("usr/lib/x86_64-linux-gnu/libz.so.1.2", 0o644, "z");
        files.link("usr/lib/loop", "loop");
        let package = Package {
            name: "libc6".to_owned(),
            version: String::new(),
            source: Default::default(),
            control: String::new(),
            files,
        };
        let (way, bytes) = package.follow("/lib64/ld-linux-x86-64.so.2").unwrap();
        assert_eq!((way.len(), bytes), (2, &b"loader"[..]));
        let (way, _) = package.follow(package.library("libz.so.1").unwrap()).unwrap();
        assert_eq!(way.last().unwrap(), "usr/lib/x86_64-linux-gnu/libz.so.1.2");
        assert_eq!(package.follow("usr/lib/loop"), None);
        assert_eq!(package.library("libm.so.6"), None);
        assert_eq!(package.copyright(), Copyright::Missing);
    }
}
