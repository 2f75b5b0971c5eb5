//! A map made ready for evaluation: a row has the same outcome in every batch.
//!
//! A batch is evaluated at once. Only if that fails are the rows at fault looked for
//! (`expression/attempt.rs`); they are rejected one by one, and their neighbours go through. Where
//! they cannot be found so, the batch is halved.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, RecordBatch, RecordBatchOptions,
    UInt64Array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat_batches, filter, filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion_common::{DataFusionError, Result};
use datafusion_physical_expr::{conjunction, split_conjunction};

use crate::delta::take_rows;
use crate::expression::{Attempts, Expr, Failure, catching, lazily, may_fail};
use crate::function::TooMuch;
use crate::plan::Map;

/// The rows of a batch that came through a [`Map`], and which rows of the input they were.
pub struct Mapped {
    /// The mapped rows.
    pub rows: RecordBatch,
    /// For each of them its row in the input; `None` when all rows came through, in order.
    pub origin: Option<Vec<u64>>,
}

/// A [`Map`] that is ready to be applied to batches of one schema.
pub struct Mapper {
    plain: Steps,
    attempts: Option<(Attempts, Steps)>,
    /// Whether a row of the last batch failed: then one of the next probably does.
    failing: bool,
}

/// What is done to a batch.
struct Steps {
    /// Conditions, each evaluated on the rows for which those before it are true.
    conditions: Vec<Expr>,
    project: Option<Vec<Expr>>,
    schema: SchemaRef,
}

impl Mapper {
    /// For batches of `input`.
    ///
    /// # Errors
    /// If an expression does not fit `input`.
    pub fn new(map: &Map, input: &Schema) -> Result<Self> {
        let plain = Steps::new(map, input).each(|expr| lazily(expr, input))?;
        Ok(Mapper {
            plain,
            attempts: None,
            failing: false,
        })
    }

    /// Applies the map to `rows`. Those for which an expression fails are left out, and `reject`
    /// gets the number of each and why, in their order.
    pub fn apply(
        &mut self,
        rows: &RecordBatch,
        reject: &mut dyn FnMut(u64, &DataFusionError),
    ) -> Result<Mapped> {
        let mut pieces = Pieces::default();
        self.apply_to(rows, 0, &mut pieces)?;
        for failure in &pieces.failures {
            reject(failure.row, &failure.error);
        }
        pieces.together(rows.num_rows())
    }

    /// The same for the rows from number `base` on.
    fn apply_to(&mut self, rows: &RecordBatch, base: u64, pieces: &mut Pieces) -> Result<()> {
        let mut failed = None;
        if !self.failing {
            match catching(|| self.plain.apply(rows)) {
                Ok(mapped) => {
                    pieces.push(mapped, base);
                    return Ok(());
                }
                Err(error) => failed = Some(error),
            }
        }
        if !failed.as_ref().is_some_and(TooMuch::is)
            && let Ok((mapped, failures)) = self.attempted(rows)
        {
            self.failing = !failures.is_empty();
            pieces.push(mapped, base);
            pieces.fail(failures, base);
            return Ok(());
        }
        // It cannot be told by attempts at single operations.
        self.failing = false;
        match failed {
            Some(error) if rows.num_rows() <= 1 => {
                pieces.push(self.plain.output(&rows.slice(0, 0)), base);
                if rows.num_rows() == 1 {
                    pieces.fail(vec![Failure { row: 0, error }], base);
                }
                Ok(())
            }
            None if rows.num_rows() <= 1 => self.apply_to(rows, base, pieces),
            _ => self.halve(rows, base, pieces),
        }
    }

    fn halve(&mut self, rows: &RecordBatch, base: u64, pieces: &mut Pieces) -> Result<()> {
        let half = rows.num_rows() / 2;
        self.apply_to(&rows.slice(0, half), base, pieces)?;
        let rest = rows.slice(half, rows.num_rows() - half);
        self.apply_to(&rest, base + half as u64, pieces)
    }

    /// Applies the map by attempts: the rows that came through, and the failures of the others.
    fn attempted(&mut self, rows: &RecordBatch) -> Result<(Mapped, Vec<Failure>)> {
        if self.attempts.is_none() {
            let attempts = Attempts::new(rows.schema_ref());
            let steps = self.plain.each(|expr| attempts.rewrite(expr))?;
            self.attempts = Some((attempts, steps));
        }
        let Some((attempts, steps)) = &self.attempts else {
            unreachable!("they were made above");
        };
        let evaluated = catching(|| steps.attempt(&attempts.numbered(rows)?, attempts));
        // Also where the evaluation broke off: what was noted until then must not be found later.
        let left_over = attempts.failures();
        let (columns, numbers, failures) = evaluated?;
        debug_assert!(left_over.is_empty(), "every step asks for its failures");
        let origin = (numbers.len() < rows.num_rows()).then(|| numbers.values().to_vec());
        let rows = match columns {
            Some(columns) => self.plain.batch(columns, numbers.len())?,
            None => match &origin {
                None => rows.clone(),
                Some(origin) => take_rows(rows, origin)?,
            },
        };
        Ok((Mapped { rows, origin }, failures))
    }
}

/// Maps one after the other.
pub struct Mappers(Vec<Mapper>);

impl Mappers {
    /// For batches of `input`.
    ///
    /// # Errors
    /// If an expression does not fit the rows it gets.
    pub fn new(maps: &[Map], input: &Schema) -> Result<Self> {
        let inputs = maps.iter().map(|map| map.schema.as_ref());
        let inputs = std::iter::once(input).chain(inputs);
        let mappers = maps.iter().zip(inputs);
        let mappers = mappers.map(|(map, input)| Mapper::new(map, input));
        mappers.collect::<Result<_>>().map(Mappers)
    }

    /// Applies all of them, as [`Mapper::apply`] does.
    pub fn apply(
        &mut self,
        rows: &RecordBatch,
        reject: &mut dyn FnMut(u64, &DataFusionError),
    ) -> Result<Mapped> {
        let mut rows = rows.clone();
        let mut origin: Option<Vec<u64>> = None;
        for mapper in &mut self.0 {
            let before = origin.take();
            let source = |row: u64| before.as_ref().map_or(row, |before| before[row as usize]);
            let mapped = mapper.apply(&rows, &mut |row, error| reject(source(row), error))?;
            origin = match mapped.origin {
                None => before,
                Some(picked) => Some(picked.into_iter().map(source).collect()),
            };
            rows = mapped.rows;
        }
        Ok(Mapped { rows, origin })
    }
}

impl Steps {
    fn new(map: &Map, input: &Schema) -> Self {
        Steps {
            conditions: conditions(map, input),
            project: map.project.clone(),
            schema: map.schema.clone(),
        }
    }

    /// The same steps with other expressions.
    fn each(&self, change: impl Fn(&Expr) -> Result<Expr>) -> Result<Self> {
        let project = self.project.as_ref();
        Ok(Steps {
            conditions: self.conditions.iter().map(&change).collect::<Result<_>>()?,
            project: project
                .map(|project| project.iter().map(&change).collect())
                .transpose()?,
            schema: self.schema.clone(),
        })
    }

    /// Fails if an expression fails for any of `rows`.
    fn apply(&self, rows: &RecordBatch) -> Result<Mapped> {
        let mut origin: Option<Vec<u64>> = None;
        let mut rows = rows.clone();
        for condition in &self.conditions {
            let keep = kept_by(condition, &rows)?;
            if keep.true_count() < rows.num_rows() {
                let kept = keep.values().set_indices();
                origin = Some(match origin {
                    None => kept.map(|index| index as u64).collect(),
                    Some(before) => kept.map(|index| before[index]).collect(),
                });
                rows = filter_record_batch(&rows, &keep)?;
            }
        }
        if let Some(columns) = self.columns(&rows)? {
            rows = self.batch(columns, rows.num_rows())?;
        }
        Ok(Mapped { rows, origin })
    }

    /// The columns for the rows that came through, the numbers of these rows, and the failures of
    /// others.
    fn attempt(
        &self,
        numbered: &RecordBatch,
        attempts: &Attempts,
    ) -> Result<(Option<Vec<ArrayRef>>, UInt64Array, Vec<Failure>)> {
        let mut rows = numbered.clone();
        let mut failures = Vec::new();
        for condition in &self.conditions {
            let keep = kept_by(condition, &rows)?;
            let failed = attempts.failures();
            let keep = without(&keep, &failed, &numbers(&rows));
            failures.extend(failed);
            if keep.true_count() < rows.num_rows() {
                rows = filter_record_batch(&rows, &keep)?;
            }
        }
        let mut numbers = numbers(&rows);
        let mut columns = self.columns(&rows)?;
        let failed = attempts.failures();
        if !failed.is_empty() {
            let all = BooleanArray::new(BooleanBuffer::new_set(numbers.len()), None);
            let keep = without(&all, &failed, &numbers);
            numbers = filter(&numbers, &keep)?.as_primitive().clone();
            for column in columns.iter_mut().flatten() {
                *column = filter(column, &keep)?;
            }
            failures.extend(failed);
        }
        failures.sort_by_key(|failure| failure.row);
        Ok((columns, numbers, failures))
    }

    fn columns(&self, rows: &RecordBatch) -> Result<Option<Vec<ArrayRef>>> {
        let Some(project) = &self.project else {
            return Ok(None);
        };
        let columns = project
            .iter()
            .map(|expr| expr.evaluate(rows)?.into_array(rows.num_rows()));
        columns.collect::<Result<Vec<_>>>().map(Some)
    }

    fn batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(
            self.schema.clone(),
            columns,
            &options,
        )?)
    }

    /// What becomes of `none`, a batch without rows.
    fn output(&self, none: &RecordBatch) -> Mapped {
        let rows = match &self.project {
            Some(_) => RecordBatch::new_empty(self.schema.clone()),
            None => none.clone(),
        };
        Mapped { rows, origin: None }
    }
}

/// The filter of `map` taken apart at its ANDs: a row that one condition drops need not be looked
/// at by the next, which may fail for it. Those that cannot fail stay together, evaluated at once.
fn conditions(map: &Map, input: &Schema) -> Vec<Expr> {
    let mut conditions: Vec<Expr> = Vec::new();
    let mut safe: Option<Expr> = None;
    for part in map.filter.iter().flat_map(split_conjunction) {
        if may_fail(part, input) {
            conditions.extend(safe.take());
            conditions.push(part.clone());
        } else {
            let both = safe.take().into_iter().chain([part.clone()]);
            safe = Some(conjunction(both));
        }
    }
    conditions.extend(safe);
    conditions
}

/// For which of `rows` the condition is true.
fn kept_by(condition: &Expr, rows: &RecordBatch) -> Result<BooleanArray> {
    let keep = condition.evaluate(rows)?.into_array(rows.num_rows())?;
    if keep.data_type().is_null() {
        return Ok(BooleanArray::new(
            BooleanBuffer::new_unset(keep.len()),
            None,
        ));
    }
    let keep = keep.as_boolean_opt().ok_or_else(|| {
        DataFusionError::Internal(format!(
            "a filter returned {} instead of booleans",
            keep.data_type()
        ))
    })?;
    Ok(match keep.null_count() {
        0 => keep.clone(),
        _ => prep_null_mask_filter(keep),
    })
}

/// The numbers of rows that have them as their last column, in ascending order.
fn numbers(rows: &RecordBatch) -> UInt64Array {
    rows.column(rows.num_columns() - 1).as_primitive().clone()
}

/// `keep` without the rows that failed; row `i` of it has the number `numbers[i]`.
fn without(keep: &BooleanArray, failures: &[Failure], numbers: &UInt64Array) -> BooleanArray {
    if failures.is_empty() {
        return keep.clone();
    }
    let mut kept = BooleanBufferBuilder::new(keep.len());
    kept.append_buffer(keep.values());
    for failure in failures {
        let place = numbers
            .values()
            .partition_point(|&number| number < failure.row);
        kept.set_bit(place, false);
    }
    BooleanArray::new(kept.finish(), None)
}

/// The parts that a batch was mapped in.
#[derive(Default)]
struct Pieces {
    rows: Vec<RecordBatch>,
    origin: Vec<Option<Vec<u64>>>,
    /// The number of the first row of each in the batch.
    bases: Vec<u64>,
    failures: Vec<Failure>,
}

impl Pieces {
    fn push(&mut self, mapped: Mapped, base: u64) {
        self.rows.push(mapped.rows);
        self.origin.push(mapped.origin);
        self.bases.push(base);
    }

    fn fail(&mut self, failures: Vec<Failure>, base: u64) {
        let failures = failures.into_iter().map(|failure| Failure {
            row: failure.row + base,
            ..failure
        });
        self.failures.extend(failures);
    }

    /// All of them as one, out of a batch with so many rows.
    fn together(mut self, of: usize) -> Result<Mapped> {
        if self.rows.len() == 1
            && let (Some(rows), Some(origin)) = (self.rows.pop(), self.origin.pop())
        {
            // Only a row at fault is missing without a condition.
            let origin = origin.or_else(|| (rows.num_rows() < of).then(Vec::new));
            return Ok(Mapped { rows, origin });
        }
        let schema = self.rows[0].schema();
        let mut origin = Vec::new();
        for ((rows, of), base) in self.rows.iter().zip(&self.origin).zip(self.bases) {
            match of {
                Some(of) => origin.extend(of.iter().map(|row| row + base)),
                None => origin.extend(base..base + rows.num_rows() as u64),
            }
        }
        Ok(Mapped {
            rows: concat_batches(&schema, &self.rows)?,
            origin: (origin.len() < of).then_some(origin),
        })
    }
}
