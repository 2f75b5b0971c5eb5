//! General equi-joins, by differential dataflow.
//!
//! Rows are arranged by their join columns, both in Arrow's row format, and joined with
//! `join_core`; conditions beyond the equalities are evaluated on batches of the pairs. What outer,
//! semi and anti joins need to know, which rows have a partner, is a `distinct` over the left (or
//! right) half of the pairs that remain:
//!
//! ```text
//!  left ---arrange--+
//!                   join --> pairs --> residual --+--> inner rows
//!  right --arrange--+                             +--> distinct left halves --> left rows with / without partner
//! ```
//!
//! A pair for which the condition fails is reported and is no match. Nor is a row alone that has
//! such a pair, for it might have a partner: it is neither returned with nulls nor by an anti join.
//!
//! Joins of tables on their primary keys do not come here; `keyed` answers them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use differential_dataflow::{AsCollection, VecCollection};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::core::Concat;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::operator::Operator;

use super::fault::{Faults, OpenFaults};
use super::map::map_delta;
use super::mapper::Mapper;
use super::route::key_columns;
use crate::delta::{Delta, Epoch};
use crate::plan::{Expr, Join, JoinKind, Map};

/// A row in Arrow's row format.
type Row = Vec<u8>;
type Rows<'scope> = VecCollection<'scope, Epoch, Row, isize>;
type Pairs<'scope> = StreamVec<'scope, Epoch, Delta>;

/// An input of a join: its changes, and its columns.
pub struct Side<'scope> {
    /// The changes.
    pub stream: StreamVec<'scope, Epoch, Delta>,
    /// The columns.
    pub schema: SchemaRef,
}

/// Joins two streams of changes; `schema` has the columns of the output.
pub fn join<'scope>(
    left: Side<'scope>,
    right: Side<'scope>,
    join: &Join,
    schema: &SchemaRef,
    relation: String,
    faults: Faults,
) -> Result<StreamVec<'scope, Epoch, Delta>, ArrowError> {
    let (left_on, right_on): (Vec<usize>, Vec<usize>) = join.on.iter().copied().unzip();
    let drop_nulls = !join.null_equals_null;
    let pair_schema: SchemaRef = Arc::new(Schema::new(
        left.schema
            .fields()
            .iter()
            .chain(right.schema.fields())
            .cloned()
            .collect::<Vec<_>>(),
    ));
    let left_keyed = encode(left.stream.clone(), &left.schema, left_on, drop_nulls)?;
    let right_keyed = encode(right.stream.clone(), &right.schema, right_on, drop_nulls)?;
    let pairs = left_keyed
        .arrange_by_key()
        .join_core(right_keyed.arrange_by_key(), |_key, left, right| {
            Some((left.clone(), right.clone()))
        });
    let pairs = decode(
        pairs,
        &[Arc::clone(&left.schema), Arc::clone(&right.schema)],
        |(l, r)| vec![l, r],
        &pair_schema,
    )?;
    let (pairs, undecided) = match &join.residual {
        None => (pairs, None),
        Some(residual) => {
            let (pairs, undecided) = decide(pairs, residual, &pair_schema, relation, faults)?;
            (pairs, Some(undecided))
        }
    };
    let width = left.schema.fields().len();
    let left_columns: Vec<usize> = (0..width).collect();
    let right_columns: Vec<usize> = (width..pair_schema.fields().len()).collect();
    let partnered =
        |pairs: &StreamVec<'scope, Epoch, Delta>, schema: &SchemaRef, columns: Vec<usize>| {
            encode_rows(pairs.clone(), schema, columns).map(|rows| rows.distinct())
        };
    let whole = |stream: StreamVec<'scope, Epoch, Delta>, schema: &SchemaRef| {
        encode_rows(stream, schema, (0..schema.fields().len()).collect())
            .map(|rows| rows.map(|row| (row, ())))
    };
    // A row is alone if no pair of it is a match, and none might be.
    let possible = match undecided {
        None => pairs.clone(),
        Some(undecided) => pairs.clone().concat(undecided),
    };
    let alone =
        |stream, schema: &SchemaRef, columns: Vec<usize>| -> Result<Rows<'scope>, ArrowError> {
            Ok(whole(stream, schema)?
                .antijoin(partnered(&possible, schema, columns)?)
                .map(|(row, ())| row))
        };
    match join.kind {
        JoinKind::Inner => Ok(pairs),
        JoinKind::Semi => {
            let rows = whole(left.stream, &left.schema)?.semijoin(partnered(
                &pairs,
                &left.schema,
                left_columns,
            )?);
            decode(
                rows,
                std::slice::from_ref(&left.schema),
                |(row, ())| vec![row],
                schema,
            )
        }
        JoinKind::Anti => {
            let rows = alone(left.stream, &left.schema, left_columns)?;
            decode(
                rows,
                std::slice::from_ref(&left.schema),
                |row| vec![row],
                schema,
            )
        }
        JoinKind::Mark => {
            let rows = whole(left.stream, &left.schema)?;
            let matched = partnered(&pairs, &left.schema, left_columns.clone())?;
            let with = rows.clone().semijoin(matched);
            let without = rows.antijoin(partnered(&possible, &left.schema, left_columns)?);
            let marked = |rows: VecCollection<'scope, Epoch, (Row, ()), isize>, mark| {
                let rows = decode(
                    rows,
                    std::slice::from_ref(&left.schema),
                    |(row, ())| vec![row],
                    &left.schema,
                )?;
                Ok::<_, ArrowError>(marked(rows, schema, mark))
            };
            Ok(marked(with, true)?.concat(marked(without, false)?))
        }
        JoinKind::Left | JoinKind::Full => {
            let rows = alone(left.stream, &left.schema, left_columns)?;
            let left_alone = pad(
                decode(
                    rows,
                    std::slice::from_ref(&left.schema),
                    |row| vec![row],
                    &left.schema,
                )?,
                &pair_schema,
                0,
            );
            let joined = pairs.clone().concat(left_alone);
            if join.kind == JoinKind::Left {
                return Ok(joined);
            }
            let rows = alone(right.stream, &right.schema, right_columns)?;
            let right_alone = pad(
                decode(
                    rows,
                    std::slice::from_ref(&right.schema),
                    |row| vec![row],
                    &right.schema,
                )?,
                &pair_schema,
                width,
            );
            Ok(joined.concat(right_alone))
        }
    }
}

/// The pairs for which `condition` is true, and those for which it fails.
fn decide<'scope>(
    pairs: StreamVec<'scope, Epoch, Delta>,
    condition: &Expr,
    schema: &SchemaRef,
    relation: String,
    faults: Faults,
) -> Result<(Pairs<'scope>, Pairs<'scope>), ArrowError> {
    let map = Map {
        filter: Some(Arc::clone(condition)),
        project: None,
        schema: Arc::clone(schema),
    };
    let mut mapper =
        Mapper::new(&map, schema).map_err(|error| ArrowError::from_external_error(error.into()))?;
    let mut builder = OperatorBuilder::new(format!("Residual({relation})"), pairs.scope());
    let mut input = builder.new_input(pairs, Pipeline);
    let (matches, matching) = builder.new_output::<Vec<Delta>>();
    let (undecided, failing) = builder.new_output::<Vec<Delta>>();
    let mut matches = OutputBuilder::from(matches);
    let mut undecided = OutputBuilder::from(undecided);
    let mut faults = OpenFaults::new(relation, faults);
    builder.build(move |_capabilities| {
        move |frontiers| {
            let mut matches = matches.activate();
            let mut undecided = undecided.activate();
            input.for_each(|capability, deltas| {
                for delta in deltas.drain(..) {
                    let epoch = *capability.time();
                    let (kept, failed) = map_delta(&mut mapper, delta, epoch, &mut faults);
                    if !kept.is_empty() {
                        let capability = capability.delayed(capability.time(), 0);
                        matches.session(&capability).give(kept);
                    }
                    if let Some(failed) = failed {
                        let capability = capability.delayed(capability.time(), 1);
                        undecided.session(&capability).give(failed);
                    }
                }
            });
            faults.report(frontiers[0].frontier().first().copied());
        }
    });
    Ok((matching, failing))
}

fn converter(schema: &SchemaRef, columns: &[usize]) -> Result<RowConverter, ArrowError> {
    RowConverter::new(
        columns
            .iter()
            .map(|&column| SortField::new(schema.field(column).data_type().clone()))
            .collect(),
    )
}

fn picked(rows: &RecordBatch, columns: &[usize]) -> Vec<ArrayRef> {
    columns
        .iter()
        .map(|&column| Arc::clone(rows.column(column)))
        .collect()
}

/// The row format of `columns`; without columns every row is the empty one.
fn encode_columns(converter: &RowConverter, columns: &[ArrayRef], rows: usize) -> Vec<Row> {
    if columns.is_empty() {
        return vec![Row::new(); rows];
    }
    let encoded = converter
        .convert_columns(columns)
        .expect("a converter is used with the columns it was made for");
    encoded.iter().map(|row| row.as_ref().to_vec()).collect()
}

/// Each row by its join columns. With `drop_nulls`, rows with a null among those can have no
/// partner and are left out.
fn encode<'scope>(
    stream: StreamVec<'scope, Epoch, Delta>,
    schema: &SchemaRef,
    on: Vec<usize>,
    drop_nulls: bool,
) -> Result<VecCollection<'scope, Epoch, (Row, Row), isize>, ArrowError> {
    let keys = converter(schema, &on)?;
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    let rows = converter(schema, &all)?;
    let encoded = stream.unary(Pipeline, "Encode", move |_capability, _info| {
        move |input, output| {
            input.for_each(|capability, deltas| {
                let epoch = *capability.time();
                let mut session = output.session(&capability);
                for delta in deltas.drain(..) {
                    let on_columns = key_columns(&delta.rows, &on);
                    let nulls: Vec<NullBuffer> = match drop_nulls {
                        true => on_columns
                            .iter()
                            .filter_map(|c| c.logical_nulls())
                            .collect(),
                        false => Vec::new(),
                    };
                    let has_null = |row: usize| nulls.iter().any(|nulls| nulls.is_null(row));
                    let pairs = encode_columns(&keys, &on_columns, delta.len())
                        .into_iter()
                        .zip(encode_columns(&rows, delta.rows.columns(), delta.len()));
                    for (row, (pair, diff)) in pairs.zip(delta.diffs).enumerate() {
                        if !has_null(row) {
                            session.give((pair, epoch, diff as isize));
                        }
                    }
                }
            });
        }
    });
    Ok(encoded.as_collection())
}

/// The picked columns of each row; `schema` is theirs.
fn encode_rows<'scope>(
    stream: StreamVec<'scope, Epoch, Delta>,
    schema: &SchemaRef,
    columns: Vec<usize>,
) -> Result<Rows<'scope>, ArrowError> {
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    let converter = converter(schema, &all)?;
    let encoded = stream.unary(Pipeline, "EncodeRows", move |_capability, _info| {
        move |input, output| {
            input.for_each(|capability, deltas| {
                let epoch = *capability.time();
                let mut session = output.session(&capability);
                for delta in deltas.drain(..) {
                    let rows =
                        encode_columns(&converter, &picked(&delta.rows, &columns), delta.len());
                    session.give_iterator(
                        rows.into_iter()
                            .zip(delta.diffs)
                            .map(|(row, diff)| (row, epoch, diff as isize)),
                    );
                }
            });
        }
    });
    Ok(encoded.as_collection())
}

/// Back to batches: each datum is one row for each of `parts`, side by side.
fn decode<'scope, D: Clone + 'static>(
    collection: VecCollection<'scope, Epoch, D, isize>,
    parts: &[SchemaRef],
    rows_of: impl Fn(D) -> Vec<Row> + 'static,
    schema: &SchemaRef,
) -> Result<StreamVec<'scope, Epoch, Delta>, ArrowError> {
    let converters = parts
        .iter()
        .map(|part| converter(part, &(0..part.fields().len()).collect::<Vec<_>>()))
        .collect::<Result<Vec<_>, _>>()?;
    let schema = Arc::clone(schema);
    Ok(collection
        .inner
        .unary(Pipeline, "Decode", move |_capability, _info| {
            move |input, output| {
                input.for_each(|capability, updates| {
                    // A differential update carries its own time, which may be later than its
                    // message's.
                    let mut by_epoch: BTreeMap<Epoch, (Vec<Vec<Row>>, Vec<i64>)> = BTreeMap::new();
                    for (datum, epoch, diff) in updates.drain(..) {
                        let (rows, diffs) = by_epoch
                            .entry(epoch)
                            .or_insert_with(|| (vec![Vec::new(); converters.len()], Vec::new()));
                        for (part, row) in rows.iter_mut().zip(rows_of(datum)) {
                            part.push(row);
                        }
                        diffs.push(diff as i64);
                    }
                    for (epoch, (rows, diffs)) in by_epoch {
                        let mut columns = Vec::new();
                        for (converter, rows) in converters.iter().zip(&rows) {
                            let parser = converter.parser();
                            columns.extend(
                                converter
                                    .convert_rows(rows.iter().map(|row| parser.parse(row)))
                                    .expect("rows were encoded from these columns"),
                            );
                        }
                        let options = RecordBatchOptions::new().with_row_count(Some(diffs.len()));
                        let rows = RecordBatch::try_new_with_options(
                            Arc::clone(&schema),
                            columns,
                            &options,
                        )
                        .expect("the parts make up the schema");
                        let capability = capability.delayed(&epoch, output.output_index());
                        output.session(&capability).give(Delta { rows, diffs });
                    }
                });
            }
        }))
}

/// Puts nulls beside rows without a partner, so that they have the columns of a pair; the rows' own
/// columns begin at `at`.
fn pad<'scope>(
    stream: StreamVec<'scope, Epoch, Delta>,
    schema: &SchemaRef,
    at: usize,
) -> StreamVec<'scope, Epoch, Delta> {
    let schema = Arc::clone(schema);
    stream.unary(Pipeline, "Pad", move |_capability, _info| {
        move |input, output| {
            input.for_each(|capability, deltas| {
                let mut session = output.session(&capability);
                for delta in deltas.drain(..) {
                    let own = at..at + delta.rows.num_columns();
                    let columns = schema
                        .fields()
                        .iter()
                        .enumerate()
                        .map(|(index, field)| {
                            if own.contains(&index) {
                                Arc::clone(delta.rows.column(index - at))
                            } else {
                                new_null_array(field.data_type(), delta.len())
                            }
                        })
                        .collect();
                    let options = RecordBatchOptions::new().with_row_count(Some(delta.len()));
                    let rows =
                        RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)
                            .expect("nulls fit every nullable column");
                    session.give(Delta {
                        rows,
                        diffs: delta.diffs,
                    });
                }
            });
        }
    })
}

/// Puts `mark` beside each row as a last column.
fn marked<'scope>(
    stream: StreamVec<'scope, Epoch, Delta>,
    schema: &SchemaRef,
    mark: bool,
) -> StreamVec<'scope, Epoch, Delta> {
    let schema = Arc::clone(schema);
    stream.unary(Pipeline, "Mark", move |_capability, _info| {
        move |input, output| {
            input.for_each(|capability, deltas| {
                let mut session = output.session(&capability);
                for delta in deltas.drain(..) {
                    let marks = BooleanArray::from(vec![mark; delta.len()]);
                    let mut columns = delta.rows.columns().to_vec();
                    columns.push(Arc::new(marks));
                    let rows = RecordBatch::try_new(Arc::clone(&schema), columns)
                        .expect("the schema is the input's and a mark");
                    session.give(Delta {
                        rows,
                        diffs: delta.diffs,
                    });
                }
            });
        }
    })
}
