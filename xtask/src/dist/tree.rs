//! Files on their way into an archive, a package or an image: what they are, who owns them, in one order always.
//!
//! Whatever is made of a [`Tree`] depends on its content alone: no clock, no user and no folder of the machine it is
//! made on gets in, so that two machines make the same bytes.

use std::collections::BTreeMap;
use std::io::{Read, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use flate2::{Compression, GzBuilder};

/// What there is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A folder.
    Folder,
    /// A file with these bytes.
    File(Vec<u8>),
    /// A symbolic link to there.
    Link(String),
}

/// One path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Permission bits.
    pub mode: u32,
    /// Number of user and group.
    pub owner: u64,
    /// What there is.
    pub content: Content,
}

/// Files by path, without a leading slash. Folders above a path are there as soon as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<String, Entry>);

impl Tree {
    /// Puts a file of root there.
    pub fn file(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) {
        self.put(path, Entry { mode, owner: 0, content: Content::File(bytes.into()) });
    }

    /// Puts a folder there.
    pub fn folder(&mut self, path: &str, mode: u32, owner: u64) {
        self.put(path, Entry { mode, owner, content: Content::Folder });
    }

    /// Puts a symbolic link there.
    pub fn link(&mut self, path: &str, target: &str) {
        self.put(path, Entry { mode: 0o777, owner: 0, content: Content::Link(target.to_owned()) });
    }

    /// Puts anything there.
    pub fn put(&mut self, path: &str, entry: Entry) {
        let path = path.trim_matches('/');
        for (end, _) in path.match_indices('/') {
            let above = path.get(..end).unwrap_or_default().to_owned();
            self.0.entry(above).or_insert(Entry { mode: 0o755, owner: 0, content: Content::Folder });
        }
        self.0.insert(path.to_owned(), entry);
    }

    /// Puts all of another tree below a folder; below nothing if that is empty.
    pub fn graft(&mut self, below: &str, other: &Self) {
        for (path, entry) in &other.0 {
            self.put(&format!("{below}/{path}"), entry.clone());
        }
    }

    /// What there is at a path.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.0.get(path.trim_matches('/'))
    }

    /// The bytes of the file there.
    pub fn bytes(&self, path: &str) -> Option<&[u8]> {
        match &self.get(path)?.content {
            Content::File(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// All paths, folders before what is in them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.iter()
            .map(|(_, entry)| if let Content::File(bytes) = &entry.content { bytes.len() as u64 } else { 0 })
            .sum()
    }

    /// As a tar archive in which everything was changed at that time.
    pub fn archive(&self, time: u64) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, entry) in self.iter() {
            let mut header = tar::Header::new_gnu();
            header.set_mode(entry.mode);
            header.set_uid(entry.owner);
            header.set_gid(entry.owner);
            header.set_mtime(time);
            header.set_size(0);
            match &entry.content {
                Content::Folder => {
                    header.set_entry_type(tar::EntryType::Directory);
                    archive.append_data(&mut header, format!("{path}/"), std::io::empty())
                }
                Content::File(bytes) => {
                    header.set_entry_type(tar::EntryType::Regular);
                    header.set_size(bytes.len() as u64);
                    archive.append_data(&mut header, path, bytes.as_slice())
                }
                Content::Link(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    archive.append_link(&mut header, path, target)
                }
            }
            .with_context(|| format!("putting {path} into an archive"))?;
        }
        archive.into_inner().context("ending an archive")
    }

    /// Reads a tar archive. All of it belongs to root.
    pub fn unpack(archive: impl Read) -> Result<Self> {
        let mut tree = Self::default();
        for entry in tar::Archive::new(archive).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.to_str().context("a path that is no text")?.trim_start_matches("./").to_owned();
            let target = entry.link_name()?.map(|target| target.display().to_string());
            let mode = entry.header().mode()?;
            let content = match entry.header().entry_type() {
                tar::EntryType::Directory => Content::Folder,
                tar::EntryType::Regular => {
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes)?;
                    Content::File(bytes)
                }
                tar::EntryType::Symlink => Content::Link(target.context("a link to nowhere")?),
                // A second name of a file that came before.
                tar::EntryType::Link => {
                    let target = target.context("a link to nowhere")?;
                    let same = tree.get(target.trim_start_matches("./"));
                    same.with_context(|| format!("{path} is {target}, which is not there"))?.content.clone()
                }
                other => bail!("{path} is of a kind that nothing here needs: {other:?}"),
            };
            if !path.is_empty() {
                tree.put(&path, Entry { mode, owner: 0, content });
            }
        }
        Ok(tree)
    }

    /// Writes all of it below a folder that is not there yet; owners are not kept.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir(folder).with_context(|| format!("making folder {}", folder.display()))?;
        for (path, entry) in self.iter() {
            let to = folder.join(path);
            match &entry.content {
                Content::Folder => std::fs::create_dir(&to),
                Content::File(bytes) => std::fs::write(&to, bytes),
                Content::Link(target) => std::os::unix::fs::symlink(target, &to),
            }
            .with_context(|| format!("writing {}", to.display()))?;
        }
        Ok(())
    }
}

/// Compressed, without a name or a time.
///
/// `effort` is from 1 to 9.
pub fn gzip(bytes: &[u8], effort: u32) -> Result<Vec<u8>> {
    let mut gzip = GzBuilder::new().write(Vec::new(), Compression::new(effort));
    gzip.write_all(bytes).context("compressing")?;
    gzip.finish().context("compressing")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Tree {
        let mut tree = Tree::default();
        tree.link("bin", "usr/bin");
        tree.file("/usr/bin/program", 0o755, "#!");
        tree.folder("coordinator/data", 0o700, 10001);
        tree
    }

    #[test]
    fn an_archive_tells_only_what_is_in_it_in_an_order_that_does_not_depend_on_who_made_it() {
        let mut other = Tree::default();
        other.folder("coordinator/data", 0o700, 10001);
        other.file("usr/bin/program", 0o755, "#!");
        other.link("bin", "usr/bin");
        assert_eq!(sample().archive(7).unwrap(), other.archive(7).unwrap());
        assert_ne!(sample().archive(7).unwrap(), sample().archive(8).unwrap());
        let archive = sample().archive(7).unwrap();
        let mut paths = Vec::new();
        for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.username_bytes()), (7, Some(&b""[..])));
            paths.push((String::from_utf8(entry.path_bytes().into()).unwrap(), header.uid().unwrap()));
        }
        let expected = [
            ("bin", 0),
            ("coordinator/", 0),
            ("coordinator/data/", 10001),
            ("usr/", 0),
            ("usr/bin/", 0),
            ("usr/bin/program", 0),
        ];
        assert_eq!(paths, expected.map(|(path, owner)| (path.to_owned(), owner)));
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let mut tree = sample();
        let long = format!("usr/share/doc/{}/copyright", "x".repeat(120));
        tree.file(&long, 0o644, "text");
        let unpacked = Tree::unpack(tree.archive(0).unwrap().as_slice()).unwrap();
        assert_eq!(unpacked.bytes(&long), Some(&b"text"[..]));
        assert_eq!(unpacked.get("bin"), tree.get("bin"));
        assert_eq!(unpacked.get("coordinator/data").unwrap().mode, 0o700);
        assert_eq!(unpacked.iter().count(), tree.iter().count());
    }

    #[test]
    fn compressed_bytes_carry_no_name_and_no_time() {
        let gzip = gzip(b"text", 6).unwrap();
        assert_eq!(gzip[3..8], [0; 5], "flags and time");
    }
}
