//! Things made for one trusted execution environment: what is in them runs there or not at all, whatever the host says.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::container::Image;
use crate::made::{is_debian, is_debian_and_root, making, run};

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (for AMD SEV-SNP alone)");

/// Things for SEV-SNP.
fn for_snp() -> TempDir {
    let dir = TempDir::new().unwrap();
    run(&mut making(&dir.path().join("made"), "packaged-snp", &["--tee", "snp"]));
    dir
}

#[test]
fn names_tell_what_things_are_for_and_templates_of_others_are_left_out() {
    if !is_debian() {
        return;
    }
    let dir = for_snp();
    let made = dir.path().join("made");
    let sums = std::fs::read_to_string(made.join("SHA256SUMS")).unwrap();
    let names: Vec<&str> = sums.lines().filter_map(|line| line.split_once("  ")).map(|(_, name)| name).collect();
    let (version, architecture) = (env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let archive = format!("marblerun-{version}-{architecture}-snp.tar.gz");
    assert_eq!(names.len(), 4, "{names:?}");
    for name in ["images/coordinator-snp.tar", "images/coordinator-snp.cdx.json", &archive] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let package = names.iter().find(|name| name.ends_with(".deb")).unwrap();
    assert!(package.starts_with("marblerun-snp_"), "{package}");
    let about = run(Command::new("dpkg-deb").arg("--field").arg(made.join(package)));
    assert!(about.contains("Package: marblerun-snp\n") && about.contains("Conflicts: marblerun\n"), "{about}");
    let image = Image::name(&made.join("images/coordinator-snp"));
    assert_eq!(image, format!("localhost/marblerun/coordinator-snp:{version}"));

    let files = run(Command::new("tar").arg("-tzf").arg(made.join(&archive)));
    assert!(files.contains("/share/marblerun/tee/systemd/snp.conf\n"), "{files}");
    for other in ["tdx.conf", "gramine", "occlum"] {
        assert!(!files.contains(other), "{other}: {files}");
    }
    run(&mut making(&dir.path().join("again"), "packaged-snp", &["--tee", "snp"]));
    assert_eq!(sums, std::fs::read_to_string(dir.path().join("again/SHA256SUMS")).unwrap());
}

#[test]
fn a_program_for_one_environment_is_not_talked_into_another() {
    if !is_debian_and_root() {
        return;
    }
    let dir = for_snp();
    let root = dir.path().join("root");
    let image = Image::unpack_layout(&dir.path().join("made/images/coordinator-snp"), &root);
    let entry = image.words("Entrypoint")[0].to_owned();
    let start = |args: &[&str], tee: Option<&str>| -> Output {
        let mut command = Command::new("chroot");
        command.arg("--userspec=10001:10001").arg(&root).arg(&entry).args(args).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command.env("EDG_COORDINATOR_SEAL_DIR", "/coordinator/data");
        command.envs(tee.map(|tee| ("MARBLERUN_TEE", tee))).output().unwrap()
    };
    let version = start(&["--version"], None);
    assert_eq!(String::from_utf8(version.stdout).unwrap(), format!("marblerun-coordinator {VERSION}\n"));
    for (args, tee, told) in [
        (
            &[][..],
            Some("simulation"),
            "MARBLERUN_TEE=simulation is refused: this program was built for AMD SEV-SNP alone",
        ),
        (&["--tee=tdx"], None, "MARBLERUN_TEE=tdx is refused"),
        (&["--tee=simulation"], Some("snp"), "MARBLERUN_TEE=simulation is refused"),
        // There is no such processor in this image's /dev, and nothing is put in its place.
        (&[], None, "This program was built for AMD SEV-SNP alone, and runs in nothing else"),
        (&[], Some("auto"), "This program was built for AMD SEV-SNP alone, and runs in nothing else"),
    ] {
        let output = start(args, tee);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!output.status.success() && said.contains(told), "{args:?} {tee:?}: {said}");
        assert!(std::fs::read_dir(root.join("coordinator/data")).unwrap().next().is_none(), "nothing was made");
    }
}

#[test]
fn programs_for_another_environment_than_the_name_says_are_not_packed() {
    if !is_debian() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let refused = |programs: &str, more: &[&str]| {
        let output = making(&dir.path().join("made"), programs, more).output().unwrap();
        assert!(!output.status.success() && !Path::new(&dir.path().join("made")).exists());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused("packaged", &["--tee", "snp"]).contains("was not built for snp"));
    assert!(refused("packaged-snp", &["--tee", "tdx"]).contains("was not built for tdx"));
    assert!(refused("packaged-snp", &[]).contains("was not built for every environment"));
}
