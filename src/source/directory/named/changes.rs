//! Whether a folder of this machine must be listed again.
//!
//! The time of a folder tells when a name in it came or went. Times of file systems tick coarsely,
//! so a time that is fresh says nothing: names may still come within the same tick.

use std::time::{Instant, SystemTime};

use super::super::storage::SETTLED;

/// Whether a folder of this machine changed.
#[derive(Default)]
pub(super) struct Changes {
    /// The folder's time, and since when it is that.
    modified: Option<(SystemTime, Instant)>,
    /// Whether all was listed when that time was settled.
    settled: bool,
}

impl Changes {
    /// Whether the folder must be listed, seeing its time.
    pub(super) fn seen(&mut self, modified: SystemTime, now: Instant) -> bool {
        match self.modified {
            Some((known, _)) if known == modified => !self.settled,
            _ => {
                self.modified = Some((modified, now));
                self.settled = false;
                true
            }
        }
    }

    /// Notes that all was listed, beginning at `began`.
    pub(super) fn listed(&mut self, began: Instant) {
        self.settled = self
            .modified
            .is_some_and(|(_, since)| began.duration_since(since) >= SETTLED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_listed_again_until_its_time_is_settled() {
        let (time, later) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + SETTLED);
        let start = Instant::now();
        let mut changes = Changes::default();
        assert!(changes.seen(time, start));
        changes.listed(start);
        let soon = start + SETTLED / 2;
        assert!(
            changes.seen(time, soon),
            "what came within a tick of the clock is not seen in the time"
        );
        changes.listed(soon);
        let settled = start + SETTLED;
        assert!(changes.seen(time, settled));
        changes.listed(settled);
        assert!(!changes.seen(time, settled + SETTLED));
        assert!(changes.seen(later, settled + SETTLED));
    }
}
