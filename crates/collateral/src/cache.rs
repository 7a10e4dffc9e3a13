//! What was got is kept, in memory and in a folder if one is named; each thing is asked for once for all who want it;
//! it is asked for again long before it ends, while the old one still serves; and as long as the old one is good, a
//! service that is down harms nobody.

mod flight;
mod item;
mod worker;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flight::Flight;
use item::{Item, Key};
use marblerun_attestation::{
    CollateralError, CollateralSource, IntelCollateral, IntelPlatform, SnpProduct, VcekRequest,
};
use worker::{Origin, Worker};

use crate::{Place, Settings, SettingsError};

/// At the latest after this time what is kept is asked for again; sooner if half of its remaining life is shorter.
const REFRESH: u64 = 24 * 3600;
/// After a failure nobody is asked again for this time; nor after an answer, by who finds it too old.
const PAUSE: Duration = Duration::from_secs(10);
/// How long a caller waits for an answer: a bit longer than the service gets.
const PATIENCE: Duration = Duration::from_secs(15);
/// No more things are kept in memory.
const MAX_ENTRIES: usize = 4096;

/// Asks services for collateral, and keeps it. Ends its thread when it is dropped.
pub struct Service {
    shared: Arc<Shared>,
    worker: Worker,
    has_amd: bool,
}

/// What callers and the thread that asks share.
pub(crate) struct Shared {
    entries: Mutex<HashMap<Key, Entry>>,
    folder: Option<PathBuf>,
    counters: Counters,
}

#[derive(Default)]
struct Entry {
    kept: Option<Kept>,
    flight: Option<Arc<Flight>>,
    failed: Option<(Instant, CollateralError)>,
    /// When a service last answered.
    answered: Option<Instant>,
}

#[derive(Clone)]
struct Kept {
    item: Item,
    /// When it ends, and when it is asked for again; seconds since the epoch.
    until: u64,
    refresh_at: u64,
}

#[derive(Default)]
struct Counters {
    hit: AtomicU64,
    stale: AtomicU64,
    fetched: AtomicU64,
    failed: AtomicU64,
}

/// What became of requests since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Answered with what was kept.
    pub hit: u64,
    /// Answered with what was kept and should have been renewed already.
    pub stale: u64,
    /// Got from a service.
    pub fetched: u64,
    /// Asked for and not got.
    pub failed: u64,
}

enum Step {
    Done(Item),
    Wait(Arc<Flight>),
}

impl Service {
    /// Starts the thread that asks. Nothing is asked for yet.
    ///
    /// # Errors
    /// If the settings name files, or the machine gives no thread.
    pub fn start(settings: &Settings) -> Result<Self, SettingsError> {
        let Place::Url(url) = &settings.intel else {
            return Err(SettingsError::Client("files are no service".to_owned()));
        };
        let shared = Arc::new(Shared {
            entries: Mutex::default(),
            folder: settings.cache.clone(),
            counters: Counters::default(),
        });
        let origin = Origin::new(url, settings.secure, &settings.amd).map_err(SettingsError::Client)?;
        let worker = Worker::start(origin, Arc::clone(&shared)).map_err(SettingsError::Client)?;
        Ok(Self { shared, worker, has_amd: settings.amd != "none" })
    }

    /// What became of requests so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let Counters { hit, stale, fetched, failed } = &self.shared.counters;
        let [hit, stale, fetched, failed] = [hit, stale, fetched, failed].map(|count| count.load(Ordering::Relaxed));
        Counts { hit, stale, fetched, failed }
    }

    fn get(&self, key: &Key, now: u64) -> Result<Item, CollateralError> {
        self.finish(key, self.step(key, now)?)
    }

    /// As [`Service::get`], of who has seen newer elsewhere than what is kept: it is asked for again, unless that was just
    /// done.
    fn get_anew(&self, key: &Key, now: u64) -> Result<Item, CollateralError> {
        let asking = {
            let mut entries = self.shared.lock();
            let entry = entries.entry(*key).or_default();
            if entry.kept.is_none() && entry.flight.is_none() {
                entry.kept = self.shared.read_folder(key, now);
            }
            let is_recent = |at: Option<Instant>| at.is_some_and(|at| at.elapsed() < PAUSE);
            if is_recent(entry.answered) || is_recent(entry.failed.as_ref().map(|(at, _)| *at)) {
                None
            } else {
                if entry.flight.is_none() {
                    entry.flight = self.worker.ask(*key, now);
                }
                entry.flight.clone()
            }
        };
        if let Some(flight) = asking {
            // Whatever comes of it: what is kept then is the newest there is.
            let _ = flight.wait(PATIENCE);
        }
        self.get(key, now)
    }

    fn finish(&self, key: &Key, step: Step) -> Result<Item, CollateralError> {
        match step {
            Step::Done(item) => Ok(item),
            Step::Wait(flight) => flight.wait(PATIENCE).unwrap_or_else(|| {
                Err(CollateralError(format!("{key}: no answer within {} seconds", PATIENCE.as_secs())))
            }),
        }
    }

    /// Decides under the lock; waits nowhere but for the folder.
    fn step(&self, key: &Key, now: u64) -> Result<Step, CollateralError> {
        let counters = &self.shared.counters;
        let mut entries = self.shared.lock();
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(key) {
            entries.retain(|_, entry| entry.flight.is_some());
        }
        let entry = entries.entry(*key).or_default();
        if entry.kept.is_none() && entry.flight.is_none() {
            entry.kept = self.shared.read_folder(key, now);
        }
        let kept = entry.kept.as_ref().filter(|kept| now <= kept.until).cloned();
        let is_paused = entry.failed.as_ref().is_some_and(|(at, _)| at.elapsed() < PAUSE);
        match kept {
            Some(kept) if now < kept.refresh_at => {
                counters.hit.fetch_add(1, Ordering::Relaxed);
                Ok(Step::Done(kept.item))
            }
            Some(kept) => {
                counters.stale.fetch_add(1, Ordering::Relaxed);
                if entry.flight.is_none() && !is_paused {
                    // Nobody waits for this one.
                    entry.flight = self.worker.ask(*key, now);
                }
                Ok(Step::Done(kept.item))
            }
            None => match (&entry.flight, &entry.failed) {
                (Some(flight), _) => Ok(Step::Wait(Arc::clone(flight))),
                (None, Some((_, error))) if is_paused => Err(error.clone()),
                (None, _) => {
                    entry.flight = self.worker.ask(*key, now);
                    let flight = entry.flight.clone();
                    flight.map(Step::Wait).ok_or_else(|| CollateralError("the thread that asks has ended".to_owned()))
                }
            },
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a service answered, and tells whoever waits.
    pub(crate) fn land(&self, key: &Key, now: u64, answer: Result<Item, CollateralError>) {
        let flight = {
            let mut entries = self.lock();
            let entry = entries.entry(*key).or_default();
            match &answer {
                Ok(item) => {
                    self.counters.fetched.fetch_add(1, Ordering::Relaxed);
                    entry.failed = None;
                    entry.answered = Some(Instant::now());
                    let newer = entry.kept.as_ref().is_none_or(|kept| !item.is_older_than(&kept.item));
                    if newer {
                        entry.kept = Some(kept(item.clone(), now));
                        self.write_folder(key, item);
                    } else {
                        tracing::warn!(%key, "the service has older collateral than before; what was kept goes on serving");
                    }
                }
                Err(error) => {
                    self.counters.failed.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, "collateral was not got");
                    entry.failed = Some((Instant::now(), error.clone()));
                }
            }
            entry.flight.take()
        };
        if let Some(flight) = flight {
            flight.land(answer);
        }
    }

    fn read_folder(&self, key: &Key, now: u64) -> Option<Kept> {
        let bytes = std::fs::read(self.folder.as_ref()?.join(key.file_name())).ok()?;
        let kept = kept(Item::from_bytes(key, &bytes)?, now);
        // Another process may have written it long ago: it serves, and is asked for again.
        (now <= kept.until).then_some(Kept { refresh_at: now, ..kept })
    }

    /// A folder that cannot be written costs another request after the next start.
    fn write_folder(&self, key: &Key, item: &Item) {
        let Some(folder) = &self.folder else { return };
        let path = folder.join(key.file_name());
        let temporary = folder.join(format!(".{}.{}", key.file_name(), std::process::id()));
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&temporary, item.to_bytes()))
            .and_then(|()| std::fs::rename(&temporary, &path));
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "collateral cannot be kept in its folder");
        }
    }
}

fn kept(item: Item, now: u64) -> Kept {
    let until = item.until();
    let refresh_at = now.saturating_add((until.saturating_sub(now) / 2).min(REFRESH));
    Kept { item, until, refresh_at }
}

impl Service {
    fn intel_by(
        &self,
        get: impl FnOnce(&Self, &Key, u64) -> Result<Item, CollateralError>,
        platform: &IntelPlatform,
        now: u64,
    ) -> Result<Arc<IntelCollateral>, CollateralError> {
        match get(self, &Key::Intel(*platform), now)? {
            Item::Intel(collateral) => Ok(collateral),
            Item::Der { .. } => Err(CollateralError("a certificate instead of collateral".to_owned())),
        }
    }

    fn amd_crl_by(
        &self,
        get: impl FnOnce(&Self, &Key, u64) -> Result<Item, CollateralError>,
        product: SnpProduct,
        now: u64,
    ) -> Result<Option<Arc<[u8]>>, CollateralError> {
        if !self.has_amd {
            return Ok(None);
        }
        match get(self, &Key::AmdCrl(product), now)? {
            Item::Der { der, .. } => Ok(Some(der)),
            Item::Intel(_) => Err(CollateralError("collateral instead of a list".to_owned())),
        }
    }
}

impl CollateralSource for Service {
    fn intel(&self, platform: &IntelPlatform, now: u64) -> Result<Arc<IntelCollateral>, CollateralError> {
        self.intel_by(Self::get, platform, now)
    }

    fn newer_intel(&self, platform: &IntelPlatform, now: u64) -> Result<Arc<IntelCollateral>, CollateralError> {
        self.intel_by(Self::get_anew, platform, now)
    }

    fn vcek(&self, request: &VcekRequest, now: u64) -> Result<Arc<[u8]>, CollateralError> {
        if !self.has_amd {
            let text = format!("{request}: the evidence brings no certificate, and AMD's service is switched off");
            return Err(CollateralError(text));
        }
        match self.get(&Key::Vcek(*request), now)? {
            Item::Der { der, .. } => Ok(der),
            Item::Intel(_) => Err(CollateralError("collateral instead of a certificate".to_owned())),
        }
    }

    fn amd_crl(&self, product: SnpProduct, now: u64) -> Result<Option<Arc<[u8]>>, CollateralError> {
        self.amd_crl_by(Self::get, product, now)
    }

    fn newer_amd_crl(&self, product: SnpProduct, now: u64) -> Result<Option<Arc<[u8]>>, CollateralError> {
        self.amd_crl_by(Self::get_anew, product, now)
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
