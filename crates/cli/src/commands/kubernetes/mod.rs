//! `marblerun install|uninstall|check|precheck|doctor`: MarbleRun in a Kubernetes cluster.

mod check;
mod cluster;
mod doctor;
mod install;
mod installation;
mod ours;
mod precheck;
mod uninstall;
mod waiting;

pub use check::run as check;
pub use cluster::{Cluster, Told, is_absent, is_forbidden, namespace, plain};
pub use doctor::run as doctor;
pub use install::run as install;
pub use installation::Described;
pub use precheck::run as precheck;
pub use uninstall::run as uninstall;
pub use waiting::{Outcome, in_lines, until_ready};
