//! What was seen once is not forgotten: collateral older than what a verifier has believed before is refused, and so is a
//! clock that is behind it. Whoever delivers collateral, or sets the clock, could otherwise go back to a time before a
//! platform was known to be broken.
//!
//! What is remembered are *marks*: numbers with names, of which none ever falls. So what several verifiers have seen, or
//! one before and after a restart, is merged by taking the greater of each, in any order. All of them stand in collateral
//! that its vendor has signed and that was verified: nobody else can raise one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::dcap::IntelFindings;
use crate::snp::SnpFindings;
use crate::{IntelPlatform, SnpProduct, VerifyError};

/// The newest date in any collateral, in seconds since the epoch.
const TIME: &str = "time";

/// The newest of what was believed. Kept in memory; whoever wants it to outlive the process takes the [marks](Self::marks)
/// and has them back with [`HighWater::raise`].
#[derive(Default)]
pub struct HighWater {
    marks: Mutex<BTreeMap<String, u64>>,
    on_rise: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

impl HighWater {
    /// All marks, by name. Names tell what a number is about: `time`, `sgx/00906ed50000/platform/tcb-evaluation`,
    /// `amd/Milan/crl-date`.
    #[must_use]
    pub fn marks(&self) -> BTreeMap<String, u64> {
        self.lock().clone()
    }

    /// Takes marks of before, or of another verifier: the greater of each counts. Whether more is known here than they say.
    pub fn raise(&self, marks: &BTreeMap<String, u64>) -> bool {
        let mut mine = self.lock();
        for (name, value) in marks {
            let mark = mine.entry(name.clone()).or_default();
            *mark = (*mark).max(*value);
        }
        rises(&mine, marks).next().is_some()
    }

    /// The marks that are higher here than there.
    #[must_use]
    pub fn above(&self, marks: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
        rises(&self.lock(), marks).map(|(name, value)| (name.clone(), *value)).collect()
    }

    /// Has somebody told whenever a verification has raised a mark, instead of whoever was told before. It must be quick:
    /// who verifies waits for it.
    pub fn on_rise(&self, tell: impl Fn() + Send + Sync + 'static) {
        *self.on_rise.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(tell));
    }

    /// Refuses a clock that is behind.
    pub(crate) fn check_clock(&self, now: u64) -> Result<(), VerifyError> {
        let time = self.lock().get(TIME).copied().unwrap_or_default();
        if now < time {
            return Err(VerifyError(format!(
                "the clock of this machine went back: it shows {now}, but collateral of {time} (seconds since 1970) was seen"
            )));
        }
        Ok(())
    }

    /// Remembers what was verified of Intel's, or refuses it for being older than something before.
    pub(crate) fn pass_intel(&self, found: &IntelFindings) -> Result<(), VerifyError> {
        let name = |of: &str| intel_name(&found.platform, of);
        self.pass(
            &[
                ("TCB info", "number", name("tcb-evaluation"), found.evaluation_number.into()),
                ("list of revoked platforms", "number", name("pck-crl"), found.pck_crl_number.into()),
                ("list of revoked authorities", "number", name("root-crl"), found.root_crl_number.into()),
            ],
            found.issued,
        )
    }

    /// The same of AMD's, if a list was looked at.
    pub(crate) fn pass_amd(&self, found: &SnpFindings) -> Result<(), VerifyError> {
        let Some(list) = found.crl else { return Ok(()) };
        let what = "list of revoked authorities";
        let mut of_list = vec![(what, "date", amd_name(found.product, "crl-date"), list.issued)];
        of_list.extend(list.number.map(|number| (what, "number", amd_name(found.product, "crl-number"), number)));
        self.pass(&of_list, list.issued)
    }

    /// All or nothing: what is refused raises no mark.
    fn pass(&self, found: &[(&str, &str, String, u64)], issued: u64) -> Result<(), VerifyError> {
        let mut marks = self.lock();
        for (what, kind, name, got) in found {
            let seen = marks.get(name).copied().unwrap_or_default();
            if *got < seen {
                return Err(VerifyError(format!(
                    "the collateral is older than what was seen before: its {what} has {kind} {got}, and {seen} was seen"
                )));
            }
        }
        let mut has_risen = false;
        let numbers = found.iter().map(|(_, _, name, got)| (name.as_str(), *got));
        for (name, got) in numbers.chain([(TIME, issued)]) {
            match marks.get_mut(name) {
                Some(mark) if *mark >= got => {}
                Some(mark) => {
                    *mark = got;
                    has_risen = true;
                }
                None => {
                    marks.insert(name.to_owned(), got);
                    has_risen = true;
                }
            }
        }
        drop(marks);
        if has_risen {
            let tell = self.on_rise.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(tell) = tell {
                tell();
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for HighWater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HighWater").field(&*self.lock()).finish()
    }
}

/// Of marks, those that are higher than others.
fn rises<'m>(
    marks: &'m BTreeMap<String, u64>,
    above: &'m BTreeMap<String, u64>,
) -> impl Iterator<Item = (&'m String, &'m u64)> {
    marks.iter().filter(|(name, value)| above.get(*name).is_none_or(|other| other < *value))
}

/// By platform: collateral of several is got at different times, and the newer of one must not forbid that of another.
fn intel_name(platform: &IntelPlatform, of: &str) -> String {
    format!("{}/{}/{}/{of}", platform.tee.as_str(), hex::encode(platform.fmspc), platform.ca.as_str())
}

fn amd_name(product: SnpProduct, of: &str) -> String {
    format!("amd/{product}/{of}")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::snp::CrlFindings;
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

    fn of_amd(crl: Option<CrlFindings>) -> SnpFindings {
        SnpFindings { product: SnpProduct::Milan, key: "VCEK", report_version: 2, valid_until: 0, crl }
    }

    fn restarted(before: &HighWater) -> HighWater {
        let after = HighWater::default();
        after.raise(&before.marks());
        after
    }

    #[test]
    fn nothing_goes_back_and_a_restart_forgets_nothing() {
        let before = HighWater::default();
        before.pass_intel(&found(5, 5, 5, 100)).unwrap();
        for mark in [restarted(&before), before] {
            for older in [found(4, 5, 5, 100), found(5, 4, 5, 100), found(5, 5, 4, 100), found(9, 9, 4, 900)] {
                assert!(mark.pass_intel(&older).unwrap_err().to_string().contains("older than what was seen"));
            }
            mark.pass_intel(&found(5, 6, 5, 90)).unwrap();
            assert!(mark.check_clock(99).unwrap_err().to_string().contains("went back"));
            mark.check_clock(100).unwrap();
        }
    }

    #[test]
    fn platforms_are_counted_apart() {
        let mark = HighWater::default();
        mark.pass_intel(&found(5, 5, 5, 1)).unwrap();
        let mut other = found(1, 1, 1, 1);
        other.platform = IntelPlatform { tee: Tee::Tdx, fmspc: [1; 6], ca: PckCa::Processor };
        mark.pass_intel(&other).unwrap();
    }

    #[test]
    fn an_older_list_of_amds_is_refused_by_its_number_or_its_date() {
        let mark = HighWater::default();
        let list = |number, issued| of_amd(Some(CrlFindings { number, issued }));
        mark.pass_amd(&list(Some(7), 100)).unwrap();
        for mark in [restarted(&mark), mark] {
            for older in [list(Some(6), 100), list(Some(8), 99), list(None, 99)] {
                let text = mark.pass_amd(&older).unwrap_err().to_string();
                assert!(text.contains("list of revoked authorities"), "{text}");
            }
            mark.pass_amd(&list(None, 100)).unwrap();
            mark.pass_amd(&of_amd(None)).unwrap();
            assert!(mark.check_clock(99).is_err());
        }
    }

    #[test]
    fn names_of_marks_are_for_ever_for_they_stand_in_sealed_states() {
        let mark = HighWater::default();
        mark.pass_intel(&found(17, 2, 3, 100)).unwrap();
        mark.pass_amd(&of_amd(Some(CrlFindings { number: Some(4), issued: 90 }))).unwrap();
        let marks: Vec<(String, u64)> = mark.marks().into_iter().collect();
        let expected = [
            ("amd/Milan/crl-date", 90),
            ("amd/Milan/crl-number", 4),
            ("sgx/010101010101/platform/pck-crl", 2),
            ("sgx/010101010101/platform/root-crl", 3),
            ("sgx/010101010101/platform/tcb-evaluation", 17),
            ("time", 100),
        ];
        assert_eq!(marks, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn a_rise_is_told_and_nothing_else() {
        let (mark, told) = (HighWater::default(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&told);
        mark.on_rise(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        for (numbers, times) in [(found(5, 5, 5, 9), 1), (found(5, 5, 5, 9), 1), (found(5, 5, 4, 99), 1)] {
            let _ = mark.pass_intel(&numbers);
            assert_eq!(told.load(Ordering::Relaxed), times);
        }
        let all: BTreeMap<String, u64> = mark.marks().into_iter().map(|(name, value)| (name, value + 1)).collect();
        assert!(!mark.raise(&all));
        assert_eq!(told.load(Ordering::Relaxed), 1, "who raises them knows");
        mark.pass_intel(&found(6, 6, 6, 10)).unwrap();
        assert_eq!(told.load(Ordering::Relaxed), 1);
        mark.pass_intel(&found(7, 6, 6, 10)).unwrap();
        assert_eq!(told.load(Ordering::Relaxed), 2);
    }

    /// Marks of few names and numbers, so that they meet.
    fn some() -> impl Strategy<Value = BTreeMap<String, u64>> {
        btree_map("[abcd]", 0..4u64, 0..4)
    }

    fn merged<'a>(parts: impl IntoIterator<Item = &'a BTreeMap<String, u64>>) -> BTreeMap<String, u64> {
        let mark = HighWater::default();
        for part in parts {
            let is_more = mark.raise(part);
            assert_eq!(is_more, !mark.above(part).is_empty());
        }
        mark.marks()
    }

    proptest! {
        #[test]
        fn what_several_have_seen_is_merged_in_any_order_and_any_number_of_times(a in some(), b in some(), c in some()) {
            let all = merged([&a, &b, &c]);
            prop_assert_eq!(&merged([&c, &a, &b, &a]), &all);
            prop_assert_eq!(&merged([&merged([&a, &b]), &c]), &all);
            for name in a.keys().chain(b.keys()).chain(c.keys()) {
                let greatest = [&a, &b, &c].into_iter().filter_map(|marks| marks.get(name)).max();
                prop_assert_eq!(all.get(name), greatest);
            }
        }

        #[test]
        fn what_one_has_refused_is_refused_by_whoever_learns_from_it(
            seen in vec((0..4u32, 0..4u32, 0..4u32, 0..4u64), 0..5), other in some(), asked in (0..4u32, 0..4u32, 0..4u32),
        ) {
            let one = HighWater::default();
            for (a, b, c, issued) in seen {
                let _ = one.pass_intel(&found(a, b, c, issued));
            }
            let heir = restarted(&one);
            heir.raise(&other);
            let (a, b, c) = asked;
            prop_assert_eq!(one.pass_intel(&found(a, b, c, 0)).is_err(), heir.pass_intel(&found(a, b, c, 0)).is_err());
        }
    }
}
