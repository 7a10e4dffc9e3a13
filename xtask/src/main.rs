//! Developer tasks: `cargo xtask test`, `demo`, `kube`, `bench`, `docs`, `check`, `fuzz`, `dist`.
#![forbid(unsafe_code)]

#[cfg(feature = "bench")]
mod bench;
mod compatibility;
mod dist;
mod kube;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Parser;

/// Developer tasks.
#[derive(Debug, Parser)]
#[command(name = "xtask")]
enum Task {
    /// Build everything and run all tests. Arguments go to `cargo test`
    Test {
        /// Arguments of `cargo test`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Build the programs and run the demo. Arguments go to `marblerun demo`
    Demo {
        /// Arguments of `marblerun demo`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// A Kubernetes control plane on this machine, without nodes
    #[command(subcommand)]
    Kube(kube::Kube),
    /// Measure a release build: activations, writes, start, memory
    Bench {
        /// Seconds of each load
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Clients
        #[arg(long, default_value_t = 32)]
        clients: usize,
    },
    /// Write the generated pages of the documentation (tests tell when they are out of date)
    Docs,
    /// Formatting, lints, licences
    Check,
    /// Fuzz every parser of foreign bytes (nightly compiler)
    Fuzz {
        /// Seconds for each target
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Only this target
        target: Option<String>,
    },
    /// Make what is given out: tar archive, Debian package, container images, checksums
    Dist(dist::Options),
}

fn main() -> Result<()> {
    match Task::parse() {
        Task::Test { args } => test(&args),
        Task::Demo { args } => demo(&args),
        Task::Kube(task) => kube::run(&task),
        Task::Bench { seconds, clients } => bench(seconds, clients),
        Task::Docs => docs(),
        Task::Check => check(),
        Task::Fuzz { seconds, target } => fuzz(seconds, target),
        Task::Dist(options) => dist::run(&options),
    }
}

fn root() -> Result<PathBuf> {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.parent().map(Path::to_path_buf).context("the workspace has no folder")
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn run(command: &mut Command) -> Result<()> {
    eprintln!("+ {command:?}");
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// What default builds leave out, and tests do not.
const OPTIONAL: [&str; 2] = ["--features", "marblerun-coordinator/etcd,marblerun-coordinator/tpm,marblerun-marble/tpm"];
const RELEASE: &str = "--release";
/// Of that, what needs no library of the system.
const SELF_CONTAINED: [&str; 2] = ["--features", "marblerun-coordinator/etcd"];

fn build_programs(arguments: &[&str]) -> Result<PathBuf> {
    build_programs_for(None, arguments)
}

/// Programs that run in one trusted execution environment alone, or in every one.
fn build_programs_for(tee: Option<dist::Tee>, arguments: &[&str]) -> Result<PathBuf> {
    let root = root()?;
    let mut command = cargo();
    command.env(dist::BUILD_TEE, tee.map_or("", dist::Tee::name));
    run(command.current_dir(&root).args(["build", "--locked", "--workspace", "--bins"]).args(arguments))?;
    Ok(target_dir()?.join(if arguments.contains(&RELEASE) { "release" } else { "debug" }))
}

fn target_dir() -> Result<PathBuf> {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Ok(root()?.join("target")), |path| Ok(PathBuf::from(path)))
}

fn test(args: &[String]) -> Result<()> {
    install_test_tools()?;
    let kube = kube::install_binaries()?;
    // Packages hold programs that need no library of the system; their tests find them beside the others.
    for (folder, tee) in [("packaged", None), ("packaged-snp", Some(dist::Tee::Snp))] {
        let programs = build_programs_for(tee, &SELF_CONTAINED)?;
        let packaged = programs.join(folder);
        std::fs::create_dir_all(&packaged)?;
        for name in dist::program_names() {
            std::fs::copy(programs.join(name), packaged.join(name)).with_context(|| format!("copying {name}"))?;
        }
    }
    // Stories start the real programs; cargo builds those only for tests of their own package.
    build_programs(&OPTIONAL)?;
    let mut command = cargo();
    command.current_dir(root()?).args(["test", "--locked", "--workspace"]).args(OPTIONAL).args(args);
    run(command.env(kube::BINARIES_VARIABLE, kube))
}

/// Programs that tests use, and the Debian packages they are in.
const TEST_TOOLS: [(&str, &str); 7] = [
    ("softhsm2-util", "softhsm2"),
    ("pkcs11-tool", "opensc"),
    ("swtpm", "swtpm"),
    ("tpm2_pcrextend", "tpm2-tools"),
    ("openssl", "openssl"),
    ("script", "bsdutils"),
    ("strip", "binutils"),
];

/// C libraries of crates outside the default members, as pkg-config knows them, and the Debian packages they are in.
const LIBRARIES: [(&str, &str); 1] = [("tss2-esys", "libtss2-dev")];

/// Tests do not skip what they lack a tool for; as root, missing ones are installed.
fn install_test_tools() -> Result<()> {
    let missing: Vec<&str> =
        TEST_TOOLS.iter().filter(|(program, _)| !is_installed(program)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        install_packages(&missing)?;
    }
    install_libraries()
}

/// What the whole workspace is built with.
fn install_libraries() -> Result<()> {
    if !is_installed("pkg-config") {
        install_packages(&["pkg-config"])?;
    }
    let is_there = |library: &str| {
        Command::new("pkg-config").args(["--exists", library]).status().is_ok_and(|status| status.success())
    };
    let missing: Vec<&str> =
        LIBRARIES.iter().filter(|(library, _)| !is_there(library)).map(|(_, package)| *package).collect();
    if missing.is_empty() { Ok(()) } else { install_packages(&missing) }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn install_packages(packages: &[&str]) -> Result<()> {
    let user = Command::new("id").arg("-u").output().context("starting id")?;
    if user.stdout.trim_ascii() != b"0" || !is_installed("apt-get") {
        bail!("more programs or libraries are needed; install the packages: {}", packages.join(" "));
    }
    let apt_get = |words: &[&str]| run(Command::new("apt-get").args(words).env("DEBIAN_FRONTEND", "noninteractive"));
    let install = [&["install", "--yes", "--no-install-recommends"][..], packages].concat();
    // The lists of packages may be absent or old.
    apt_get(&install).or_else(|_| apt_get(&["update"]).and_then(|()| apt_get(&install)))
}

fn demo(args: &[String]) -> Result<()> {
    let dir = build_programs(&SELF_CONTAINED)?;
    run(Command::new(dir.join("marblerun")).arg("demo").arg("--bin-dir").arg(&dir).args(args))
}

#[cfg(not(feature = "bench"))]
fn bench(seconds: u64, clients: usize) -> Result<()> {
    build_programs(&[RELEASE])?;
    let kube = kube::install_binaries()?;
    let (seconds, clients) = (seconds.to_string(), clients.to_string());
    let mut command = cargo();
    command.env(kube::BINARIES_VARIABLE, kube).current_dir(root()?);
    run(command.args(["run", "--quiet", "--locked", "--release", "--package", "xtask"]).args([
        "--features",
        "bench",
        "--",
        "bench",
        "--seconds",
        &seconds,
        "--clients",
        &clients,
    ]))
}

#[cfg(feature = "bench")]
fn bench(seconds: u64, clients: usize) -> Result<()> {
    bench::run(std::time::Duration::from_secs(seconds), clients)
}

/// Generated pages are compared by tests; told to, those tests write them.
fn docs() -> Result<()> {
    let mut command = cargo();
    command.current_dir(root()?).args(["test", "--locked", "--quiet", "reference_page"]);
    command.args(["--package", "marblerun-cli", "--package", "marblerun-coordinator", "--package", "marblerun-marble"]);
    run(command.env("MARBLERUN_UPDATE_DOCS", "1"))?;
    // Of the tests in the testkit, only those of the chart make a page.
    let mut command = cargo();
    command.current_dir(root()?).args(["test", "--locked", "--quiet", "reference_page"]);
    command.args(["--package", "marblerun-testkit", "--test", "chart"]);
    run(command.env("MARBLERUN_UPDATE_DOCS", "1"))?;
    // The last: it is checked against the pages above.
    compatibility::write(&root()?)
}

fn check() -> Result<()> {
    install_libraries()?;
    let root = root()?;
    let here = |command: &mut Command| run(command.current_dir(&root));
    here(cargo().args(["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--locked", "--workspace", "--all-targets"];
    here(cargo().args(clippy).args(["--", "-D", "warnings"]))?;
    here(cargo().args(clippy).args(OPTIONAL).args(["--", "-D", "warnings"]))?;
    let deny = tool("cargo-deny", "0.20.2")?;
    here(Command::new(deny).args(["--locked", "check", "bans", "licenses", "sources"]))
}

const FUZZ_TARGETS: [&str; 15] = [
    "manifest",
    "yaml",
    "template",
    "sealed_data",
    "sealed_key",
    "change",
    "csr",
    "share",
    "evidence",
    "bundle",
    "peer_evidence",
    "admission",
    "jws",
    "slot_params",
    "verify",
];

fn fuzz(seconds: u64, target: Option<String>) -> Result<()> {
    let cargo_fuzz = tool("cargo-fuzz", "0.13.1")?;
    let targets = target.map_or_else(|| FUZZ_TARGETS.map(str::to_owned).to_vec(), |target| vec![target]);
    for target in targets {
        let limit = format!("-max_total_time={seconds}");
        let mut command = Command::new(&cargo_fuzz);
        // cargo-fuzz is a cargo subcommand: its first argument is its own name.
        command.args(["fuzz", "run", &target, "--", &limit, "-max_len=65536", "-rss_limit_mb=4096"]);
        run(command.current_dir(root()?).env("RUSTUP_TOOLCHAIN", "nightly").env_remove("CARGO"))?;
    }
    Ok(())
}

/// What this project keeps in the user's cache.
fn cache() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(cache.join("marblerun"))
}

/// A tool from the registry, built once into the user's cache.
fn tool(name: &str, version: &str) -> Result<PathBuf> {
    let tools = cache()?.join("tools");
    let path = tools.join("bin").join(name);
    if !path.is_file() {
        let version = format!("{name}@{version}");
        run(cargo().args(["install", "--locked", &version, "--root"]).arg(&tools))?;
    }
    Ok(path)
}
