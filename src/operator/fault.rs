//! What goes wrong while a view is computed.
//!
//! An expression of a view can fail on a row (a cast, a division by zero). Such a row has no place
//! in the view: it is left out when it comes and, since expressions are pure, left out again when
//! it is retracted, so the view stays consistent. The fault is reported here, with the first few
//! kept in full, once the epoch is complete: a join makes pairs of rows that never were together
//! at the end of an epoch, and takes them back within it.
//!
//! # Invariants
//! 1. What is kept of an open epoch is bounded, however many of its rows fail.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::row_hash::hash_rows;
use crate::delta::{Delta, Diff, Epoch};

/// How many faults are kept in full; later ones are only counted.
const KEPT_MAX: usize = 100;

/// How many rows of an open epoch are told apart; of more only the sum is kept.
const OPEN_MAX: usize = if cfg!(test) { 4 } else { 1 << 16 };

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
    /// By how much the count of all others changes, and why one of them failed.
    others: (Diff, Option<String>),
}

impl FailedRows {
    /// What is kept of the row with this hash.
    fn of(&mut self, hash: Option<u64>) -> &mut (Diff, Option<String>) {
        let next = self.rows.len();
        let known = hash.and_then(|hash| self.places.get(&hash).copied());
        if known.is_none() && next == OPEN_MAX {
            return &mut self.others;
        }
        if known.is_none() {
            self.rows.push((0, None));
            self.places.extend(hash.map(|hash| (hash, next)));
        }
        &mut self.rows[known.unwrap_or(next)]
    }
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
        let open = self.epochs.entry(epoch).or_default();
        for (row, (diff, reason)) in failed.diffs.iter().zip(reasons).enumerate() {
            let (sum, why) = open.of(hashes.get(row).copied());
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
            let FailedRows { rows, others, .. } = epoch.remove();
            for (diff, reason) in rows.into_iter().chain([others]) {
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

    #[test]
    fn of_very_many_rows_the_sum_is_kept() {
        let rows = |range: std::ops::Range<i64>, diff| range.map(move |row| (1, row, diff));
        let all = 3 * OPEN_MAX as i64;
        let come: Vec<_> = rows(0..all, 1).collect();
        assert_eq!(told(&come, None).len(), all as usize);
        let gone: Vec<_> = rows(0..all, 1).chain(rows(1..all, -1)).collect();
        assert_eq!(told(&gone, None), ["0"]);
        let gone: Vec<_> = rows(0..all, 1).chain(rows(0..all - 1, -1)).collect();
        assert_eq!(told(&gone, None), [format!("{OPEN_MAX}")]);
    }
}
