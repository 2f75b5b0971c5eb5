//! Each stage alone, on one thread: what it would cost if there were nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use timely::dataflow::InputHandle;
use timely::dataflow::operators::{Input, Probe};

use super::Figures;
use crate::command::Failure;
use crate::decode::Decoder;
use crate::definition::Definition;
use crate::delta::{Delta, Epoch};
use crate::operator::fault::Faults;
use crate::operator::keyed::{KeyedGroup, KeyedRows, PickedRows};
use crate::operator::mapper::Mappers;
use crate::operator::row_hash::hash_rows;
use crate::operator::state_bytes::StateBytes;
use crate::plan::{NodeId, Plan};
use crate::render::{keyed_group, views};
use crate::runtime::planned;
use crate::sink::{ParquetOptions, encode};
use crate::source::{Chunk, Opening, Read, SourceSpec};

/// Chunks that make an epoch here: about what a tick brings at full speed.
const EPOCH_CHUNKS: usize = 8;

/// What each keyed node read in each epoch.
type EpochReads = Vec<(NodeId, Vec<Delta>)>;

/// Measures them all.
pub(super) fn measure(
    definition: &Definition,
    source: &SourceSpec,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let plan = Arc::new(planned(definition)?);
    let streams = definition.streams.iter();
    let opening = Opening::whole(streams.map(|stream| stream.name.clone()).collect());
    let mut source = source.open(opening, runtime.handle())?;
    let mut stages = Stages::new(definition, &plan)?;
    loop {
        match source.read(2 << 20)? {
            Read::Chunk(chunk) => stages.take(&chunk)?,
            Read::Idle => std::thread::yield_now(),
            Read::End => break,
        }
    }
    let views = stages.finish(figures)?;
    figures.add("views alone, all, one thread", views, "ns/record");
    Ok(())
}

struct Stages<'a> {
    definition: &'a Definition,
    plan: &'a Arc<Plan>,
    decoders: Vec<Decoder>,
    /// By table.
    cleaning: Vec<Mappers>,
    groups: Vec<(KeyedGroup, Vec<NodeId>)>,
    /// Rows of the epoch, by group.
    rows: Vec<Vec<KeyedRows>>,
    chunks: usize,
    records: u64,
    spent: BTreeMap<(String, &'static str), (Duration, u64)>,
    tables: Duration,
    epochs: Vec<EpochReads>,
}

impl<'a> Stages<'a> {
    fn new(definition: &'a Definition, plan: &'a Arc<Plan>) -> Result<Self, Failure> {
        let no_files = vec![Vec::new(); plan.tables.len()];
        let groups = plan
            .groups
            .iter()
            .map(|tables| keyed_group(plan, tables, &no_files))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Stages {
            definition,
            plan,
            decoders: definition
                .streams
                .iter()
                .map(|s| Decoder::new(Arc::clone(&s.schema)))
                .collect::<Result<Vec<_>, _>>()?,
            cleaning: plan
                .tables
                .iter()
                .map(|table| Mappers::new(&table.clean, &definition.streams[table.stream].schema))
                .collect::<Result<Vec<_>, _>>()?,
            rows: vec![Vec::new(); groups.len()],
            groups,
            chunks: 0,
            records: 0,
            spent: BTreeMap::new(),
            tables: Duration::ZERO,
            epochs: Vec::new(),
        })
    }

    fn note(&mut self, stream: usize, stage: &'static str, started: Instant, rows: usize) {
        let name = self.definition.streams[stream].name.clone();
        let entry = self.spent.entry((name, stage)).or_default();
        entry.0 += started.elapsed();
        entry.1 += rows as u64;
    }

    fn take(&mut self, chunk: &Chunk) -> Result<(), Failure> {
        let started = Instant::now();
        let decoded = self.decoders[chunk.stream].decode(&chunk.bytes, chunk.first_offset);
        self.note(chunk.stream, "decode", started, decoded.rows.num_rows());
        self.records += chunk.records;
        let plan = Arc::clone(self.plan);
        let of_stream = |table: &usize| plan.tables[*table].stream == chunk.stream;
        for table in (0..plan.tables.len()).filter(of_stream) {
            let rows = self.clean_and_stage(chunk.stream, table, decoded.rows.clone())?;
            let started = Instant::now();
            let group = plan.groups.iter().position(|group| group.contains(&table));
            let group = group.ok_or("every table is in a group")?;
            let place = plan.groups[group].iter().position(|&t| t == table);
            self.rows[group].push(KeyedRows {
                table: place.ok_or("the group holds the table")?,
                partition: 0,
                offset: chunk.first_offset,
                hashes: hash_rows(&rows)?,
                rows: PickedRows::all(rows),
                file: None,
                retried: None,
            });
            self.tables += started.elapsed();
        }
        self.chunks += 1;
        if self.chunks.is_multiple_of(EPOCH_CHUNKS) {
            self.end_epoch()?;
        }
        Ok(())
    }

    fn clean_and_stage(
        &mut self,
        stream: usize,
        table: usize,
        mut rows: RecordBatch,
    ) -> Result<RecordBatch, Failure> {
        let plan = Arc::clone(self.plan);
        let cleaning = &mut self.cleaning[table];
        let table = &plan.tables[table];
        let started = Instant::now();
        rows = cleaning.apply(&rows, &mut |_row, _error| {})?.rows;
        self.note(stream, "clean", started, rows.num_rows());
        let started = Instant::now();
        let options = ParquetOptions::default();
        encode(&table.schema, std::slice::from_ref(&rows), &options)?;
        self.note(stream, "stage", started, rows.num_rows());
        Ok(rows)
    }

    fn end_epoch(&mut self) -> Result<(), Failure> {
        let mut read = Vec::new();
        for ((group, readers), rows) in self.groups.iter_mut().zip(&mut self.rows) {
            let started = Instant::now();
            let outcome = group.apply(std::mem::take(rows))?;
            self.tables += started.elapsed();
            read.extend(readers.iter().copied().zip(outcome.deltas));
        }
        self.epochs.push(read);
        Ok(())
    }

    /// Notes all figures, and returns what the views took for a record, in nanoseconds.
    fn finish(mut self, figures: &mut Figures) -> Result<f64, Failure> {
        self.end_epoch()?;
        for ((stream, stage), (time, rows)) in &self.spent {
            let name = format!("{stage} alone, {stream}, one thread");
            let each = time.as_nanos() as f64 / (*rows).max(1) as f64;
            figures.add(&name, each, "ns/record");
        }
        let records = self.records.max(1) as f64;
        let tables = self.tables.as_nanos() as f64 / records;
        figures.add("tables and joins alone, one thread", tables, "ns/record");
        let (plan, epochs) = (Arc::clone(self.plan), self.epochs);
        let spent = views_alone(plan, epochs)?;
        Ok(spent.as_nanos() as f64 / records)
    }
}

/// Feeds what was read to the views, epoch by epoch.
fn views_alone(plan: Arc<Plan>, epochs: Vec<EpochReads>) -> Result<Duration, Failure> {
    let spent = timely::execute_directly(move |worker| {
        let nodes: Vec<NodeId> = epochs
            .iter()
            .flat_map(|read| read.iter().map(|(node, _)| *node))
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        let mut inputs: BTreeMap<NodeId, InputHandle<Epoch, _>> = BTreeMap::new();
        let probe = worker.dataflow::<Epoch, _, _>(|scope| {
            let mut streams = BTreeMap::new();
            for &node in &nodes {
                let (input, stream) = scope.new_input::<Vec<Delta>>();
                inputs.insert(node, input);
                streams.insert(node, stream);
            }
            let probe = timely::dataflow::ProbeHandle::new();
            let rendered = views::render(
                scope,
                &plan,
                |node| streams[&node].clone(),
                0,
                &Faults::default(),
                &StateBytes::default(),
            );
            rendered.map(|nodes| {
                for view in &plan.views {
                    nodes[view.node].clone().probe_with(&probe);
                }
                probe
            })
        })?;
        let started = Instant::now();
        for (epoch, read) in (1..).zip(epochs) {
            for (node, mut deltas) in read {
                if let Some(input) = inputs.get_mut(&node) {
                    input.send_batch(&mut deltas);
                }
            }
            for input in inputs.values_mut() {
                input.advance_to(epoch);
            }
            worker.step_while(|| probe.less_than(&epoch));
        }
        Ok::<_, arrow::error::ArrowError>(started.elapsed())
    });
    Ok(spent?)
}
