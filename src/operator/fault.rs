//! What goes wrong while a view is computed.
//!
//! An expression of a view can fail on a row (a cast, a division by zero). Such a row has no place
//! in the view: it is left out when it comes and, since expressions are pure, left out again when
//! it is retracted, so the view stays consistent. The fault is reported here, with the first few
//! kept in full, once the epoch is complete: a join makes pairs of rows that never were together
//! at the end of an epoch, and takes them back within it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::row_hash::hash_rows;
use crate::delta::{Delta, Diff, Epoch};

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
    /// Notes that so many equal rows were left out.
    fn report(&self, relation: &str, reason: &str, rows: u64) {
        let mut guard = self.lock();
        guard.0 += rows;
        for _ in 0..rows.min((KEPT_MAX - guard.1.len()) as u64) {
            tracing::warn!("a row was left out of `{relation}`: {reason}");
            guard.1.push(Fault {
                relation: relation.to_owned(),
                reason: reason.to_owned(),
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

/// The faults of one operator in epochs that are not complete yet.
#[derive(Debug)]
pub struct OpenFaults {
    relation: String,
    faults: Faults,
    epochs: BTreeMap<Epoch, FailedRows>,
}

/// The rows of an epoch that failed.
#[derive(Debug, Default)]
struct FailedRows {
    /// By how much the count of each changes, and why it failed if it came; in the order in which
    /// they came first.
    rows: Vec<(Diff, Option<String>)>,
    /// Where a row is in `rows`, by its hash.
    places: HashMap<u64, usize>,
}

impl OpenFaults {
    /// Of the operator that computes `relation`, to be reported to `faults`.
    pub fn new(relation: String, faults: Faults) -> Self {
        OpenFaults {
            relation,
            faults,
            epochs: BTreeMap::new(),
        }
    }

    /// Notes the changes of `epoch` whose rows failed, and why each did.
    pub fn note(&mut self, epoch: Epoch, failed: &Delta, reasons: Vec<String>) {
        // Rows that cannot be hashed are taken for different ones.
        let hashes = hash_rows(&failed.rows).unwrap_or_default();
        let FailedRows { rows, places } = self.epochs.entry(epoch).or_default();
        for (row, (diff, reason)) in failed.diffs.iter().zip(reasons).enumerate() {
            let next = rows.len();
            let place = match hashes.get(row) {
                Some(hash) => *places.entry(*hash).or_insert(next),
                None => next,
            };
            if place == next {
                rows.push((0, None));
            }
            let (sum, why) = &mut rows[place];
            *sum += diff;
            if *diff > 0 {
                why.get_or_insert(reason);
            }
        }
    }

    /// Reports the rows that are left of epochs below `frontier`, of all if it is `None`. Rows that
    /// went were reported when they came.
    pub fn report(&mut self, frontier: Option<Epoch>) {
        while let Some(epoch) = self.epochs.first_entry()
            && frontier.is_none_or(|frontier| *epoch.key() < frontier)
        {
            for (diff, reason) in epoch.remove().rows {
                if let (Ok(rows @ 1..), Some(reason)) = (u64::try_from(diff), reason) {
                    self.faults.report(&self.relation, &reason, rows);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};

    use super::*;

    fn told(changes: &[(Epoch, i64, Diff)], frontier: Option<Epoch>) -> Vec<String> {
        let faults = Faults::default();
        let mut open = OpenFaults::new("v".to_owned(), faults.clone());
        for &(epoch, row, diff) in changes {
            let column: ArrayRef = Arc::new(Int64Array::from(vec![row]));
            let rows = RecordBatch::try_from_iter([("n", column)]).unwrap();
            let diffs = vec![diff];
            open.note(epoch, &Delta { rows, diffs }, vec![format!("{row}")]);
        }
        open.report(frontier);
        let (count, kept) = faults.list();
        assert_eq!(count, kept.len() as u64);
        kept.into_iter().map(|fault| fault.reason).collect()
    }

    #[test]
    fn a_row_that_comes_and_goes_within_an_epoch_is_not_reported() {
        assert_eq!(told(&[(1, 7, 1), (1, 8, 1), (1, 7, -1)], None), ["8"]);
        assert_eq!(told(&[(1, 7, -1), (1, 8, 2), (1, 7, 1)], None), ["8", "8"]);
        assert_eq!(told(&[(1, 7, 1), (2, 7, -1)], None), ["7"]);
    }

    #[test]
    fn what_fails_is_reported_once_its_epoch_is_complete() {
        assert_eq!(told(&[(1, 7, 1), (2, 8, 1)], Some(2)), ["7"]);
        assert_eq!(told(&[(1, 7, 1), (2, 8, 1)], Some(1)), [""; 0]);
    }
}
