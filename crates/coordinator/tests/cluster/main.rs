//! Several Coordinators on this machine, each with its own key service: who they take each other for, what they give
//! each other, and how they recover together.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod node;
mod peers;
mod recovery;
