//! What can go wrong between a Coordinator and its API server, made to go wrong: a proxy in front of the real API server
//! that loses requests and answers, lets them land late, answers in the API server's stead, shows old states, ends and
//! stalls watches, or is not there at all.
//!
//! A client that goes through it believes the proxy's certificate and sends its token, which the proxy passes on: the API
//! server sees the client's own account. Which request suffers what is decided by a closure over the [`Call`], or by a
//! [`SeededPlan`].

mod call;
mod certificate;
mod fault;
mod memory;
mod perform;
mod plan;
mod proxy;
mod serve;
mod upstream;
mod watch;

pub use call::{Call, Verb};
pub use fault::Fault;
pub use plan::SeededPlan;
pub use proxy::{CallRecord, ChaosProxy, Link};
