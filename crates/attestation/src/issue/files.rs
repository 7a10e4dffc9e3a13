//! Pseudo files, as issuers use them: read whole, written at once. Names are absolute, as on the machine.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::path::{Path, PathBuf};

/// Access to pseudo files.
pub(crate) trait Files: Send + Sync {
    /// Reads a file, but not more than `at_most` bytes.
    fn read(&self, name: &str, at_most: usize) -> Result<Vec<u8>>;
    /// Writes to a file that is there. Many pseudo files take one write as one value, so there is one.
    fn write(&self, name: &str, contents: &[u8]) -> Result<()>;
    /// Makes a folder.
    fn make_folder(&self, name: &str) -> Result<()>;
    /// Removes one. In configfs its files go with it.
    fn remove_folder(&self, name: &str) -> Result<()>;
    /// Whether there is a folder of this name.
    fn is_folder(&self, name: &str) -> bool;
}

/// The files below a root directory: `/`, but in tests.
pub(crate) struct Root(pub(crate) PathBuf);

impl Root {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(Path::new(name).strip_prefix("/").unwrap_or(Path::new(name)))
    }
}

impl Files for Root {
    fn read(&self, name: &str, at_most: usize) -> Result<Vec<u8>> {
        let mut contents = Vec::with_capacity(at_most);
        let at_most = u64::try_from(at_most).unwrap_or(u64::MAX);
        File::open(self.path(name))?.take(at_most).read_to_end(&mut contents)?;
        Ok(contents)
    }

    fn write(&self, name: &str, contents: &[u8]) -> Result<()> {
        // Pseudo files are written anew, and never made.
        put(&OpenOptions::new().write(true).truncate(true).open(self.path(name))?, contents)
    }

    fn make_folder(&self, name: &str) -> Result<()> {
        DirBuilder::new().create(self.path(name))
    }

    fn remove_folder(&self, name: &str) -> Result<()> {
        std::fs::remove_dir(self.path(name))
    }

    fn is_folder(&self, name: &str) -> bool {
        self.path(name).is_dir()
    }
}

/// One write of everything.
fn put(mut file: impl Write, contents: &[u8]) -> Result<()> {
    match file.write(contents)? {
        written if written == contents.len() => Ok(()),
        written => {
            let text = format!("only {written} of {} bytes were written", contents.len());
            Err(Error::new(ErrorKind::WriteZero, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_write_is_an_error() {
        let mut room = [0; 10];
        let error = put(&mut room[..], &[1; 64]).unwrap_err();
        assert_eq!(error.to_string(), "only 10 of 64 bytes were written");
        put(Vec::new(), &[1; 64]).unwrap();
    }

    #[test]
    fn names_stay_below_the_root_and_files_are_never_made() {
        let root = tempfile::tempdir().unwrap();
        let files = Root(root.path().to_owned());
        files.make_folder("/dev").unwrap();
        assert_eq!(files.write("/dev/quote", b"x").unwrap_err().kind(), ErrorKind::NotFound);
        std::fs::write(root.path().join("dev/quote"), b"a quote").unwrap();
        assert_eq!(files.read("/dev/quote", 3).unwrap(), b"a q");
        assert!(files.is_folder("/dev") && !files.is_folder("/dev/quote"));
    }
}
