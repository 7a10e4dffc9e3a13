//! The programs that run in the pod run here, over a real folder.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;

use super::*;

/// Layout of the original: no key is needed to call it whole.
const BEFORE: &[u8] = b"\x04\0\0\0null................................";
const AFTER: &[u8] = b"\x04\0\0\0nullMORE................................";

/// This machine in place of a pod.
struct Here {
    /// Put before each program: `busybox`, for the one in the image.
    with: Option<&'static str>,
}

impl Shell for Here {
    async fn run(&self, command: &[&str], input: Vec<u8>) -> Result<Vec<u8>> {
        let words: Vec<&str> = self.with.into_iter().chain(command.iter().copied()).collect();
        let mut child = tokio::process::Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().unwrap().write_all(&input).await?;
        let output = child.wait_with_output().await?;
        if output.status.success() { Ok(output.stdout) } else { bail!("{}", String::from_utf8_lossy(&output.stderr)) }
    }
}

/// Each tar that there is here.
fn shells() -> Vec<Here> {
    let busybox = std::process::Command::new("busybox").arg("true").output().is_ok();
    [Some(None), busybox.then_some(Some("busybox"))].into_iter().flatten().map(|with| Here { with }).collect()
}

fn volume(shell: Here, dir: &tempfile::TempDir) -> Volume<Here> {
    Volume { shell, folder: dir.path().to_str().unwrap().to_owned() }
}

fn names(dir: &tempfile::TempDir) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_replaced_in_a_volume_is_kept_beside_it_each_time() {
    for shell in shells() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sealed_data"), BEFORE).unwrap();
        fs::write(dir.path().join("sealed_key"), "key").unwrap();
        let volume = volume(shell, &dir);
        let current = volume.state().await.unwrap().unwrap();
        assert_eq!(current.0, BEFORE);
        assert_eq!(volume.replace(AFTER, Some(&current)).await.unwrap().unwrap(), "sealed_data.0.restored");
        assert_eq!(fs::read(dir.path().join("sealed_data")).unwrap(), AFTER);
        assert_eq!(fs::read(dir.path().join("sealed_data.0.restored")).unwrap(), BEFORE);
        let mode = fs::metadata(dir.path().join("sealed_data")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let current = volume.state().await.unwrap().unwrap();
        assert_eq!(volume.replace(BEFORE, Some(&current)).await.unwrap().unwrap(), "sealed_data.0.restored.2");
        let expected = ["sealed_data", "sealed_data.0.restored", "sealed_data.0.restored.2", "sealed_key"];
        assert_eq!(names(&dir), expected);
    }
}

#[tokio::test]
async fn a_volume_without_a_state_takes_one() {
    for shell in shells() {
        let dir = tempfile::tempdir().unwrap();
        let volume = volume(shell, &dir);
        assert!(volume.state().await.unwrap().is_none());
        assert_eq!(volume.replace(AFTER, None).await.unwrap(), None);
        assert_eq!(fs::read(dir.path().join("sealed_data")).unwrap(), AFTER);
        assert_eq!(names(&dir), ["sealed_data"]);
    }
}

#[tokio::test]
async fn a_volume_that_cannot_be_written_keeps_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("sealed_data"), BEFORE).unwrap();
    // A folder of that name: tar cannot put a file in its place.
    fs::create_dir_all(dir.path().join(RESTORING).join("x")).unwrap();
    let volume = volume(Here { with: None }, &dir);
    let current = volume.state().await.unwrap().unwrap();
    assert!(volume.replace(AFTER, Some(&current)).await.is_err());
    assert_eq!(fs::read(dir.path().join("sealed_data")).unwrap(), BEFORE);
}
