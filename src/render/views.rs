//! Plan nodes to operators: the plan and this file are the same list.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::core::Concatenate;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::{Scope, StreamVec};

use crate::delta::{Delta, Epoch};
use crate::operator::aggregate::AggregateState;
use crate::operator::consolidate::consolidate;
use crate::operator::epochs::unary_epochs;
use crate::operator::fault::Faults;
use crate::operator::join::{JoinShape, join};
use crate::operator::map::map_deltas;
use crate::operator::route;
use crate::operator::state_bytes::{StateBytes, StatePart};
use crate::operator::top_k::{TopKShape, TopKState};
use crate::plan::{Node, NodeId, Op, Plan};

/// Renders all nodes of `plan`, given the streams of its keyed nodes; returns the stream of every node.
///
/// `start` is the epoch at which rows that never change appear. Operators tell `state_bytes` how large their state is.
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
            Op::Map { input, map } => map_deltas(
                streams[*input].clone(),
                map.clone(),
                relation,
                faults.clone(),
            ),
            Op::Union { inputs } => {
                scope.concatenate(inputs.iter().map(|&input| streams[input].clone()))
            }
            Op::Constant { rows } => constant(scope, rows.clone(), start),
            Op::Join {
                left,
                right,
                on,
                kind,
                residual,
                null_equals_null,
            } => {
                let shape = JoinShape {
                    left: schema_of(*left),
                    right: schema_of(*right),
                    on: on.clone(),
                    kind: *kind,
                    residual: residual.clone(),
                    null_equals_null: *null_equals_null,
                    schema: Arc::clone(&node.schema),
                };
                join(
                    streams[*left].clone(),
                    streams[*right].clone(),
                    shape,
                    relation,
                    faults.clone(),
                )?
            }
            Op::Aggregate { .. } => {
                let part = state_bytes.part();
                aggregate(scope, node, &streams, &schema_of, start, part)?
            }
            Op::TopK { .. } => top_k(scope, node, &streams, &schema_of, state_bytes.part())?,
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

/// Rows that are there from `start` on; they come from worker 0.
fn constant<'scope>(
    scope: Scope<'scope, Epoch>,
    rows: arrow::array::RecordBatch,
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

fn aggregate<'scope>(
    scope: Scope<'scope, Epoch>,
    node: &Node,
    streams: &[StreamVec<'scope, Epoch, Delta>],
    schema_of: &dyn Fn(NodeId) -> SchemaRef,
    start: Epoch,
    mut part: StatePart,
) -> Result<StreamVec<'scope, Epoch, Delta>, ArrowError> {
    let Op::Aggregate {
        input,
        group,
        aggregates,
    } = &node.op
    else {
        unreachable!("called for aggregations only");
    };
    let schema = schema_of(*input);
    let narrow = consolidate(streams[*input].clone());
    let routed = route::by_columns(narrow, group.clone(), scope.peers());
    let mut state = AggregateState::new(&schema, group, aggregates, Arc::clone(&node.schema))?;
    let mut stream_of_initial = None;
    if scope.index() == 0
        && let Some(initial) = state.initial()?
    {
        stream_of_initial = Some(initial.rows);
    }
    let initial = stream_of_initial.map(|rows| constant(scope, rows, start));
    let changes = unary_epochs(routed, Pipeline, "Aggregate", move |_epoch, deltas, out| {
        out.extend(
            state
                .apply(&deltas)
                .expect("the input has the columns that the aggregation was made for"),
        );
        let changes = deltas.iter().map(Delta::len).sum();
        part.changed(changes, state.groups(), || state.bytes());
    });
    // Every worker must build the same operators, so those without the initial row add an empty constant.
    let initial = initial.unwrap_or_else(|| {
        constant(
            scope,
            arrow::array::RecordBatch::new_empty(Arc::clone(&node.schema)),
            start,
        )
    });
    Ok(scope.concatenate([changes, initial]))
}

fn top_k<'scope>(
    scope: Scope<'scope, Epoch>,
    node: &Node,
    streams: &[StreamVec<'scope, Epoch, Delta>],
    schema_of: &dyn Fn(NodeId) -> SchemaRef,
    mut part: StatePart,
) -> Result<StreamVec<'scope, Epoch, Delta>, ArrowError> {
    let Op::TopK {
        input,
        partition,
        order,
        rank,
        limit,
        skip,
        emit_rank,
        distinct,
    } = &node.op
    else {
        unreachable!("called for top-k only");
    };
    let schema = schema_of(*input);
    let narrow = consolidate(streams[*input].clone());
    let routed = route::by_columns(narrow, partition.clone(), scope.peers());
    let shape = TopKShape {
        partition: partition.clone(),
        order: order.clone(),
        rank: *rank,
        limit: *limit,
        skip: *skip,
        emit_rank: *emit_rank,
        distinct: *distinct,
    };
    let mut state = TopKState::new(&schema, shape, Arc::clone(&node.schema))?;
    Ok(unary_epochs(
        routed,
        Pipeline,
        "TopK",
        move |_epoch, deltas, out| {
            out.extend(
                state
                    .apply(&deltas)
                    .expect("the input has the columns that the top-k was made for"),
            );
            let changes = deltas.iter().map(Delta::len).sum();
            part.changed(changes, state.partitions(), || state.bytes());
        },
    ))
}
