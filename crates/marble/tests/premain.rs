//! The `marblerun-premain` program itself, against a Coordinator that plays its part.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use marblerun_api::marble::Parameters as Answer;
use support::*;
use tokio::process::Command;
use tonic::Code;

/// Prints arguments, then variables `A`, `B` and `KEPT`.
const SHOW: &str = r#"echo "0=$0 args=$*"; echo "A=$A B=$B KEPT=$KEPT""#;

struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn premain(coordinator: Option<&FakeCoordinator>, directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marblerun-premain"));
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("EDG_MARBLE_TYPE", "web")
        .env("MARBLERUN_TEE", "simulation")
        .env("MARBLERUN_PREMAIN_TIMEOUT", "20")
        .current_dir(directory)
        .kill_on_drop(true);
    if let Some(coordinator) = coordinator {
        command.env("EDG_MARBLE_COORDINATOR_ADDR", coordinator.address.to_string());
    }
    command
}

async fn run(command: &mut Command) -> Outcome {
    let output = command.stdin(Stdio::null()).output().await.unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test]
async fn a_program_becomes_a_marble() {
    let directory = tempfile::tempdir().unwrap();
    let answer = parameters(&[("conf/app.txt", b"from the manifest")], &[("A", b"new"), ("B", b"")], &[]);
    let coordinator = FakeCoordinator::start(&[Step::Answer(answer)]).await;
    let mut command = premain(Some(&coordinator), directory.path());
    command.env("A", "old").env("KEPT", "kept");
    let script = format!("{SHOW}; cat conf/app.txt; exit 42");
    let outcome = run(command.args(["sh", "-c", &script, "name", "--flag", "x y"])).await;
    assert_eq!(outcome.stdout, "0=name args=--flag x y\nA=new B= KEPT=kept\nfrom the manifest", "{}", outcome.stderr);
    assert_eq!(outcome.code, Some(42), "the exit code is the program's");
    assert!(outcome.stderr.lines().all(|line| line.starts_with("[PreMain] ")), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("SIMULATION"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("the Coordinator is NOT verified"), "{}", outcome.stderr);
    assert_eq!(coordinator.take_calls()[0].request.uuid.len(), 36);
    assert!(directory.path().join("uuid").exists());
}

#[tokio::test]
async fn arguments_of_the_manifest_replace_those_of_the_command_line() {
    let directory = tempfile::tempdir().unwrap();
    let answer = parameters(&[], &[], &["/other/name", "-c", SHOW, "zero", "one"]);
    let coordinator = FakeCoordinator::start(&[Step::Answer(answer)]).await;
    let outcome = run(premain(Some(&coordinator), directory.path()).args(["/bin/sh", "-c", "exit 9"])).await;
    assert_eq!(outcome.stdout, "0=zero args=one\nA= B= KEPT=\n", "{}", outcome.stderr);
    assert_eq!(outcome.code, Some(0));
}

#[tokio::test]
async fn without_a_program_the_manifest_s_is_run() {
    let directory = tempfile::tempdir().unwrap();
    let coordinator =
        FakeCoordinator::start(&[Step::Answer(parameters(&[], &[], &["/bin/sh", "-c", "echo ran"]))]).await;
    let outcome = run(&mut premain(Some(&coordinator), directory.path())).await;
    assert_eq!(outcome.stdout, "ran\n", "{}", outcome.stderr);
    let coordinator = FakeCoordinator::start(&[Step::Answer(Answer::default())]).await;
    let outcome = run(&mut premain(Some(&coordinator), directory.path())).await;
    assert_eq!(outcome.code, Some(6));
    assert!(outcome.stderr.contains("nothing to start"), "{}", outcome.stderr);
}

#[tokio::test]
async fn a_missing_marble_type_is_told_as_upstream_tells_it() {
    let directory = tempfile::tempdir().unwrap();
    let outcome = run(premain(None, directory.path()).env_remove("EDG_MARBLE_TYPE").arg("true")).await;
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("environment variable not set: EDG_MARBLE_TYPE"), "{}", outcome.stderr);
}

#[tokio::test]
async fn a_refusal_ends_it_in_json_if_asked() {
    let directory = tempfile::tempdir().unwrap();
    let coordinator = FakeCoordinator::start(&[Step::Refuse(Code::PermissionDenied, "unknown marble type")]).await;
    let outcome = run(premain(Some(&coordinator), directory.path()).env("EDG_LOG_FORMAT", "JSON").arg("true")).await;
    assert_eq!(outcome.code, Some(3));
    assert_eq!(coordinator.calls(), 1);
    let lines: Vec<serde_json::Value> =
        outcome.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    assert_eq!(last["level"], "ERROR");
    assert_eq!(last["message"], "the Coordinator refused the activation (PermissionDenied): unknown marble type");
}

#[tokio::test]
async fn parameters_that_cannot_be_applied_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("uuid"), "0f1e2d3c-4b5a-4968-8778-695a4b3c2d1e\n").unwrap();
    for answer in [
        parameters(&[("a", b"1"), ("uuid/below", b"2")], &[], &[]),
        parameters(&[("a", b"1")], &[("A=B", b"x")], &[]),
        parameters(&[("a", b"1")], &[("A", b"x\0")], &[]),
    ] {
        let coordinator = FakeCoordinator::start(&[Step::Answer(answer)]).await;
        let outcome = run(premain(Some(&coordinator), directory.path()).args(["sh", "-c", "echo ran"])).await;
        assert_eq!(outcome.code, Some(6), "{}", outcome.stderr);
        assert_eq!(outcome.stdout, "");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "only the UUID file");
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_before_files_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let coordinator = FakeCoordinator::start(&[Step::Answer(parameters(&[("a", b"1")], &[], &[]))]).await;
    let outcome = run(premain(Some(&coordinator), directory.path()).arg("no-such-program")).await;
    assert_eq!(outcome.code, Some(127), "{}", outcome.stderr);
    std::fs::write(directory.path().join("text"), "").unwrap();
    let outcome = run(premain(Some(&coordinator), directory.path()).arg("./text")).await;
    assert_eq!(outcome.code, Some(126), "{}", outcome.stderr);
    assert!(!directory.path().join("a").exists());
}

#[tokio::test]
async fn it_says_why_it_waits_and_ends_when_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let refusal = Step::Refuse(Code::FailedPrecondition, "cannot accept marbles in current state");
    let coordinator = FakeCoordinator::start(&[refusal]).await;
    let mut command = premain(Some(&coordinator), directory.path());
    command.env("MARBLERUN_PREMAIN_TIMEOUT", "10m").arg("true").stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    while coordinator.calls() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").arg(pid).status().await.unwrap().success());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(143));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("does not accept Marbles yet (cannot accept marbles in current state)"), "{log}");
    assert!(log.contains("trying again in") && log.contains("giving up in 600s"), "{log}");
}

#[tokio::test]
async fn hardware_is_never_replaced_by_simulation() {
    let directory = tempfile::tempdir().unwrap();
    let outcome = run(premain(None, directory.path()).env("MARBLERUN_TEE", "sgx").arg("true")).await;
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("SGX"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("SIMULATION"), "{}", outcome.stderr);
}

#[tokio::test]
async fn help_tells_every_variable_and_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let outcome = run(premain(None, directory.path()).arg("--help")).await;
    assert_eq!(outcome.code, Some(0));
    let words = outcome.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for variable in marblerun_marble::VARIABLES {
        let told = format!("{} {} [default: {}]", variable.name, variable.help, variable.default);
        assert!(words.contains(&told), "{told}: {words}");
    }
    for code in ["1  ", "3  ", "4  ", "5  ", "6  ", "126  ", "127  ", "143  "] {
        assert!(outcome.stdout.contains(code), "{code}");
    }
    assert_eq!(run(premain(None, directory.path()).arg("--version")).await.code, Some(0));
}
