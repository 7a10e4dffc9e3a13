//! Ctrl-C and termination: what a command has begun is cleaned up (unfinished files, the demo's processes).

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// How long cleaning up may take. A command that waits for something else (stdin, a slow disk) is ended then.
const CLEANING_UP: Duration = Duration::from_secs(1);

/// A signal ended the command; the exit code that says so.
#[derive(Debug)]
pub struct Interrupted(pub u8);

/// Runs a command until it ends or a signal comes. Then it is dropped, which cleans up.
pub async fn or_end<T>(command: impl Future<Output = T>) -> Result<T, Interrupted> {
    let (tell, told) = oneshot::channel();
    // Listened for before the command does anything; waited for on a thread of its own, as the command may not yield for
    // long.
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    tokio::spawn(async move {
        let (Ok(interrupt), Ok(terminate)) = signals else { return };
        let code = caught(interrupt, terminate).await;
        // Nobody listens if the command ended at this moment.
        let _ = tell.send(code);
        tokio::time::sleep(CLEANING_UP).await;
        std::process::exit(code.into());
    });
    tokio::select! {
        biased;
        Ok(code) = told => Err(Interrupted(code)),
        ended = command => Ok(ended),
    }
}

async fn caught(mut interrupt: Signal, mut terminate: Signal) -> u8 {
    tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    }
}
