//! When the records of a post are sent: in turn, late, a second time, or with a new value.
//!
//! The plan of post `i` is a pure function of (seed, i). What it asks to be sent later waits in a
//! ring of slots, one for each of the coming posts; the slot of post `n` is emptied after post `n`
//! itself. Since no delay reaches [`HORIZON`], the ring before any post can be rebuilt from the
//! plans of the `HORIZON` posts before it.

use crate::emulator::Stream;
use crate::emulator::options::EmulatorOptions;
use crate::emulator::random::{Chance, Random, Topic};
use crate::emulator::record::Edition;

/// Records are late, and copies come, by at most this many posts.
pub(super) const LONGEST_DELAY: u64 = 2_000;

/// Updates come this many posts after their post: later than any late record and its copy, so that
/// the update is the last word on its key, in whatever order streams are read.
const UPDATE_DELAY: std::ops::Range<u64> = 2 * LONGEST_DELAY + 1..3 * LONGEST_DELAY + 1;

/// No delay is as long as this.
pub(super) const HORIZON: u64 = UPDATE_DELAY.end;

const SLOTS: usize = (HORIZON as usize).next_power_of_two();

/// A record to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) index: u64,
    pub(super) stream: Stream,
    pub(super) edition: Edition,
}

/// The shares that plans are drawn from.
pub(super) struct Planner {
    seed: u64,
    late: Chance,
    duplicates: Chance,
    updates: Chance,
}

impl Planner {
    pub(super) fn new(options: &EmulatorOptions) -> Self {
        Self {
            seed: options.seed,
            late: Chance::of(options.late),
            duplicates: Chance::of(options.duplicates),
            updates: Chance::of(options.updates),
        }
    }

    /// Calls `send` with every record of post `index` and its delay in posts, in the order of
    /// sending.
    #[inline]
    pub(super) fn plan(&self, index: u64, mut send: impl FnMut(u64, Due)) {
        let mut random = Random::new(self.seed, Topic::Schedule, index);
        let late = random
            .happens(self.late)
            .then(|| (Stream::ALL[random.below(3) as usize], delay(&mut random)));
        for stream in Stream::ALL {
            let record = Due {
                index,
                stream,
                edition: Edition::First,
            };
            let sent = match late {
                Some((late, delay)) if late == stream => delay,
                _ => 0,
            };
            send(sent, record);
            if random.happens(self.duplicates) {
                let apart = if random.one_in(2) {
                    0
                } else {
                    delay(&mut random)
                };
                send(sent + apart, record);
            }
        }
        if random.happens(self.updates) {
            // The texts of a post change more often than its place or person.
            let stream = match random.below(8) {
                0 => Stream::Geo,
                1 => Stream::User,
                _ => Stream::Pin,
            };
            let record = Due {
                index,
                stream,
                edition: Edition::Update,
            };
            let range = (UPDATE_DELAY.end - UPDATE_DELAY.start) as u32;
            send(UPDATE_DELAY.start + u64::from(random.below(range)), record);
        }
    }
}

fn delay(random: &mut Random) -> u64 {
    1 + u64::from(random.below(LONGEST_DELAY as u32))
}

/// Records that wait for their turn.
pub(super) struct Waiting {
    slots: Vec<Vec<Due>>,
    count: usize,
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self {
            slots: vec![Vec::new(); SLOTS],
            count: 0,
        }
    }

    /// `due` will be sent with post `at`, which is less than [`HORIZON`] ahead.
    pub(super) fn push(&mut self, at: u64, due: Due) {
        self.slots[at as usize % SLOTS].push(due);
        self.count += 1;
    }

    /// Takes what is to be sent with post `at`, in order. Give the vector back with
    /// [`Self::reuse`].
    pub(super) fn take(&mut self, at: u64) -> Vec<Due> {
        let due = std::mem::take(&mut self.slots[at as usize % SLOTS]);
        self.count -= due.len();
        due
    }

    /// Keeps the memory of an emptied slot for its next turn.
    pub(super) fn reuse(&mut self, at: u64, mut slot: Vec<Due>) {
        slot.clear();
        self.slots[at as usize % SLOTS] = slot;
    }

    /// Whether nothing is to be sent with post `at`.
    pub(super) fn is_idle(&self, at: u64) -> bool {
        self.slots[at as usize % SLOTS].is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planner(options: EmulatorOptions) -> Planner {
        Planner::new(&options)
    }

    #[test]
    fn a_calm_world_sends_pin_geo_user_at_once_and_nothing_else() {
        let calm = planner(EmulatorOptions {
            duplicates: 0.0,
            late: 0.0,
            updates: 0.0,
            ..EmulatorOptions::default()
        });
        for index in 0..100 {
            let mut sent = Vec::new();
            calm.plan(index, |delay, due| {
                sent.push((delay, due.stream, due.edition))
            });
            assert_eq!(sent, Stream::ALL.map(|stream| (0, stream, Edition::First)));
        }
    }

    #[test]
    fn an_update_is_the_last_record_of_its_post() {
        let wild = planner(EmulatorOptions {
            duplicates: 1.0,
            late: 1.0,
            updates: 1.0,
            ..EmulatorOptions::default()
        });
        for index in 0..5_000 {
            let (mut last, mut update) = (0, 0);
            wild.plan(index, |delay, due| match due.edition {
                Edition::First => last = last.max(delay),
                Edition::Update => update = delay,
            });
            assert!(last < update && update < HORIZON, "{last} {update}");
        }
    }

    #[test]
    fn what_waits_comes_out_in_the_order_it_went_in() {
        let mut waiting = Waiting::new();
        let due = |index| Due {
            index,
            stream: Stream::Geo,
            edition: Edition::First,
        };
        waiting.push(7, due(1));
        waiting.push(7, due(2));
        assert_eq!(waiting.take(6), []);
        assert_eq!(waiting.take(7), [due(1), due(2)]);
        assert!(waiting.is_empty());
    }
}
