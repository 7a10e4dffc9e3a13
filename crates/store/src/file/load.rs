//! Opening a directory: what is there, whether it may be served, and what must be repaired before. Nothing
//! found here ends the process, and nothing found here leads to a fresh identity.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use marblerun_state::{Phase, State};

use super::archive::{discard_everything, sync_directory};
use super::counting::Counting;
use super::key::{KeyOnDisk, remove_if_there};
use super::live::Live;
use super::names::{LOCK, NEW_DATA, NEW_KEY, Reason, is_trace};
use super::new_file::Style;
use super::recover::open_allowed;
use super::unlock::Unlocked;
use super::waiting::FileWaitingRoom;
use super::{FileBackend, Mode, Ports, Waiting, seal_mode};
use crate::backend::WaitingRoom;
use crate::disk::{Access, DiskFile, FileSystem, Readable, write_again};
use crate::facts::Counters;
use crate::format::{
    Front, Layout, Refusal, SEALED_DATA, SEALED_KEY, Verdict, check_witness, portable_slots, read_front,
};
use crate::lives;
use crate::{RollbackPolicy, StoreConfig, StoreTuning};

/// A backend that is ready, with what the store needs to publish at first.
pub(crate) struct Opening<B> {
    pub(crate) backend: B,
    pub(crate) state: Arc<State>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) waiting_room: Option<Arc<dyn WaitingRoom>>,
}

/// `sealed_data` under its name.
enum Data {
    Missing,
    Unreadable(io::Error),
    Found {
        file: Box<dyn DiskFile>,
        /// Why it cannot be written, if so.
        read_only: Option<io::Error>,
    },
}

impl FileBackend {
    pub(crate) fn open(
        config: StoreConfig,
        tuning: StoreTuning,
        ports: Ports,
        make: &dyn Fn(Phase) -> Result<State, String>,
    ) -> io::Result<Opening<Self>> {
        let fs = Arc::clone(&ports.fs);
        fs.make_directory()?;
        let lock = fs.lock(LOCK, tuning.lock_wait)?;
        if config.discard_existing_state {
            discard_everything(&*fs)?;
        }
        let on_disk = KeyOnDisk::read(&*fs, SEALED_KEY);
        let data = find_data(&*fs);
        let traces: Vec<_> = fs.list()?.into_iter().filter(|name| is_trace(name, on_disk.is_pending())).collect();
        let make = |phase| make(phase).map(Arc::new).map_err(io::Error::other);
        // Whatever comes out below, there must be something to serve. A fresh identity is only made where there is
        // no trace of an earlier one.
        let fresh = matches!(data, Data::Missing) && traces.is_empty();
        let state = make(if fresh { Phase::AcceptingManifest } else { Phase::Recovery })?;
        let style = Style { writer: config.writer.clone(), recovery_in_header: config.recovery_in_header };
        let mut backend = Self {
            style,
            counters: Arc::default(),
            state,
            sequence: 0,
            time_ms: 0,
            mode: Mode::Volatile { beneath: None },
            unused: BTreeSet::new(),
            notes: Vec::new(),
            counting: Counting::new(config.counter.clone()),
            _lock: lock,
            ports,
            config,
            tuning,
        };
        match data {
            Data::Missing if fresh => {}
            Data::Missing => backend.mode = Mode::Recovery(missing(&traces)),
            Data::Unreadable(error) => backend.mode = Mode::Recovery(Waiting::refused(&Refusal::from(error), None)),
            Data::Found { file, read_only } => backend.load(file, read_only, &on_disk),
        }
        if let Mode::Recovery(waiting) = &backend.mode {
            tracing::error!(code = waiting.code, "recovery mode: {}", waiting.message);
        }
        for note in &backend.notes {
            tracing::warn!("{note}");
        }
        let waiting_room: Arc<dyn WaitingRoom> = Arc::new(FileWaitingRoom { fs });
        Ok(Opening {
            state: Arc::clone(&backend.state),
            counters: Arc::clone(&backend.counters),
            waiting_room: Some(waiting_room),
            backend,
        })
    }

    fn load(&mut self, file: Box<dyn DiskFile>, read_only: Option<io::Error>, on_disk: &KeyOnDisk) {
        let front = Readable::new(&*file).map_err(Refusal::from).and_then(|source| read_front(&source));
        let result = match front {
            Ok(Layout::Sealed(front)) => self.load_sealed(&*file, read_only, on_disk, &front),
            Ok(Layout::Upstream(front)) => return self.import_at_start(&*file, &front, on_disk),
            Err(refusal) => Err(refusal),
        };
        match result {
            Ok(loaded) => self.serve(file, loaded),
            Err(refusal) => self.mode = Mode::Recovery(Waiting::refused(&refusal, Some(&*file))),
        }
    }

    fn load_sealed(
        &mut self,
        file: &dyn DiskFile,
        read_only: Option<io::Error>,
        on_disk: &KeyOnDisk,
        front: &Front,
    ) -> Result<Loaded, Refusal> {
        let source = Readable::new(file)?;
        let unlocked = Unlocked::find(&self.config.sealers, on_disk, front)?;
        let head_at = unlocked.witness.as_ref().map(|witness| witness.sequence);
        let (opened, loss_accepted) = open_allowed(&source, &unlocked.key.dek, self.config.accept_loss_after, head_at)?;
        let mut repair = Repair::default();
        let verdict = check_witness(&opened, unlocked.witness.as_ref());
        if let Some(refusal) = refusal(verdict, opened.tail.sequence, head_at.unwrap_or_default()) {
            if self.config.rollback == RollbackPolicy::Refuse {
                return Err(refusal);
            }
            self.notes.push(format!("served all the same (MARBLERUN_ROLLBACK=warn): {refusal}"));
            // Two lives of one deployment must be told apart. A lost witness alone says nothing about that.
            repair.new_incarnation = (verdict != Verdict::NoWitness).then(|| refusal.code());
        }
        if let Err(refusal) = self.counting.examine(&opened.state, unlocked.witness.as_ref()) {
            if self.config.rollback == RollbackPolicy::Refuse {
                return Err(refusal);
            }
            self.notes.push(format!("served all the same (MARBLERUN_ROLLBACK=warn): {refusal}"));
            // What is not told says nothing about lives.
            if matches!(&refusal, Refusal::Counter { finding, .. } if finding.is_contradiction()) {
                repair.new_incarnation.get_or_insert(refusal.code());
            }
        }
        if loss_accepted {
            repair.because(format!(
                "sealed_data was damaged and is continued from sequence {}; what came after it is lost",
                opened.tail.sequence
            ));
            repair.new_incarnation = Some("damaged");
            repair.keep = Some((Reason::Damaged, 0));
        }
        if let Some(torn) = opened.torn {
            repair.because(format!(
                "{} bytes behind the last durable record were dropped (a crash, or a copy taken during a write); \
                 nothing that was answered is lost",
                torn.length
            ));
            repair.keep.get_or_insert((Reason::Torn, torn.offset));
        }
        if opened.header_altered {
            repair.because("the readable header of sealed_data was altered; it is written anew".to_owned());
        }
        self.notes.extend(repair.notes.iter().cloned());
        // What was read may stand in the page cache only: if the process before was killed; or if its sync failed, and the kernel
        // takes for stored since then what it could not store. Behind the mark nobody knows.
        let unsure = opened.tail.marks.map(|marks| marks.durable().max(opened.tail.snapshot_end)..opened.tail.end);
        let synced = unsure
            .map_or(Ok(()), |unsure| write_again(file, unsure))
            .and_then(|()| file.sync_data())
            .and_then(|()| sync_directory(&*self.ports.fs));
        if let Some(error) = read_only.or(synced.err()) {
            repair.because(format!("sealed_data cannot be written: {error}"));
        }
        let mut key = unlocked.key;
        // From here on the inner header is the truth.
        key.header_slots = portable_slots(&opened.header);
        let made = key.complete(&self.config.sealers, seal_mode(&opened.state));
        if !made.is_empty() {
            let note = format!("key slots were made that were not there yet: {}", made.join(", "));
            self.notes.push(note.clone());
            repair.because(note);
        }
        let not_told = |what| Refusal::Damaged { what, offset: None, intact: None };
        let state = if let Some(reason) = repair.new_incarnation {
            repair.because("an older or damaged state is continued".to_owned());
            lives::accepted(opened.state, reason, self.ports.clock.now_ms()).map_err(not_told)?
        } else {
            opened.state
        };
        let state = lives::slots_made(state, &made, self.ports.clock.now_ms()).map_err(not_told)?;
        let unprotected = unlocked.unprotected;
        Ok(Loaded { state, time_ms: opened.time_ms, tail: opened.tail, key, unprotected, repair })
    }

    fn serve(&mut self, file: Box<dyn DiskFile>, loaded: Loaded) {
        let now = self.ports.clock.elapsed();
        let Loaded { state, time_ms, tail, key, unprotected, repair } = loaded;
        self.accept(&Arc::new(state), tail.sequence, time_ms);
        let mut live = Live::of(file, tail, key, now);
        if !repair.reasons.is_empty() {
            live.retire(repair.reasons.join("; "), repair.keep, self.tuning.retry_after);
        }
        self.mode = Mode::Durable(Box::new(live));
        self.counting.note(true);
        // What a process before this one did not finish only takes room.
        for leftover in [NEW_DATA, NEW_KEY] {
            let _ = remove_if_there(&*self.ports.fs, leftover);
        }
        if let Err(why) = self.renew() {
            tracing::error!(why, "the state is served, but cannot be written yet");
        }
        if unprotected {
            self.close_unprotected();
        }
        self.vouch_if_due();
    }
}

/// A state that may be served.
struct Loaded {
    state: State,
    time_ms: u64,
    tail: crate::format::Tail,
    key: super::key::HostKey,
    /// It was opened by a slot in the clear that should not be there any more.
    unprotected: bool,
    repair: Repair,
}

/// Why a new file must be written before anything else is.
#[derive(Default)]
struct Repair {
    reasons: Vec<String>,
    notes: Vec<String>,
    keep: Option<(Reason, u64)>,
    /// What is accepted with it.
    new_incarnation: Option<&'static str>,
}

impl Repair {
    fn because(&mut self, why: String) {
        self.notes.push(why.clone());
        self.reasons.push(why);
    }
}

fn find_data(fs: &dyn FileSystem) -> Data {
    match fs.open(SEALED_DATA, Access::Write) {
        Ok(file) => Data::Found { file, read_only: None },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Data::Missing,
        Err(error) => match fs.open(SEALED_DATA, Access::Read) {
            Ok(file) => Data::Found { file, read_only: Some(error) },
            Err(error) => Data::Unreadable(error),
        },
    }
}

fn missing(traces: &[String]) -> Waiting {
    let message = format!(
        "sealed_data is missing, but there was a state here ({}). Put sealed_data back (a backup, or one of the archives \
         beside it), or start with --discard-existing-state to give it up",
        traces.join(", ")
    );
    Waiting::new("missing", message, None)
}

fn refusal(verdict: Verdict, found: u64, expected: u64) -> Option<Refusal> {
    match verdict {
        Verdict::Fine => None,
        Verdict::OlderThanWitness => Some(Refusal::OlderThanWitness { found, expected }),
        Verdict::Forked => Some(Refusal::Forked { sequence: expected }),
        Verdict::NoWitness => Some(Refusal::NoWitness),
    }
}
