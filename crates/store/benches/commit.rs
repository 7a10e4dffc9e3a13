//! How many durable commits a second, at what size of the state, and how fast a large state starts.
//! `cargo bench -p marblerun-store --bench commit [seconds per figure]`; the directory is `TMPDIR`'s.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[allow(dead_code, reason = "shared with the tests")]
#[path = "../src/testing.rs"]
mod testing;

use std::path::Path;
use std::time::{Duration, Instant};

use marblerun_sealing::{Plain, Sealers};
use marblerun_state::{Change, CounterKey, Draft};
use marblerun_store::{Store, StoreConfig};
use testing::{make, manifest, recovery, secret};

const WRITERS: usize = 32;
const SECRET: usize = 1024;

fn config(dir: &Path) -> StoreConfig {
    StoreConfig::new(dir.to_path_buf(), Sealers::simulation(Plain), "bench")
}

async fn commit(store: &Store, changes: Vec<Change>) {
    let record = move |draft: &mut Draft| changes.iter().try_for_each(|change| draft.record(change.clone()));
    store.commit(record).await.expect("stored");
}

/// A store with that many secrets.
async fn store_with(dir: &Path, secrets: usize) -> Store {
    let store = Store::open(config(dir), &make).expect("opened");
    commit(&store, vec![manifest(""), recovery("alice")]).await;
    let names: Vec<_> = (0..secrets).map(|number| format!("filler{number}")).collect();
    for names in names.chunks(500) {
        commit(&store, names.iter().map(|name| secret(name, SECRET)).collect()).await;
    }
    store
}

/// What each writer does in its n-th round.
type Round = fn(writer: usize, round: u64) -> Vec<Change>;

fn secret_round(writer: usize, round: u64) -> Vec<Change> {
    // As a secret upload does: the value and a line of the update log.
    let line = format!(r#"{{"time":"2026-01-01T00:00:00Z","update":"secret set","user":"w{writer}","n":{round}}}"#);
    vec![secret(&format!("s{writer}"), SECRET), Change::Log(vec![line])]
}

fn counter_round(writer: usize, round: u64) -> Vec<Change> {
    let uuid = [u8::try_from(writer).expect("few writers"); 16];
    vec![Change::Counter(CounterKey { marble_type: "m".to_owned(), uuid, name: "n".to_owned() }, round)]
}

async fn rate(store: &Store, time: Duration, first: u64, round: Round) -> (f64, f64) {
    let before = store.status().counters;
    let begun = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut number = first;
                while begun.elapsed() < time {
                    number += 1;
                    commit(&store, round(writer, number)).await;
                }
                number
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no writer fails");
    }
    let elapsed = begun.elapsed().as_secs_f64();
    let counters = store.status().counters;
    let commits = (counters.commits - before.commits) as f64;
    (commits / elapsed, commits / (counters.groups - before.groups) as f64)
}

/// Peak memory of this process in MiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() / 1024
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [open, dir] = arguments.as_slice()
        && open == "--open"
    {
        let begun = Instant::now();
        let store = Store::open(config(Path::new(dir)), &make).expect("opened");
        let elapsed = begun.elapsed();
        let bytes = store.status().file_bytes;
        println!(
            "start of {} MiB: {:.0} ms, peak memory {} MiB",
            bytes >> 20,
            elapsed.as_secs_f64() * 1e3,
            peak_memory()
        );
        return store.close().await;
    }
    let seconds = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(5);
    let time = Duration::from_secs(seconds);
    let root = tempfile::tempdir().expect("a directory");
    for secrets in [0, 4000] {
        let dir = root.path().join(format!("with{secrets}"));
        let store = store_with(&dir, secrets).await;
        for (name, round) in [("secret writes", secret_round as Round), ("counter writes", counter_round)] {
            let (rate, group) = rate(&store, time, 0, round).await;
            println!("{name}, {WRITERS} writers, {secrets} secrets: {rate:.0}/s, {group:.1} a group");
        }
        println!("  compactions: {}", store.status().counters.compactions);
        store.close().await;
    }
    let dir = root.path().join("start");
    store_with(&dir, 16 * 1024 * 1024 / (SECRET + 40)).await.close().await;
    let me = std::env::current_exe().expect("a program");
    for _ in 0..3 {
        let status = std::process::Command::new(&me).arg("--open").arg(&dir).status().expect("started");
        assert!(status.success());
    }
}
