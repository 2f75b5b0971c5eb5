//! Pauses that grow while nothing happens.

use std::time::Duration;

/// After so many turns in which nothing happened the pauses double, and at most so many times.
const IDLE_TURNS: u32 = 2;
const DOUBLED_MAX: u32 = 4;
/// Pauses do not grow beyond this.
const LONGEST: Duration = Duration::from_millis(100);

/// How long nothing has happened. Whoever finds nothing to do looks less and less often: a turn
/// that changes nothing costs as much as any other, and tests nothing.
#[derive(Default)]
pub(super) struct Idle {
    seen: u64,
    turns: u32,
}

impl Idle {
    /// How long to sleep instead of `nap`, now that so much has happened. A run that is `stopping`
    /// is in a hurry.
    pub(super) fn pause(&mut self, nap: Duration, happened: u64, stopping: bool) -> Duration {
        if std::mem::replace(&mut self.seen, happened) != happened || stopping {
            self.turns = 0;
        }
        let doubled = (self.turns / IDLE_TURNS).min(DOUBLED_MAX);
        self.turns += 1;
        nap.max((nap * (1 << doubled)).min(LONGEST))
    }
}
