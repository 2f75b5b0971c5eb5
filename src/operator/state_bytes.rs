//! How much memory the state of operators takes, about.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The sum over the operators of all workers of a process.
#[derive(Clone, Debug, Default)]
pub struct StateBytes(Arc<AtomicU64>);

impl StateBytes {
    /// What was told last, of all operators together.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The part of one more operator.
    pub fn part(&self) -> StatePart {
        StatePart {
            sum: self.clone(),
            told: 0,
            changes: 0,
        }
    }
}

/// What one operator adds to the sum.
#[derive(Debug)]
pub struct StatePart {
    sum: StateBytes,
    told: u64,
    /// Since it was told.
    changes: usize,
}

impl StatePart {
    /// The operator's state takes `bytes` now.
    pub fn tell(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        let more = bytes.wrapping_sub(self.told);
        self.sum.0.fetch_add(more, Ordering::Relaxed);
        self.told = bytes;
        self.changes = 0;
    }

    /// There were `changes`. To measure the state costs as much as it has `groups`, so it is done
    /// after as many changes.
    pub fn changed(&mut self, changes: usize, groups: usize, bytes: impl FnOnce() -> usize) {
        self.changes += changes;
        if self.changes >= groups {
            self.tell(bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_are_measured_now_and_then() {
        let sum = StateBytes::default();
        let (mut a, mut b) = (sum.part(), sum.part());
        a.tell(100);
        b.tell(10);
        a.tell(30);
        assert_eq!(sum.get(), 40);
        b.changed(3, 4, || panic!("too early"));
        b.changed(1, 4, || 5);
        assert_eq!(sum.get(), 35);
    }
}
