//! The Debian package and the tar archive on a host. The host is this machine, with all changes kept apart from it.

use std::fs::{self, File};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::made::{file, is_debian, is_debian_and_root, run};

/// A root that is this machine's, but for what is written to it; the made files are in `/mnt`.
const APART: &str = r#"
scratch=$1 made=$2
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
mount --bind /dev "$scratch/root/dev"
mount -t proc proc "$scratch/root/proc"
mount --bind "$made" "$scratch/root/mnt"
exec chroot "$scratch/root" /bin/sh -exc "$3"
"#;

/// Runs a script there; answers what it wrote.
fn on_a_host(script: &str) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let made = file(".deb");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--", "sh", "-ec", APART, "apart"]);
    command.arg(scratch.path()).arg(made.parent().unwrap()).arg(script).env("LC_ALL", "C.UTF-8");
    run(&mut command)
}

#[test]
fn the_package_says_what_it_is_and_belongs_to_root() {
    if !is_debian() {
        return;
    }
    let package = file(".deb");
    let about = run(Command::new("dpkg-deb").arg("--info").arg(&package));
    for promised in ["Package: marblerun\n", "libc6 (>= 2.", "libgcc-s1 (>= ", "postinst", "conffiles"] {
        assert!(about.contains(promised), "{promised}: {about}");
    }
    let files = run(Command::new("dpkg-deb").arg("--contents").arg(&package));
    for line in files.lines() {
        assert!(line.contains(" root/root ") || line.contains(" 0/0 "), "{line}");
        assert!(!line.starts_with("-rw-rw") && !line.contains("/usr/local"), "{line}");
    }
    for path in [
        " usr/bin/marblerun",
        " usr/bin/marblerun-coordinator",
        " usr/bin/marblerun-premain",
        " usr/share/man/man1/marblerun.1.gz",
        " usr/share/man/man1/marblerun-backup-verify.1.gz",
        " usr/share/man/man1/marblerun-premain.1.gz",
        " usr/share/man/man8/marblerun-coordinator.8.gz",
        " usr/share/bash-completion/completions/marblerun",
        " usr/share/zsh/vendor-completions/_marblerun",
        " usr/share/fish/vendor_completions.d/marblerun.fish",
        " usr/share/doc/marblerun/copyright",
        " usr/share/doc/marblerun/licences.gz",
        " usr/share/doc/marblerun/sbom.cdx.json",
        " usr/lib/systemd/system/marblerun-coordinator.service",
        " etc/default/marblerun-coordinator",
    ] {
        assert!(files.lines().any(|line| line.ends_with(path)), "{path}: {files}");
    }
}

#[test]
fn the_package_installs_runs_and_leaves_without_taking_the_state_along() {
    if !is_debian_and_root() {
        return;
    }
    let told = on_a_host(
        "dpkg --no-triggers --install /mnt/marblerun_*.deb
        getent passwd marblerun
        stat --format='state: %U %G %a' /var/lib/marblerun
        systemd-analyze verify /lib/systemd/system/marblerun-coordinator.service
        systemd-analyze security --no-pager --offline=true --threshold=20 /lib/systemd/system/marblerun-coordinator.service
        setpriv --reuid=marblerun --regid=marblerun --clear-groups marblerun-coordinator --version
        marblerun --help | head -1
        bash -n /usr/share/bash-completion/completions/marblerun
        zcat /usr/share/man/man8/marblerun-coordinator.8.gz | grep -c EDG_COORDINATOR_SEAL_DIR
        echo '#mine' >> /etc/default/marblerun-coordinator
        dpkg --no-triggers --install /mnt/marblerun_*.deb
        grep '#mine' /etc/default/marblerun-coordinator
        touch /var/lib/marblerun/sealed_data
        dpkg --no-triggers --purge marblerun
        ls /var/lib/marblerun
        test ! -e /etc/default/marblerun-coordinator
        rm /var/lib/marblerun/sealed_data
        dpkg --no-triggers --install /mnt/marblerun_*.deb
        dpkg --no-triggers --purge marblerun
        test ! -e /var/lib/marblerun",
    );
    for promised in [
        "MarbleRun Coordinator:/var/lib/marblerun:",
        "state: marblerun marblerun 700\n",
        "marblerun-coordinator 0.",
        "Manage confidential deployments with MarbleRun\n",
        "\n#mine\n",
        "the sealed state stays in /var/lib/marblerun",
        "\nsealed_data\n",
    ] {
        assert!(told.contains(promised), "{promised:?}: {told}");
    }
}

#[test]
fn the_archive_unpacks_over_a_prefix_and_runs_there() {
    if !is_debian() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar");
    run(tar.args(["--strip-components=1", "--no-same-owner", "-C"]).arg(dir.path()).arg("-xzf").arg(file(".tar.gz")));
    for name in ["marblerun", "marblerun-premain", "marblerun-coordinator", "marblerun-injector"] {
        run(Command::new(dir.path().join("bin").join(name)).arg("--help"));
    }
    let unit = fs::read_to_string(dir.path().join("lib/systemd/system/marblerun-coordinator.service")).unwrap();
    assert!(
        unit.contains("\nExecStart=/usr/local/bin/marblerun-coordinator\n") && !unit.contains("@programs"),
        "{unit}"
    );
    for path in
        ["share/man/man8/marblerun-coordinator.8", "share/doc/marblerun/LICENSE", "lib/sysusers.d/marblerun.conf"]
    {
        assert!(dir.path().join(path).is_file(), "{path}");
    }
    let tee = dir.path().join("share/marblerun/tee");
    let measured = fs::read_to_string(tee.join("measured")).unwrap();
    let coordinator = fs::read(dir.path().join("bin/marblerun-coordinator")).unwrap();
    let line = format!("{}  /usr/local/bin/marblerun-coordinator\n", hex::encode(Sha256::digest(coordinator)));
    assert!(measured.contains(&line), "{line} in {measured}");
    for name in ["gramine/marblerun-coordinator.manifest.template", "occlum/coordinator.yaml", "systemd/snp.conf"] {
        let template = fs::read_to_string(tee.join(name)).unwrap();
        assert!(template.contains("/usr/local/bin/marblerun-coordinator") && !template.contains("@programs"), "{name}");
    }
    let archive = File::open(file(".tar.gz")).unwrap();
    for entry in tar::Archive::new(flate2::read::GzDecoder::new(archive)).entries().unwrap() {
        let entry = entry.unwrap();
        let (header, path) = (entry.header(), entry.path().unwrap());
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0), "{}", path.display());
        assert!(path.starts_with(format!("marblerun-{}-{}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH)));
    }
}
