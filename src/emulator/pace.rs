//! Keeping to a rate, on a clock that is given.

use std::time::{Duration, Instant};

/// Time as an input: what paces an emulation, and measures it.
pub trait Clock {
    /// Time since some fixed moment; never goes back.
    fn now(&mut self) -> Duration;
    /// Returns after `time`.
    fn sleep(&mut self, time: Duration);
}

/// The clock of this machine.
pub struct WallClock(Instant);

impl WallClock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for WallClock {
    fn now(&mut self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// At a high rate the posts of this time are sent together.
const TURN: Duration = Duration::from_millis(10);

/// At a low rate the caller is asked this often whether to go on.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// A rate of posts, kept from the moment it is made.
pub(super) struct Pace {
    rate: f64,
    started: Duration,
}

impl Pace {
    /// `rate` is in posts a second, above 0.
    pub(super) fn new(rate: f64, clock: &mut dyn Clock) -> Self {
        let started = clock.now();
        Self { rate, started }
    }

    /// Waits until another post is due after `sent` posts, but not for long; returns how many should have been sent by
    /// then.
    pub(super) fn wait(&self, sent: u64, clock: &mut dyn Clock) -> u64 {
        let moment = Duration::try_from_secs_f64((sent + 1) as f64 / self.rate);
        let next = moment.unwrap_or(Duration::MAX);
        let elapsed = clock.now().saturating_sub(self.started);
        if next > elapsed {
            clock.sleep((next - elapsed).clamp(TURN, LONGEST_WAIT));
        }
        let elapsed = clock.now().saturating_sub(self.started);
        let due = (elapsed.as_secs_f64() * self.rate) as u64;
        // Rounding must not leave a post waiting whose moment has come.
        due.max(sent + u64::from(next <= elapsed))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Time that passes only in sleep.
    pub(in crate::emulator) struct FakeClock(pub(in crate::emulator) Duration);

    impl Clock for FakeClock {
        fn now(&mut self) -> Duration {
            self.0
        }

        fn sleep(&mut self, time: Duration) {
            self.0 += time;
        }
    }

    #[test]
    fn after_ten_seconds_ten_times_the_rate_was_sent() {
        for rate in [0.5, 3.0, 1_000.0, 250_000.0] {
            let mut clock = FakeClock(Duration::from_secs(5));
            let pace = Pace::new(rate, &mut clock);
            let mut sent = 0;
            while clock.0 < Duration::from_secs(15) {
                sent = sent.max(pace.wait(sent, &mut clock));
            }
            let expected = rate * 10.0;
            assert!(
                (sent as f64 - expected).abs() <= rate * 0.1 + 1.0,
                "{sent} at {rate}"
            );
        }
    }
}
