//! What this instance shares with the others while it recovers, besides the uploads: the sessions, that is, what clients are
//! offered. All offer what the session with the lowest id offers, so that a client may speak to any of them behind one
//! address: one temporary root, one key to encrypt secrets to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use marblerun_pki::Authority;
use marblerun_recovery::{SessionKeys, SharedSessions};
use marblerun_state::Change;
use zeroize::Zeroizing;

use super::others::Others;

/// The others, and the sessions of all.
pub(super) struct Together {
    pub(super) others: Arc<dyn Others>,
    sessions: Mutex<Sessions>,
    /// The temporary authority of another instance, where its session comes first.
    authority: ArcSwapOption<Authority>,
    /// The state whose recovery has come to its end here.
    finished: Mutex<Option<[u8; 32]>>,
    /// Whether the others lack something that is offered here.
    untold: AtomicBool,
    /// Whether this instance is about to open the state with what others told it.
    pub(super) opening: AtomicBool,
}

#[derive(Default)]
struct Sessions {
    all: SharedSessions,
    own: Option<Own>,
}

struct Own {
    id: [u8; 16],
    authority: Arc<Authority>,
}

impl Together {
    pub(super) fn new(others: Arc<dyn Others>) -> Self {
        Self {
            others,
            sessions: Mutex::default(),
            authority: ArcSwapOption::empty(),
            finished: Mutex::default(),
            untold: AtomicBool::new(true),
            opening: AtomicBool::new(false),
        }
    }

    /// Offers this instance's temporary authority and, once it is made, its key.
    pub(super) fn offer(&self, authority: &Arc<Authority>, key: Option<Zeroizing<Vec<u8>>>) {
        let mut sessions = self.sessions();
        let id = match &sessions.own {
            Some(own) if Arc::ptr_eq(&own.authority, authority) => own.id,
            _ => {
                let mut id = [0; 16];
                // Without randomness there is no session to tell from others'.
                if aws_lc_rs::rand::fill(&mut id).is_err() {
                    return;
                }
                sessions.own = Some(Own { id, authority: Arc::clone(authority) });
                id
            }
        };
        let decryption_key = key.unwrap_or_default();
        let authority = Change::Authority(Arc::clone(authority)).encode();
        if sessions.all.merge(SessionKeys { id, decryption_key, authority }) {
            self.untold.store(true, Ordering::Release);
        }
        self.choose(&sessions);
    }

    /// Takes what others offer. Whether anything was new.
    pub(super) fn merge(&self, theirs: &[SessionKeys]) -> bool {
        let mut sessions = self.sessions();
        let mut changed = false;
        for session in theirs {
            changed |= sessions.all.merge(session.clone());
        }
        if changed {
            self.choose(&sessions);
        }
        changed
    }

    /// The next recovery has other keys: this instance's session ends, and it knows no other's.
    pub(super) fn renew(&self) {
        *self.sessions() = Sessions::default();
        self.authority.store(None);
        self.untold.store(true, Ordering::Release);
    }

    /// All sessions, lowest id first.
    pub(super) fn all(&self) -> Vec<SessionKeys> {
        self.sessions().all.iter().cloned().collect()
    }

    /// The id of the own session.
    pub(super) fn own_id(&self) -> Option<[u8; 16]> {
        self.sessions().own.as_ref().map(|own| own.id)
    }

    /// The temporary authority that clients are shown in place of the own one.
    pub(super) fn authority(&self) -> Option<Arc<Authority>> {
        self.authority.load_full()
    }

    /// Whether something is offered that the others have not been told yet; once.
    pub(super) fn take_untold(&self) -> bool {
        self.untold.swap(false, Ordering::AcqRel)
    }

    pub(super) fn finish(&self, name: [u8; 32]) {
        *self.finished.lock().unwrap_or_else(PoisonError::into_inner) = Some(name);
    }

    pub(super) fn finished(&self) -> Option<[u8; 32]> {
        *self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn choose(&self, sessions: &Sessions) {
        let own = sessions.own.as_ref().map(|own| own.id);
        let first = sessions.all.first().filter(|first| Some(first.id) != own && !first.authority.is_empty());
        let authority = match first.map(|first| Change::decode(&first.authority)) {
            Some(Ok(Change::Authority(authority))) => Some(authority),
            Some(Ok(_) | Err(_)) => {
                tracing::warn!("the temporary root of another Coordinator cannot be read; this one shows its own");
                None
            }
            None => None,
        };
        let same = |a: &Arc<Authority>| {
            self.authority.load().as_ref().is_some_and(|b| b.root_certificate == a.root_certificate)
        };
        match authority {
            Some(authority) if same(&authority) => {}
            authority => self.authority.store(authority),
        }
    }
}
