//! A container runtime, as far as images of ours need one: unpacks the layers, and starts the program with a read-only
//! root, as the user that the image names, in a mount namespace of its own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::made::{images, is_debian_and_root, made, run};

/// An image, unpacked.
pub struct Image {
    /// The `config` of its configuration.
    pub config: Value,
    root: PathBuf,
}

/// The root read-only, `/proc`, the device files that every container has, and the volume; then the program.
const START: &str = r#"
root=$1 volume=$2 user=$3
shift 3
mount --bind "$root" "$root"
mount --bind "$volume" "$root/coordinator/data"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero random urandom; do
    : > "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount -o remount,bind,ro "$root"
exec chroot --userspec="$user" --groups= "$root" "$@"
"#;

impl Image {
    /// Unpacks the image of that name into a folder.
    pub fn unpack(name: &str, root: &Path) -> Self {
        Self::unpack_layout(&made().join("images").join(name), root)
    }

    /// Unpacks a layout into a folder.
    pub fn unpack_layout(layout: &Path, root: &Path) -> Self {
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let bytes = fs::read(layout.join("blobs/sha256").join(digest)).unwrap();
            assert_eq!(hex(&Sha256::digest(&bytes)), digest);
            bytes
        };
        let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        fs::create_dir(root).unwrap();
        for layer in manifest["layers"].as_array().unwrap() {
            let bytes = blob(layer);
            let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
            archive.set_preserve_permissions(true);
            archive.set_preserve_ownerships(true);
            archive.unpack(root).unwrap();
        }
        Self { config: config["config"].clone(), root: root.to_path_buf() }
    }

    /// The name that the layout gives itself.
    pub fn name(layout: &Path) -> String {
        let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        index["manifests"][0]["annotations"]["io.containerd.image.name"].as_str().unwrap().to_owned()
    }

    /// Words of a list of the configuration.
    pub fn words(&self, name: &str) -> Vec<&str> {
        self.config[name].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
    }

    /// A command that becomes the program of the image, with a folder of this host as its volume.
    pub fn command(&self, volume: &Path) -> Vec<OsString> {
        let script = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-ec", START, "start"];
        let mut command: Vec<OsString> = script.map(OsString::from).into();
        command.push(self.root.clone().into());
        command.push(volume.into());
        command.push(self.config["User"].as_str().unwrap().into());
        command.extend(self.words("Entrypoint").into_iter().map(OsString::from));
        command
    }

    /// Runs a program in a running container, as `kubectl exec` does.
    pub fn exec(&self, process: u32, command: &[&str], input: Stdio) -> Output {
        let (user, group) = self.config["User"].as_str().unwrap().split_once(':').unwrap();
        let mut exec = Command::new("nsenter");
        exec.args(["--target", &process.to_string(), "--mount", "--root", "--wd"]);
        exec.args(["--setgid", group, "--setuid", user, "--"]).args(command).env_clear();
        exec.envs(self.words("Env").into_iter().map(|variable| variable.split_once('=').unwrap()));
        exec.stdin(input).output().unwrap()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_program_of_an_image_starts_there_and_nothing_in_it_can_be_changed_by_others_or_made_root() {
    if !is_debian_and_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for layout in images() {
        let name = layout.file_name().unwrap().to_str().unwrap();
        let image = Image::unpack(name, &dir.path().join(name));
        let root = &image.root;
        let entry = image.words("Entrypoint")[0];
        let version = run(Command::new("chroot").arg("--userspec=10001:10001").arg(root).args([entry, "--version"]));
        assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");

        let find = |what: &[&str]| run(Command::new("find").arg(root).args(what));
        assert_eq!(find(&["-perm", "/6000"]), "", "{name}: what would run as somebody else");
        let open = find(&["!", "-type", "l", "-perm", "/022", "!", "-path", "*/tmp"]);
        assert_eq!(open, "", "{name}: what strangers may write");
        let owned = find(&["!", "-user", "root", "!", "-path", "*/coordinator/data"]);
        assert_eq!(owned, "", "{name}: what the program owns besides its data");
        assert_ne!(find(&["-path", "*/var/lib/dpkg/status.d/libc6"]), "", "{name}: scanners find libc");
        for package in fs::read_dir(root.join("var/lib/dpkg/status.d")).unwrap() {
            let package = package.unwrap().file_name();
            let licence = root.join("usr/share/doc").join(&package).join("copyright");
            assert!(fs::metadata(&licence).unwrap().len() > 100, "{}", licence.display());
        }
        let sbom = File::open(root.join("usr/share/doc/marblerun/sbom.cdx.json")).unwrap();
        let sbom: Value = serde_json::from_reader(sbom).unwrap();
        let components = sbom["components"].as_array().unwrap();
        assert!(components.iter().any(|component| component["name"] == "libc6"), "{name}");
        assert!(components.iter().any(|component| component["name"] == "rustls"), "{name}");
    }
}

#[test]
fn what_people_look_around_with_is_there() {
    if !is_debian_and_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = Image::unpack("coordinator", &dir.path().join("root"));
    let script = "id -u && ls -d /coordinator/data && marblerun --help | head -1 && tar --help 2>&1 | grep -c BusyBox";
    let mut chroot = Command::new("chroot");
    let told = run(chroot.arg("--userspec=10001:10001").arg(&image.root).args(["/bin/sh", "-ec", script]));
    assert_eq!(told, "10001\n/coordinator/data\nManage confidential deployments with MarbleRun\n1\n");
}
