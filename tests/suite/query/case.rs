//! A dataflow file and a history for it, as a seed gives them.

use std::collections::{BTreeMap, BTreeSet};

use pinflow::definition::{Definition, DefinitionError};
use pinflow::plan::lower;
use pinflow::runtime::replay::{Input, Options};

use super::super::tape::Tape;
use super::history::{Fate, History, history, shown};
use super::print;
use super::schema::{Table, tables};
use super::views::View;
use crate::support::seed::Chance;

/// Tables, views over them, and records.
#[derive(Clone, Debug)]
pub struct Case {
    pub tables: Vec<Table>,
    pub views: Vec<View>,
    pub history: History,
    pub options: Options,
}

/// How many views there is no answer for, and one of them, by the reason.
pub type Refusals = BTreeMap<String, (u64, String)>;

impl Case {
    /// The case of a seed, with so many views before any is refused.
    pub fn new(seed: u64, views: usize) -> Case {
        let mut chance = Chance::new(seed);
        let tables = tables(&mut Tape::new(&chance.bytes(200)));
        let mut written: Vec<View> = Vec::new();
        for number in 0..views {
            let tape = chance.bytes(400);
            written.push(View::new(number, tape, &tables, &written));
        }
        let history = history(&mut Tape::new(&chance.bytes(3000)), &tables);
        Case {
            tables,
            views: written,
            history,
            options: Options {
                workers: 1 + chance.below(3),
                batch: 1 + chance.below(20),
            },
        }
    }

    /// The dataflow file.
    pub fn file(&self) -> String {
        print::file(&self.tables, &self.views)
    }

    /// The definition, if all of it is accepted.
    pub fn definition(&self) -> Result<Definition, DefinitionError> {
        let definition = Definition::parse("random.sql", &self.file())?;
        lower(&definition)?;
        Ok(definition)
    }

    /// Leaves out what pinflow refuses, and what reads it.
    pub fn accept(&mut self, refusals: &mut Refusals) -> Definition {
        let accepted = Definition::accepted("random.sql", &self.file());
        let (mut definition, errors) =
            accepted.unwrap_or_else(|error| panic!("no file: {error}\n{}", self.file()));
        let mut gone = BTreeSet::new();
        for error in errors {
            self.refuse(&error, &mut gone, refusals);
        }
        // The views are planned already, so that only those that are refused here must go.
        while let Err(error) = lower(&definition) {
            self.refuse(&error, &mut gone, refusals);
            let refused: BTreeSet<&str> = gone
                .iter()
                .map(|view| self.views[*view].name.as_str())
                .collect();
            let views = &mut definition.views;
            views.retain(|view| !refused.contains(view.name.as_str()));
        }
        self.keep(|view| !gone.contains(&view));
        definition
    }

    /// Notes that the view that `error` is about is gone, with those that read it.
    fn refuse(&self, error: &DefinitionError, gone: &mut BTreeSet<usize>, refusals: &mut Refusals) {
        // A statement is a line, and the views stand last.
        let line = error.place.as_ref().map_or(0, |place| place.line as usize);
        let streams = self.tables.iter().filter(|table| table.twin.is_none());
        let view = line.checked_sub(1 + streams.count() + self.tables.len());
        let Some(view) = view.filter(|view| *view < self.views.len()) else {
            panic!(
                "the tables of a random file are refused: {error}\n{}",
                self.file()
            );
        };
        // A reader of what is gone is refused for that alone.
        if gone.contains(&view) {
            return;
        }
        let before = gone.len();
        gone.extend(self.readers(view));
        let example = print::ours(&self.views[view].sql);
        let refused = refusals.entry(reason(&error.what)).or_insert((0, example));
        refused.0 += (gone.len() - before) as u64;
    }

    /// A view and those that read it.
    fn readers(&self, view: usize) -> BTreeSet<usize> {
        let mut readers = BTreeSet::from([view]);
        for reader in view..self.views.len() {
            if !self.views[reader].reads.is_disjoint(&readers) {
                readers.insert(reader);
            }
        }
        readers
    }

    /// Removes a view and those that read it.
    pub fn remove(&mut self, view: usize) {
        let gone = self.readers(view);
        self.keep(|view| !gone.contains(&view));
    }

    /// Keeps the views that are `wanted`, which read no others.
    pub fn keep(&mut self, wanted: impl Fn(usize) -> bool) {
        let kept: Vec<usize> = (0..self.views.len()).filter(|view| wanted(*view)).collect();
        let places: BTreeMap<usize, usize> = kept.iter().copied().zip(0..).collect();
        self.views = kept.iter().map(|view| self.views[*view].clone()).collect();
        for view in &mut self.views {
            view.reads = view.reads.iter().map(|read| places[read]).collect();
        }
    }

    /// The view and all that it reads.
    pub fn closure(&self, view: usize) -> BTreeSet<usize> {
        let mut all = BTreeSet::from([view]);
        for reader in (0..=view).rev() {
            if all.contains(&reader) {
                all.extend(&self.views[reader].reads);
            }
        }
        all
    }

    /// The records as a replay is given them.
    pub fn input(&self) -> Input {
        let mut input = Input::default();
        for (epoch, records) in (1..).zip(&self.history) {
            for record in records {
                let table = &self.tables[record.table];
                match record.fate {
                    Fate::Deleted => input.delete(epoch, &table.stream, record.key(table)),
                    _ => input.add(epoch, &table.stream, record.json(table)),
                }
            }
        }
        input
    }

    /// All that is needed to run it by hand.
    pub fn text(&self) -> String {
        let Options { workers, batch } = self.options;
        format!(
            "-- {workers} workers, {batch} records a batch\n{}-- records\n{}",
            self.file(),
            shown(&self.tables, &self.history)
        )
    }
}

/// A reason without the names in it.
fn reason(what: &str) -> String {
    let mut parts = what.split('`');
    let mut reason = parts.next().unwrap_or_default().to_owned();
    while let (Some(_), Some(rest)) = (parts.next(), parts.next()) {
        reason = format!("{reason}`..`{rest}");
    }
    reason
        .chars()
        .filter(|c| !c.is_ascii_digit())
        .take(160)
        .collect()
}
