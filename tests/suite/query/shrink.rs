//! Makes a failing case small enough to be read.

use pinflow::definition::Definition;

use super::case::Case;
use super::check::{Failure, Tally};

/// Whether a case is as it should be.
pub type Check<'a> = dyn FnMut(&Case, &Definition) -> Result<Tally, Failure> + 'a;

/// The smallest case found that fails, and how it does, after so many tries.
pub fn shrink(case: Case, failure: Failure, tries: usize, check: &mut Check) -> (Case, Failure) {
    let mut shrinking = Shrinking {
        case,
        failure,
        check,
        tries,
    };
    shrinking.drop_views();
    shrinking.drop_records();
    shrinking.plainer_views();
    shrinking.drop_records();
    shrinking.drop_tables();
    (shrinking.case, shrinking.failure)
}

struct Shrinking<'a, 'c> {
    case: Case,
    failure: Failure,
    check: &'a mut Check<'c>,
    tries: usize,
}

impl Shrinking<'_, '_> {
    /// Takes `candidate` for the case, if it fails too.
    fn take(&mut self, candidate: Case) -> bool {
        if self.tries == 0 {
            return false;
        }
        self.tries -= 1;
        let Ok(definition) = candidate.definition() else {
            return false;
        };
        match (self.check)(&candidate, &definition) {
            Ok(_) => false,
            Err(failure) => {
                (self.case, self.failure) = (candidate, failure);
                true
            }
        }
    }

    /// Leaves the view that fails and what it reads; if it is not known which fails, any that can
    /// be.
    fn drop_views(&mut self) {
        if let Some(view) = self.failure.view {
            let closure = self.case.closure(view);
            let mut candidate = self.case.clone();
            candidate.keep(|view| closure.contains(&view));
            self.take(candidate);
        }
        let mut view = self.case.views.len();
        while view > 0 {
            view -= 1;
            let read = self
                .case
                .views
                .iter()
                .any(|other| other.reads.contains(&view));
            if !read && self.case.views.len() > 1 {
                let mut candidate = self.case.clone();
                candidate.keep(|other| other != view);
                self.take(candidate);
            }
        }
    }

    /// Leaves out records: halves, quarters, single ones; then epochs that are empty.
    fn drop_records(&mut self) {
        let count = |case: &Case| case.history.iter().map(Vec::len).sum::<usize>();
        let mut size = count(&self.case).div_ceil(2);
        while size > 0 {
            let mut begin = 0;
            while begin < count(&self.case) {
                let mut candidate = self.case.clone();
                let mut at = 0;
                for records in &mut candidate.history {
                    records.retain(|_| {
                        at += 1;
                        !(begin..begin + size).contains(&(at - 1))
                    });
                }
                if !self.take(candidate) {
                    begin += size;
                }
            }
            size /= 2;
        }
        for epoch in (0..self.case.history.len()).rev() {
            let mut candidate = self.case.clone();
            let records = candidate.history.remove(epoch);
            match candidate.history.get_mut(epoch) {
                Some(next) => next.splice(0..0, records).for_each(drop),
                None => candidate
                    .history
                    .extend((!records.is_empty()).then_some(records)),
            }
            if candidate.history.len() < self.case.history.len() {
                self.take(candidate);
            }
        }
    }

    /// Makes views of plainer tapes: parts of them are zero or left out.
    fn plainer_views(&mut self) {
        for view in (0..self.case.views.len()).rev() {
            let mut size = 64;
            while size > 0 {
                let mut at = 0;
                while at < self.case.views[view].tape().len().min(160) {
                    let tape = self.case.views[view].tape().to_vec();
                    let end = (at + size).min(tape.len());
                    let removed = [&tape[..at], &tape[end..]].concat();
                    let mut zeroed = tape.clone();
                    zeroed[at..end].fill(0);
                    if !self.remake(view, removed) {
                        self.remake(view, zeroed);
                        at += size;
                    }
                }
                size /= 2;
            }
        }
    }

    fn remake(&mut self, view: usize, tape: Vec<u8>) -> bool {
        let mut candidate = self.case.clone();
        let (earlier, later) = candidate.views.split_at_mut(view);
        let made = later[0].from(tape, &candidate.tables, earlier);
        // A text that is no shorter is no gain, and those that read it must find what they name.
        let fits = later.len() == 1 || made.columns.len() >= later[0].columns.len();
        if made.sql.len() >= later[0].sql.len() || !fits {
            return false;
        }
        later[0] = made;
        self.take(candidate)
    }

    /// Leaves out tables of which nothing is read and sent.
    fn drop_tables(&mut self) {
        for table in (0..self.case.tables.len()).rev() {
            let mut candidate = self.case.clone();
            let sent = candidate
                .history
                .iter()
                .flatten()
                .any(|record| record.table == table);
            let shared = candidate
                .tables
                .iter()
                .any(|other| other.twin == Some(table));
            if sent || shared || candidate.tables.len() == 1 {
                continue;
            }
            candidate.tables.remove(table);
            for twin in candidate
                .tables
                .iter_mut()
                .filter_map(|other| other.twin.as_mut())
            {
                *twin -= usize::from(*twin > table);
            }
            for record in candidate.history.iter_mut().flatten() {
                record.table -= usize::from(record.table > table);
            }
            self.take(candidate);
        }
    }
}
