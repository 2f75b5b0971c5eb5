//! Whether what a plan needs can be built, found without running it.
//!
//! The state of every operator is made here as it is made in a run, and one row of nulls is put
//! through it. So a type that an operator cannot hold is found when the file is loaded, by the code
//! that would fail later.

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

use super::keyed_group;
use crate::delta::Delta;
use crate::operator::aggregate::AggregateState;
use crate::operator::consolidate::Consolidator;
use crate::operator::route::hash_keys;
use crate::operator::row_hash::hash_rows;
use crate::operator::top_k::TopKState;
use crate::plan::{Aggregation, NodeId, Op, Plan};

/// What cannot be built: a word of SQL that stands for it, if there is one, and why.
pub type Unbuildable = (Option<&'static str>, ArrowError);

/// One row that has nothing.
pub fn row_of_nulls(schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let fields = schema.fields().iter();
    let nullable = fields.map(|field| field.as_ref().clone().with_nullable(true));
    let columns = schema.fields().iter();
    let columns = columns.map(|field| new_null_array(field.data_type(), 1));
    RecordBatch::try_new_with_options(
        Schema::new(nullable.collect::<Vec<_>>()).into(),
        columns.collect(),
        &RecordBatchOptions::new().with_row_count(Some(1)),
    )
}

/// Builds the state of a table and of all that share its arrangement.
pub fn table(plan: &Plan, table: usize) -> Result<(), Unbuildable> {
    let built = || -> Result<(), ArrowError> {
        let row = row_of_nulls(&plan.tables[table].schema)?;
        hashed(&row)?;
        let group = plan.groups.iter().find(|group| group.contains(&table));
        if let Some(group) = group {
            keyed_group(plan, group, &vec![Vec::new(); plan.tables.len()])?;
        }
        Ok(())
    };
    built().map_err(|error| (None, error))
}

/// Builds the state of a node.
pub fn node(plan: &Plan, id: NodeId) -> Result<(), Unbuildable> {
    let node = &plan.nodes[id];
    let schema_of = |node: NodeId| &plan.nodes[node].schema;
    match &node.op {
        Op::Aggregate { input, aggregation } => {
            let input = schema_of(*input);
            for aggregate in &aggregation.aggregates {
                let alone = Aggregation {
                    group: Vec::new(),
                    aggregates: vec![aggregate.clone()],
                };
                let output = Schema::new(vec![aggregate.output.clone()]).into();
                AggregateState::new(input, &alone, output)
                    .and_then(|mut state| put_through(input, |delta| state.apply(delta)))
                    .map_err(|error| (Some(aggregate.function.name()), error))?;
            }
            AggregateState::new(input, aggregation, SchemaRef::clone(&node.schema))
                .and_then(|mut state| put_through(input, |delta| state.apply(delta)))
                .map_err(|error| (Some("GROUP"), error))
        }
        Op::TopK { input, top } => {
            let input = schema_of(*input);
            TopKState::new(input, top.clone(), SchemaRef::clone(&node.schema))
                .and_then(|mut state| put_through(input, |delta| state.apply(delta)))
                .map_err(|error| (Some("ORDER"), error))
        }
        Op::Join { left, right, .. } => {
            for side in [left, right] {
                let fields = schema_of(*side).fields().iter();
                let fields = fields.map(|field| SortField::new(field.data_type().clone()));
                RowConverter::new(fields.collect()).map_err(|error| (Some("JOIN"), error))?;
            }
            Ok(())
        }
        Op::Keyed { .. } | Op::Map { .. } | Op::Union { .. } | Op::Constant { .. } => Ok(()),
    }
}

/// Puts a row of nulls through an operator, with what happens to rows on their way to it.
fn put_through(
    input: &SchemaRef,
    mut apply: impl FnMut(&[Delta]) -> Result<Vec<Delta>, ArrowError>,
) -> Result<(), ArrowError> {
    let row = row_of_nulls(input)?;
    hashed(&row)?;
    let delta = Consolidator::default().apply(Delta::insert(row))?;
    apply(&[delta]).map(|_| ())
}

fn hashed(row: &RecordBatch) -> Result<(), ArrowError> {
    hash_rows(row)
        .and_then(|_| hash_keys(row.columns(), row.num_rows()))
        .map(|_| ())
        .map_err(|error| ArrowError::ComputeError(error.to_string()))
}
