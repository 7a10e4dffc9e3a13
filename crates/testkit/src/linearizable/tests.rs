//! Long histories of many clients: true ones are accepted, and one lie in thousands of calls is found, in seconds.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::simulation::Simulation;
use super::*;

const CLIENTS: usize = 32;
const CALLS: usize = 4000;

fn register(seed: u64, keys: usize) -> Simulation<Register> {
    let act = |_: &Register, state: &mut u64, call: &RegisterCall| match call {
        RegisterCall::Write(value) => {
            *state = *value;
            RegisterAnswer::Written
        }
        RegisterCall::Read => RegisterAnswer::Value(*state),
    };
    Simulation::new(Register, act, (keys, CLIENTS), seed)
}

fn counter(seed: u64, keys: usize) -> Simulation<Counter> {
    let act = |_: &Counter, state: &mut u64, call: &Set| {
        let before = Before(*state);
        *state = call.0.max(*state);
        before
    };
    Simulation::new(Counter, act, (keys, CLIENTS), seed)
}

fn activations(seed: u64, keys: usize, max: u64) -> Simulation<Activations> {
    let act = |model: &Activations, state: &mut u64, _: &Activate| {
        if *state >= model.max {
            return ActivationAnswer::Exhausted;
        }
        *state += 1;
        ActivationAnswer::Activated
    };
    Simulation::new(Activations { max }, act, (keys, CLIENTS), seed)
}

/// Reads, and writes of values that are written once.
fn reads_and_writes() -> impl FnMut(&mut fastrand::Rng) -> RegisterCall {
    let mut written = 0;
    move |random| {
        if random.bool() {
            return RegisterCall::Read;
        }
        written += 1;
        RegisterCall::Write(written)
    }
}

/// Values about those of others, which rise.
fn rising() -> impl FnMut(&mut fastrand::Rng) -> Set {
    let mut calls = 0;
    move |random| {
        calls += 1;
        Set(if random.u8(..4) == 0 { 0 } else { calls / 4 + random.u64(..8) })
    }
}

/// It takes a second at most; a machine that runs other tests too may need longer.
fn in_seconds<T>(what: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = what();
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    result
}

#[test]
fn thousands_of_calls_of_32_clients_on_one_key_are_checked_in_seconds() {
    for seed in 0..4 {
        let mut secrets = register(seed, 1);
        secrets.run(CALLS, reads_and_writes());
        in_seconds(|| check(&Register, &secrets.history())).unwrap();
        let mut counters = counter(seed, 1);
        counters.run(CALLS, rising());
        in_seconds(|| check(&Counter, &counters.history())).unwrap();
        let max = CALLS as u64 / 2;
        let mut marbles = activations(seed, 1, max);
        marbles.run(CALLS, |_| Activate);
        in_seconds(|| check(&Activations { max }, &marbles.history())).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn true_histories_are_accepted_whatever_the_concurrency(seed: u64, keys in 1..6_usize, calls in 0..600_usize) {
        let mut secrets = register(seed, keys);
        secrets.run(calls, reads_and_writes());
        prop_assert_eq!(check(&Register, &secrets.history()), Ok(()));
        let mut counters = counter(seed, keys);
        counters.run(calls, rising());
        prop_assert_eq!(check(&Counter, &counters.history()), Ok(()));
        let max = calls as u64 / 8;
        let mut marbles = activations(seed, keys, max);
        marbles.run(calls, |_| Activate);
        prop_assert_eq!(check(&Activations { max }, &marbles.history()), Ok(()));
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Each lie is told at a quiet moment amid thousands of true calls, so that nothing explains it away.
    #[test]
    fn one_lie_among_thousands_of_calls_is_found(seed: u64) {
        let find = |simulation: &Simulation<Register>, lie: &str| {
            let violation = in_seconds(|| check(&Register, &simulation.history())).expect_err(lie);
            assert_eq!(violation.key, "1", "{violation}");
        };
        // Values of which the generator knows nothing.
        let (old, new) = (1 << 40, 1 << 41);
        let mut stale = register(seed, 3);
        let mut choose = reads_and_writes();
        stale.run(CALLS / 2, &mut choose);
        stale.truth(1, RegisterCall::Write(old));
        stale.truth(1, RegisterCall::Write(new));
        stale.lie(1, RegisterCall::Read, RegisterAnswer::Value(old));
        stale.run(CALLS / 2, &mut choose);
        find(&stale, "a stale read");

        let mut lost = register(seed, 3);
        let mut choose = reads_and_writes();
        lost.run(CALLS / 2, &mut choose);
        lost.truth(1, RegisterCall::Write(old));
        lost.lie(1, RegisterCall::Write(new), RegisterAnswer::Written);
        lost.truth(1, RegisterCall::Read);
        lost.run(CALLS / 2, &mut choose);
        find(&lost, "a lost write");
    }

    #[test]
    fn a_counter_that_falls_or_counts_twice_is_found(seed: u64) {
        let high = 1 << 40;
        let told = |lie: &dyn Fn(&mut Simulation<Counter>)| {
            let mut counters = counter(seed, 3);
            counters.run(CALLS / 2, rising());
            lie(&mut counters);
            counters.run(CALLS / 2, rising());
            in_seconds(|| check(&Counter, &counters.history())).map_err(|violation| violation.key)
        };
        prop_assert_eq!(told(&|counters| _ = counters.truth(1, Set(high))), Ok(()));
        let twice = told(&|counters| {
            // Done again below the client, it sees itself.
            counters.truth(1, Set(high));
            counters.lie(1, Set(high + 1), Before(high + 1));
        });
        prop_assert_eq!(twice, Err("1".to_owned()));
        let lost = told(&|counters| {
            let before = counters.truth(1, Set(0));
            counters.lie(1, Set(high), before);
            counters.truth(1, Set(0));
        });
        prop_assert_eq!(lost, Err("1".to_owned()));
        let falls = told(&|counters| {
            counters.truth(1, Set(high));
            counters.truth(1, Set(high + 1));
            counters.lie(1, Set(0), Before(high));
        });
        prop_assert_eq!(falls, Err("1".to_owned()));
    }

    #[test]
    fn one_activation_too_many_or_refused_too_early_is_found(seed: u64) {
        let max = CALLS as u64 / 2;
        let told = |lie: &dyn Fn(&mut Simulation<Activations>)| {
            let mut marbles = activations(seed, 2, max);
            marbles.run(CALLS / 2, |_| Activate);
            lie(&mut marbles);
            marbles.run(CALLS, |_| Activate);
            in_seconds(|| check(&Activations { max }, &marbles.history())).map_err(|violation| violation.key)
        };
        prop_assert_eq!(told(&|_| {}), Ok(()));
        prop_assert_eq!(told(&|marbles| marbles.lie(1, Activate, ActivationAnswer::Exhausted)), Err("1".to_owned()));

        let mut marbles = activations(seed, 1, 10);
        marbles.run(200, |_| Activate);
        let model = Activations { max: 10 };
        prop_assert_eq!(check(&model, &marbles.history()), Ok(()));
        marbles.lie(0, Activate, ActivationAnswer::Activated);
        prop_assert!(check(&model, &marbles.history()).is_err(), "one too many");
    }
}

#[test]
fn a_violation_tells_where_it_goes_wrong() {
    let recorder = Recorder::new();
    recorder.call("s0", "a", RegisterCall::Write(1)).answered(RegisterAnswer::Written);
    let open = recorder.call("s0", "b", RegisterCall::Write(2));
    recorder.call("s0", "c", RegisterCall::Read).answered(RegisterAnswer::Value(2));
    open.unknown();
    check(&Register, &recorder.history()).unwrap();
    recorder.call("s0", "c", RegisterCall::Read).answered(RegisterAnswer::Value(1));
    let violation = check(&Register, &recorder.history()).unwrap_err().to_string();
    let told = "s0 is not one object: it held 1 from 2 to 6, but 2 was written meanwhile:";
    assert!(violation.starts_with(told), "{violation}");
    assert!(violation.contains("\n  3.. b: Write(2), outcome unknown\n"), "{violation}");

    let recorder = Recorder::new();
    recorder.call("orders", "a", Set(5)).answered(Before(0));
    recorder.call("orders", "b", Set(7)).answered(Before(0));
    let violation = check(&Counter, &recorder.history()).unwrap_err().to_string();
    assert!(violation.contains("1 of 2 answered calls have an order, which leads to 5"), "{violation}");
    assert!(violation.ends_with("  3..4 b: Set(7) -> Before(0)"), "{violation}");
}
