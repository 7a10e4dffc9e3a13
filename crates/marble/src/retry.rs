//! How long to wait before asking again: twice as long each time, up to a limit, and never just as long as
//! all the other Marbles that wait for the same Coordinator.

use std::time::Duration;

/// A growing pause with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause, about.
    pub first: Duration,
    /// The longest pause, about.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), longest: Duration::from_secs(15) }
    }
}

impl Backoff {
    /// The pause after attempt number `attempt` (from 0): half to one and a half of the nominal one, as
    /// `dice` falls.
    #[must_use]
    pub fn pause(&self, attempt: u32, dice: u16) -> Duration {
        let nominal = 2u32.checked_pow(attempt).map_or(self.longest, |factor| self.first.saturating_mul(factor));
        nominal.min(self.longest).mul_f64(0.5 + f64::from(dice) / f64::from(u16::MAX))
    }
}

/// Throws the dice.
pub(crate) fn dice() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness the pause is merely less spread.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u16::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let backoff = Backoff::default();
        let middle = u16::MAX / 2 + 1;
        let pauses: Vec<u64> = (0..8).map(|attempt| backoff.pause(attempt, middle).as_millis() as u64 / 10).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1500, 1500, 1500]);
        assert_eq!(backoff.pause(u32::MAX, middle).as_secs(), 15);
    }

    #[test]
    fn jitter_spreads_a_pause_from_half_to_one_and_a_half() {
        let backoff = Backoff::default();
        assert_eq!(backoff.pause(1, 0), Duration::from_millis(500));
        assert_eq!(backoff.pause(1, u16::MAX), Duration::from_millis(1500));
    }
}
