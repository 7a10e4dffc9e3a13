//! Making many secrets at once: spread over the cores, with one answer however the threads were scheduled.
//! Blocking; callers run it off the async threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Runs `make` on every item, on all cores. The result keeps the order; of several failures, the first
/// in that order is answered, and what comes after it need not be made.
pub(super) fn make_all<I, T, E>(items: &[I], make: impl Fn(&I) -> Result<T, E> + Sync) -> Result<Vec<T>, E>
where
    I: Sync,
    T: Send,
    E: Send,
{
    let next = AtomicUsize::new(0);
    let first_failure = AtomicUsize::new(usize::MAX);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            if index > first_failure.load(Ordering::Relaxed) {
                return;
            }
            let made = make(item);
            if made.is_err() {
                first_failure.fetch_min(index, Ordering::Relaxed);
            }
            done.lock().unwrap_or_else(PoisonError::into_inner).push((index, made));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    if threads <= 1 {
        work();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, made)| made).collect()
}

#[cfg(test)]
mod tests {
    use super::make_all;

    #[test]
    fn the_order_is_kept() {
        let items: Vec<usize> = (0..500).collect();
        let made = make_all(&items, |n| Ok::<_, ()>(n * 2)).unwrap();
        assert_eq!(made, items.iter().map(|n| n * 2).collect::<Vec<_>>());
        assert!(make_all(&[], |n: &usize| Ok::<usize, ()>(*n)).unwrap().is_empty());
    }

    #[test]
    fn of_several_failures_the_first_is_answered_every_time() {
        let items: Vec<usize> = (0..200).collect();
        for _ in 0..50 {
            let failed = make_all(&items, |n| if *n >= 7 && n % 3 == 1 { Err(*n) } else { Ok(*n) });
            assert_eq!(failed, Err(7));
        }
    }
}
