//! The file that makes a Marble the same one again after a restart.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// Why the UUID file is no use.
#[derive(Debug, thiserror::Error)]
#[error("UUID file {}: {reason}", .path.display())]
pub struct UuidFileError {
    /// The file.
    pub path: PathBuf,
    /// Cause, and what to do.
    pub reason: String,
}

/// Reads the UUID, or makes one and keeps it. The directory must exist.
pub(crate) fn load_or_create(path: &Path) -> Result<Uuid, UuidFileError> {
    let error = |reason: String| UuidFileError { path: path.to_owned(), reason };
    match fs::read_to_string(path) {
        Ok(text) => parse(&text).map_err(|reason| {
            error(format!("failed to unmarshal UUID: {reason}; EDG_MARBLE_UUID_FILE names the file to use"))
        }),
        Err(cause) if cause.kind() == ErrorKind::NotFound => {
            let uuid = Uuid::new_v4();
            create(path, uuid).map_err(|cause| {
                error(format!("cannot be written: {cause}; set EDG_MARBLE_UUID_FILE to where it can"))
            })?;
            Ok(uuid)
        }
        Err(cause) => Err(error(format!("cannot be read: {cause}; EDG_MARBLE_UUID_FILE names the file to use"))),
    }
}

/// In one step, so that a crash never leaves half a UUID.
fn create(path: &Path, uuid: Uuid) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", uuid.simple()));
    let beside = PathBuf::from(beside);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(uuid.hyphenated().to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

/// Any form the Coordinator takes, with white space around it.
fn parse(text: &str) -> Result<Uuid, String> {
    let text = text.trim();
    let inner = match text.len() {
        38 => text.get(1..37),
        45 if text.get(..9).is_some_and(|prefix| prefix.eq_ignore_ascii_case("urn:uuid:")) => text.get(9..),
        32 | 36 => Some(text),
        0 => return Err("the file is empty; remove it to get a new UUID".to_owned()),
        length => return Err(format!("invalid UUID length: {length}")),
    };
    let uuid = inner.and_then(|inner| Uuid::try_parse(inner).ok()).ok_or("invalid UUID format")?;
    if uuid.is_nil() { Err("the nil UUID belongs to no Marble".to_owned()) } else { Ok(uuid) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const CANONICAL: &str = "0f1e2d3c-4b5a-4968-8778-695a4b3c2d1e";

    #[test]
    fn a_missing_file_is_made_once_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("uuid");
        let uuid = load_or_create(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, uuid.to_string());
        assert_eq!(text.len(), 36);
        assert_eq!(uuid.get_version_num(), 4);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load_or_create(&path).unwrap(), uuid);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn every_spelling_is_read_and_the_file_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("uuid");
        for text in [
            CANONICAL.to_owned(),
            format!("{CANONICAL}\n"),
            CANONICAL.to_uppercase(),
            CANONICAL.replace('-', ""),
            format!("{{{CANONICAL}}}"),
            format!("URN:UUID:{CANONICAL}"),
        ] {
            fs::write(&path, &text).unwrap();
            assert_eq!(load_or_create(&path).unwrap().to_string(), CANONICAL, "{text:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_file_without_a_uuid_is_an_error_and_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("uuid");
        for (text, reason) in [
            ("", "empty"),
            (" \n", "empty"),
            ("0f1e2d3c-4b5a-4968-8778-695a4b3c2d1", "invalid UUID length: 35"),
            ("0f1e2d3c-4b5a-4968-8778-695a4b3c2d1g", "invalid UUID format"),
            ("üüüüüüüüüüüüüüüüüü", "invalid UUID format"),
            ("00000000-0000-0000-0000-000000000000", "nil UUID"),
        ] {
            fs::write(&path, text).unwrap();
            let error = load_or_create(&path).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("uuid"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_missing_directory_is_an_error_that_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let error = load_or_create(&directory.path().join("none/uuid")).unwrap_err().to_string();
        assert!(error.contains("EDG_MARBLE_UUID_FILE"), "{error}");
        assert!(load_or_create(directory.path()).unwrap_err().to_string().contains("cannot be read"));
    }
}
