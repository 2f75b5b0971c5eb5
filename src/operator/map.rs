//! Filters and projections of changes: stateless, batch by batch.

use std::fmt;

use arrow::datatypes::Schema;
use datafusion_common::{DataFusionError, Result};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;

use super::fault::{Faults, OpenFaults};
use super::mapper::Mapper;
use crate::delta::{Delta, Epoch};
use crate::plan::Map;

/// Applies `map` to every delta of `stream`, whose rows are of `input`.
pub fn map_deltas<'scope>(
    stream: StreamVec<'scope, Epoch, Delta>,
    map: &Map,
    input: &Schema,
    relation: String,
    faults: Faults,
) -> Result<StreamVec<'scope, Epoch, Delta>> {
    let mut mapper = Mapper::new(map, input)?;
    let name = format!("Map({relation})");
    let mut faults = OpenFaults::new(relation, faults);
    let mapped = stream.unary_frontier(Pipeline, &name, move |_capability, _info| {
        move |(input, frontier), output| {
            input.for_each(|capability, deltas| {
                let epoch = *capability.time();
                let mut session = output.session(&capability);
                for delta in deltas.drain(..) {
                    let (mapped, _) = map_delta(&mut mapper, delta, epoch, &mut faults);
                    if !mapped.is_empty() {
                        session.give(mapped);
                    }
                }
            });
            faults.report(frontier.frontier().first().copied());
        }
    });
    Ok(mapped)
}

/// Applies `mapper` to one delta of `epoch`; also returns the changes whose rows failed.
pub fn map_delta(
    mapper: &mut Mapper,
    delta: Delta,
    epoch: Epoch,
    faults: &mut OpenFaults,
) -> (Delta, Option<Delta>) {
    let (mut rows, mut reasons) = (Vec::new(), Vec::new());
    let mapped = mapper.apply(&delta.rows, &mut |row, error| {
        rows.push(row);
        reasons.push(reason(error));
    });
    let mapped = mapped.expect("the rows have the columns that the map was made for");
    let failed = (!rows.is_empty()).then(|| {
        let failed = delta.take(&rows);
        let failed = failed.expect("row numbers come from the batch itself");
        faults.note(epoch, &failed, reasons);
        failed
    });
    let diffs = match mapped.origin {
        None => delta.diffs,
        Some(origin) => {
            let diffs = origin.iter().map(|&row| delta.diffs[row as usize]);
            diffs.collect()
        }
    };
    let rows = mapped.rows;
    (Delta { rows, diffs }, failed)
}

/// Why an expression failed, as people should read it.
pub fn reason(error: &DataFusionError) -> String {
    Reason(error).to_string()
}

/// The same, to be written where it is wanted.
pub struct Reason<'a>(pub &'a DataFusionError);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.find_root() {
            DataFusionError::External(own) => own.fmt(f),
            DataFusionError::ArrowError(error, _) => error.fmt(f),
            root => {
                let text = root.to_string();
                let text = text.strip_prefix("Arrow error: ").unwrap_or(&text);
                f.write_str(text.strip_prefix("Execution error: ").unwrap_or(text))
            }
        }
    }
}
