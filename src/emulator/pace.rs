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

    /// Waits until another post is due after `sent` posts, but not for long; returns how many
    /// should have been sent by then.
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

/// When posts are made that are posted one after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pacing {
    /// As fast as the target takes them.
    Free,
    /// So many a second.
    Rate(f64),
    /// After a pause before each; `None` is the one that is drawn for it.
    Pauses(Option<Duration>),
}

/// Whether posts are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// So many, now.
    Now(u64),
    /// None before this moment.
    Later(Duration),
}

/// Keeps to a pacing; it is asked, told what was posted, and never waits itself.
pub(super) struct Turns {
    pacing: Pacing,
    started: Duration,
    last: Duration,
    sent: u64,
    next: Option<Duration>,
}

impl Turns {
    pub(super) fn new(pacing: Pacing, now: Duration) -> Self {
        Self {
            pacing,
            started: now,
            last: now,
            sent: 0,
            next: None,
        }
    }

    /// How many posts are due at `now`; `draw` is the pause before the next.
    pub(super) fn due(&mut self, now: Duration, draw: impl FnOnce() -> Duration) -> Due {
        match self.pacing {
            Pacing::Free => Due::Now(u64::MAX),
            Pacing::Rate(rate) => {
                let elapsed = now.saturating_sub(self.started);
                let due = (elapsed.as_secs_f64() * rate) as u64;
                if due > self.sent {
                    return Due::Now(due - self.sent);
                }
                let next = Duration::try_from_secs_f64((self.sent + 1) as f64 / rate);
                let next = self.started.saturating_add(next.unwrap_or(Duration::MAX));
                Due::Later(next.max(now + TURN))
            }
            Pacing::Pauses(pause) => {
                let last = self.last;
                let next = *self
                    .next
                    .get_or_insert_with(|| last + pause.unwrap_or_else(draw));
                if now >= next {
                    Due::Now(1)
                } else {
                    Due::Later(next)
                }
            }
        }
    }

    /// Posts were made at `now`.
    pub(super) fn posted(&mut self, posts: u64, now: Duration) {
        self.sent += posts;
        self.last = now;
        self.next = None;
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

    #[test]
    fn a_rate_is_kept_whatever_the_moments_of_asking() {
        let start = Duration::from_secs(3);
        let mut turns = Turns::new(Pacing::Rate(40.0), start);
        let (mut sent, mut now) = (0, start);
        while now < start + Duration::from_secs(10) {
            match turns.due(now, || unreachable!()) {
                Due::Now(posts) => {
                    sent += posts;
                    turns.posted(posts, now);
                }
                Due::Later(moment) => now = moment + Duration::from_micros(700),
            }
        }
        assert!((399..=401).contains(&sent), "{sent}");
    }

    #[test]
    fn a_pause_passes_before_each_post_and_is_drawn_once() {
        let second = Duration::from_secs(1);
        let mut pauses = [second, Duration::ZERO, 2 * second].into_iter();
        let mut turns = Turns::new(Pacing::Pauses(None), Duration::ZERO);
        let mut posts = Vec::new();
        let mut now = Duration::ZERO;
        while posts.len() < 3 {
            match turns.due(now, || pauses.next().unwrap()) {
                Due::Now(1) => {
                    turns.posted(1, now);
                    posts.push(now);
                }
                Due::Now(_) => unreachable!(),
                Due::Later(moment) => now = moment,
            }
        }
        assert_eq!(posts, [second, second, 3 * second]);
    }
}
