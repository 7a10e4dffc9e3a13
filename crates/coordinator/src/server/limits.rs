//! What strangers can take up: time, connections, memory. One value, so that tests can be quick.

use std::time::Duration;

use super::http::body::BodyTimes;

/// Limits of the listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the header of a request, and between two requests of an HTTP/1.1 connection.
    pub header: Duration,
    /// Between two pieces of a request body.
    pub body_stall: Duration,
    /// For a whole request body.
    pub body_total: Duration,
    /// A connection on which nothing moves and no request is being answered is closed after this.
    pub idle: Duration,
    /// For answers in progress when the server stops.
    pub shutdown: Duration,
    /// Connections of each TLS listener; further ones wait to be accepted.
    pub connections: usize,
    /// Memory of all request bodies of the client API together; those of the Marble API have a quarter of it besides.
    pub body_memory: usize,
    /// For an answer of which nothing more is taken.
    pub answer_stall: Duration,
    /// Memory of all answers of the client API together, until they are sent.
    pub answer_memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(60),
            body_stall: Duration::from_secs(15),
            body_total: Duration::from_secs(120),
            idle: Duration::from_secs(120),
            shutdown: Duration::from_secs(10),
            answer_stall: Duration::from_secs(300),
            connections: 4096,
            body_memory: 256 * 1024 * 1024,
            answer_memory: 256 * 1024 * 1024,
        }
    }
}

impl Limits {
    pub(super) fn body_times(&self) -> BodyTimes {
        BodyTimes { stall: self.body_stall, total: self.body_total }
    }
}
