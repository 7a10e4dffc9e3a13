//! Memory that all clients share. What cannot be had is refused at once: two requests that each hold a part and wait
//! for the rest would wait for each other.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// There is no room left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct NoRoom;

/// Memory that is shared.
#[derive(Debug, Clone)]
pub(in crate::server) struct Budget(Arc<Semaphore>);

/// What one request takes of a budget; given back when this is dropped.
#[derive(Debug)]
pub(in crate::server) struct Share {
    budget: Budget,
    room: usize,
    permits: Vec<OwnedSemaphorePermit>,
}

/// Budgets are counted in pieces, so that a permit stands for more than a byte.
pub(super) const PIECE: usize = 16 * 1024;

impl Budget {
    pub(in crate::server) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / PIECE).max(1))))
    }

    /// A share that is empty yet.
    pub(in crate::server) fn share(&self) -> Share {
        Share { budget: self.clone(), room: 0, permits: Vec::new() }
    }
}

impl Share {
    /// Room for some more bytes; never waits.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub(in crate::server) fn grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        if self.room < bytes {
            let pieces = bytes.div_ceil(PIECE);
            let wanted = u32::try_from(pieces).map_err(|_| NoRoom)?;
            let permit = self.budget.0.clone().try_acquire_many_owned(wanted).map_err(|_| NoRoom)?;
            self.permits.push(permit);
            self.room += pieces * PIECE;
        }
        self.room -= bytes;
        Ok(())
    }
}

/// Memory of the bodies of one listener, those of requests or those of answers. A part of it is for the beginnings of bodies, so that a few large
/// ones that never end leave room for the small ones of everybody else.
#[derive(Debug, Clone)]
pub(in crate::server) struct BodyBudget {
    beginnings: Budget,
    rest: Budget,
}

/// What one body takes.
#[derive(Debug)]
pub(in crate::server) struct BodyShare {
    beginning: Share,
    rest: Share,
    taken: usize,
}

/// How much of each body counts as its beginning.
pub(super) const BEGINNING: usize = 64 * 1024;

impl BodyBudget {
    /// A quarter is for the beginnings.
    pub(in crate::server) fn new(bytes: usize) -> Self {
        Self { beginnings: Budget::new(bytes / 4), rest: Budget::new(bytes - bytes / 4) }
    }

    /// A share that is empty yet.
    pub(in crate::server) fn share(&self) -> BodyShare {
        BodyShare { beginning: self.beginnings.share(), rest: self.rest.share(), taken: 0 }
    }
}

impl BodyShare {
    /// Room for some more bytes; never waits.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub(in crate::server) fn grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let first = bytes.min(BEGINNING.saturating_sub(self.taken));
        // Many small ones may take all there is; large ones may not.
        self.beginning.grow(first).or_else(|NoRoom| self.rest.grow(first))?;
        self.rest.grow(bytes - first)?;
        self.taken = self.taken.saturating_add(bytes);
        Ok(())
    }
}
