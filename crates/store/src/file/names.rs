//! The names in a seal directory, and which of them are traces of an earlier state. A fresh identity is
//! made only where there is no trace.

use std::fmt;

use crate::format::{SEALED_DATA, SEALED_KEY};

/// A new `sealed_data` before it is in place; no trace.
pub(super) const NEW_DATA: &str = "sealed_data.new";
/// A new `sealed_key` before it is in place; no trace.
pub(super) const NEW_KEY: &str = "sealed_key.new";
/// Held while a Coordinator uses the directory; no trace.
pub(super) const LOCK: &str = "sealed_data.lock";
/// Ending of what was put aside on request; no trace, and never removed.
const DISCARDED: &str = "discarded";

/// Why a copy was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// Upstream's files before they were imported.
    Imported,
    /// A state that could not be opened, before a new manifest replaced it.
    Reset,
    /// What a restore replaced (written by the backup tool).
    Restored,
    /// The file before its recovery keys changed.
    Rotated,
    /// A damaged file before it was continued without its end.
    Damaged,
    /// Bytes behind the last durable record.
    Torn,
}

impl Reason {
    const ALL: [Self; 6] = [Self::Imported, Self::Reset, Self::Restored, Self::Rotated, Self::Damaged, Self::Torn];

    fn name(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::Reset => "reset",
            Self::Restored => "restored",
            Self::Rotated => "rotated",
            Self::Damaged => "damaged",
            Self::Torn => "torn",
        }
    }
}

/// Name of a kept copy: `sealed_data.<sequence>.<reason>`, with `.2`, `.3`, .. where that is taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ArchiveName {
    pub(super) reason: Reason,
    pub(super) sequence: u64,
    pub(super) number: u32,
    pub(super) base: &'static str,
}

impl fmt::Display for ArchiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.base, self.sequence, self.reason.name())?;
        if self.number > 1 { write!(f, ".{}", self.number) } else { Ok(()) }
    }
}

impl ArchiveName {
    /// The archive with that file name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (base, rest) = [SEALED_DATA, SEALED_KEY]
            .into_iter()
            .find_map(|base| Some((base, name.strip_prefix(base)?.strip_prefix('.')?)))?;
        let mut parts = rest.split('.');
        let sequence = parts.next()?.parse().ok()?;
        let reason = parts.next().and_then(|text| Reason::ALL.into_iter().find(|reason| reason.name() == text))?;
        let number = parts.next().map_or(Some(1), |text| text.parse().ok())?;
        parts.next().is_none().then_some(Self { reason, sequence, number, base })
    }
}

/// Whether a name says that there was a state here. `pending`: what stands in `sealed_key` was
/// written by a genesis that did not come to its end.
pub(super) fn is_trace(name: &str, pending: bool) -> bool {
    match name {
        SEALED_DATA => true,
        SEALED_KEY => !pending,
        _ => is_leftover(name) || ArchiveName::parse(name).is_some(),
    }
}

/// Upstream's copies of one generation back, and its unfinished writes.
pub(super) fn is_leftover(name: &str) -> bool {
    [SEALED_DATA, SEALED_KEY]
        .into_iter()
        .filter_map(|base| name.strip_prefix(base))
        .any(|rest| matches!(rest, ".old" | ".tmp"))
}

/// Name under which a trace is put aside, the `number`th of its kind.
pub(super) fn discarded(name: &str, number: u32) -> String {
    if number > 1 { format!("{name}.{DISCARDED}.{number}") } else { format!("{name}.{DISCARDED}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_archive_name_is_read_back() {
        for reason in Reason::ALL {
            for number in [1, 2, 30] {
                let name = ArchiveName { reason, sequence: u64::MAX, number, base: SEALED_KEY };
                assert_eq!(ArchiveName::parse(&name.to_string()), Some(name));
            }
        }
    }

    #[test]
    fn traces_are_told_from_names_that_mean_nothing() {
        for name in ["sealed_data", "sealed_key", "sealed_data.old", "sealed_data.tmp", "sealed_key.0.imported"] {
            assert!(is_trace(name, false), "{name}");
        }
        let innocent = [NEW_DATA, NEW_KEY, LOCK, "sealed_data.discarded", "sealed_data.7.reset.discarded", "other"];
        for name in innocent {
            assert!(!is_trace(name, false), "{name}");
        }
        assert!(!is_trace(&discarded("sealed_data.3.torn", 4), false));
        assert!(!is_trace("sealed_key", true));
        assert!(is_trace("sealed_data", true));
    }
}
