//! Several Coordinators on this machine, each with its own key service: who they take each other for, what they give
//! each other, and how they recover together.

mod node;
mod peers;
mod recovery;
