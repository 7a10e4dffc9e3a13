//! The premain's log: lines on standard error that begin with `[PreMain] `, or JSON.

use std::ffi::OsString;
use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::LOG_FORMAT;

/// The library of the TPM tells each refusal again that we tell with what it was about.
const FILTER: &str = "info,tss_esapi=off";

/// Starts logging. `EDG_LOG_FORMAT` is `json` (any case) for JSON, anything else for text.
pub fn start(lookup: impl Fn(&str) -> Option<OsString>) {
    let json = lookup(LOG_FORMAT).is_some_and(|format| format.eq_ignore_ascii_case("json"));
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(EnvFilter::new(FILTER));
    // A second start, as in tests, keeps the first.
    let _ = if json {
        builder.json().flatten_event(true).with_target(false).try_init()
    } else {
        builder.with_ansi(false).event_format(Prefixed).try_init()
    };
}

/// `[PreMain] 2027-01-01T00:00:00Z WARN text field=value`
struct Prefixed;

impl<S, N> FormatEvent<S, N> for Prefixed
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        write!(writer, "[PreMain] ")?;
        SystemTime.format_time(&mut writer)?;
        write!(writer, " {} ", event.metadata().level())?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
