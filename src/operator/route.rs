//! Sends each row to the worker that owns its key.
//!
//! A batch is cut into one piece a worker; with one worker it goes through untouched. The hash depends on the key's value only, so any
//! process of any run sends equal keys to the same worker (for a given number of workers).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::operator::Operator;

use crate::delta::{Delta, Epoch};

/// Something on its way to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Routed<D> {
    /// The worker it is for.
    pub worker: u64,
    /// What is sent.
    pub data: D,
}

/// Mixes the bits of `value`, so that neighbouring keys go to different workers (splitmix64's finaliser, Steele et al. 2014).
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Hashes the values of some columns, row by row.
pub struct KeyHasher {
    converter: Option<RowConverter>,
}

impl KeyHasher {
    /// A hasher for keys of these types.
    pub fn new(types: &[DataType]) -> Result<Self, ArrowError> {
        let converter = match types {
            [DataType::Int64] => None,
            _ => Some(RowConverter::new(
                types.iter().cloned().map(SortField::new).collect(),
            )?),
        };
        Ok(KeyHasher { converter })
    }

    /// One hash a row.
    pub fn hash(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<u64>, ArrowError> {
        if columns.is_empty() {
            return Ok(vec![0; rows]);
        }
        match &self.converter {
            None => {
                let keys = columns[0].as_primitive::<Int64Type>();
                Ok((0..keys.len())
                    .map(|row| {
                        if keys.is_null(row) {
                            0
                        } else {
                            mix(keys.value(row) as u64)
                        }
                    })
                    .collect())
            }
            Some(converter) => {
                let rows = converter.convert_columns(columns)?;
                Ok(rows.iter().map(|row| hash_bytes(row.as_ref())).collect())
            }
        }
    }
}

/// A hash of `bytes` that is the same in every process.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write(bytes);
    mix(hasher.finish())
}

/// For each worker the rows that are its own, in order; workers without rows are left out.
pub fn partition(hashes: &[u64], workers: usize) -> Vec<(u64, Vec<u64>)> {
    let mut rows: Vec<Vec<u64>> = vec![Vec::new(); workers];
    for (row, hash) in hashes.iter().enumerate() {
        rows[(hash % workers as u64) as usize].push(row as u64);
    }
    rows.into_iter()
        .enumerate()
        .filter(|(_, rows)| !rows.is_empty())
        .map(|(worker, rows)| (worker as u64, rows))
        .collect()
}

/// Brings rows with equal `columns` to one worker. No columns: all to worker 0.
pub fn by_columns<'scope>(
    stream: StreamVec<'scope, Epoch, Delta>,
    schema: &SchemaRef,
    columns: Vec<usize>,
    workers: usize,
) -> Result<StreamVec<'scope, Epoch, Delta>, ArrowError> {
    if workers == 1 {
        return Ok(stream);
    }
    let types: Vec<DataType> = columns
        .iter()
        .map(|&column| schema.field(column).data_type().clone())
        .collect();
    let hasher = KeyHasher::new(&types)?;
    let routed = stream.unary(Pipeline, "Partition", move |_capability, _info| {
        move |input, output| {
            input.for_each(|capability, deltas| {
                let mut session = output.session(&capability);
                for delta in deltas.drain(..) {
                    for routed in split(&hasher, &columns, workers, delta) {
                        session.give(routed);
                    }
                }
            });
        }
    });
    Ok(unroute(routed))
}

fn split(
    hasher: &KeyHasher,
    columns: &[usize],
    workers: usize,
    delta: Delta,
) -> Vec<Routed<Delta>> {
    if columns.is_empty() {
        return vec![Routed {
            worker: 0,
            data: delta,
        }];
    }
    let keys = key_columns(&delta.rows, columns);
    let hashes = hasher
        .hash(&keys, delta.len())
        .expect("key columns have the types the hasher was made for");
    partition(&hashes, workers)
        .into_iter()
        .map(|(worker, rows)| Routed {
            worker,
            data: delta
                .take(&rows)
                .expect("row numbers come from the batch itself"),
        })
        .collect()
}

/// The columns of `rows` at `columns`.
pub fn key_columns(rows: &RecordBatch, columns: &[usize]) -> Vec<ArrayRef> {
    columns
        .iter()
        .map(|&column| Arc::clone(rows.column(column)))
        .collect()
}

/// Sends everything where it is routed to, and takes it out of its envelope.
pub fn unroute<'scope, D>(
    stream: StreamVec<'scope, Epoch, Routed<D>>,
) -> StreamVec<'scope, Epoch, D>
where
    D: Clone + Send + Serialize + for<'a> Deserialize<'a> + 'static,
{
    stream.unary(
        Exchange::new(|routed: &Routed<D>| routed.worker),
        "Exchange",
        |_capability, _info| {
            |input, output| {
                input.for_each(|capability, routed| {
                    output
                        .session(&capability)
                        .give_iterator(routed.drain(..).map(|routed| routed.data));
                });
            }
        },
    )
}
