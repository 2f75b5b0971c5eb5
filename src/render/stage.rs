//! Rows to data files: the operator in front of the lake.
//!
//! It hands the rows that a worker owns to the stager, epoch by epoch, which encodes and puts them
//! beside the dataflow. At an epoch that ends a commit it waits until everything is in the lake,
//! and tells worker 0 what the commit is made of.
//!
//! # Invariants
//! 1. What is told at epoch E names exactly the files of rows with epochs up to E, all of them
//!    staged.
//! 2. A file is filled by one worker and rewritten by one worker; restored files are rewritten by
//!    worker `file % workers`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::messages::{Gathered, StageTask, StagedChange, StagerHandle};
use crate::delta::{Delta, Epoch};
use crate::operator::epochs::Stash;
use crate::operator::keyed::{Appended, FileId, Superseded};
use crate::operator::route::Routed;
use crate::reclock::Bound;

fn send(stager: &StagerHandle, task: StageTask) {
    // The stager ends early only when the lake failed, which ends the run with its own error.
    let _ = stager.tasks.send(task);
}

/// Builds the operator; returns what was staged, and the marks of archives. `dead_letters` is the
/// number that stands for the table of dead letters.
pub fn stage<'scope>(
    appended: Vec<StreamVec<'scope, Epoch, Appended>>,
    superseded: Vec<StreamVec<'scope, Epoch, Superseded>>,
    dead: StreamVec<'scope, Epoch, Delta>,
    boundaries: StreamVec<'scope, Epoch, Epoch>,
    dead_letters: usize,
    stager: StagerHandle,
) -> (
    StreamVec<'scope, Epoch, Routed<StagedChange>>,
    StreamVec<'scope, Epoch, Routed<Bound>>,
) {
    use timely::dataflow::operators::core::Concatenate;
    let scope = dead.scope();
    let mut builder = OperatorBuilder::new("Stage".to_owned(), scope);
    let mut appended = builder.new_input(scope.concatenate(appended), Pipeline);
    let mut superseded = builder.new_input(scope.concatenate(superseded), Pipeline);
    let mut dead = builder.new_input(dead, Pipeline);
    let mut boundaries = builder.new_input(boundaries, Pipeline);
    let (output, staged) = builder.new_output::<Vec<Routed<StagedChange>>>();
    let (marks_output, marks) = builder.new_output::<Vec<Routed<Bound>>>();
    let mut output = OutputBuilder::from(output);
    let mut marks_output = OutputBuilder::from(marks_output);
    let activator = scope.activator_for(builder.operator_info().address);

    builder.build(move |_capabilities| {
        let mut appended_stash: Stash<Appended> = Stash::default();
        let mut superseded_stash: Stash<Superseded> = Stash::default();
        let mut dead_stash: Stash<Delta> = Stash::default();
        // For each output a capability.
        let mut ends: BTreeMap<Epoch, [Capability<Epoch>; 2]> = BTreeMap::new();
        let mut waiting: BTreeMap<Epoch, [Capability<Epoch>; 2]> = BTreeMap::new();
        let mut dead_file: FileId = 0;
        move |frontiers| {
            appended.for_each(|capability, data| appended_stash.push(capability.retain(0), data));
            superseded
                .for_each(|capability, data| superseded_stash.push(capability.retain(0), data));
            dead.for_each(|capability, data| dead_stash.push(capability.retain(0), data));
            boundaries.for_each(|capability, data| {
                for epoch in data.drain(..) {
                    ends.insert(epoch, [0, 1].map(|port| capability.delayed(&epoch, port)));
                }
            });
            let frontier = frontiers
                .iter()
                .filter_map(|frontier| frontier.frontier().first().copied())
                .min();
            let mut epochs: BTreeSet<Epoch> = ends.keys().copied().collect();
            epochs.extend(appended_stash.epochs());
            epochs.extend(superseded_stash.epochs());
            epochs.extend(dead_stash.epochs());
            for epoch in epochs {
                if frontier.is_some_and(|frontier| epoch >= frontier) {
                    break;
                }
                // Rows are replaced by rows of the same epoch, which are appended after them.
                for superseded in superseded_stash.take(epoch) {
                    let (table, file) = (superseded.table, superseded.file);
                    let keys = superseded.keys.0;
                    send(&stager, StageTask::Replace { table, file, keys });
                }
                for appended in appended_stash.take(epoch) {
                    let (table, file, rows) = (appended.table, appended.file, appended.rows);
                    send(&stager, StageTask::Append { table, file, rows });
                }
                for delta in dead_stash.take(epoch) {
                    let (table, file, rows) = (dead_letters, dead_file, delta.rows);
                    send(&stager, StageTask::Append { table, file, rows });
                }
                if let Some(capabilities) = ends.remove(&epoch) {
                    send(&stager, StageTask::Finish { epoch });
                    dead_file += 1;
                    waiting.insert(epoch, capabilities);
                }
            }
            while let Ok(finished) = stager.finished.try_recv() {
                if let Some([for_changes, for_marks]) = waiting.remove(&finished.epoch) {
                    let changes = finished.changes.into_iter();
                    output
                        .activate()
                        .session(&for_changes)
                        .give_iterator(changes.map(to_leader));
                    let marks = finished.marks.into_iter();
                    marks_output
                        .activate()
                        .session(&for_marks)
                        .give_iterator(marks.map(to_leader));
                }
            }
            if !waiting.is_empty() {
                activator.activate_after(Duration::from_millis(1));
            }
        }
    });
    (staged, marks)
}

/// Worker 0 gathers what a commit is made of.
fn to_leader<D>(data: D) -> Routed<D> {
    Routed { worker: 0, data }
}

/// Gathers what all workers staged, and how far partitions were read, and hands it over when the
/// commit is complete. Runs on every worker; the others have nothing to gather.
pub fn gather<'scope>(
    staged: StreamVec<'scope, Epoch, StagedChange>,
    bounds: StreamVec<'scope, Epoch, Bound>,
    boundaries: StreamVec<'scope, Epoch, Epoch>,
    complete: Arc<dyn Fn(Gathered) + Send + Sync>,
) -> StreamVec<'scope, Epoch, ()> {
    let scope = staged.scope();
    let leader = scope.index() == 0;
    let mut builder = OperatorBuilder::new("Gather".to_owned(), scope);
    let mut staged = builder.new_input(staged, Pipeline);
    let mut bounds = builder.new_input(bounds, Pipeline);
    let mut boundaries = builder.new_input(boundaries, Pipeline);
    let (_output, done) = builder.new_output::<Vec<()>>();
    builder.build(move |_capabilities| {
        let mut staged_stash: BTreeMap<Epoch, Vec<StagedChange>> = BTreeMap::new();
        let mut bound_stash: BTreeMap<Epoch, Vec<Bound>> = BTreeMap::new();
        let mut ends: BTreeSet<Epoch> = BTreeSet::new();
        move |frontiers| {
            staged.for_each(|capability, data| {
                staged_stash
                    .entry(*capability.time())
                    .or_default()
                    .append(data)
            });
            bounds.for_each(|capability, data| {
                bound_stash
                    .entry(*capability.time())
                    .or_default()
                    .append(data)
            });
            boundaries.for_each(|_, data| ends.extend(data.drain(..)));
            let frontier = frontiers
                .iter()
                .filter_map(|frontier| frontier.frontier().first().copied())
                .min();
            while let Some(&epoch) = ends.first() {
                if frontier.is_some_and(|frontier| epoch >= frontier) {
                    break;
                }
                ends.pop_first();
                let later_staged = staged_stash.split_off(&(epoch + 1));
                let later_bounds = bound_stash.split_off(&(epoch + 1));
                let gathered = Gathered {
                    epoch,
                    changes: std::mem::replace(&mut staged_stash, later_staged)
                        .into_values()
                        .flatten()
                        .collect(),
                    bounds: std::mem::replace(&mut bound_stash, later_bounds)
                        .into_values()
                        .flatten()
                        .collect(),
                };
                if leader {
                    complete(gathered);
                }
            }
        }
    });
    done
}
