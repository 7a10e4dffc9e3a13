//! The routes of the client API: what each one takes, who may use it, which use case it stands for.

mod requests;
mod routes;
mod shared;
mod v1;
mod v2;
mod v3;

pub(in crate::server) use routes::{UPSTREAM_PATHS, router};
pub(in crate::server) use v3::answer_of;
