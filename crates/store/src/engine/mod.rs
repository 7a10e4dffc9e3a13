//! Group commit: many transactions, one record, one sync.
//!
//! A committer on a thread of its own takes all transactions that wait, runs them in order on a draft
//! each, hands their changes to the [`Backend`](crate::backend::Backend) as one group, publishes the new
//! state when the group is durable, and only then answers. Invariants: no answer leaves before the groups
//! it has seen are durable; a transaction that fails or panics leaves no trace; readers never wait.

mod committer;
mod group;
mod job;
mod queue;
#[cfg(test)]
mod tests;

pub(crate) use committer::{Committer, Shared};
pub(crate) use job::transaction;
pub(crate) use queue::{Entry, Queue, Refused};
