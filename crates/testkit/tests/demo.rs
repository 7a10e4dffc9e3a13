//! The demo, as a newcomer meets it.
#![allow(missing_docs)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use marblerun_testkit::binary;

fn demo(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary("marblerun"));
    command.arg("demo").args(args).arg("--dir").arg(dir.join("demo")).env("HOME", dir).env_remove("XDG_CONFIG_HOME");
    command
}

/// What the demo says to type works as it stands there, whatever another deployment left in the user's cache.
#[test]
fn what_the_demo_says_to_type_works() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join(".config/marblerun/coordinator-cert.pem");
    std::fs::create_dir_all(cache.parent().unwrap()).unwrap();
    let output = demo(dir.path(), &["--keep"]).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    let (_, pid) = told.split_once("(process ").unwrap();
    let pid = pid.split_once(')').unwrap().0;

    // The certificates of another deployment.
    std::fs::copy(dir.path().join("demo/coordinator-cert.pem"), &cache).unwrap();
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/tests/fixtures/other_root.pem");
    let other = std::fs::read_to_string(other).unwrap();
    std::fs::write(&cache, format!("{other}{other}")).unwrap();
    let (_, lines) = told.split_once("Try:\n").unwrap();
    let lines: Vec<&str> = lines.lines().filter(|line| line.starts_with("  ")).collect();
    assert_eq!(lines.len(), 4, "{told}");
    let mut failed = Vec::new();
    for line in lines {
        let shell = Command::new("sh").arg("-c").arg(line).env("HOME", dir.path()).output().unwrap();
        if !shell.status.success() {
            failed.push(format!("{line}: {}", String::from_utf8_lossy(&shell.stderr)));
        }
    }
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn an_interrupted_demo_leaves_nothing_running() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = demo(dir.path(), &[]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap());
    let address = loop {
        let mut line = String::new();
        assert!(told.read_line(&mut line).unwrap() > 0, "the demo ended early");
        if let Some((_, address)) = line.split_once("it waits for a manifest at ") {
            break address.split_whitespace().next().unwrap().to_owned();
        }
    };
    assert!(TcpStream::connect(&address).is_ok());
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    told.read_to_string(&mut String::new()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(TcpStream::connect(&address).is_err(), "its Coordinator still runs");
}
