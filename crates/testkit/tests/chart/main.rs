//! The Helm chart: which objects it makes of which values, and that they are what an API server, and a release of the
//! original chart, can live with. Helm itself renders and installs; `xtask/kube/helm` builds it.
#![allow(missing_docs)]

mod contract;
mod helm;
mod in_a_cluster;
mod pod;
mod program;
mod reference;
mod refusals;
mod renders;
mod tee;
mod upgrade;
