//! The place that Coordinators share in Kubernetes, against a real API server: what every shared place promises, what is
//! particular to Secrets and ConfigMaps, which rights are used, and what a broken wire is called.
#![allow(missing_docs)]

mod beside;
mod cutter;
mod lab;
mod noticing;
mod promises;
mod rights;
mod state;
mod wire;
