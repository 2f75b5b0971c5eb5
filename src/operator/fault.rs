//! What goes wrong while a view is computed.
//!
//! An expression of a view can fail on a row (a cast, a division by zero). Such a row has no place
//! in the view: it is left out when it comes and, since expressions are pure, left out again when
//! it is retracted, so the view stays consistent. The fault is reported here, with the first few
//! kept in full.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many faults are kept in full; later ones are only counted.
const KEPT_MAX: usize = 100;

/// One row that a view could not use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The view or table that was being computed.
    pub relation: String,
    /// Why, as a sentence.
    pub reason: String,
}

/// The faults of a run, shared by all workers of a process.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<(u64, Vec<Fault>)>>);

impl Faults {
    /// Notes a fault.
    pub fn report(&self, relation: &str, reason: String) {
        let mut guard = self.lock();
        guard.0 += 1;
        if guard.1.len() < KEPT_MAX {
            tracing::warn!("a row was left out of `{relation}`: {reason}");
            guard.1.push(Fault {
                relation: relation.to_owned(),
                reason,
            });
        }
    }

    /// How many there were, and the first of them.
    pub fn list(&self) -> (u64, Vec<Fault>) {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Vec<Fault>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
