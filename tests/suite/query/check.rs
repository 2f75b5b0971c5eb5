//! A case in this process: pinflow's views at every epoch against DataFusion, and against DuckDB,
//! which has the last word.
//!
//! DataFusion is asked at every epoch. It shares pinflow's planner, and with it mistakes that
//! pinflow may have repaired, so a difference is only a doubt. DuckDB is asked at the last epoch
//! for all views, and at those where there are doubts.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use pinflow::definition::Definition;
use pinflow::runtime::replay::{Replay, replay};

use super::super::answer::Answer;
use super::super::oracle::{Batch, canonical};
use super::case::{Case, Refusals};
use super::duckdb::DuckDb;
use super::judge::Judge;

/// What a case was good for.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Views that DuckDB answered as pinflow did.
    pub same: u64,
    /// Views that DataFusion answered, at all epochs, as pinflow did.
    pub sure: u64,
    /// Views for which DataFusion has another answer than pinflow and DuckDB.
    pub inherited: u64,
    /// Why DuckDB has no answer, and how often.
    pub unjudged: Refusals,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.same += other.same;
        self.sure += other.sure;
        self.inherited += other.inherited;
        for (reason, count) in other.unjudged {
            self.unjudged.entry(reason).or_insert((0, count.1)).0 += count.0;
        }
    }
}

/// A view that is not what it should be.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The view, if it is one view's failure.
    pub view: Option<usize>,
    pub text: String,
}

impl Failure {
    fn of(case: &Case, view: &str, text: String) -> Failure {
        let number = case.views.iter().position(|known| known.name == view);
        Failure { view: number, text }
    }
}

/// Compares all views of a case.
pub fn check(case: &Case, definition: &Definition, engine: &mut DuckDb) -> Result<Tally, Failure> {
    let whole = |text: String| Failure { view: None, text };
    let replayed = replay(definition, case.input(), &case.options)
        .map_err(|error| whole(error.to_string()))?;
    let fails = |name: &str| {
        let view = case.views.iter().find(|view| view.name == name);
        view.is_some_and(|view| view.failing.is_some())
    };
    if let Some(fault) = replayed.faults.iter().find(|fault| !fails(&fault.relation)) {
        let text = format!(
            "a row was left out of `{}`: {}",
            fault.relation, fault.reason
        );
        return Err(Failure::of(case, &fault.relation, text));
    }
    letters(case, &replayed).map_err(whole)?;

    let mut judge = Judge::new(case, engine).map_err(whole)?;
    let tables = judge.tables().map_err(whole)?;
    faults(case, &replayed, &judge.failing().map_err(whole)?)?;
    let doubts = doubts(case, definition, &replayed, &tables)?;

    let mut tally = Tally::default();
    let last = case.history.len();
    for (epoch, views) in questions(case, &doubts) {
        for (number, judgement) in judge.views(epoch, &views).map_err(whole)? {
            let view = &case.views[number];
            let found = at(&replayed, &view.name, epoch).map_err(whole)?;
            match judgement {
                Ok(expected) => {
                    if let Some(difference) = compare(&expected, &found) {
                        let text = format!(
                            "view `{}` at epoch {epoch}, by DuckDB\n{difference}",
                            view.name
                        );
                        return Err(Failure::of(case, &view.name, text));
                    }
                    tally.same += u64::from(epoch == last);
                }
                Err(reason) => {
                    if let Some((epoch, Some(difference))) = doubts.get(&view.name) {
                        let text = format!(
                            "view `{}` at epoch {epoch}, by DataFusion (DuckDB: {reason})\n{difference}",
                            view.name
                        );
                        return Err(Failure::of(case, &view.name, text));
                    }
                    if epoch == last {
                        let reason = reason.lines().next().unwrap_or_default().to_owned();
                        let unjudged = tally.unjudged.entry(reason);
                        unjudged.or_insert((0, view.sql.clone())).0 += 1;
                    }
                }
            }
        }
    }
    let kept = case.views.iter().filter(|view| view.materialized).count();
    let other = |doubt: &&Doubt| doubt.1.is_some();
    tally.sure = (kept - doubts.len()) as u64;
    tally.inherited = doubts.values().filter(other).count() as u64;
    Ok(tally)
}

/// What DuckDB is asked: all views at the last epoch, and those that are in doubt, with what they
/// read, where they were first.
fn questions(case: &Case, doubts: &BTreeMap<String, Doubt>) -> BTreeMap<usize, BTreeSet<usize>> {
    let mut questions: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (number, view) in case.views.iter().enumerate() {
        if let Some((epoch, _)) = doubts.get(&view.name) {
            let asked = questions.entry(*epoch).or_default();
            asked.extend(case.closure(number));
        }
    }
    questions.insert(case.history.len(), (0..case.views.len()).collect());
    questions
}

fn at(replayed: &Replay, view: &str, epoch: usize) -> Result<Answer, String> {
    let rows = replayed
        .at(view, epoch as u64)
        .map_err(|error| error.to_string())?;
    Ok(Answer::new(&rows))
}

/// How an answer differs from the one expected.
pub fn compare(expected: &Answer, found: &Answer) -> Option<String> {
    expected.difference(found)
}

/// The very types of an answer.
fn types(rows: &RecordBatch) -> Vec<DataType> {
    let schema = rows.schema();
    let types = schema
        .fields()
        .iter()
        .map(|field| field.data_type().clone());
    types.collect()
}

/// Every bad record is a dead letter, and no other.
fn letters(case: &Case, replayed: &Replay) -> Result<(), String> {
    let bad: usize = case
        .history
        .iter()
        .flatten()
        .map(|record| record.letters(&case.tables))
        .sum();
    let letters = replayed
        .at("dead_letters", case.history.len() as u64)
        .map_err(|error| error.to_string())?;
    match letters.num_rows() {
        found if found == bad => Ok(()),
        found => Err(format!("{found} dead letters for {bad} bad records")),
    }
}

/// A view of which rows fail says so, and no other. Equal views are one, which says it once.
fn faults(case: &Case, replayed: &Replay, failed: &BTreeSet<String>) -> Result<(), Failure> {
    // Of many faults only the first are kept.
    if replayed.faults.len() >= 100 {
        return Ok(());
    }
    for view in case.views.iter().filter(|view| view.failing.is_some()) {
        let equal = |name: &str| {
            case.views
                .iter()
                .any(|other| other.name == name && other.sql == view.sql)
        };
        let told = replayed.faults.iter().find(|fault| equal(&fault.relation));
        let text = match (told, failed.contains(&view.name)) {
            (Some(fault), false) => format!("no row of `{}` fails: {}", view.name, fault.reason),
            (None, true) => format!("rows of `{}` fail, and nothing says so", view.name),
            _ => continue,
        };
        return Err(Failure::of(case, &view.name, text));
    }
    Ok(())
}

/// At which epoch DataFusion first has another answer for a view or none, and what differs.
type Doubt = (usize, Option<String>);

/// The views for which DataFusion has another answer or none.
fn doubts(
    case: &Case,
    definition: &Definition,
    replayed: &Replay,
    tables: &[Vec<RecordBatch>],
) -> Result<BTreeMap<String, Doubt>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut batch = Batch::new(1);
    let schemas: Vec<_> = definition
        .tables
        .iter()
        .map(|table| canonical(table.query.schema().fields()))
        .collect();
    for (table, schema) in definition.tables.iter().zip(&schemas) {
        batch.give(&table.name, schema);
    }
    runtime.block_on(batch.add_views(definition));
    let mut doubts = BTreeMap::new();
    for (epoch, rows) in tables.iter().enumerate() {
        let given: Vec<RecordBatch> = rows
            .iter()
            .zip(&schemas)
            .map(|(rows, schema)| {
                let columns = rows.columns().iter().zip(schema.fields());
                let columns = columns.map(|(column, field)| {
                    cast(column, field.data_type()).expect("kinds are the same")
                });
                RecordBatch::try_new(schema.clone(), columns.collect()).expect("the same columns")
            })
            .collect();
        for (view, expected) in runtime.block_on(batch.answers(&given)) {
            let doubt = match expected {
                Err(_) => None,
                Ok(expected) => {
                    let found = replayed
                        .at(view, epoch as u64)
                        .map_err(|error| Failure::of(case, view, error.to_string()))?;
                    let types = types(&expected) != types(&found);
                    let difference = compare(&Answer::new(&expected), &Answer::new(&found));
                    match difference {
                        None if types => Some(format!(
                            "{:?}\nfor\n{:?}",
                            found.schema(),
                            expected.schema()
                        )),
                        None => continue,
                        difference => difference,
                    }
                }
            };
            doubts.entry(view.to_owned()).or_insert((epoch, doubt));
        }
    }
    Ok(doubts)
}
