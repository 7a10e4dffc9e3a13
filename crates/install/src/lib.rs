//! Which Kubernetes objects make a deployment? From the values of the chart to typed objects; no I/O.
#![forbid(unsafe_code)]

mod chart;
pub mod devices;
pub mod kinds;
pub mod names;
mod objects;
pub mod rollout;
mod set;
mod settings;
pub mod values;
pub mod webhook_certificate;

pub use chart::Chart;
pub use objects::{Installation, Object, archives, objects, parts};
pub use set::SetError;
pub use settings::{Named, Settings, Tee};
