//! The proxy between a client and a real API server does to requests what it says, and nothing else.
#![allow(missing_docs)]

mod link;
mod plan;
mod reads;
mod requests;
mod scene;
mod watches;
