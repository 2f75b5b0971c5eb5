//! Plan nodes to operators: the plan and this file are the same list.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion_common::ScalarValue;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::core::Concatenate;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::{Scope, StreamVec};

use crate::delta::{Delta, Epoch};
use crate::operator::aggregate::AggregateState;
use crate::operator::consolidate::consolidate;
use crate::operator::epochs::unary_epochs;
use crate::operator::fault::Faults;
use crate::operator::join::{Side, join};
use crate::operator::map::map_deltas;
use crate::operator::route;
use crate::operator::state_bytes::{StateBytes, StatePart};
use crate::operator::top_k::TopKState;
use crate::plan::{NodeId, Op, Plan};

/// Renders all nodes of `plan`, given the streams of its keyed nodes; returns the stream of every
/// node.
///
/// `start` is the epoch at which rows that never change appear. Operators tell `state_bytes` how
/// large their state is.
pub fn render<'scope>(
    scope: Scope<'scope, Epoch>,
    plan: &Arc<Plan>,
    mut keyed: impl FnMut(NodeId) -> StreamVec<'scope, Epoch, Delta>,
    start: Epoch,
    faults: &Faults,
    state_bytes: &StateBytes,
) -> Result<Vec<StreamVec<'scope, Epoch, Delta>>, ArrowError> {
    let mut streams: Vec<StreamVec<'scope, Epoch, Delta>> = Vec::with_capacity(plan.nodes.len());
    for (id, node) in plan.nodes.iter().enumerate() {
        let relation = relation_of(plan, id);
        let schema_of = |node: NodeId| Arc::clone(&plan.nodes[node].schema);
        let stream = match &node.op {
            Op::Keyed { .. } => keyed(id),
            Op::Map { input, map } => {
                let stream = streams[*input].clone();
                map_deltas(stream, map, &schema_of(*input), relation, faults.clone())
                    .map_err(|error| ArrowError::from_external_error(error.into()))?
            }
            Op::Union { inputs } => {
                scope.concatenate(inputs.iter().map(|&input| streams[input].clone()))
            }
            Op::Constant { rows } => constant(scope, batch(rows, &node.schema)?, start),
            Op::Join {
                left,
                right,
                join: pairs,
            } => {
                let side = |input: NodeId| Side {
                    stream: streams[input].clone(),
                    schema: schema_of(input),
                };
                let (left, right) = (side(*left), side(*right));
                join(left, right, pairs, &node.schema, relation, faults.clone())?
            }
            Op::Aggregate { input, aggregation } => {
                let state =
                    AggregateState::new(&schema_of(*input), aggregation, node.schema.clone())?;
                let narrow = consolidate(streams[*input].clone());
                let routed = route::by_columns(narrow, aggregation.group.clone(), scope.peers());
                aggregate(routed, state, &node.schema, start, state_bytes.part())?
            }
            Op::TopK { input, top } => {
                let state = TopKState::new(&schema_of(*input), top.clone(), node.schema.clone())?;
                let narrow = consolidate(streams[*input].clone());
                let routed = route::by_columns(narrow, top.partition.clone(), scope.peers());
                top_k(routed, state, state_bytes.part())
            }
        };
        streams.push(stream);
    }
    Ok(streams)
}

/// The first view that needs a node: what a fault in it is about.
fn relation_of(plan: &Plan, node: NodeId) -> String {
    plan.views
        .iter()
        .find(|view| plan.needed_by([view.node]).contains(&node))
        .map(|view| view.name.clone())
        .unwrap_or_default()
}

/// The rows of a constant as a batch.
fn batch(rows: &[Vec<ScalarValue>], schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    if rows.is_empty() {
        return Ok(RecordBatch::new_empty(Arc::clone(schema)));
    }
    let column = |index: usize| {
        ScalarValue::iter_to_array(rows.iter().map(|row| row[index].clone()))
            .map_err(|error| ArrowError::ExternalError(Box::new(error)))
    };
    let columns = (0..schema.fields().len()).map(column);
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns.collect::<Result<_, _>>()?,
        &options,
    )
}

/// Rows that are there from `start` on; they come from worker 0.
fn constant<'scope>(
    scope: Scope<'scope, Epoch>,
    rows: RecordBatch,
    start: Epoch,
) -> StreamVec<'scope, Epoch, Delta> {
    let mine = scope.index() == 0 && rows.num_rows() > 0;
    source(scope, "Constant", move |capability, _info| {
        let mut once = mine.then_some((capability, rows));
        move |output| {
            if let Some((mut capability, rows)) = once.take() {
                capability.downgrade(&start);
                output.session(&capability).give(Delta::insert(rows));
            }
        }
    })
}

/// The rows of the groups of `routed`, which each worker has a share of.
fn aggregate<'scope>(
    routed: StreamVec<'scope, Epoch, Delta>,
    mut state: AggregateState,
    schema: &SchemaRef,
    start: Epoch,
    mut part: StatePart,
) -> Result<StreamVec<'scope, Epoch, Delta>, ArrowError> {
    let scope = routed.scope();
    let initial = match scope.index() {
        0 => state.initial()?,
        _ => None,
    };
    // Every worker must build the same operators, so those without the initial row add an empty
    // constant.
    let initial = initial.map_or_else(
        || RecordBatch::new_empty(Arc::clone(schema)),
        |initial| initial.rows,
    );
    let changes = unary_epochs(routed, Pipeline, "Aggregate", move |_epoch, deltas, out| {
        out.extend(
            state
                .apply(&deltas)
                .expect("the input has the columns that the aggregation was made for"),
        );
        let changes = deltas.iter().map(Delta::len).sum();
        part.changed(changes, state.groups(), || state.bytes());
    });
    Ok(scope.concatenate([changes, constant(scope, initial, start)]))
}

/// The first rows of the partitions of `routed`, which each worker has a share of.
fn top_k<'scope>(
    routed: StreamVec<'scope, Epoch, Delta>,
    mut state: TopKState,
    mut part: StatePart,
) -> StreamVec<'scope, Epoch, Delta> {
    unary_epochs(routed, Pipeline, "TopK", move |_epoch, deltas, out| {
        out.extend(
            state
                .apply(&deltas)
                .expect("the input has the columns that the top-k was made for"),
        );
        let changes = deltas.iter().map(Delta::len).sum();
        part.changed(changes, state.partitions(), || state.bytes());
    })
}
