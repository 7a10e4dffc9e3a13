//! The counter never goes back: against a TPM in software.
#![allow(clippy::unwrap_used)]

use marblerun_sealing::{CounterError, MonotonicCounter as _};
use marblerun_testkit::SoftTpm;
use marblerun_tpm::{COUNTER_INDEX, Config, Defined, TpmCounter};
use zeroize::Zeroizing;

fn counter(tpm: &SoftTpm, key: u8) -> TpmCounter {
    let config = Config::new(tpm.tcti().parse().unwrap());
    TpmCounter::new(config, COUNTER_INDEX, Zeroizing::new([key; 32])).unwrap()
}

#[test]
fn it_counts_over_reboots_and_starts_above_all_before_it_when_made_again() {
    let mut tpm = SoftTpm::start().unwrap();
    assert!(matches!(counter(&tpm, 1).read(), Err(CounterError::Missing(_))));
    assert!(matches!(counter(&tpm, 1).increment(), Err(CounterError::Missing(_))));
    let Defined::New(first) = counter(&tpm, 1).define().unwrap() else { panic!("it was there") };
    assert_eq!(counter(&tpm, 1).define().unwrap(), Defined::Already(first));
    let id = counter(&tpm, 1).id().unwrap();
    let mut value = first;
    for _ in 0..3 {
        assert_eq!(counter(&tpm, 1).increment().unwrap(), value + 1);
        value += 1;
        tpm.reboot().unwrap();
        assert_eq!(counter(&tpm, 1).read().unwrap(), value);
    }
    assert_eq!(counter(&tpm, 1).id().unwrap(), id);

    counter(&tpm, 1).remove().unwrap();
    assert!(matches!(counter(&tpm, 1).read(), Err(CounterError::Missing(_))));
    let Defined::New(again) = counter(&tpm, 1).define().unwrap() else { panic!("it was there") };
    assert!(again > value, "{again} after {value}");
}

#[test]
fn who_lacks_its_key_neither_reads_nor_counts_and_is_not_locked_out() {
    let tpm = SoftTpm::start().unwrap();
    counter(&tpm, 1).define().unwrap();
    let before = counter(&tpm, 1).read().unwrap();
    // More than it takes to lock a TPM.
    for _ in 0..5 {
        let error = counter(&tpm, 2).increment().unwrap_err();
        assert!(matches!(error, CounterError::Foreign(_)), "{error}");
    }
    let error = counter(&tpm, 2).define().unwrap_err();
    assert!(error.to_string().contains("another key"), "{error}");
    assert_eq!(counter(&tpm, 1).read().unwrap(), before);
}

#[test]
fn an_index_of_another_use_is_not_taken_for_a_counter() {
    let tpm = SoftTpm::start().unwrap();
    let index = format!("{COUNTER_INDEX:#x}");
    let made =
        std::process::Command::new("tpm2_nvdefine").args(["-T", &tpm.tcti(), &index, "-C", "o", "-s", "8"]).output();
    assert!(made.unwrap().status.success());
    for result in [counter(&tpm, 1).read().map(drop), counter(&tpm, 1).define().map(drop)] {
        let error = result.unwrap_err();
        assert!(matches!(error, CounterError::Foreign(_)), "{error}");
        assert!(error.to_string().contains("configure another index"), "{error}");
    }
}

#[test]
fn counters_of_two_tpms_and_of_two_indices_have_different_names() {
    let (one, two) = (SoftTpm::start().unwrap(), SoftTpm::start().unwrap());
    let config = Config::new(one.tcti().parse().unwrap());
    let beside = TpmCounter::new(config.clone(), COUNTER_INDEX + 1, Zeroizing::new([1; 32])).unwrap();
    for counter in [&counter(&one, 1), &counter(&two, 1), &beside] {
        counter.define().unwrap();
    }
    assert_ne!(counter(&one, 1).id().unwrap(), counter(&two, 1).id().unwrap());
    assert_ne!(counter(&one, 1).id().unwrap(), beside.id().unwrap());
    for index in [0, 0x0100_0000, 0x017f_ffff, 0x01c0_0000] {
        let error = TpmCounter::new(config.clone(), index, Zeroizing::new([1; 32])).unwrap_err();
        assert!(error.to_string().contains("no index of a counter"), "{error}");
    }
}

#[test]
fn increments_of_many_at_once_are_all_counted() {
    let tpm = SoftTpm::start().unwrap();
    counter(&tpm, 1).define().unwrap();
    let before = counter(&tpm, 1).read().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..4 {
                    counter(&tpm, 1).increment().unwrap();
                }
            });
        }
    });
    assert_eq!(counter(&tpm, 1).read().unwrap(), before + 12);
}
