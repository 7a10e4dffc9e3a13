//! What a recovery needs of the other Coordinators, and what they tell each other of it.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use marblerun_recovery::{SessionKeys, Stamped};

/// What one instance knows of a recovery, as it tells the others.
#[derive(Clone, Default)]
pub struct Union {
    /// Which sealed state the uploads are for.
    pub header: [u8; 32],
    /// Since the last upload.
    pub idle: Duration,
    /// The recovery of that state has come to its end here.
    pub finished: bool,
    /// The accepted uploads.
    pub uploads: Vec<Stamped>,
    /// What clients are offered while it lasts.
    pub sessions: Vec<SessionKeys>,
}

impl Union {
    /// The bare fact that there is a recovery.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        Self { header: self.header, idle: self.idle, finished: self.finished, ..Self::default() }
    }
}

impl std::fmt::Debug for Union {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Union")
            .field("header", &hex::encode(self.header))
            .field("finished", &self.finished)
            .field("uploads", &self.uploads.len())
            .field("sessions", &self.sessions.len())
            .finish_non_exhaustive()
    }
}

/// What the others answer to what they are told.
pub type Exchange = Pin<Box<dyn Future<Output = Vec<Union>> + Send>>;

/// The other Coordinators of the deployment.
pub trait Others: Send + Sync + 'static {
    /// What tells this process from the others.
    fn me(&self) -> [u8; 16];

    /// Tells every reachable one that recovers, in bounded time, and hears what each of them has.
    fn exchange(&self, mine: Union) -> Exchange;

    /// One that serves clients, if any is known to.
    fn serving(&self) -> Option<String>;

    /// Whether all have been greeted once.
    fn have_been_asked(&self) -> bool;

    /// How long the instance that got the last missing secret is left alone with it.
    fn precedence(&self) -> Duration;
}
