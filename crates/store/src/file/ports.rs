//! What a file backend takes from its surroundings, so that tests can put their own in place: the
//! directory, the clock, and threads for work that must not hold up commits.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::disk::FileSystem;
use crate::engine::Queue;

/// Work for another thread.
pub(crate) type Task = Box<dyn FnOnce() + Send>;

/// Time.
pub(crate) trait Clock: Send + Sync {
    /// Unix milliseconds.
    fn now_ms(&self) -> u64;
    /// Since some fixed moment; never goes back.
    fn elapsed(&self) -> Duration;
    /// Waits.
    fn sleep(&self, time: Duration);
}

/// Threads.
pub(crate) trait Background: Send + Sync {
    /// Runs the task, now or later; the committer is woken when it has ended.
    fn run(&self, task: Task) -> io::Result<()>;
}

/// The surroundings.
#[derive(Clone)]
pub(crate) struct Ports {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) background: Arc<dyn Background>,
}

impl Ports {
    /// A directory, the system's clock, and real threads that wake the committer of `queue`.
    pub(crate) fn real(fs: Arc<dyn FileSystem>, queue: Arc<Queue>) -> Self {
        let clock = Arc::new(SystemClock { start: Instant::now() });
        Self { fs, clock, background: Arc::new(Threads { queue }) }
    }
}

struct SystemClock {
    start: Instant,
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

struct Threads {
    queue: Arc<Queue>,
}

impl Background for Threads {
    fn run(&self, task: Task) -> io::Result<()> {
        let queue = Arc::clone(&self.queue);
        let work = move || {
            task();
            queue.wake();
        };
        std::thread::Builder::new().name("compaction".to_owned()).spawn(work).map(drop)
    }
}
