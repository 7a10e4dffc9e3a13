//! What can happen to one request.

use std::time::Duration;

use crate::chaos::{Call, Verb};

/// What happens to a request. One that does not fit it is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it is passed on.
    Pass,
    /// It is passed on after that time.
    Delay(Duration),
    /// The connection breaks before it is passed on.
    LoseRequest,
    /// It is done; the connection breaks before the answer.
    LoseAnswer,
    /// The connection breaks, or an answer of that status is given, and it is done after that time nevertheless.
    LandLate {
        /// When it is done.
        after: Duration,
        /// What is answered at once, if anything.
        answer: Option<u16>,
    },
    /// It is not done; the answer is of that status. 409: somebody else was faster. 429, 503: with `Retry-After`.
    Refuse {
        /// Status of the answer.
        status: u16,
        /// Seconds.
        retry_after: Option<u32>,
    },
    /// It is done, and the answer is of that status: 504 is what an API server says of a database that was too slow.
    Hide {
        /// Status of the answer.
        status: u16,
    },
    /// It is done, the answer is lost, and it is done again, as clients and proxies do that repeat requests by
    /// themselves. What they get for the second one is the answer: of a successful PUT, a conflict.
    Repeat,
    /// It is answered as it was so many different answers ago: a read of a store that lags behind.
    Stale {
        /// 1 is the answer before the newest.
        back: usize,
    },
    /// The object is put back to what it was so many versions ago, by a write of the store's master, and then it is done.
    RollBack {
        /// 1 is the version before the newest.
        back: usize,
    },
    /// The watch ends after that time, as watches do.
    EndWatch {
        /// From its begin.
        after: Duration,
    },
    /// The watch tells nothing more after that time, and does not end either.
    StallWatch {
        /// From its begin.
        after: Duration,
    },
    /// The watch tells after that time that it has missed something (410 Gone), and ends.
    ExpireWatch {
        /// From its begin.
        after: Duration,
    },
}

impl Fault {
    /// Somebody else was faster.
    pub const CONFLICT: Self = Self::Refuse { status: 409, retry_after: None };

    /// Its name, by which it is counted.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Delay(_) => "delay",
            Self::LoseRequest => "lose request",
            Self::LoseAnswer => "lose answer",
            Self::LandLate { .. } => "land late",
            Self::Refuse { .. } => "refuse",
            Self::Hide { .. } => "hide",
            Self::Repeat => "repeat",
            Self::Stale { .. } => "stale",
            Self::RollBack { .. } => "roll back",
            Self::EndWatch { .. } => "end watch",
            Self::StallWatch { .. } => "stall watch",
            Self::ExpireWatch { .. } => "expire watch",
        }
    }

    /// Whether it can happen to that request.
    #[must_use]
    pub const fn fits(self, call: &Call) -> bool {
        match self {
            Self::Pass | Self::Delay(_) | Self::LoseRequest => true,
            Self::LoseAnswer | Self::Hide { .. } => !matches!(call.verb, Verb::Watch),
            // What a store says to a writer alone.
            Self::Refuse { status: 409, .. } | Self::LandLate { .. } | Self::Repeat => call.writes(),
            Self::Refuse { .. } => true,
            Self::Stale { .. } => call.reads(),
            Self::RollBack { .. } => !call.name.is_empty() && !matches!(call.verb, Verb::Delete | Verb::Other),
            Self::EndWatch { .. } | Self::StallWatch { .. } | Self::ExpireWatch { .. } => {
                matches!(call.verb, Verb::Watch)
            }
        }
    }

    /// The same with its times and distances drawn anew, none longer than before.
    pub(super) fn drawn(self, random: &mut fastrand::Rng) -> Self {
        let mut time = |most: Duration| most.mul_f64(random.f64());
        match self {
            Self::Delay(most) => Self::Delay(time(most)),
            Self::LandLate { after, answer } => Self::LandLate { after: time(after), answer },
            Self::EndWatch { after } => Self::EndWatch { after: time(after) },
            Self::StallWatch { after } => Self::StallWatch { after: time(after) },
            Self::ExpireWatch { after } => Self::ExpireWatch { after: time(after) },
            Self::Stale { back } => Self::Stale { back: random.usize(1..=back.max(1)) },
            Self::RollBack { back } => Self::RollBack { back: random.usize(1..=back.max(1)) },
            other => other,
        }
    }
}
