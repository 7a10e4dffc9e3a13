//! A Kubernetes control plane on this machine: etcd and an API server, without nodes. Scripts in `xtask/kube` build,
//! start and stop it; tests start their own by the same scripts (`marblerun_testkit::kube`).

mod binaries;

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use clap::{Args, Subcommand};

pub use binaries::{VARIABLE as BINARIES_VARIABLE, install as install_binaries};

/// A Kubernetes control plane on this machine.
#[derive(Debug, Subcommand)]
pub enum Kube {
    /// Build what is missing of it and start it on free ports of the loopback address
    Up(Up),
    /// Stop it and remove its database
    Down {
        #[command(flatten)]
        place: Place,
    },
}

/// What is started.
#[derive(Debug, Args)]
pub struct Up {
    #[command(flatten)]
    place: Place,
    /// Write an audit log: every request, who sent it, how it was answered
    #[arg(long)]
    audit: bool,
    /// Start the controllers too (namespaces end, deployments make pods, requests for certificates are signed)
    #[arg(long)]
    controller_manager: bool,
}

/// Where it keeps what it writes.
#[derive(Debug, Args)]
pub struct Place {
    /// Folder of the database, certificates, logs and kubeconfig [default: target/kube]
    #[arg(long)]
    data: Option<PathBuf>,
}

impl Place {
    fn path(&self) -> Result<PathBuf> {
        self.data.clone().map_or_else(|| Ok(crate::target_dir()?.join("kube")), Ok)
    }
}

/// Does as told.
pub fn run(task: &Kube) -> Result<()> {
    match task {
        Kube::Up(up) => start(up),
        Kube::Down { place } => crate::run(script("kube-down.sh")?.arg("--data").arg(place.path()?)),
    }
}

fn start(up: &Up) -> Result<()> {
    let binaries = install_binaries()?;
    let data = up.place.path()?;
    let mut command = script("kube-up.sh")?;
    command.arg("--bin").arg(binaries).arg("--data").arg(&data);
    command.args(up.audit.then_some("--audit"));
    command.args(up.controller_manager.then_some("--controller-manager"));
    crate::run(&mut command)?;
    println!("source {}   # KUBECONFIG, KUBECTL", data.join("env").display());
    Ok(())
}

fn script(name: &str) -> Result<Command> {
    Ok(Command::new(crate::root()?.join("xtask/kube").join(name)))
}
