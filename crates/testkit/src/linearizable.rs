//! Did several Coordinators together behave as one? Histories of what clients asked and were answered, and whether there
//! is an order of all calls, each at one moment between its call and its answer, in which one simple object gives those
//! answers (linearizability, Herlihy and Wing).
//!
//! A call whose outcome is not known stays open: it may have happened at any moment after it was made, or never. Each key
//! of a history is an object of its own, and is checked by itself.

mod activations;
mod counter;
mod history;
mod model;
mod register;
mod search;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use activations::{Activate, ActivationAnswer, Activations};
pub use counter::{Before, Counter, Set};
pub use history::{History, Operation, Pending, Recorder};
pub use model::{Model, Violation, check};
pub use register::{Register, RegisterAnswer, RegisterCall};
