//! Logs: text for people or JSON for machines, on standard error.

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// It tells each handle that it opens and closes, and each refusal again that we tell with what it was about.
const TPM_LIBRARY: &str = "tss_esapi";

/// Switches logging on for this process. Debug output is for our own crates alone: libraries below would
/// print what passes through them.
pub fn init(config: &Config) {
    let ours = if config.debug_logging {
        ",marblerun_coordinator=debug,marblerun_store=debug,marblerun_recovery=debug,marblerun_sealing=debug"
    } else {
        ""
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("info,{TPM_LIBRARY}=off{ours}")))
        .with_writer(std::io::stderr)
        .with_target(false);
    // A second start in one process (tests) keeps what is there.
    let _ = match config.log_format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a fault in this program stopped one task");
    }));
}
