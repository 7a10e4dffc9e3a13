//! A large state is sealed and opened in about the memory of the state itself.
#![allow(unsafe_code, clippy::unwrap_used, reason = "a test that counts allocations")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use marblerun_manifest::model::SecretKind;
use marblerun_pki::{Authority, Secret, SubjectAltNames};
use marblerun_state::{Change, Lineage, Phase, RootSecret, State};
use marblerun_store::format::{Dek, DekId, FileSpec, FileWriter, OpenOptions, inspect, open};
use zeroize::Zeroizing;

/// Counts what is allocated now, and the most there was.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MIB: usize = 1 << 20;

/// Runs `work`; returns its result, how much more memory there is behind it, and how much more there was at most.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize, usize) {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = work();
    let (now, peak) = (NOW.load(Ordering::Relaxed), PEAK.load(Ordering::Relaxed));
    (result, now.saturating_sub(before), peak.saturating_sub(before))
}

fn large_state() -> State {
    let lineage = Lineage { deployment_id: [1; 16], incarnation: 1, incarnation_id: [2; 16] };
    let authority = Authority::generate(&SubjectAltNames::default(), jiff::Timestamp::now()).unwrap();
    let root_secret = RootSecret(Zeroizing::new(vec![3; 32]));
    let mut state = State::new(Phase::AcceptingManifest, lineage, Arc::new(authority), root_secret);
    let manifest = Change::Manifest { raw: b"{}".to_vec().into(), signature: vec![1] };
    state.apply(&manifest).unwrap();
    for i in 0..4000_u32 {
        let secret = Secret {
            kind: SecretKind::Plain,
            size: 0,
            shared: false,
            user_defined: true,
            valid_for: 0,
            certificate: None,
            private: Some(Zeroizing::new(vec![i as u8; 4096])),
            public: None,
        };
        state.apply(&Change::Secret(format!("secret-{i}"), Some(Arc::new(secret)))).unwrap();
    }
    state
}

#[test]
fn sealing_and_opening_16_mebibytes_takes_little_more_than_the_state() {
    let (state, size, _) = measured(large_state);
    assert!(size > 16 * MIB);
    let dek = Dek::generate().unwrap();
    let path = tempfile::NamedTempFile::new().unwrap();
    let spec = FileSpec {
        state: &state,
        sequence: 1,
        time_ms: 1,
        previous_head: [0; 32],
        dek: &dek,
        dek_id: DekId([1; 16]),
        slots: Vec::new(),
        writer: "test",
        recovery_in_header: true,
        marks: true,
    };
    let (_, left, peak) = measured(|| FileWriter::create(path.as_file(), &spec).unwrap().finish().map(|_| ()).unwrap());
    assert!(left < MIB / 4 && peak < 4 * MIB, "sealing: {left} left, {peak} at most");

    let file = File::open(path.path()).unwrap();
    let start = std::time::Instant::now();
    let (opened, left, peak) = measured(|| open(&file, &dek, OpenOptions::default()).unwrap());
    println!("opened in {:?}; {left} bytes of state, {peak} at most", start.elapsed());
    assert_eq!(opened.state.secrets().count(), 4000);
    assert!(left < size + 2 * MIB, "opening: {left} left of a state of {size}");
    assert!(peak < left + 4 * MIB, "opening: {peak} at most for {left}");
    drop(opened);

    let (inspected, left, peak) = measured(|| inspect(&file).unwrap());
    assert!(inspected.body.is_ok());
    assert!(left < MIB / 4 && peak < 3 * MIB, "inspecting: {left} left, {peak} at most");
}
