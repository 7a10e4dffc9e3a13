//! The `tar` of the container image, where `kubectl cp` starts it: `tar cf - PATH..`.
//!
//! An archive says how long a file is before the file. Other programs ask the system for that length first, and read the
//! file after it. `sealed_data` grows while it is copied, and says near its beginning how many of its bytes must be
//! there: whoever asks first and reads later may archive a beginning that speaks of bytes beyond the length he
//! asked for, and the copy is refused as cut short. So the beginning is read first here, and the length asked for after
//! it. A file that disappears while its folder is archived, as a replaced one does, is passed over.
//!
//! Whatever else `tar` is asked to do, busybox does.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use tar::{Builder, EntryType, Header};

/// More than what stands in `sealed_data` before its records (256 bytes, a header of at most 1 MiB, a page of marks).
const BEGINNING: u64 = 2 << 20;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Some(paths) = to_archive(&arguments) else {
        let error = Command::new("/usr/bin/busybox").arg0("tar").args(&arguments).exec();
        eprintln!("tar: only 'tar cf - PATH..' works without /usr/bin/busybox, which cannot be started: {error}");
        return ExitCode::from(127);
    };
    match archive(&paths, BufWriter::with_capacity(1 << 16, io::stdout().lock())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tar: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What to archive to stdout, if that is what was asked for.
fn to_archive(arguments: &[OsString]) -> Option<Vec<PathBuf>> {
    let (how, rest) = arguments.split_first()?;
    let (to, paths) = rest.split_first()?;
    let option = |path: &OsString| path.as_bytes().starts_with(b"-");
    let asked = (how == "cf" || how == "-cf") && to == "-" && !paths.is_empty() && !paths.iter().any(option);
    asked.then(|| paths.iter().map(PathBuf::from).collect())
}

fn archive(paths: &[PathBuf], to: impl Write) -> io::Result<()> {
    let mut builder = Builder::new(to);
    for path in paths {
        append(&mut builder, path)?;
    }
    builder.into_inner()?.flush()
}

fn append(builder: &mut Builder<impl Write>, path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path).map_err(|error| at(path, &error))?;
    if found.is_dir() {
        let mut header = header(&found, EntryType::Directory, 0);
        builder.append_data(&mut header, name(path).join(""), io::empty())?;
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(|error| at(path, &error))? {
            names.push(entry?.file_name());
        }
        names.sort();
        for name in names {
            match append(builder, &path.join(name)) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => other?,
            }
        }
    } else if found.is_symlink() {
        let target = fs::read_link(path).map_err(|error| at(path, &error))?;
        builder.append_link(&mut header(&found, EntryType::Symlink, 0), name(path), target)?;
    } else if found.is_file() {
        append_file(builder, path)?;
    }
    Ok(())
}

fn append_file(builder: &mut Builder<impl Write>, path: &Path) -> io::Result<()> {
    let mut file = File::open(path).map_err(|error| at(path, &error))?;
    let mut beginning = Vec::new();
    (&mut file).take(BEGINNING).read_to_end(&mut beginning).map_err(|error| at(path, &error))?;
    let found = file.metadata().map_err(|error| at(path, &error))?;
    let mut left = found.len();
    let mut header = header(&found, EntryType::Regular, left);
    let mut bytes = beginning.as_slice().chain(file).take(left);
    // Errors of both sides: a shorter file would end the archive in the middle of it.
    let counted = Counted { bytes: &mut bytes, left: &mut left };
    builder.append_data(&mut header, name(path), counted)?;
    if left > 0 {
        return Err(io::Error::other(format!("{}: it became shorter while it was read; try again", path.display())));
    }
    Ok(())
}

/// Counts down what is still to come.
struct Counted<'a, R> {
    bytes: R,
    left: &'a mut u64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.bytes.read(buffer)?;
        *self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

fn header(found: &Metadata, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(found.mode() & 0o7777);
    header.set_uid(found.uid().into());
    header.set_gid(found.gid().into());
    header.set_mtime(u64::try_from(found.mtime()).unwrap_or_default());
    header.set_size(size);
    header
}

/// The name in the archive: without the first slash, as every tar writes it.
fn name(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::FileExt as _;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn words(words: &str) -> Vec<OsString> {
        words.split(' ').map(OsString::from).collect()
    }

    fn entries(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = String::from_utf8(entry.path_bytes().into()).unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            found.insert(path, bytes);
        }
        found
    }

    #[test]
    fn only_what_kubectl_cp_asks_for_is_done_here() {
        assert_eq!(to_archive(&words("cf - /coordinator/data/sealed_data")).unwrap().len(), 1);
        assert_eq!(to_archive(&words("-cf - a b")).unwrap().len(), 2);
        for other in ["xmf - -C /coordinator/data", "cf file a", "cf -", "cf - -C / a", "tf -", "--help"] {
            assert_eq!(to_archive(&words(other)), None, "{other}");
        }
        assert_eq!(to_archive(&[]), None);
    }

    #[test]
    fn folders_links_and_long_names_are_archived_without_the_first_slash() {
        let dir = tempfile::tempdir().unwrap();
        let long = "x".repeat(150);
        fs::create_dir(dir.path().join("inner")).unwrap();
        fs::write(dir.path().join("inner").join(&long), "text").unwrap();
        std::os::unix::fs::symlink("inner", dir.path().join("link")).unwrap();
        let mut out = Vec::new();
        archive(&[dir.path().to_path_buf()], &mut out).unwrap();
        let found = entries(&out);
        let below = dir.path().strip_prefix("/").unwrap().display().to_string();
        assert_eq!(found[&format!("{below}/inner/{long}")], b"text");
        assert!(found.contains_key(&format!("{below}/link")) && found.contains_key(&format!("{below}/")), "{found:?}");
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error_if_it_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let error = archive(&[dir.path().join("nothing")], io::sink()).unwrap_err();
        assert!(error.to_string().contains("nothing"), "{error}");
    }

    /// As the Coordinator writes: bytes at the end, then at the beginning how many there are.
    #[test]
    fn the_beginning_of_a_growing_file_never_speaks_of_bytes_beyond_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sealed_data");
        let file = File::create(&path).unwrap();
        file.write_all_at(&[0; 4096], 0).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut end = 4096_u64;
                while !done.load(Ordering::Relaxed) {
                    file.write_all_at(&[1; 16], end).unwrap();
                    end += 16;
                    file.write_all_at(&end.to_le_bytes(), 0).unwrap();
                }
            });
            // The writer may get its first turn late.
            while std::fs::metadata(&path).unwrap().len() <= 8192 {
                std::thread::yield_now();
            }
            let mut last = 0;
            for copy in 0..60 {
                let mut out = Vec::new();
                archive(std::slice::from_ref(&path), &mut out).unwrap();
                let bytes = entries(&out).into_values().next().unwrap();
                let promised = u64::from_le_bytes(bytes[..8].try_into().unwrap());
                assert!(promised <= bytes.len() as u64, "copy {copy}: {promised} promised, {} there", bytes.len());
                assert!(promised >= last, "copy {copy} is older than the one before");
                last = promised;
            }
            done.store(true, Ordering::Relaxed);
            assert!(last > 4096, "the file grew");
        });
    }
}
