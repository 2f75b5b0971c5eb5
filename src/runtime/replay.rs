//! Runs a dataflow over given records in memory, and answers for any view at any epoch.
//!
//! This is the same dataflow that `run` runs, without a lake and without a clock: the caller says
//! which records belong to which epoch. Tests are written with it, and so can be trials of SQL:
//!
//! ```
//! use pinflow::definition::Definition;
//! use pinflow::runtime::replay;
//!
//! let definition = Definition::parse("example.sql", r#"
//!     CREATE EXTERNAL TABLE pin_raw ("index" BIGINT, category TEXT) STORED AS JSON LOCATION 'pin';
//!     CREATE TABLE pin (PRIMARY KEY (ind)) AS SELECT "index" AS ind, category FROM pin_raw;
//!     CREATE MATERIALIZED VIEW per_category AS SELECT category, count(*) AS posts FROM pin GROUP BY category;
//! "#).unwrap();
//! let mut input = replay::Input::default();
//! input.add(1, "pin", r#"{"index": 1, "category": "art"}"#);
//! input.add(2, "pin", r#"{"index": 1, "category": "travel"}"#);
//! let replay = replay(&definition, input, &replay::Options::default()).unwrap();
//! assert_eq!(replay.rows("per_category", 1).unwrap(), ["art | 1"]);
//! assert_eq!(replay.rows("per_category", 2).unwrap(), ["travel | 1"]);
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;

use super::engine::run_workers;
use super::planned::planned;
use crate::definition::{Definition, DefinitionError};
use crate::delta::{Delta, Epoch, take_rows};
use crate::operator::fault::{Fault, Faults};
use crate::reclock::{Claim, Feed};
use crate::render::{IngestConfig, ViewEvent, WorkerConfig, build, served_views};
use crate::source::{Chunk, Delete, Position};

/// Records by epoch and stream.
#[derive(Clone, Debug, Default)]
pub struct Input {
    records: BTreeMap<Epoch, Vec<(String, Event)>>,
}

/// What a stream brings.
#[derive(Clone, Debug)]
enum Event {
    Record(Vec<u8>),
    /// A tombstone with this key.
    Delete(Vec<u8>),
}

impl Input {
    /// Adds a record to `stream` in `epoch` (from 1).
    pub fn add(&mut self, epoch: Epoch, stream: &str, record: impl AsRef<[u8]>) {
        self.push(epoch, stream, Event::Record(record.as_ref().to_vec()));
    }

    /// Deletes a key of the tables of `stream` in `epoch`; the key is a number or text, bare or as
    /// JSON.
    pub fn delete(&mut self, epoch: Epoch, stream: &str, key: impl AsRef<[u8]>) {
        self.push(epoch, stream, Event::Delete(key.as_ref().to_vec()));
    }

    fn push(&mut self, epoch: Epoch, stream: &str, event: Event) {
        let events = self.records.entry(epoch).or_default();
        events.push((stream.to_owned(), event));
    }

    /// The epochs that have records.
    pub fn epochs(&self) -> impl Iterator<Item = Epoch> + '_ {
        self.records.keys().copied()
    }
}

/// How a replay is run; no answer depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Worker threads.
    pub workers: usize,
    /// Records of one stream that are handed over together, at most.
    pub batch: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            workers: 1,
            batch: 1000,
        }
    }
}

/// Why a replay could not be run, or a question not be answered.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The dataflow is wrong.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// A record is for a stream that the dataflow does not declare.
    #[error("the dataflow declares no stream `{stream}`; it has {known}")]
    NoSuchStream {
        /// The name.
        stream: String,
        /// Those there are.
        known: String,
    },
    /// A view was asked for that there is not.
    #[error("there is no view `{view}`; there are {known}")]
    NoSuchView {
        /// The name.
        view: String,
        /// Those there are.
        known: String,
    },
    /// The dataflow could not be run.
    #[error("the dataflow cannot be run: {0}")]
    Failed(String),
}

/// All views at all epochs.
pub struct Replay {
    views: Vec<(String, SchemaRef)>,
    changes: BTreeMap<(usize, Epoch), Vec<Delta>>,
    /// Rows that views could not use.
    pub faults: Vec<Fault>,
    /// Records that changed nothing.
    pub duplicates: u64,
}

/// Hands chunks to workers as they ask.
struct Script(Mutex<VecDeque<(Epoch, Chunk)>>);

impl Feed for Script {
    fn claim(&self) -> Claim {
        match self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
        {
            Some((epoch, chunk)) => Claim::Chunk(epoch, chunk),
            None => Claim::End,
        }
    }
}

impl Script {
    fn new(definition: &Definition, input: Input, batch: usize) -> Result<Self, ReplayError> {
        let mut offsets = vec![0u64; definition.streams.len()];
        let mut chunks = VecDeque::new();
        for (epoch, records) in input.records {
            let mut runs: Vec<Chunk> = Vec::new();
            let mut bytes: Vec<Vec<u8>> = Vec::new();
            for (stream, event) in records {
                let index = stream_called(definition, &stream)?;
                let goes_on =
                    |run: &Chunk| run.stream == index && run.records < batch.max(1) as u64;
                if !runs.last().is_some_and(goes_on) {
                    runs.push(empty_chunk(index, offsets[index]));
                    bytes.push(Vec::new());
                }
                if let (Some(run), Some(bytes)) = (runs.last_mut(), bytes.last_mut()) {
                    let offset = offsets[index];
                    offsets[index] += 1;
                    run.records += 1;
                    run.end.offset += 1;
                    match event {
                        Event::Record(record) => crate::decode::push_record(bytes, &record),
                        Event::Delete(key) => {
                            bytes.push(b'\n');
                            let key = key.into();
                            run.deletes.push(Delete { offset, key });
                        }
                    }
                }
            }
            chunks.extend(runs.into_iter().zip(bytes).map(|(run, bytes)| {
                let bytes = bytes.into();
                (epoch, Chunk { bytes, ..run })
            }));
        }
        Ok(Script(Mutex::new(chunks)))
    }
}

fn stream_called(definition: &Definition, name: &str) -> Result<usize, ReplayError> {
    let streams = &definition.streams;
    let found = streams.iter().position(|known| known.name == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = streams.iter().map(|s| s.name.as_str()).collect();
        ReplayError::NoSuchStream {
            stream: name.to_owned(),
            known: known.join(", "),
        }
    })
}

fn empty_chunk(stream: usize, first_offset: u64) -> Chunk {
    Chunk {
        stream,
        partition: "0".to_owned(),
        first_offset,
        records: 0,
        bytes: Bytes::new(),
        deletes: Vec::new(),
        refused: Vec::new(),
        end: Position {
            offset: first_offset,
            token: String::new(),
        },
        retry: None,
    }
}

/// Runs `definition` over `input` to its end.
pub fn replay(
    definition: &Definition,
    input: Input,
    options: &Options,
) -> Result<Replay, ReplayError> {
    let plan = Arc::new(planned(definition)?);
    let feed: Arc<dyn Feed> = Arc::new(Script::new(definition, input, options.batch)?);
    let streams: Vec<_> = definition
        .streams
        .iter()
        .map(|s| (s.name.clone(), Arc::clone(&s.schema)))
        .collect();
    let (events, inbox) = crossbeam_channel::unbounded();
    let faults = Faults::default();
    let counters = Arc::<crate::operator::keyed::KeyedCounters>::default();
    let workers = options.workers.max(1);
    let shared = (
        Arc::clone(&plan),
        faults.clone(),
        Arc::clone(&counters),
        events,
    );
    let replayed = run_workers(workers, None, move |worker| {
        let (plan, faults, counters, events) = shared.clone();
        let restored_files = vec![Vec::new(); plan.tables.len()];
        let config = WorkerConfig {
            ingest: IngestConfig {
                plan,
                streams: streams.clone(),
                feed: Arc::clone(&feed),
                start: 0,
                restored: None,
                now_us: Arc::new(|| 0),
            },
            restored_files,
            faults,
            counters,
            clock: None,
            heard: Arc::new(|_, _| {}),
            events,
            serving_workers: workers,
            stager: None,
            complete: Arc::new(|_| {}),
        };
        let probes = worker
            .dataflow::<Epoch, _, _>(|scope| build(scope, config))
            .map_err(|e| e.to_string())?;
        while !probes.all.done() {
            worker.step_or_park(None);
        }
        Ok(())
    });
    replayed.map_err(ReplayError::Failed)?;
    let mut changes: BTreeMap<(usize, Epoch), Vec<Delta>> = BTreeMap::new();
    for event in inbox.try_iter() {
        if let ViewEvent::Changed(epoch, view, delta) = event {
            changes.entry((view, epoch)).or_default().push(delta);
        }
    }
    let views = served_views(&plan)
        .into_iter()
        .map(|(name, schema, _)| (name, schema))
        .collect();
    Ok(Replay {
        views,
        changes,
        faults: faults.list().1,
        duplicates: counters.duplicates.load(Ordering::Relaxed),
    })
}

impl Replay {
    /// The names of the views, in the file's order; the dead letters last.
    pub fn views(&self) -> impl Iterator<Item = &str> {
        self.views.iter().map(|(name, _)| name.as_str())
    }

    /// The last epoch in which anything changed.
    pub fn last_epoch(&self) -> Epoch {
        self.changes
            .keys()
            .map(|(_, epoch)| *epoch)
            .max()
            .unwrap_or(0)
    }

    /// The rows of a view at the end of `epoch`, sorted by their columns; a row that occurs several
    /// times is there several times.
    pub fn at(&self, view: &str, epoch: Epoch) -> Result<RecordBatch, ReplayError> {
        let number = self.number(view)?;
        let schema = &self.views[number].1;
        let deltas: Vec<&Delta> = self
            .changes
            .range((number, 0)..=(number, epoch))
            .flat_map(|(_, deltas)| deltas)
            .collect();
        let failed = |error: arrow::error::ArrowError| ReplayError::Failed(error.to_string());
        let rows =
            concat_batches(schema, deltas.iter().map(|delta| &delta.rows)).map_err(failed)?;
        let fields = schema
            .fields()
            .iter()
            .map(|field| SortField::new(field.data_type().clone()))
            .collect();
        let keys = RowConverter::new(fields)
            .and_then(|c| c.convert_columns(rows.columns()))
            .map_err(failed)?;
        let mut counts: BTreeMap<&[u8], (i64, u64)> = BTreeMap::new();
        let diffs = deltas.iter().flat_map(|delta| delta.diffs.iter().copied());
        let keys: Vec<_> = keys.iter().collect();
        for (row, (key, diff)) in keys.iter().zip(diffs).enumerate() {
            counts.entry(key.as_ref()).or_insert((0, row as u64)).0 += diff;
        }
        let mut picked = Vec::new();
        for (count, row) in counts.into_values() {
            if count < 0 {
                return Err(ReplayError::Failed(format!(
                    "a row of `{view}` was retracted more often than it came: please report it"
                )));
            }
            picked.extend(std::iter::repeat_n(row, count as usize));
        }
        take_rows(&rows, &picked).map_err(failed)
    }

    /// The same as text, one line a row, values separated by ` | `.
    pub fn rows(&self, view: &str, epoch: Epoch) -> Result<Vec<String>, ReplayError> {
        let batch = self.at(view, epoch)?;
        let options = FormatOptions::default().with_null("NULL");
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| ReplayError::Failed(error.to_string()))?;
        Ok((0..batch.num_rows())
            .map(|row| {
                columns
                    .iter()
                    .map(|column| column.value(row).to_string())
                    .collect::<Vec<_>>()
                    .join(" | ")
            })
            .collect())
    }

    fn number(&self, view: &str) -> Result<usize, ReplayError> {
        self.views
            .iter()
            .position(|(name, _)| name == view)
            .ok_or_else(|| ReplayError::NoSuchView {
                view: view.to_owned(),
                known: self.views().collect::<Vec<_>>().join(", "),
            })
    }
}
