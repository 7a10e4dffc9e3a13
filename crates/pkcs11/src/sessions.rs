//! A bounded pool of sessions. A session does one operation at a time; tokens have few of them.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::context::Pkcs11;
use cryptoki::session::Session;
use cryptoki::slot::Slot;

use crate::Pkcs11Error;

pub(crate) struct Sessions {
    module: Pkcs11,
    slot: Slot,
    /// Most sessions at once.
    limit: usize,
    /// How long to wait for one; `None` for ever.
    wait: Option<Duration>,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Session>,
    /// Idle and lent ones.
    open: usize,
}

impl Sessions {
    pub(crate) fn new(module: Pkcs11, slot: Slot, limit: usize, wait: Option<Duration>) -> Self {
        Self { module, slot, limit, wait, state: Mutex::default(), freed: Condvar::new() }
    }

    /// Lends a session for one operation. One in which an operation failed is closed: the operation may be half done.
    pub(crate) fn with<T>(&self, operation: impl FnOnce(&Session) -> Result<T, Pkcs11Error>) -> Result<T, Pkcs11Error> {
        let mut lent = self.lend()?;
        let result = match &lent.session {
            Some(session) => operation(session),
            None => Err(Pkcs11Error::answer("using the token", "the session was closed")),
        };
        if result.is_err() {
            lent.session = None;
        }
        result
    }

    /// Runs one operation in a session that may change the token. Rare, so it is not one of the pool.
    pub(crate) fn with_writable<T>(
        &self,
        operation: impl FnOnce(&Session) -> Result<T, Pkcs11Error>,
    ) -> Result<T, Pkcs11Error> {
        let session = self.module.open_rw_session(self.slot).map_err(Pkcs11Error::call("opening a session"))?;
        let result = operation(&session);
        close(session);
        result
    }

    /// Idle and lent ones. None is closed before the pool is, but for those in which an operation failed.
    pub(crate) fn open(&self) -> usize {
        self.lock().open
    }

    fn lend(&self) -> Result<Lent<'_>, Pkcs11Error> {
        let started = Instant::now();
        let mut state = self.lock();
        loop {
            if let Some(session) = state.idle.pop() {
                return Ok(Lent { from: self, session: Some(session) });
            }
            if state.open < self.limit {
                state.open += 1;
                drop(state);
                // Counted from here on: given back if opening fails.
                let mut lent = Lent { from: self, session: None };
                let opened = self.module.open_ro_session(self.slot);
                lent.session = Some(opened.map_err(Pkcs11Error::call("opening a session"))?);
                return Ok(lent);
            }
            state = match self.wait {
                None => self.freed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(limit) => {
                    let left = limit.saturating_sub(started.elapsed());
                    if left.is_zero() {
                        return Err(Pkcs11Error::Busy(limit));
                    }
                    self.freed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What is guarded is whole at every moment, whoever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        for session in self.lock().idle.drain(..) {
            close(session);
        }
    }
}

/// Closes a session; a failure changes nothing for the program.
pub(crate) fn close(session: Session) {
    if let Err(error) = session.close() {
        tracing::warn!(%error, "failed to close PKCS #11 session");
    }
}

/// A session on loan; given back when dropped.
struct Lent<'a> {
    from: &'a Sessions,
    session: Option<Session>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut state = self.from.lock();
        match self.session.take() {
            Some(session) => state.idle.push(session),
            None => state.open = state.open.saturating_sub(1),
        }
        drop(state);
        self.from.freed.notify_one();
    }
}
