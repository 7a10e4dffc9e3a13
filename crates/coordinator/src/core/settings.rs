//! What a Coordinator is told once, at start, besides its store.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use marblerun_attestation::{Backend, Simulation};
use marblerun_collateral::Service;

/// The one clock.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// Any other.
    #[must_use]
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// A working day and a night: an update rolls out in the meantime, or somebody has noticed that it does not.
pub const DEFAULT_MARBLE_GRACE: SignedDuration = SignedDuration::from_hours(24);

/// As long as most outages of a place where a state is shared take, and as long as a change that was acknowledged
/// elsewhere may not be in force here then.
pub const DEFAULT_OFFLINE_GRACE: Duration = Duration::from_secs(300);

/// Settings of a [`super::Coordinator`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// The clock.
    pub clock: Clock,
    /// What issues and verifies evidence.
    pub backend: Backend,
    /// The service that collateral is asked of, if it is one.
    pub collateral: Option<Arc<Service>>,
    /// How long Marbles that stay up over an update keep their access; zero: not at all.
    pub marble_grace: SignedDuration,
    /// How long activations go on while the place of a shared state does not answer; zero: not at all.
    pub offline_grace: Duration,
    /// Forbid a manifest over a state that waits for recovery.
    pub deny_recovery_reset: bool,
    /// Whether what is sealed opens with the HSM alone, as manifests may ask for.
    pub hsm_sealing: HsmSealing,
    /// What an operator should know, besides what manifest and store say.
    pub warnings: Vec<String>,
}

/// Whether every slot of the state's key needs a cloud HSM (feature gate `AzureHSMSealing`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HsmSealing {
    /// There is a slot that does not.
    #[default]
    Off,
    /// Nothing opens without it but the recovery keys.
    On,
}

impl Settings {
    /// Simulation with the machine's clock.
    #[must_use]
    pub fn simulation() -> Self {
        Self {
            clock: Clock::system(),
            backend: simulation(),
            collateral: None,
            marble_grace: DEFAULT_MARBLE_GRACE,
            offline_grace: DEFAULT_OFFLINE_GRACE,
            deny_recovery_reset: false,
            hsm_sealing: HsmSealing::Off,
            warnings: Vec::new(),
        }
    }
}

/// As [`Backend::open`] gives it, but without its line in the log: that belongs to a start.
fn simulation() -> Backend {
    Backend { issuer: Arc::new(Simulation), verifier: Arc::new(Simulation) }
}
