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
use super::duckdb::{self, DuckDb, Step};
use super::print;
use super::schema::ident;

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
pub fn check(case: &Case, definition: &Definition, judge: &mut DuckDb) -> Result<Tally, Failure> {
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

    let epochs = case.history.len();
    let (tables, judged, failed) = asked(case, judge, &BTreeSet::from([epochs]));
    let tables = tables.map_err(|error| whole(format!("DuckDB has no tables: {error}")))?;
    faults(case, &replayed, &failed)?;
    let doubts = doubts(case, definition, &replayed, &tables)?;

    let mut tally = Tally::default();
    let mut judgements = judged;
    let further: BTreeSet<usize> = doubts
        .values()
        .map(|(epoch, _)| *epoch)
        .filter(|epoch| *epoch != epochs)
        .collect();
    if !further.is_empty() {
        judgements.extend(asked(case, judge, &further).1);
    }
    for view in case.views.iter().filter(|view| view.materialized) {
        let doubt = doubts.get(&view.name);
        for epoch in BTreeSet::from([epochs])
            .into_iter()
            .chain(doubt.map(|doubt| doubt.0))
        {
            let found = at(&replayed, &view.name, epoch).map_err(whole)?;
            match &judgements[&(epoch, view.name.clone())] {
                Ok(expected) => {
                    if let Some(difference) = compare(expected, &found) {
                        let text = format!(
                            "view `{}` at epoch {epoch}, by DuckDB\n{difference}",
                            view.name
                        );
                        return Err(Failure::of(case, &view.name, text));
                    }
                    tally.same += u64::from(epoch == epochs);
                }
                Err(reason) => {
                    if let Some((epoch, Some(difference))) = doubt {
                        let text = format!(
                            "view `{}` at epoch {epoch}, by DataFusion (DuckDB: {reason})\n{difference}",
                            view.name
                        );
                        return Err(Failure::of(case, &view.name, text));
                    }
                    let reason = reason.lines().next().unwrap_or_default().to_owned();
                    let unjudged = tally.unjudged.entry(reason);
                    unjudged.or_insert((0, view.sql.clone())).0 += 1;
                }
            }
        }
        match doubt {
            None => tally.sure += 1,
            Some((_, Some(_))) => tally.inherited += 1,
            Some((_, None)) => {}
        }
    }
    Ok(tally)
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

/// The rows of each table at each epoch.
type Tables = Vec<Vec<RecordBatch>>;
/// What DuckDB says of each view at each epoch.
type Judgements = BTreeMap<(usize, String), Result<Answer, String>>;

/// The tables at all epochs, the views at `epochs`, and the views of which rows fail at any epoch,
/// by DuckDB.
fn asked(
    case: &Case,
    judge: &mut DuckDb,
    epochs: &BTreeSet<usize>,
) -> (Result<Tables, String>, Judgements, BTreeSet<String>) {
    let failing = || {
        case.views
            .iter()
            .filter_map(|view| Some((view, view.failing.as_ref()?)))
    };
    let mut steps: Vec<Step> = Vec::new();
    for statement in print::sent(&case.tables, &case.history) {
        steps.push((statement, None));
    }
    let begin = steps.len();
    let mut records = 0;
    for epoch in 0..=case.history.len() {
        records += epoch
            .checked_sub(1)
            .map_or(0, |epoch| case.history[epoch].len());
        for table in &case.tables {
            let query = format!("FROM {}", ident(&table.name));
            steps.push((print::table(table, records), Some(query)));
        }
        for (_, count) in failing() {
            steps.push(("SELECT 1".to_owned(), Some(print::theirs(count))));
        }
        if epochs.contains(&epoch) {
            for view in &case.views {
                let query = view
                    .materialized
                    .then(|| format!("FROM {}", ident(&view.name)));
                steps.push((print::view(view), query));
            }
        }
    }
    let answers = judge.answers(&steps);
    let failed = answers[..begin]
        .iter()
        .find_map(|answer| answer.as_ref().err());
    if let Some(error) = failed {
        return (Err(error.clone()), BTreeMap::new(), BTreeSet::new());
    }
    let mut failed = BTreeSet::new();
    let mut tables = Ok(Vec::new());
    let mut judgements = BTreeMap::new();
    let mut answers = answers.into_iter().skip(begin);
    for epoch in 0..=case.history.len() {
        let rows: Result<Vec<RecordBatch>, String> = case
            .tables
            .iter()
            .map(|_| wanted(answers.next().expect("a step has an answer")))
            .collect();
        tables = tables.and_then(|mut all: Tables| {
            all.push(rows?);
            Ok(all)
        });
        for (view, _) in failing() {
            let count = wanted(answers.next().expect("a step has an answer"));
            match count {
                Ok(count) if count.num_rows() == 0 => {}
                Ok(_) => drop(failed.insert(view.name.clone())),
                Err(error) => tables = tables.and(Err(error)),
            }
        }
        if epochs.contains(&epoch) {
            for view in &case.views {
                let answer = answers.next().expect("a step has an answer");
                if view.materialized {
                    let answer = wanted(answer).map(|rows| Answer::new(&rows));
                    judgements.insert((epoch, view.name.clone()), answer);
                }
            }
        }
    }
    (tables, judgements, failed)
}

fn wanted(answer: duckdb::Answer) -> Result<RecordBatch, String> {
    answer.map(|rows| rows.expect("it was asked for rows"))
}

/// The views for which DataFusion has another answer or none: at which epoch first, and what
/// differs.
fn doubts(
    case: &Case,
    definition: &Definition,
    replayed: &Replay,
    tables: &Tables,
) -> Result<BTreeMap<String, (usize, Option<String>)>, Failure> {
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
