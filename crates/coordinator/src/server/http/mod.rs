//! HTTP of the client API: from a request to the route that answers it.
//!
//! A request goes through [`service`] (path, route, metrics, log), its [`guard`], its [`body`] rule and its
//! handler in [`super::api`]; a refusal leaves in the [`dialect`] of its API version.

pub(in crate::server) mod answer_body;
pub(in crate::server) mod body;
pub(in crate::server) mod budget;
pub(in crate::server) mod dialect;
pub(in crate::server) mod envelope;
pub(in crate::server) mod guard;
pub(in crate::server) mod nonce;
mod outgoing;
mod path;
pub(in crate::server) mod query;
pub(in crate::server) mod router;
pub(in crate::server) mod service;
