use std::fs;

use super::*;

fn parameters(argv: &[&str], env: &[(&str, &[u8])]) -> Parameters {
    Parameters {
        argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
        env: env.iter().map(|(name, value)| ((*name).to_owned(), Zeroizing::new(value.to_vec()))).collect(),
        ..Parameters::default()
    }
}

fn command(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn executable(directory: &Path, name: &str, mode: u32) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn the_command_line_s_program_runs_with_its_own_arguments_or_the_manifest_s() {
    let own = Program::new(&command(&["/bin/sh", "-c", "x"]), &parameters(&[], &[]), None).unwrap();
    assert_eq!(own.path, Path::new("/bin/sh"));
    assert_eq!(own.arguments, command(&["/bin/sh", "-c", "x"]));
    let given = Program::new(&command(&["/bin/sh", "-c"]), &parameters(&["./app", "--x"], &[]), None).unwrap();
    assert_eq!(given.path, Path::new("/bin/sh"));
    assert_eq!(given.arguments, command(&["./app", "--x"]));
}

#[test]
fn without_a_command_line_the_manifest_s_first_argument_runs() {
    let program = Program::new(&[], &parameters(&["/bin/sh", "-c", "x"], &[]), None).unwrap();
    assert_eq!(program.path, Path::new("/bin/sh"));
    assert_eq!(program.arguments, command(&["/bin/sh", "-c", "x"]));
    // Not looked for anywhere: the host must not choose what it is.
    let error = Program::new(&[], &parameters(&["sh"], &[]), Some(OsStr::new("/bin"))).unwrap_err();
    assert!(matches!(error, ProgramError::NotFound { .. }), "{error}");
    let error = Program::new(&[], &parameters(&[], &[]), None).unwrap_err();
    assert!(error.to_string().starts_with("nothing to start"), "{error}");
}

#[test]
fn a_program_without_a_slash_is_looked_for_as_a_shell_does() {
    let directories = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [empty, plain, good] = directories.each_ref().map(|directory| directory.path());
    executable(plain, "app", 0o644);
    let path = executable(good, "app", 0o755);
    let search = std::env::join_paths([empty, plain, good]).unwrap();
    let find = |name: &str, search: &OsStr| Program::new(&command(&[name]), &parameters(&[], &[]), Some(search));
    assert_eq!(find("app", &search).unwrap().path, path);
    let error = find("app", plain.as_os_str()).unwrap_err();
    assert!(matches!(error, ProgramError::NotExecutable { .. }), "{error}");
    assert!(matches!(find("app", empty.as_os_str()).unwrap_err(), ProgramError::NotFound { .. }));
    assert!(matches!(find("", &search).unwrap_err(), ProgramError::NotFound { .. }));
    let error = find(good.to_str().unwrap(), &search).unwrap_err();
    assert!(matches!(error, ProgramError::NotExecutable { .. }), "a directory: {error}");
}

#[test]
fn what_an_environment_cannot_hold_is_refused() {
    for (name, value) in [("", &b"x"[..]), ("A=B", b"x"), ("A\0", b"x"), ("A", b"x\0y")] {
        let error = Program::new(&command(&["/bin/sh"]), &parameters(&[], &[(name, value)]), None).unwrap_err();
        assert!(error.to_string().starts_with("environment variable "), "{error}");
        assert!(!error.to_string().contains("x\0y"), "values stay secret");
    }
    Program::new(&command(&["/bin/sh"]), &parameters(&[], &[("A", b"\xff"), ("B", b"")]), None).unwrap();
    let error = Program::new(&command(&["/bin/sh"]), &parameters(&["a", "b\0"], &[]), None).unwrap_err();
    assert_eq!(error.to_string(), "argument 1 contains a NUL byte");
}
