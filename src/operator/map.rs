//! Filters and projections: stateless, batch by batch.
//!
//! A batch on which an expression fails is halved until the rows at fault are alone, so that their neighbours go through.

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::compute::{filter_record_batch, prep_null_mask_filter, take_record_batch};
use datafusion_common::{DataFusionError, Result};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;

use super::fault::Faults;
use crate::delta::{Delta, Epoch};
use crate::plan::Map;

/// The rows of a batch that came through a [`Map`], and which rows of the input they were.
pub struct Mapped {
    /// The mapped rows.
    pub rows: RecordBatch,
    /// For each of them its row in the input; `None` when all rows came through, in order.
    pub origin: Option<Vec<u64>>,
}

/// Applies `map` to `rows`; fails if it fails on any of them.
pub fn apply(map: &Map, rows: &RecordBatch) -> Result<Mapped> {
    let mut origin = None;
    let mut rows = rows.clone();
    if let Some(filter) = &map.filter {
        let keep = filter.evaluate(&rows)?.into_array(rows.num_rows())?;
        let keep = keep.as_boolean_opt().ok_or_else(|| {
            DataFusionError::Internal(format!(
                "a filter returned {} instead of booleans",
                keep.data_type()
            ))
        })?;
        let keep = if keep.null_count() > 0 {
            prep_null_mask_filter(keep)
        } else {
            keep.clone()
        };
        if keep.true_count() < rows.num_rows() {
            origin = Some(
                keep.values()
                    .set_indices()
                    .map(|index| index as u64)
                    .collect::<Vec<_>>(),
            );
            rows = filter_record_batch(&rows, &keep)?;
        }
    }
    if let Some(project) = &map.project {
        let columns = project
            .iter()
            .map(|expr| expr.evaluate(&rows)?.into_array(rows.num_rows()))
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        rows = RecordBatch::try_new_with_options(map.schema.clone(), columns, &options)?;
    }
    Ok(Mapped { rows, origin })
}

/// Applies `map` to `rows`; rows on which it fails are handed to `reject` (their number, and why) and left out.
pub fn apply_isolating(
    map: &Map,
    rows: &RecordBatch,
    reject: &mut dyn FnMut(u64, &DataFusionError),
) -> Result<Mapped> {
    match apply(map, rows) {
        Ok(mapped) => Ok(mapped),
        Err(_) => {
            let mut good = Vec::with_capacity(rows.num_rows());
            isolate(map, rows, 0, &mut good, reject);
            let kept = take_record_batch(rows, &UInt64Array::from(good.clone()))?;
            let mapped = apply(map, &kept)?;
            let origin = match mapped.origin {
                None => good,
                Some(origin) => origin
                    .into_iter()
                    .map(|index| good[index as usize])
                    .collect(),
            };
            Ok(Mapped {
                rows: mapped.rows,
                origin: Some(origin),
            })
        }
    }
}

/// Finds the rows on which `map` works, by halving.
fn isolate(
    map: &Map,
    rows: &RecordBatch,
    base: u64,
    good: &mut Vec<u64>,
    reject: &mut dyn FnMut(u64, &DataFusionError),
) {
    match apply(map, rows) {
        Ok(_) => good.extend(base..base + rows.num_rows() as u64),
        Err(error) if rows.num_rows() <= 1 => reject(base, &error),
        Err(_) => {
            let half = rows.num_rows() / 2;
            isolate(map, &rows.slice(0, half), base, good, reject);
            isolate(
                map,
                &rows.slice(half, rows.num_rows() - half),
                base + half as u64,
                good,
                reject,
            );
        }
    }
}

/// Applies `map` to every delta of `stream`.
pub fn map_deltas<'scope>(
    stream: StreamVec<'scope, Epoch, Delta>,
    map: Map,
    relation: String,
    faults: Faults,
) -> StreamVec<'scope, Epoch, Delta> {
    stream.unary(
        Pipeline,
        &format!("Map({relation})"),
        move |_capability, _info| {
            move |input, output| {
                input.for_each(|capability, deltas| {
                    let mut session = output.session(&capability);
                    for delta in deltas.drain(..) {
                        if let Some(mapped) = map_delta(&map, delta, &relation, &faults) {
                            session.give(mapped);
                        }
                    }
                });
            }
        },
    )
}

/// Applies `map` to one delta; `None` if nothing is left.
pub fn map_delta(map: &Map, delta: Delta, relation: &str, faults: &Faults) -> Option<Delta> {
    let mut reject = |row: u64, error: &DataFusionError| {
        // A row that goes was reported when it came.
        if delta.diffs[row as usize] > 0 {
            faults.report(relation, reason(error));
        }
    };
    match apply_isolating(map, &delta.rows, &mut reject) {
        Ok(mapped) => {
            let diffs = match mapped.origin {
                None => delta.diffs,
                Some(origin) => origin
                    .into_iter()
                    .map(|index| delta.diffs[index as usize])
                    .collect(),
            };
            (!diffs.is_empty()).then_some(Delta {
                rows: mapped.rows,
                diffs,
            })
        }
        Err(error) => {
            faults.report(relation, reason(&error));
            None
        }
    }
}

/// Why an expression failed, as people should read it.
pub fn reason(error: &DataFusionError) -> String {
    match crate::function::ValueError::find(error) {
        Some(value) => value.to_string(),
        None => error
            .find_root()
            .to_string()
            .trim_start_matches("Arrow error: ")
            .to_owned(),
    }
}
