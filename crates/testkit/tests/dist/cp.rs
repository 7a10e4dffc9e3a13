//! `kubectl cp` of the state of a Coordinator that writes all the time, and back.
//!
//! What runs here in the container is what `kubectl cp` of Kubernetes 1.36 runs there: `tar cf - PATH` to copy out,
//! `sh -c "tar cf - 'PATH' | tail -c+N"` with `--retries`, `test -d PATH` and `tar -xmf - -C FOLDER` to copy in.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use marblerun_client::{Client, Trust};
use marblerun_testkit::{Coordinator, CoordinatorBuilder, RecoveryKeyPair, TestUser, binary, load};
use serde_json::Value;

use crate::container::Image;
use crate::made::is_debian_and_root;

const WRITERS: usize = 8;
const COPIES: usize = 40;
const DATA: &str = "/coordinator/data";

/// A copy, and what must be in it.
struct Copy {
    bytes: Vec<u8>,
    /// Last durable state before it began.
    sequence: u64,
    /// Last acknowledged value of each writer before it began.
    acknowledged: Vec<u64>,
}

fn builder(image: &Image, volume: &Path) -> CoordinatorBuilder {
    let mut builder = Coordinator::builder(volume).command(image.command(volume));
    for variable in image.words("Env") {
        let (name, value) = variable.split_once('=').unwrap();
        // The path is that of the host until the program starts.
        if name != "PATH" {
            builder = builder.env(name, value);
        }
    }
    builder
}

/// What `kubectl cp` unpacks: the entry of that name.
fn entry(archive: &[u8], name: &str) -> Vec<u8> {
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path_bytes() == name.as_bytes() {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            return bytes;
        }
    }
    panic!("{name} is not in the archive");
}

/// Writes until told to stop; every acknowledged value is told.
async fn write(client: Client, writer: usize, acknowledged: Arc<Vec<AtomicU64>>, stop: Arc<AtomicBool>) {
    let mut value = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        value += 1;
        let upload = load::plain(format!("{value}{}", " ".repeat(1000)).as_bytes());
        client.set_secrets(BTreeMap::from([(format!("s{writer}"), upload)])).await.unwrap();
        acknowledged[writer].store(value, Ordering::SeqCst);
    }
}

async fn values(coordinator: &Coordinator, user: &TestUser) -> Vec<u64> {
    let client = coordinator.client_builder().await.unwrap().identity(user.identity().unwrap()).build().unwrap();
    let names: Vec<String> = (0..WRITERS).map(|writer| format!("s{writer}")).collect();
    let stored = client.secrets(&names).await.unwrap();
    let value = |name: &String| {
        let bytes = stored[name].private.as_ref().unwrap();
        std::str::from_utf8(&bytes.0).unwrap().trim_end().parse().unwrap()
    };
    names.iter().map(value).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_cp_under_full_load_copies_all_that_was_acknowledged_and_puts_it_back() {
    if !is_debian_and_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // The user of the container comes by here.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let image = Image::unpack("coordinator", &dir.path().join("root"));
    let volume = dir.path().join("volume");
    fs::create_dir(&volume).unwrap();
    chown(&volume, Some(10001), Some(10001)).unwrap();
    let coordinator = builder(&image, &volume).start().await.unwrap();
    let process = coordinator.pid();
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    assert!(status.contains("\nUid:\t10001\t10001\t10001\t10001\n"), "{status}");
    let refused = image.exec(process, &["touch", "/usr/bin/x", "/x", "/coordinator/x"], Stdio::null());
    assert_eq!(String::from_utf8_lossy(&refused.stderr).matches("Read-only file system").count(), 3, "{refused:?}");

    let (user, recovery) = (TestUser::new("writer").unwrap(), RecoveryKeyPair::new().unwrap());
    let key = dir.path().join("recovery-key.pem");
    fs::write(&key, recovery.private_pem().unwrap()).unwrap();
    let manifest = load::manifest(&user, &[("alice", recovery.public_pem().unwrap())], WRITERS).unwrap();
    coordinator.client().await.unwrap().set_manifest(&manifest).await.unwrap();
    let root = coordinator.attest().await.unwrap().root;
    let client = || {
        let builder = Client::builder(coordinator.endpoint()).trust(Trust::Pinned(root.clone()));
        builder.identity(user.identity().unwrap()).build().unwrap()
    };

    let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..WRITERS).map(|_| AtomicU64::new(0)).collect());
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write(client(), writer, acknowledged.clone(), stop.clone()))).collect();
    let sealed = format!("{DATA}/sealed_data");
    let retry = format!("tar cf - '{sealed}' | tail -c+0");
    let ways: [&[&str]; 3] = [&["tar", "cf", "-", &sealed], &["tar", "cf", "-", DATA], &["sh", "-c", &retry]];
    let mut copies = Vec::new();
    for number in 0..COPIES {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let least = acknowledged.iter().map(|value| value.load(Ordering::SeqCst)).collect();
        let sequence = client().v3().status().await.unwrap().store.sequence;
        let way = ways[number % 3];
        let output = tokio::task::block_in_place(|| image.exec(process, way, Stdio::null()));
        assert!(output.status.success() && output.stderr.is_empty(), "{way:?}: {output:?}");
        copies.push(Copy {
            bytes: entry(&output.stdout, "coordinator/data/sealed_data"),
            sequence,
            acknowledged: least,
        });
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let last = acknowledged.iter().map(|value| value.load(Ordering::SeqCst)).sum::<u64>();
    assert!(copies.last().unwrap().acknowledged.iter().sum::<u64>() > 100 && last > 200, "{last} writes are no load");

    let file = dir.path().join("backup");
    let verify = |copy: &[u8]| {
        fs::write(&file, copy).unwrap();
        let mut command = Command::new(binary("marblerun"));
        command.args(["backup", "verify", "--format", "json"]).arg(&file).arg("--key").arg(&key);
        command.output().unwrap()
    };
    for (number, copy) in copies.iter().enumerate() {
        let proof = verify(&copy.bytes);
        assert!(proof.status.success(), "copy {number}: {}", String::from_utf8_lossy(&proof.stderr));
        let proof: Value = serde_json::from_slice(&proof.stdout).unwrap();
        assert!(proof["sequence"].as_u64().unwrap() >= copy.sequence, "copy {number}: {proof}");
    }
    let cut = verify(&copies[0].bytes[..copies[0].bytes.len() / 2]);
    assert!(String::from_utf8_lossy(&cut.stdout).contains("is cut short"), "a cut copy is known as one: {cut:?}");
    // The command in the image is there for this, too.
    let told = image.exec(process, &["marblerun", "backup", "inspect", &sealed], Stdio::null());
    assert!(String::from_utf8_lossy(&told.stdout).contains("whole"), "{told:?}");

    // And back: the copy of the middle of it.
    let copy = &copies[COPIES / 2];
    let upload = dir.path().join("upload.tar");
    let mut archive = tar::Builder::new(File::create(&upload).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o600);
    header.set_size(copy.bytes.len() as u64);
    archive.append_data(&mut header, "sealed_data", copy.bytes.as_slice()).unwrap();
    archive.into_inner().unwrap();
    let no_folder = image.exec(process, &["test", "-d", &sealed], Stdio::null());
    assert_eq!(no_folder.status.code(), Some(1), "{no_folder:?}");
    let put = image.exec(process, &["tar", "-xmf", "-", "-C", DATA], File::open(&upload).unwrap().into());
    assert!(put.status.success() && put.stderr.is_empty(), "{put:?}");
    let found = fs::metadata(volume.join("sealed_data")).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o777), (10001, 0o600));
    let put = Instant::now();
    while client().v3().readiness().await.unwrap().ready {
        assert!(put.elapsed() < Duration::from_secs(60), "the restored file is not noticed:\n{}", coordinator.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let again = builder(&image, &volume).same_ports(&coordinator);
    coordinator.terminate().await.unwrap();
    let coordinator = again.start().await.unwrap();
    let restored = values(&coordinator, &user).await;
    for (writer, value) in restored.iter().enumerate() {
        let (least, most) = (copy.acknowledged[writer], acknowledged[writer].load(Ordering::SeqCst));
        assert!(*value >= least && *value <= most, "writer {writer}: {value}, {least} acknowledged before the copy");
    }
    assert!(restored.iter().sum::<u64>() < last, "it is the copy that is served now: {restored:?}");
    assert_eq!(coordinator.attest().await.unwrap().root, root, "the same root certificate");
    coordinator.terminate().await.unwrap();
}
