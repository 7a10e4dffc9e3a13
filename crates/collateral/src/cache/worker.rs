//! The thread that asks services. It has a runtime of its own: those who wait for it may keep all other threads busy.

use std::sync::Arc;
use std::thread;

use marblerun_attestation::CollateralError;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::Shared;
use super::flight::Flight;
use super::item::{Item, Key};
use crate::amd::Amd;
use crate::client::{Http, TIMEOUT};
use crate::intel::Intel;

/// Things asked for at a time.
const AT_ONCE: usize = 8;

/// The services.
pub(crate) struct Origin {
    intel: Intel,
    intel_http: Http,
    amd: Amd,
    amd_http: Http,
}

impl Origin {
    pub(crate) fn new(intel: &str, secure: bool, amd: &str) -> Result<Self, String> {
        Ok(Self {
            intel: Intel::new(intel),
            intel_http: Http::new(secure)?,
            amd: Amd::new(amd),
            amd_http: Http::new(true)?,
        })
    }

    async fn fetch(&self, key: &Key) -> Result<Item, String> {
        let der = |bytes: Vec<u8>| {
            Item::from_bytes(key, &bytes).ok_or_else(|| "the answer is not what was asked for".to_owned())
        };
        match key {
            Key::Intel(platform) => {
                let collateral = self.intel.fetch(&self.intel_http, platform).await?;
                Item::of_intel(platform, collateral).ok_or_else(|| "the answer is about another platform".to_owned())
            }
            Key::Vcek(request) => der(self.amd.vcek(&self.amd_http, request).await?),
            Key::AmdCrl(product) => der(self.amd.crl(&self.amd_http, *product).await?),
        }
    }
}

/// A handle of the thread, which ends when the handle is gone.
pub(crate) struct Worker(mpsc::UnboundedSender<(Key, u64)>);

impl Worker {
    pub(crate) fn start(origin: Origin, shared: Arc<Shared>) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let (sender, wanted) = mpsc::unbounded_channel();
        let work = move || runtime.block_on(run(Arc::new(origin), shared, wanted));
        thread::Builder::new().name("collateral".to_owned()).spawn(work).map_err(|error| error.to_string())?;
        Ok(Self(sender))
    }

    /// Asks for a thing. The answer lands in what is shared; `None` if the thread has ended.
    pub(super) fn ask(&self, key: Key, now: u64) -> Option<Arc<Flight>> {
        self.0.send((key, now)).ok()?;
        Some(Arc::new(Flight::default()))
    }
}

async fn run(origin: Arc<Origin>, shared: Arc<Shared>, mut wanted: mpsc::UnboundedReceiver<(Key, u64)>) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    while let Some((key, now)) = wanted.recv().await {
        let (origin, shared, room) = (Arc::clone(&origin), Arc::clone(&shared), Arc::clone(&room));
        tokio::spawn(async move {
            let _permit = room.acquire_owned().await;
            let answer = timeout(TIMEOUT, origin.fetch(&key)).await;
            let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {} seconds", TIMEOUT.as_secs())));
            shared.land(&key, now, answer.map_err(|reason| CollateralError(format!("{key}: {reason}"))));
        });
    }
}
