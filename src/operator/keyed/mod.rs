//! Tables: the keyed heart of the dataflow.
//!
//! `group` is the state and what an epoch does to it, free of timely; this file is the timely
//! operator around it. `slots`, `column` and `dictionary` are how the state is laid out: a slot a
//! key, a narrow value a column, each text once.
//!
//! The kept state is the pruned row (the columns that views read) plus the row's hash and the
//! number of its file. Full-width rows go on to be staged and are forgotten.

mod column;
mod dictionary;
mod group;
mod integers;
mod readers;
mod retried;
mod rows;
mod slots;
mod table;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

pub use group::{Appended, FileId, KeyedGroup, Outcome, Superseded, TableShape};
pub use retried::Retried;
pub use rows::{DELETED, KeyedRows, PickedRows};

use super::epochs::Stash;
use super::route::Routed;
use super::state_bytes::StateBytes;
use crate::delta::{Delta, Epoch};

/// What the rest of the dataflow sees of a group of tables.
pub struct KeyedStreams<'scope> {
    /// The changes of each reader.
    pub readers: Vec<StreamVec<'scope, Epoch, Delta>>,
    /// Rows to stage, on the worker that owns them.
    pub appended: StreamVec<'scope, Epoch, Appended>,
    /// Keys to take out of files, addressed to the worker that rewrites the file.
    pub superseded: StreamVec<'scope, Epoch, Routed<Superseded>>,
    /// Letters that were sent in again and are letters again: it is not known whether they are
    /// newer than the rows that are there.
    pub undecided: StreamVec<'scope, Epoch, Delta>,
}

/// Counters of a group, shared by all workers of a process.
#[derive(Debug, Default)]
pub struct KeyedCounters {
    /// Records that changed nothing.
    pub duplicates: AtomicU64,
    /// Bytes of state, of these and of the operators of views. (Differential's arrangements, of
    /// joins on other columns than keys, are not counted.)
    pub state_bytes: StateBytes,
}

/// Runs `group` on the rows that belong to this worker.
///
/// `boundaries` says which epochs end a commit: after such an epoch new files begin. Files numbered
/// below `restored_files[table]` existed when the run began; they are rewritten by worker `file %
/// workers`, others by the worker that filled them.
pub fn keyed<'scope>(
    rows: StreamVec<'scope, Epoch, KeyedRows>,
    boundaries: StreamVec<'scope, Epoch, Epoch>,
    mut group: KeyedGroup,
    readers: usize,
    restored_files: Vec<FileId>,
    counters: Arc<KeyedCounters>,
) -> KeyedStreams<'scope> {
    let scope = rows.scope();
    let (index, peers) = (scope.index() as u64, scope.peers() as u64);
    let mut builder = OperatorBuilder::new("Keyed".to_owned(), scope);
    let mut rows = builder.new_input(rows, Pipeline);
    let mut boundaries = builder.new_input(boundaries, Pipeline);
    let mut outputs = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..readers {
        let (output, stream) = builder.new_output::<Vec<Delta>>();
        outputs.push(OutputBuilder::from(output));
        streams.push(stream);
    }
    let (appended_output, appended) = builder.new_output::<Vec<Appended>>();
    let (superseded_output, superseded) = builder.new_output::<Vec<Routed<Superseded>>>();
    let mut appended_output = OutputBuilder::from(appended_output);
    let mut superseded_output = OutputBuilder::from(superseded_output);
    let (undecided_output, undecided) = builder.new_output::<Vec<Delta>>();
    let mut undecided_output = OutputBuilder::from(undecided_output);

    builder.build(move |capabilities| {
        let ports = capabilities.len();
        drop(capabilities);
        // One stash holds the rows; a capability for each output is kept beside it until the epoch
        // is done.
        let mut stash: Stash<KeyedRows> = Stash::default();
        let mut held: std::collections::BTreeMap<
            Epoch,
            Vec<timely::dataflow::operators::Capability<Epoch>>,
        > = Default::default();
        let mut ends: BTreeSet<Epoch> = BTreeSet::new();
        let mut state_bytes = counters.state_bytes.part();
        move |frontiers| {
            rows.for_each(|capability, data| {
                held.entry(*capability.time())
                    .or_insert_with(|| (0..ports).map(|port| capability.retain(port)).collect());
                stash.push(capability.retain(0), data);
            });
            boundaries.for_each(|_, data| ends.extend(data.drain(..)));
            let frontier = frontiers
                .iter()
                .filter_map(|frontier| frontier.frontier().first().copied())
                .min();
            while let Some((capability, inputs)) = stash.next(frontier) {
                let epoch = *capability.time();
                // Commits that ended before this epoch closed their files.
                let later = ends.split_off(&epoch);
                if !std::mem::replace(&mut ends, later).is_empty() {
                    group.roll_files();
                }
                let capabilities = held
                    .remove(&epoch)
                    .expect("held since the first rows of the epoch came");
                let outcome = group
                    .apply(inputs)
                    .expect("rows have the types of their tables");
                counters
                    .duplicates
                    .fetch_add(outcome.duplicates, Ordering::Relaxed);
                state_bytes.tell(group.bytes());
                for ((output, mut deltas), capability) in
                    outputs.iter_mut().zip(outcome.deltas).zip(&capabilities)
                {
                    if !deltas.is_empty() {
                        output
                            .activate()
                            .session(capability)
                            .give_container(&mut deltas);
                    }
                }
                let mut appended = outcome.appended;
                if !appended.is_empty() {
                    appended_output
                        .activate()
                        .session(&capabilities[readers])
                        .give_container(&mut appended);
                }
                if !outcome.undecided.is_empty() {
                    undecided_output
                        .activate()
                        .session(&capabilities[readers + 2])
                        .give_iterator(outcome.undecided.into_iter().map(Delta::insert));
                }
                let mut superseded: Vec<_> = outcome
                    .superseded
                    .into_iter()
                    .map(|data| {
                        let restored = data.file < restored_files[data.table];
                        Routed {
                            worker: if restored {
                                u64::from(data.file) % peers
                            } else {
                                index
                            },
                            data,
                        }
                    })
                    .collect();
                if !superseded.is_empty() {
                    superseded_output
                        .activate()
                        .session(&capabilities[readers + 1])
                        .give_container(&mut superseded);
                }
            }
        }
    });
    KeyedStreams {
        readers: streams,
        appended,
        superseded,
        undecided,
    }
}
