//! Sends each row to the worker that owns its key.
//!
//! A batch is cut into one piece a worker; with one worker it goes through untouched. The hash
//! depends on the key's value only, so any process of any run sends equal keys to the same worker
//! (for a given number of workers).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use datafusion_common::Result;
use datafusion_common::hash_utils::{RandomState, create_hashes};
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

/// Mixes the bits of `value`, so that neighbouring keys go to different workers (splitmix64's
/// finaliser, Steele et al. 2014).
#[inline]
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A hash of each row's key, the same for equal keys in every process.
///
/// The one common key, a whole number, has a hash of its own that costs next to nothing.
pub fn hash_keys(columns: &[ArrayRef], rows: usize) -> Result<Vec<u64>> {
    if let [column] = columns
        && let Some(keys) = column.as_primitive_opt::<Int64Type>()
    {
        let hash = |row| {
            if keys.is_null(row) {
                0
            } else {
                mix(keys.value(row) as u64)
            }
        };
        return Ok((0..rows).map(hash).collect());
    }
    let mut hashes = vec![0; rows];
    create_hashes(columns, &RandomState::with_seed(0x6b_65_79), &mut hashes)?;
    Ok(hashes)
}

/// A hash of `bytes` that is the same in every process.
#[inline]
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write(bytes);
    mix(hasher.finish())
}

/// The worker that owns the keys with this hash. Neither the bits by which a hash table chooses a
/// place nor those that it compares first are used: among the keys of one worker they must still
/// differ.
fn owner(hash: u64, workers: usize) -> usize {
    ((hash >> 40) as u16 as usize * workers) >> 16
}

/// For each worker the rows that are its own, in order; workers without rows are left out.
pub fn partition(hashes: &[u64], workers: usize) -> Vec<(u64, Vec<u64>)> {
    let mut rows: Vec<Vec<u64>> = vec![Vec::new(); workers];
    for (row, &hash) in hashes.iter().enumerate() {
        rows[owner(hash, workers)].push(row as u64);
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
    columns: Vec<usize>,
    workers: usize,
) -> StreamVec<'scope, Epoch, Delta> {
    if workers == 1 {
        return stream;
    }
    let routed = stream.unary(Pipeline, "Partition", move |_capability, _info| {
        move |input, output| {
            input.for_each(|capability, deltas| {
                let mut session = output.session(&capability);
                for delta in deltas.drain(..) {
                    for routed in split(&columns, workers, delta) {
                        session.give(routed);
                    }
                }
            });
        }
    });
    unroute(routed)
}

fn split(columns: &[usize], workers: usize, delta: Delta) -> Vec<Routed<Delta>> {
    if columns.is_empty() {
        return vec![Routed {
            worker: 0,
            data: delta,
        }];
    }
    let keys = key_columns(&delta.rows, columns);
    let hashes = hash_keys(&keys, delta.len()).expect("columns of rows can be hashed");
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

/// The columns of `rows` at `columns`, as keys: of the floats that are equal though their bytes
/// differ (the two zeros, all that is not a number) one stands for all.
pub fn key_columns(rows: &RecordBatch, columns: &[usize]) -> Vec<ArrayRef> {
    columns
        .iter()
        .map(|&column| key_column(rows.column(column)))
        .collect()
}

/// One column as [`key_columns`] has it.
pub fn key_column(column: &ArrayRef) -> ArrayRef {
    let same = |value: f64| {
        if value.is_nan() {
            f64::NAN
        } else {
            value + 0.0
        }
    };
    match column.as_primitive_opt::<Float64Type>() {
        Some(values) => Arc::new(values.unary::<_, Float64Type>(same)),
        None => Arc::clone(column),
    }
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
