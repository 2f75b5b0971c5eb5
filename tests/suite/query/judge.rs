//! What DuckDB says of a case: its tables at every epoch, and its views at those that are asked
//! for.

use std::collections::BTreeSet;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Int64Type};

use super::super::answer::Answer;
use super::case::Case;
use super::duckdb::{self, DuckDb, Step};
use super::print;

/// What DuckDB answers for views, by their numbers, or why it has no answer.
pub type Answers = Vec<(usize, Result<Answer, String>)>;

/// DuckDB with the cleaned records of a case.
pub struct Judge<'a> {
    case: &'a Case,
    engine: &'a mut DuckDb,
}

impl<'a> Judge<'a> {
    /// Cleans the records of a case; the error says what is wrong with that.
    pub fn new(case: &'a Case, engine: &'a mut DuckDb) -> Result<Judge<'a>, String> {
        let mut records = vec![0];
        for epoch in &case.history {
            records.push(records.last().expect("there is epoch 0") + epoch.len());
        }
        let tables = case.tables.iter();
        let statements = print::sent(&case.tables, &case.history)
            .into_iter()
            .chain(tables.map(|table| print::rows(table, &records)));
        let steps: Vec<Step> = statements.map(Step::Run).collect();
        engine.empty();
        for answer in engine.answers(&steps) {
            answer.map_err(|error| format!("DuckDB has no tables: {error}"))?;
        }
        Ok(Judge { case, engine })
    }

    /// The rows of each table at each epoch, from 0.
    pub fn tables(&mut self) -> Result<Vec<Vec<RecordBatch>>, String> {
        let all = self.case.tables.iter().map(print::all);
        let steps: Vec<Step> = all.map(Step::Ask).collect();
        let all: Result<Vec<_>, _> = self.engine.answers(&steps).into_iter().map(rows).collect();
        let all = all?;
        let at = |epoch| all.iter().map(|rows| at_epoch(rows, epoch)).collect();
        Ok((0..=self.case.history.len()).map(at).collect())
    }

    /// The views of which rows fail at any epoch.
    pub fn failing(&mut self) -> Result<BTreeSet<String>, String> {
        let views = self.case.views.iter();
        let (names, steps): (Vec<_>, Vec<_>) = views
            .filter_map(|view| Some((&view.name, view.failing.as_ref()?)))
            .map(|(name, query)| {
                let query = print::over_all_epochs(&self.case.tables, query);
                (name.clone(), Step::Ask(query))
            })
            .unzip();
        let mut failing = BTreeSet::new();
        for (name, answer) in names.into_iter().zip(self.engine.answers(&steps)) {
            if rows(answer)?.num_rows() > 0 {
                failing.insert(name);
            }
        }
        Ok(failing)
    }

    /// The answers of those of the `wanted` views that are kept, at an epoch. All that they read
    /// is wanted too.
    pub fn views(&mut self, epoch: usize, wanted: &BTreeSet<usize>) -> Result<Answers, String> {
        let read: BTreeSet<usize> = self
            .case
            .views
            .iter()
            .flat_map(|v| v.reads.clone())
            .collect();
        let tables = self.case.tables.iter();
        let mut steps: Vec<Step> = tables
            .map(|table| Step::Run(print::table(table, epoch)))
            .collect();
        let tables = steps.len();
        let mut numbers = Vec::new();
        for &number in wanted {
            let view = &self.case.views[number];
            steps.push(match (view.materialized, read.contains(&number)) {
                (false, _) => Step::Run(print::view(view)),
                (true, true) => Step::Ask(print::view(view)),
                (true, false) => Step::Ask(print::answer(view)),
            });
            numbers.push(number);
        }
        let mut answers = self.engine.answers(&steps).into_iter();
        for answer in answers.by_ref().take(tables) {
            answer.map_err(|error| format!("DuckDB has no tables: {error}"))?;
        }
        let answers = numbers.into_iter().zip(answers);
        Ok(answers
            .filter(|(number, _)| self.case.views[*number].materialized)
            .map(|(number, answer)| (number, rows(answer).map(|rows| Answer::new(&rows))))
            .collect())
    }
}

fn rows(answer: duckdb::Answer) -> Result<RecordBatch, String> {
    answer.map(|rows| rows.expect("it was asked for rows"))
}

/// Those of `rows` whose last column is the epoch, without it.
fn at_epoch(rows: &RecordBatch, epoch: usize) -> RecordBatch {
    let last = rows.num_columns() - 1;
    let epochs = cast(rows.column(last), &DataType::Int64).expect("an epoch is a number");
    let epochs = epochs.as_primitive::<Int64Type>().values().iter();
    let here: BooleanArray = epochs.map(|&at| Some(at == epoch as i64)).collect();
    let columns: Vec<usize> = (0..last).collect();
    filter_record_batch(rows, &here)
        .and_then(|rows| rows.project(&columns))
        .expect("a mask for every row")
}
