//! Kubernetes for tests: a real etcd and API server of one's own, accounts with the rights a Coordinator has in its pod,
//! what they asked the API server for, and Coordinators that share one state there.

mod api_server;
mod audit;
mod cluster;
mod control_plane;
mod kubectl;
mod namespace;

pub use audit::{ApiRequest, AuditLog};
pub use cluster::{Cluster, ClusterBuilder, ClusterCoordinator};
pub use control_plane::{ControlPlane, ControlPlaneBuilder, Snapshot};
pub use kubectl::KubectlOutput;
pub use namespace::{Namespace, Role, ServiceAccount};
