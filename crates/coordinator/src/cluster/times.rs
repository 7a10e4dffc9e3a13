//! How long things may take among peers. One value, so that tests can be quick.

use std::time::Duration;

/// Times of the peer channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Between two rounds of greetings.
    pub round: Duration,
    /// For one address in a round: connecting, proving, greeting.
    pub greeting: Duration,
    /// For TLS and evidence of a connection, each.
    pub handshake: Duration,
    /// For one call.
    pub call: Duration,
    /// For telling all reachable peers of a recovery secret.
    pub ceremony: Duration,
    /// A channel is not used longer than this; the next one is attested anew.
    pub attested: Duration,
    /// First pause after nobody had a wanted key.
    pub first_retry: Duration,
    /// Longest such pause.
    pub last_retry: Duration,
    /// How long an instance that learned the last missing secret from a peer leaves the peer to use it.
    pub precedence: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            round: Duration::from_secs(10),
            greeting: Duration::from_secs(3),
            handshake: Duration::from_secs(5),
            call: Duration::from_secs(5),
            ceremony: Duration::from_secs(2),
            attested: Duration::from_secs(3600),
            first_retry: Duration::from_millis(500),
            last_retry: Duration::from_secs(15),
            precedence: Duration::from_secs(3),
        }
    }
}
