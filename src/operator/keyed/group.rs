//! The state of a group of keyed tables, and what an epoch does to it.
//!
//! Rows of all tables of a group that share a key share a slot. An identical record changes
//! nothing; a different one replaces the kept row; a deleted key has none until it comes again.
//! Readers (a scan of one table, a join of several on the key) are told the rows they had for the
//! touched keys, and the rows they have now.
//!
//! ```text
//!   rows of an epoch --> slots --> which of them change anything?
//!                                   |
//!        old rows of readers (-1) <-+   before the kept columns are written
//!        new rows of readers (+1) <-+   after
//!        full rows to stage       <-+   with the file that will hold them
//!        keys to take out of files<-+
//! ```
//!
//! # Invariants
//! 1. Between epochs `before == present` and `dirty` is clear, for every table.
//! 2. A slot's `file` names the data file (or the one being filled) that holds the key's row of
//!    that table, exactly when it is present.
//! 3. Rows of one table apply in the order (partition, offset); the last of a key wins. A record
//!    that was a dead letter counts as one of the time when it came first (`retried`).

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};

use super::column::KeptColumn;
use super::readers::{Gathered, Moment, Place, Reader, ReaderMember, Selection};
use super::retried::Verdict;
use super::rows::{DELETED, KeyedRows};
use super::slots::Slots;
use super::table::{Change, TableState};
use crate::bits::Bits;
use crate::checkpoint::Came;
use crate::delta::{Delta, WireBatch};
use crate::plan::{Member, Presence};
use crate::segmented::Segmented;

/// A data file of a table, for the length of a run. Files that existed at the start come first, in
/// the same order on all workers; the others are numbered by the worker that fills them.
pub type FileId = u32;

/// Full rows to be staged.
#[derive(Clone, Debug)]
pub struct Appended {
    /// The table: its place in the plan.
    pub table: usize,
    /// The file they go to.
    pub file: FileId,
    /// The rows, all columns.
    pub rows: RecordBatch,
}

/// Keys whose rows leave a data file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Superseded {
    /// The table: its place in the plan.
    pub table: usize,
    /// The file.
    pub file: FileId,
    /// The primary keys, one row each.
    pub keys: WireBatch,
}

/// What a table of a group looks like.
pub struct TableShape {
    /// Its place in the plan.
    pub table: usize,
    /// All its columns.
    pub schema: SchemaRef,
    /// The primary key, as indices into `schema`.
    pub key: Vec<usize>,
    /// The columns to keep, as indices into `schema`.
    pub kept: Vec<usize>,
    /// For each file that the table had at the start, when its records came.
    pub restored: Vec<Came>,
}

/// Everything an epoch did.
#[derive(Default)]
pub struct Outcome {
    /// For each reader its changes.
    pub deltas: Vec<Vec<Delta>>,
    /// Rows to stage.
    pub appended: Vec<Appended>,
    /// Keys to take out of files.
    pub superseded: Vec<Superseded>,
    /// Records that changed nothing.
    pub duplicates: u64,
    /// Dead letters that were sent in again, and are letters again.
    pub undecided: Vec<RecordBatch>,
}

/// The tables of a group.
pub struct KeyedGroup {
    slots: Slots,
    tables: Vec<TableState>,
    selections: Vec<Selection>,
    readers: Vec<Reader>,
    file_rows_max: usize,
    scratch: Vec<u32>,
}

impl KeyedGroup {
    /// An empty group. New files are numbered behind those that were restored, and closed after
    /// about `file_rows_max` rows.
    pub fn new(shapes: Vec<TableShape>, file_rows_max: usize) -> Result<Self, ArrowError> {
        let key_types: Vec<DataType> = shapes[0]
            .key
            .iter()
            .map(|&column| shapes[0].schema.field(column).data_type().clone())
            .collect();
        let tables = shapes
            .into_iter()
            .map(|shape| {
                let kept = shape
                    .kept
                    .iter()
                    .map(|&column| KeptColumn::new(shape.schema.field(column).data_type()))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(TableState {
                    kept,
                    present: Bits::default(),
                    before: Bits::default(),
                    dirty: Bits::default(),
                    hashes: Segmented::default(),
                    files: Segmented::default(),
                    open_file: shape.restored.len() as FileId,
                    shape,
                    open_rows: 0,
                })
            })
            .collect::<Result<Vec<_>, ArrowError>>()?;
        Ok(KeyedGroup {
            slots: Slots::new(&key_types)?,
            tables,
            selections: Vec::new(),
            readers: Vec::new(),
            file_rows_max,
            scratch: Vec::new(),
        })
    }

    /// Adds a reader; its changes come at this place of [`Outcome::deltas`].
    pub fn read(&mut self, members: &[Member], presence: Presence, schema: SchemaRef) -> usize {
        let sets = 0..1u16 << members.len();
        let members: Vec<ReaderMember> = members
            .iter()
            .enumerate()
            .map(|(bit, member)| {
                let table = self
                    .tables
                    .iter()
                    .position(|table| table.shape.table == member.table)
                    .expect("a group holds all tables of its readers");
                let shape = &self.tables[table].shape;
                let columns = member
                    .columns
                    .iter()
                    .map(
                        |column| match shape.key.iter().position(|key| key == column) {
                            Some(position) => Place::Key(position),
                            None => Place::Kept(
                                shape
                                    .kept
                                    .iter()
                                    .position(|kept| kept == column)
                                    .expect("columns that are read are kept"),
                            ),
                        },
                    )
                    .collect();
                let optional = sets
                    .clone()
                    .any(|set| presence.holds(set as u8) && set >> bit & 1 == 0);
                ReaderMember {
                    table,
                    columns,
                    optional,
                }
            })
            .collect();
        let selection = Selection {
            tables: members.iter().map(|member| member.table).collect(),
            presence,
        };
        let known = self.selections.iter().position(|known| *known == selection);
        let selection = known.unwrap_or_else(|| {
            self.selections.push(selection);
            self.selections.len() - 1
        });
        self.readers.push(Reader {
            selection,
            members,
            schema,
        });
        self.readers.len() - 1
    }

    /// Applies the rows of one epoch.
    pub fn apply(&mut self, mut inputs: Vec<KeyedRows>) -> Result<Outcome, ArrowError> {
        inputs.sort_by_key(|rows| (rows.table, rows.partition, rows.offset));
        let mut outcome = Outcome {
            deltas: vec![Vec::new(); self.readers.len()],
            ..Outcome::default()
        };
        let mut changes: Vec<Vec<Change>> = vec![Vec::new(); self.tables.len()];
        for (batch, input) in inputs.iter().enumerate() {
            let undecided = &mut outcome.undecided;
            outcome.duplicates +=
                self.find_changes(batch as u32, input, &mut changes[input.table], undecided)?;
        }
        for (table, changes) in self.tables.iter_mut().zip(&mut changes) {
            table.drop_overtaken(changes);
        }
        let len = self.slots.len();
        self.tables.iter_mut().for_each(|table| table.resize(len));
        let touched: Vec<Vec<u32>> = self
            .selections
            .iter()
            .map(|selection| self.touched(selection, &changes))
            .collect();
        self.emit(&touched, -1, &mut outcome.deltas)?;
        for (table, changes) in changes.iter().enumerate() {
            self.collect_superseded(table, changes, &mut outcome.superseded)?;
            self.tables[table].write(
                &inputs,
                changes,
                self.file_rows_max,
                &mut outcome.appended,
            )?;
        }
        self.emit(&touched, 1, &mut outcome.deltas)?;
        for (table, changes) in self.tables.iter_mut().zip(&changes) {
            for change in changes {
                let slot = change.slot as usize;
                table.dirty.set(slot, false);
                table.before.set(slot, table.present.get(slot));
            }
        }
        Ok(outcome)
    }

    /// Starts new files: the open ones are being committed.
    pub fn roll_files(&mut self) {
        for table in &mut self.tables {
            table.roll();
        }
    }

    /// The number of bytes the state takes in memory, about.
    pub fn bytes(&self) -> usize {
        self.slots.bytes()
            + self
                .tables
                .iter()
                .map(|table| {
                    table.hashes.bytes()
                        + table.files.bytes()
                        + table.present.bytes() * 3
                        + table.kept.iter().map(KeptColumn::bytes).sum::<usize>()
                })
                .sum::<usize>()
    }

    /// How many keys have a row, table by table.
    pub fn rows(&self) -> Vec<(usize, u64)> {
        self.tables
            .iter()
            .map(|table| (table.shape.table, table.present.count() as u64))
            .collect()
    }

    /// Looks the rows up and notes those that differ from what is kept; returns how many do not.
    fn find_changes(
        &mut self,
        batch: u32,
        input: &KeyedRows,
        changes: &mut Vec<Change>,
        undecided: &mut Vec<RecordBatch>,
    ) -> Result<u64, ArrowError> {
        let mut slots = std::mem::take(&mut self.scratch);
        let keys = self.tables[input.table]
            .shape
            .key
            .iter()
            .map(|&key| input.rows.column(key))
            .collect::<Result<Vec<_>, _>>()?;
        self.slots.intern(&keys, &mut slots)?;
        let len = self.slots.len();
        let table = &mut self.tables[input.table];
        table.resize(len);
        let mut duplicates = 0;
        let mut unknown: Vec<u64> = Vec::new();
        for (row, (&slot, &hash)) in slots.iter().zip(&input.hashes).enumerate() {
            let at = slot as usize;
            // What is there already is not added, and what is not is not deleted.
            let same = match hash {
                DELETED => !table.present.get(at),
                _ => table.present.get(at) && table.hashes[at] == hash,
            };
            if same {
                duplicates += 1;
                continue;
            }
            if let Some(retried) = &input.retried {
                match table.verdict(at, retried) {
                    Verdict::Replaced => {}
                    Verdict::Stays => {
                        duplicates += 1;
                        continue;
                    }
                    Verdict::Unknown => {
                        unknown.push(row as u64);
                        continue;
                    }
                }
            }
            table.present.set(at, hash != DELETED);
            table.dirty.set(at, true);
            table.hashes[at] = hash;
            changes.push(Change {
                slot,
                batch,
                row: input.rows.place(row),
            });
        }
        if let Some(retried) = input.retried.as_ref().filter(|_| !unknown.is_empty()) {
            undecided.push(retried.letters(&unknown)?);
        }
        self.scratch = slots;
        Ok(duplicates)
    }

    /// The slots of which a reader may have another row now.
    fn touched(&self, selection: &Selection, changes: &[Vec<Change>]) -> Vec<u32> {
        let mut touched = Vec::new();
        for (index, &table) in selection.tables.iter().enumerate() {
            // A slot that an earlier member changed too is in the list already.
            let seen = |slot: u32| {
                selection.tables[..index]
                    .iter()
                    .any(|&earlier| self.tables[earlier].dirty.get(slot as usize))
            };
            touched.extend(
                changes[table]
                    .iter()
                    .map(|change| change.slot)
                    .filter(|&slot| !seen(slot)),
            );
        }
        touched
    }

    /// Emits the rows of all readers for the keys that each selection has in `touched`: as they
    /// were before the epoch (`diff` -1), or as they are (+1).
    fn emit(
        &mut self,
        touched: &[Vec<u32>],
        diff: i64,
        deltas: &mut [Vec<Delta>],
    ) -> Result<(), ArrowError> {
        let moment = if diff < 0 {
            Moment::Before
        } else {
            Moment::Now
        };
        for (index, touched) in touched.iter().enumerate() {
            let slots = self.selections[index].slots(&self.tables, touched, moment);
            if slots.is_empty() {
                continue;
            }
            let mut gathered = Gathered::new(&self.slots, &mut self.tables, &slots, moment);
            for (reader, deltas) in self.readers.iter().zip(&mut *deltas) {
                if reader.selection == index {
                    deltas.push(Delta {
                        rows: gathered.rows(reader)?,
                        diffs: vec![diff; slots.len()],
                    });
                }
            }
        }
        Ok(())
    }

    /// For the changes that replace an older row: which keys leave which files.
    fn collect_superseded(
        &self,
        table: usize,
        changes: &[Change],
        out: &mut Vec<Superseded>,
    ) -> Result<(), ArrowError> {
        let state = &self.tables[table];
        let mut leaving: Vec<(FileId, u32)> = changes
            .iter()
            .filter(|change| state.before.get(change.slot as usize))
            .map(|change| (state.files[change.slot as usize], change.slot))
            .collect();
        leaving.sort_unstable();
        for of_file in leaving.chunk_by(|a, b| a.0 == b.0) {
            let slots: Vec<u32> = of_file.iter().map(|&(_, slot)| slot).collect();
            let fields: Vec<_> = state
                .shape
                .key
                .iter()
                .map(|&key| state.shape.schema.field(key).clone())
                .collect();
            let keys =
                RecordBatch::try_new(Arc::new(Schema::new(fields)), self.slots.gather(&slots)?)?;
            out.push(Superseded {
                table: state.shape.table,
                file: of_file[0].0,
                keys: WireBatch(keys),
            });
        }
        Ok(())
    }
}
