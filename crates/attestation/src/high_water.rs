//! What was seen once is not forgotten: collateral older than what a verifier has believed before is refused, and so is a
//! clock that is behind it. Whoever delivers collateral, or sets the clock, could otherwise go back to a time before a
//! platform was known to be broken.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::dcap::IntelFindings;
use crate::{IntelPlatform, VerifyError};

/// The newest of what was believed. Kept in memory, for the life of the verifier.
#[derive(Debug, Default)]
pub(crate) struct HighWater(Mutex<Marks>);

#[derive(Debug, Default)]
struct Marks {
    /// By platform: collateral of several is got at different times, and the newer of one must not forbid that of another.
    platforms: HashMap<IntelPlatform, Numbers>,
    time: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Numbers {
    evaluation: u32,
    revoked_platforms: u32,
    revoked_authorities: u32,
}

impl HighWater {
    /// Refuses a clock that is behind.
    pub(crate) fn check_clock(&self, now: u64) -> Result<(), VerifyError> {
        let time = self.0.lock().unwrap_or_else(PoisonError::into_inner).time;
        if now < time {
            return Err(VerifyError(format!(
                "the clock of this machine went back: it shows {now}, but collateral of {time} (seconds since 1970) was seen"
            )));
        }
        Ok(())
    }

    /// Remembers what was verified, or refuses it for being older than something before.
    pub(crate) fn pass(&self, found: &IntelFindings) -> Result<(), VerifyError> {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = marks.platforms.get(&found.platform).copied().unwrap_or_default();
        for (what, seen, got) in [
            ("TCB info", seen.evaluation, found.evaluation_number),
            ("list of revoked platforms", seen.revoked_platforms, found.pck_crl_number),
            ("list of revoked authorities", seen.revoked_authorities, found.root_crl_number),
        ] {
            if got < seen {
                return Err(VerifyError(format!(
                    "the collateral is older than what was seen before: its {what} has number {got}, and {seen} was seen"
                )));
            }
        }
        let numbers = Numbers {
            evaluation: found.evaluation_number,
            revoked_platforms: found.pck_crl_number,
            revoked_authorities: found.root_crl_number,
        };
        marks.platforms.insert(found.platform, numbers);
        marks.time = marks.time.max(found.issued);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PckCa, Tee};

    fn found(evaluation_number: u32, pck_crl_number: u32, root_crl_number: u32, issued: u64) -> IntelFindings {
        IntelFindings {
            platform: IntelPlatform { tee: Tee::Sgx, fmspc: [1; 6], ca: PckCa::Platform },
            platform_status: String::new(),
            qe_status: String::new(),
            qe_advisories: Vec::new(),
            tcb_date: 0,
            evaluation_number,
            pck_crl_number,
            root_crl_number,
            issued,
            valid_until: 0,
        }
    }

    #[test]
    fn nothing_goes_back() {
        let mark = HighWater::default();
        mark.pass(&found(5, 5, 5, 100)).unwrap();
        for older in [found(4, 5, 5, 100), found(5, 4, 5, 100), found(5, 5, 4, 100)] {
            assert!(mark.pass(&older).unwrap_err().to_string().contains("older than what was seen"));
        }
        mark.pass(&found(5, 6, 5, 90)).unwrap();
        assert!(mark.check_clock(99).unwrap_err().to_string().contains("went back"));
        mark.check_clock(100).unwrap();
    }

    #[test]
    fn platforms_are_counted_apart() {
        let mark = HighWater::default();
        mark.pass(&found(5, 5, 5, 1)).unwrap();
        let mut other = found(1, 1, 1, 1);
        other.platform = IntelPlatform { tee: Tee::Tdx, fmspc: [1; 6], ca: PckCa::Processor };
        mark.pass(&other).unwrap();
    }
}
