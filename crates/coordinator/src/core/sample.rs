//! A shared state for the tests of this crate: what an instance knows of it, and a place that a test can take away,
//! change behind the instance's back, or make contradict it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use marblerun_state::{BootId, CommitId, Lineage, Phase, Standing, State, WriterMark, Writers};
use marblerun_store::cluster::{ClusterView, DecisionError, Divergence, Peer, PeerAnswer, PeerGreeting};
use marblerun_store::{NotCurrent, Store};

use crate::core::currency::{Currency, Decision, Source, Waiting};
use crate::core::{Clock, Coordinator, PeerCertificate, Settings};

/// An instance that serves, and has just validated its state.
pub(crate) fn view() -> ClusterView {
    ClusterView {
        boot: BootId([1; 16]),
        place: "Secret marblerun/marblerun-state".to_owned(),
        standing: Some(standing(7)),
        serving: true,
        settled: true,
        seal_by_product: true,
        keks: Vec::new(),
        slots: Vec::new(),
        wanted: Vec::new(),
        validated: Some(Instant::now()),
        in_doubt: false,
        missing: false,
        diverged: None,
        entry_sealed: true,
        peers: Vec::new(),
        bytes: 9_000,
        part_bytes: 0,
        limit: 1_048_576,
        conflicts: 3,
        doubts: 1,
        format: 1,
    }
}

/// One that found an older state.
pub(crate) fn diverged_view() -> ClusterView {
    let divergence = Divergence {
        reason: "an older state lies there".to_owned(),
        found: Some(standing(5)),
        last_writer: "kubectl".to_owned(),
    };
    ClusterView { diverged: Some(divergence), serving: false, ..view() }
}

fn standing(sequence: u64) -> Standing {
    let mut writers = Writers::default();
    writers.note(WriterMark { boot: BootId([1; 16]), sequence, commit: CommitId([2; 16]) });
    Standing {
        lineage: Lineage { deployment_id: [3; 16], incarnation: 1, incarnation_id: [4; 16] },
        sequence,
        head: [5; 32],
        writers,
        incarnations: Vec::new(),
        has_manifest: true,
    }
}

/// A peer that was greeted.
pub(crate) fn greeted(serving: bool) -> Peer {
    peer(PeerAnswer::Greeted(Box::new(PeerGreeting {
        boot: BootId([9; 16]),
        standing: Some(standing(7)),
        serving,
        recovering: !serving,
        keks: Vec::new(),
        format: 1,
        version: "marblerun-coordinator 1".to_owned(),
    })))
}

/// A peer that answered like this.
pub(crate) fn peer(answer: PeerAnswer) -> Peer {
    Peer { address: "10.0.0.7:5433".to_owned(), answer }
}

/// A shared place in the hands of a test.
pub(crate) struct Place {
    inner: Mutex<Inner>,
}

struct Inner {
    published: Arc<State>,
    /// What lies there; a validation publishes it.
    stored: Arc<State>,
    view: ClusterView,
    reachable: bool,
    validations: usize,
    decisions: Vec<(Decision, String)>,
}

impl Place {
    pub(crate) fn new(state: Arc<State>) -> Arc<Self> {
        let inner = Inner {
            published: Arc::clone(&state),
            stored: state,
            view: view(),
            reachable: true,
            validations: 0,
            decisions: Vec::new(),
        };
        Arc::new(Self { inner: Mutex::new(inner) })
    }

    /// Another instance commits.
    pub(crate) fn changes_to(&self, state: Arc<State>) {
        self.lock().stored = state;
    }

    /// The place does not answer any more; it did so long ago.
    pub(crate) fn goes_away(&self, last_answered: Duration) {
        let mut inner = self.lock();
        inner.reachable = false;
        inner.view.validated = Instant::now().checked_sub(last_answered);
    }

    pub(crate) fn shows(&self, view: ClusterView) {
        self.lock().view = view;
    }

    /// How often the state was validated.
    pub(crate) fn validations(&self) -> usize {
        self.lock().validations
    }

    /// What was decided, and by whom.
    pub(super) fn decisions(&self) -> Vec<(Decision, String)> {
        self.lock().decisions.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

impl Source for Place {
    fn snapshot(&self) -> Arc<State> {
        Arc::clone(&self.lock().published)
    }

    fn view(&self) -> Option<Arc<ClusterView>> {
        Some(Arc::new(self.lock().view.clone()))
    }

    fn validated(&self, _patience: Duration) -> Waiting<'_, Result<Arc<State>, NotCurrent>> {
        let mut inner = self.lock();
        inner.validations += 1;
        let answer = if inner.reachable {
            inner.published = Arc::clone(&inner.stored);
            inner.view.validated = Some(Instant::now());
            Ok(Arc::clone(&inner.published))
        } else {
            Err(NotCurrent("connection refused".to_owned()))
        };
        Box::pin(std::future::ready(answer))
    }

    fn decide<'a>(&'a self, decision: Decision, by: &'a str) -> Waiting<'a, Result<(), DecisionError>> {
        self.lock().decisions.push((decision, by.to_owned()));
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The certificate of a user of the fixtures.
pub(crate) fn user(name: &str) -> PeerCertificate {
    let path = format!("{}/tests/fixtures/users/{name}.crt.pem", env!("CARGO_MANIFEST_DIR"));
    let (_, der) = der::pem::decode_vec(&std::fs::read(path).unwrap()).unwrap();
    PeerCertificate(Arc::new(der))
}

/// A state with a manifest in force: alice owns it, bob may read the secret `token`; Marbles are `web` and `once`, which
/// is activated once.
pub(crate) async fn running() -> Arc<State> {
    let pem = |name: &str| {
        let path = format!("{}/tests/fixtures/users/{name}.crt.pem", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    };
    let manifest = serde_json::json!({
        "Packages": {"app": {"SignerID": "00", "ProductID": 1, "SecurityVersion": 1}},
        "Marbles": {"web": {"Package": "app"}, "once": {"Package": "app", "MaxActivations": 1}},
        "Secrets": {"token": {"Type": "plain", "UserDefined": true}},
        "Config": {"SealMode": "Disabled"},
        "Users": {
            "alice": {"Certificate": pem("alice"), "Roles": ["owner"]},
            "bob": {"Certificate": pem("bob"), "Roles": ["reader"]},
        },
        "Roles": {
            "owner": {"ResourceType": "Manifest", "Actions": ["UpdateManifest"]},
            "reader": {"ResourceType": "Secrets", "ResourceNames": ["token"], "Actions": ["ReadSecret"]},
        },
    });
    let coordinator = Coordinator::new(Store::in_memory(State::clone(&fresh())), Settings::simulation());
    coordinator.set_manifest(serde_json::to_vec(&manifest).unwrap()).await.unwrap();
    coordinator.snapshot()
}

/// A state without a manifest.
pub(crate) fn fresh() -> Arc<State> {
    temporary(Phase::AcceptingManifest)
}

/// A state in some phase.
pub(crate) fn temporary(phase: Phase) -> Arc<State> {
    Arc::new(crate::start::temporary_state(phase, "localhost", &Clock::system()).unwrap())
}

/// A Coordinator whose state lies in that place. Its transactions go to a store of their own.
pub(super) fn coordinator(place: &Arc<Place>, grace: Duration) -> Coordinator {
    let store = Store::in_memory(State::clone(&place.snapshot()));
    let settings = Settings { offline_grace: grace, ..Settings::simulation() };
    Coordinator::with(Currency::over(store, place.clone(), grace), settings)
}
